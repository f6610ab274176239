//! Bytes to or from somewhere else, with a digest of all that went before.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use super::saved::SavedError;

/// Words that are converted at a time.
const WORDS: usize = 1024;

/// A reader or a writer, and the digest of what went through it.
pub(super) struct Hashed<T> {
    inner: T,
    digest: Sha256,
}

impl<T> Hashed<T> {
    pub(super) fn new(inner: T) -> Self {
        Hashed { inner, digest: Sha256::new() }
    }
}

impl<W: Write> Hashed<W> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.inner.write_all(bytes)
    }

    pub(super) fn put_words(&mut self, words: impl Iterator<Item = u32>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(4 * WORDS);
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
            if bytes.len() == bytes.capacity() {
                self.put(&bytes)?;
                bytes.clear();
            }
        }
        self.put(&bytes)
    }

    /// The digest of everything so far.
    pub(super) fn put_digest(&mut self) -> io::Result<()> {
        let digest = self.digest.clone().finalize();
        self.put(&digest)
    }
}

impl<R: Read> Hashed<R> {
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SavedError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SavedError::CutOff,
            _ => SavedError::Io(error),
        })?;
        self.digest.update(bytes);
        Ok(())
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], SavedError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes `count` words, and tells each with its number.
    pub(super) fn take_words(&mut self, count: usize, mut tell: impl FnMut(usize, u32)) -> Result<(), SavedError> {
        let mut bytes = [0; 4 * WORDS];
        for first in (0..count).step_by(WORDS) {
            let bytes = &mut bytes[..4 * WORDS.min(count - first)];
            self.fill(bytes)?;
            for (i, word) in bytes.as_chunks().0.iter().enumerate() {
                tell(first + i, u32::from_le_bytes(*word));
            }
        }
        Ok(())
    }

    /// The digest of everything so far comes next.
    pub(super) fn take_digest(&mut self) -> Result<(), SavedError> {
        let expected: [u8; 32] = self.digest.clone().finalize().into();
        if self.take()? == expected { Ok(()) } else { Err(SavedError::Damaged) }
    }

    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(io::copy(&mut self.inner.by_ref().take(1), &mut io::sink())? == 0)
    }
}
