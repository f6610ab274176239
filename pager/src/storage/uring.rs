//! Reads by io_uring: one system call starts a whole round of reads.
//!
//! The ring takes the frames' memory and the files registered, so that the kernel need not look them up and pin them
//! for each read; where that is not allowed (a low `RLIMIT_MEMLOCK`), plain reads do the same work a little slower.
//!
//! `COOP_TASKRUN` keeps completions from interrupting the thread that computes; `TASKRUN_FLAG` tells when a call is
//! due to make them visible. Not used are `SINGLE_ISSUER` and `DEFER_TASKRUN`: they tie the ring to one thread, and a
//! pager may move. What they save is below notice at some thousand large reads a second.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use io_uring::{IoUring, Probe, opcode, squeue, types};

use super::file::{SourceFile, common_block, modes};
use super::transfer::{Step, Transfer};
use super::{Done, OpenError, Read, Storage, Wait};
use crate::window::{Arena, Window};

/// An io_uring, and the reads that it works on.
pub struct UringStorage {
    ring: IoUring,
    files: Vec<SourceFile>,
    files_registered: bool,
    /// The arena whose buffers are registered. Held, so that its addresses mean the same memory as long as the ring.
    registered: Option<Arena>,
    slots: Vec<Option<Flight>>,
    idle: Vec<u32>,
    /// The slots of the entries that the kernel has not taken from the submission queue, oldest first.
    queued: VecDeque<u32>,
    /// Set when the kernel does not let us call any more: the reason, for every later read.
    broken: Option<i32>,
    notes: Vec<String>,
}

/// A read on its way. The kernel writes to the frame inside, so nothing touches that until the completion is there.
#[derive(Debug)]
struct Flight {
    read: Read,
    transfer: Transfer,
}

impl UringStorage {
    /// Opens the files and a ring for `depth` reads into the frames of `window`.
    pub fn open(files: &[PathBuf], window: &Window, depth: usize) -> Result<UringStorage, OpenError> {
        UringStorage::start(SourceFile::open_all(files)?, window, depth)
    }

    pub(super) fn start(files: Vec<SourceFile>, window: &Window, depth: usize) -> Result<UringStorage, OpenError> {
        let depth = depth.clamp(1, 4096);
        let ring = working_ring(depth as u32).map_err(|why| OpenError::Uring { why })?;
        let fds: Vec<_> = files.iter().map(SourceFile::fd).collect();
        let mut notes = Vec::new();
        let files_registered = ring.submitter().register_files(&fds).is_ok();
        let registered = match register(&ring, window.arena()) {
            Ok(()) => Some(window.arena().clone()),
            Err(error) => {
                notes.push(not_registered(&error, window.bytes()));
                None
            }
        };
        Ok(UringStorage {
            ring,
            files,
            files_registered,
            registered,
            slots: (0..depth).map(|_| None).collect(),
            idle: (0..depth as u32).rev().collect(),
            queued: VecDeque::with_capacity(depth),
            broken: None,
            notes,
        })
    }

    /// What works less well than it could.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// As where nothing may be registered.
    #[cfg(test)]
    pub(super) fn forget_registrations(&mut self) {
        self.ring.submitter().unregister_files().expect("no read is in flight");
        (self.files_registered, self.registered) = (false, None);
    }

    /// Puts the next call of a flight in the submission queue.
    fn enqueue(&mut self, slot: u32) {
        let entry = self.entry(slot);
        // SAFETY: the entry points into a frame that the flight owns. The flight stays in its slot until the completion
        // of this entry, also when the storage is dropped; and the frame keeps its arena mapped.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.expect("the queue has a place for each slot, and each slot has one call at a time");
        self.queued.push_back(slot);
    }

    fn entry(&mut self, slot: u32) -> squeue::Entry {
        let Flight { read, transfer } = self.slots[slot as usize].as_mut().expect("a slot in flight");
        let (range, offset) = transfer.next();
        let target = &mut read.frame.bytes_mut()[range];
        let (start, len) = (target.as_mut_ptr(), target.len() as u32);
        let buffer = self.registered.as_ref().filter(|arena| arena.owns(&read.frame)).map(|arena| {
            // At most a few thousand buffers of 1 GiB.
            arena.buffer_of(read.frame.id()) as u16
        });
        let file = &self.files[read.file.index()];
        let (fixed, plain) = (types::Fixed(u32::from(read.file.0)), types::Fd(file.fd()));
        let entry = match (buffer, self.files_registered) {
            (Some(i), true) => opcode::ReadFixed::new(fixed, start, len, i).offset(offset).build(),
            (Some(i), false) => opcode::ReadFixed::new(plain, start, len, i).offset(offset).build(),
            (None, true) => opcode::Read::new(fixed, start, len).offset(offset).build(),
            (None, false) => opcode::Read::new(plain, start, len).offset(offset).build(),
        };
        entry.user_data(u64::from(slot))
    }

    /// Gives the queue to the kernel and waits for `want` completions. `false` when nothing can be said to have
    /// happened: look at the completions, and call again.
    fn enter(&mut self, want: usize) -> bool {
        let entered = self.ring.submit_and_wait(want);
        let left = self.ring.submission().len();
        self.queued.drain(..self.queued.len() - left);
        match entered {
            Ok(_) => true,
            // Interrupted, short of memory, or with completions to be taken first: all pass.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => false,
            Err(error) => {
                self.broken = Some(error.raw_os_error().unwrap_or(libc::EIO));
                false
            }
        }
    }

