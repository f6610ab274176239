//! A position in a header that may still be incomplete.

use std::fmt;

use super::error::{Error, ErrorKind};

/// Longest header that is read. The largest real ones (a quarter of a million tokens with their merges) have about 16 MB.
pub(super) const MAX_HEADER: u64 = 256 << 20;

/// Reads fields one after the other; every step is checked against the file's length before the bytes at hand.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    file_len: u64,
    pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_len: u64) -> Self {
        let known = usize::try_from(file_len).unwrap_or(usize::MAX).min(bytes.len());
        Cursor { bytes: &bytes[..known], file_len, pos: 0 }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The bytes at hand: what positions are positions in.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes from here to the end of the file, header or not.
    pub(super) fn left_in_file(&self) -> u64 {
        self.file_len - self.pos as u64
    }

    /// The next `n` bytes, which are `what`.
    pub(super) fn take(&mut self, n: u64, what: fmt::Arguments<'_>) -> Result<&'a [u8], Error> {
        let needed = (self.pos as u64).saturating_add(n);
        let kind = if needed > self.file_len {
            ErrorKind::Truncated { field: what.to_string(), needed, file_len: self.file_len }
        } else if needed > MAX_HEADER {
            ErrorKind::TooLong { field: what.to_string(), needed, limit: MAX_HEADER }
        } else {
            // At most MAX_HEADER: fits.
            match self.bytes.get(self.pos..needed as usize) {
                Some(taken) => {
                    self.pos = needed as usize;
                    return Ok(taken);
                }
                None => ErrorKind::Incomplete { field: what.to_string(), needed },
            }
        };
        Err(Error::new(kind).at(self.pos))
    }

    fn fixed<const N: usize>(&mut self, what: fmt::Arguments<'_>) -> Result<[u8; N], Error> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N as u64, what)?);
        Ok(fixed)
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], Error> {
        self.fixed(format_args!("magic"))
    }

    pub(super) fn u32(&mut self, what: fmt::Arguments<'_>) -> Result<u32, Error> {
        self.fixed(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: fmt::Arguments<'_>) -> Result<u64, Error> {
        self.fixed(what).map(u64::from_le_bytes)
    }

    /// A length and as many bytes.
    pub(super) fn string(&mut self, what: fmt::Arguments<'_>) -> Result<&'a [u8], Error> {
        let len = self.u64(what)?;
        self.take(len, what)
    }

    /// A count of things of which each takes at least `min_bytes`: larger than `most` or than the file has room for is
    /// an error, so that nothing is ever allocated for a count that is a lie.
    pub(super) fn count(&mut self, min_bytes: u64, most: u64, what: fmt::Arguments<'_>) -> Result<usize, Error> {
        let at = self.pos;
        let count = self.u64(what)?;
        let limit = self.left_in_file() / min_bytes;
        if count > limit {
            return Err(Error::new(ErrorKind::Count { field: what.to_string(), count, limit }).at(at));
        }
        let fits = usize::try_from(count).ok().filter(|_| count <= most);
        fits.ok_or_else(|| Error::field(what, format_args!("{count}, more than the limit of {most}")).at(at))
    }
}
