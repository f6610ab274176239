//! One read as a state machine: what to ask the system next, given what it said last.
//!
//! Shared by every backend that makes system calls, so that short reads, interruptions and passing faults are judged
//! in one place. It does no I/O itself.

use std::io;

use super::{Read, ReadFault};

/// How often an I/O error is tried again: controllers recover from some, and a token is worth two retries.
const FAULT_RETRIES: u8 = 2;

/// How often a call that was merely interrupted or put off is tried again before that counts as a fault.
const DELAY_RETRIES: u16 = 1000;

/// The progress of one read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    offset: u64,
    len: u32,
    need: u32,
    /// What the next call's offset must be a multiple of; 1 where the page cache is between.
    align: u32,
    /// Bytes of the frame that are the file's.
    got: u32,
    faults: u8,
    delays: u16,
}

/// What to do after a call.
#[derive(Debug)]
pub(super) enum Step {
    /// Call again, with [`Transfer::next`].
    Again,
    /// The read has ended.
    Ended(Result<(), ReadFault>),
}

impl Transfer {
    pub(super) fn new(read: &Read, align: u32) -> Transfer {
        debug_assert!(read.need <= read.len && read.len as usize <= read.frame.len());
        Transfer { offset: read.offset, len: read.len, need: read.need, align, got: 0, faults: 0, delays: 0 }
    }

    /// What to read next: from which byte of the frame to the end, and the file offset that belongs to it.
    ///
    /// A direct read cannot go on from where a short one stopped; it starts again at the boundary before.
    pub(super) fn next(&self) -> (std::ops::Range<usize>, u64) {
        let at = self.got / self.align * self.align;
        (at as usize..self.len as usize, self.offset + u64::from(at))
    }

    /// Judges what the call for [`Transfer::next`] returned. `file_len` is only asked at the end of the file.
    pub(super) fn absorb(&mut self, outcome: io::Result<usize>, file_len: impl FnOnce() -> io::Result<u64>) -> Step {
        let more = match outcome {
            Ok(more) => more,
            Err(error) => return self.fault(error),
        };
        let reached = (self.next().0.start + more).min(self.len as usize) as u32;
        if reached >= self.need {
            return Step::Ended(Ok(()));
        }
        if reached > self.got {
            self.got = reached;
            return Step::Again;
        }
        // Nothing new came, without an error: the end of the file.
        let seen = self.offset + u64::from(self.got);
        let end = file_len().map_or(seen, |len| len.min(seen));
        Step::Ended(Err(ReadFault::Shrunk { end, wanted: self.offset + u64::from(self.need) }))
    }

    fn fault(&mut self, error: io::Error) -> Step {
        let again = match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {
                self.delays += 1;
                self.delays <= DELAY_RETRIES
            }
            _ if error.raw_os_error() == Some(libc::EIO) => {
                self.faults += 1;
                self.faults <= FAULT_RETRIES
            }
            _ => false,
        };
        if again { Step::Again } else { Step::Ended(Err(error.into())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transfer(need: u32, align: u32) -> Transfer {
        Transfer { offset: 8192, len: need.next_multiple_of(4096), need, align, got: 0, faults: 0, delays: 0 }
    }

    fn errno(code: i32) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn passing_faults_are_tried_again_and_lasting_ones_told() {
        let mut t = transfer(100, 1);
        for _ in 0..FAULT_RETRIES {
            assert!(matches!(t.absorb(errno(libc::EIO), || Ok(0)), Step::Again));
        }
        for _ in 0..DELAY_RETRIES {
            assert!(matches!(t.absorb(errno(libc::EINTR), || Ok(0)), Step::Again));
        }
        let Step::Ended(Err(ReadFault::Io(error))) = t.absorb(errno(libc::EIO), || Ok(0)) else { panic!() };
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        assert!(matches!(transfer(1, 1).absorb(errno(libc::EBADF), || Ok(0)), Step::Ended(Err(_))));
    }

    #[test]
    fn a_short_direct_read_goes_on_from_the_boundary() {
        let mut t = transfer(8192, 4096);
        assert!(matches!(t.absorb(Ok(5000), || Ok(0)), Step::Again));
        assert_eq!(t.next(), (4096..8192, 12288));
        assert!(matches!(t.absorb(Ok(4096), || Ok(0)), Step::Ended(Ok(()))));
    }

    proptest! {
        /// Any sequence of short reads of a file of any length ends, with `Ok` exactly when the file is long enough.
        #[test]
        fn short_reads_end_rightly(
            file in 0u64..40_000,
            need in 1u32..20_000,
            align in prop::sample::select(vec![1u32, 512, 4096]),
            cuts in prop::collection::vec(1usize..9000, 0..8),
        ) {
            let mut t = transfer(need, align);
            let mut cuts = cuts.into_iter();
            let result = loop {
                let (range, offset) = t.next();
                prop_assert_eq!(offset % u64::from(align), 0);
                let there = file.saturating_sub(offset).min(range.len() as u64) as usize;
                // A short read makes at least one block of progress, or it would mean the end of the file.
                let cut = cuts.next().map_or(usize::MAX, |cut| cut.next_multiple_of(align as usize));
                if let Step::Ended(result) = t.absorb(Ok(there.min(cut)), || Ok(file)) {
                    break result;
                }
            };
            match result {
                Ok(()) => prop_assert!(8192 + u64::from(need) <= file),
                Err(ReadFault::Shrunk { end, wanted }) => {
                    prop_assert_eq!((end, wanted), (file, 8192 + u64::from(need)));
                    prop_assert!(wanted > file);
                }
                Err(ReadFault::Io(error)) => panic!("{error}"),
            }
        }
    }
}