    /// Takes in every completion that is visible, and starts again what came back short.
    fn complete(&mut self, done: &mut Vec<Done>) {
        while let Some(entry) = { self.ring.completion().next() } {
            let slot = entry.user_data() as u32;
            let outcome = usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            let Flight { read, transfer } = self.slots[slot as usize].as_mut().expect("a slot in flight");
            let file = &self.files[read.file.index()];
            match transfer.absorb(outcome, || file.len()) {
                Step::Again => self.enqueue(slot),
                Step::Ended(result) => {
                    file.read_behind(read.offset, read.len);
                    done.push(self.land(slot, result));
                }
            }
        }
    }

    /// Empties a slot.
    fn land(&mut self, slot: u32, result: Result<(), super::ReadFault>) -> Done {
        let Flight { read, .. } = self.slots[slot as usize].take().expect("a slot in flight");
        self.idle.push(slot);
        Done { tag: read.tag, frame: read.frame, result }
    }

    /// The kernel does not let us call any more. What it has not taken fails now; what it has, ends by itself.
    fn fail_queued(&mut self, code: i32, done: &mut Vec<Done>) {
        while let Some(slot) = self.queued.pop_front() {
            done.push(self.land(slot, Err(io::Error::from_raw_os_error(code).into())));
        }
        // Completions are posted when this thread goes through the kernel.
        std::thread::yield_now();
    }
}

impl Storage for UringStorage {
    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn alignment(&self) -> usize {
        common_block(&self.files)
    }

    fn submit(&mut self, read: Read) {
        super::check(&read, self.in_flight(), self.slots.len(), self.files.len());
        let slot = self.idle.pop().expect("checked: fewer in flight than slots");
        let transfer = Transfer::new(&read, self.files[read.file.index()].call_align());
        self.slots[slot as usize] = Some(Flight { read, transfer });
        match self.broken {
            None => self.enqueue(slot),
            Some(_) => self.queued.push_back(slot),
        }
    }

    fn flush(&mut self) {
        // If not all is taken, the next reap goes on; it has completions to make room with.
        while !self.queued.is_empty() && self.broken.is_none() && self.enter(0) {}
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let before = done.len();
        loop {
            self.flush();
            if self.ring.submission().taskrun() && self.broken.is_none() {
                self.enter(0);
            }
            self.complete(done);
            if let Some(code) = self.broken {
                self.fail_queued(code, done);
            }
            if wait == Wait::No || done.len() > before || self.in_flight() == 0 {
                break;
            }
            if self.broken.is_none() {
                self.enter(1);
            }
        }
        // What came back short goes on at once.
        self.flush();
    }

    fn in_flight(&self) -> usize {
        self.slots.len() - self.idle.len()
    }

    fn describe(&self) -> String {
        let buffers = if self.registered.is_some() { "registered buffers" } else { "plain buffers" };
        let files = if self.files_registered { "registered files" } else { "plain files" };
        format!("io_uring, {}, {buffers}, {files}", modes(&self.files))
    }
}

/// The kernel writes to frames that we own until each read has ended, so we wait for that.
impl Drop for UringStorage {
    fn drop(&mut self) {
        let mut done = Vec::with_capacity(self.slots.len());
        while self.in_flight() > 0 {
            self.reap(Wait::One, &mut done);
        }
        // Closing the ring alone lets go of the files some time later: whoever unmounts or deletes next would find them busy.
        let submitter = self.ring.submitter();
        let _ = submitter.unregister_files();
        let _ = submitter.unregister_buffers();
    }
}

impl std::fmt::Debug for UringStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringStorage").field("how", &self.describe()).field("in_flight", &self.in_flight()).finish()
    }
}

/// A ring that was seen to work, or what is in the way.
fn working_ring(depth: u32) -> Result<IoUring, String> {
    let ring = IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(depth)
        // Before Linux 5.19.
        .or_else(|error| if error.raw_os_error() == Some(libc::EINVAL) { IoUring::new(depth) } else { Err(error) });
    let mut ring = ring.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has none".to_owned(),
        Some(libc::EPERM | libc::EACCES) => format!("it is not permitted here ({error})"),
        Some(libc::ENOMEM) => format!("no memory may be locked for its queues ({error}); raise RLIMIT_MEMLOCK"),
        _ => error.to_string(),
    })?;
    let mut probe = Probe::new();
    let probed = ring.submitter().register_probe(&mut probe);
    if probed.is_err() || !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::ReadFixed::CODE) {
        return Err("the kernel's is too old to read with (Linux 5.6 is needed)".to_owned());
    }
    // A sandbox may permit making a ring and forbid using it.
    // SAFETY: a no-op has no operands.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }.map_err(|error| error.to_string())?;
    ring.submit_and_wait(1).map_err(|error| format!("it cannot be entered ({error})"))?;
    ring.completion().next().ok_or("it completes nothing")?;
    Ok(ring)
}

fn register(ring: &IoUring, arena: &Arena) -> io::Result<()> {
    let buffers: Vec<libc::iovec> =
        arena.buffers().map(|(start, len)| libc::iovec { iov_base: start.as_ptr().cast(), iov_len: len }).collect();
    // SAFETY: the ranges are the arena's memory, which the caller keeps mapped as long as the ring.
    unsafe { ring.submitter().register_buffers(&buffers) }
}

fn not_registered(error: &io::Error, bytes: usize) -> String {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills a struct of ours.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
    match error.raw_os_error() {
        Some(libc::ENOMEM | libc::EPERM) if known => format!(
            "buffers not registered: RLIMIT_MEMLOCK allows {} KiB, the window has {} KiB",
            limit.rlim_cur >> 10,
            bytes >> 10
        ),
        _ => format!("buffers not registered: {error}"),
    }
}
