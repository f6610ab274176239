//! Reads by a pool of threads: one blocking `pread` a thread. Works on every Unix.

#![allow(clippy::disallowed_methods)] // Its threads are this module's purpose.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::file::{SourceFile, common_block, modes};
use super::transfer::{Step, Transfer};
use super::{Done, OpenError, Read, Storage, Wait};

/// Enough for a loop around one system call.
const STACK: usize = 128 << 10;

/// As many threads as reads may be in flight: a thread that reads is asleep, and costs nothing but its stack.
#[derive(Debug)]
pub struct PreadStorage {
    shared: Arc<Shared>,
    /// `None` only while dropping.
    reads: Option<Sender<Read>>,
    ended: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
    depth: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Shared {
    files: Vec<SourceFile>,
    /// Nobody will look at the results any more.
    closing: AtomicBool,
}

impl PreadStorage {
    /// Opens the files and starts `depth` threads.
    pub fn open(files: &[PathBuf], depth: usize) -> Result<PreadStorage, OpenError> {
        let files = SourceFile::open_all(files)?;
        PreadStorage::start(files, depth.max(1)).map_err(OpenError::Threads)
    }

    pub(super) fn start(files: Vec<SourceFile>, depth: usize) -> io::Result<PreadStorage> {
        let shared = Arc::new(Shared { files, closing: AtomicBool::new(false) });
        // Neither channel can ever be full, since no more than `depth` reads are taken.
        let (reads, work) = bounded(depth);
        let (results, ended) = bounded(depth);
        let spawn = |i| {
            let (shared, work, results) = (shared.clone(), work.clone(), results.clone());
            let thread = thread::Builder::new().name(format!("forebay-read-{i}")).stack_size(STACK);
            thread.spawn(move || serve(&shared, &work, &results))
        };
        let threads = (0..depth).map(spawn).collect::<io::Result<_>>()?;
        Ok(PreadStorage { shared, reads: Some(reads), ended, threads, depth, in_flight: 0 })
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.shared.files
    }
}

/// The life of a thread: reads until the storage is dropped.
fn serve(shared: &Shared, work: &Receiver<Read>, results: &Sender<Done>) {
    for read in work {
        if shared.closing.load(Ordering::Relaxed) {
            continue;
        }
        let done = perform(&shared.files[read.file.index()], read);
        if results.send(done).is_err() {
            return;
        }
    }
}

fn perform(file: &SourceFile, mut read: Read) -> Done {
    let mut transfer = Transfer::new(&read, file.call_align());
    loop {
        let (range, offset) = transfer.next();
        let outcome = file.read_at(&mut read.frame.bytes_mut()[range], offset);
        if let Step::Ended(result) = transfer.absorb(outcome, || file.len()) {
            file.read_behind(read.offset, read.len);
            return Done { tag: read.tag, frame: read.frame, result };
        }
    }
}

impl Storage for PreadStorage {
    fn depth(&self) -> usize {
        self.depth
    }

    fn alignment(&self) -> usize {
        common_block(self.files())
    }

    fn submit(&mut self, read: Read) {
        super::check(&read, self.in_flight, self.depth, self.shared.files.len());
        self.in_flight += 1;
        let reads = self.reads.as_ref().expect("not dropped");
        reads.send(read).expect("the threads live as long as the storage");
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let before = done.len();
        if wait == Wait::One && self.in_flight > 0 {
            done.push(self.ended.recv().expect("the threads live as long as the storage"));
        }
        done.extend(self.ended.try_iter());
        self.in_flight -= done.len() - before;
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn describe(&self) -> String {
        format!("pread by {} threads, {}", self.depth, modes(self.files()))
    }
}

impl Drop for PreadStorage {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.reads = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add while dropping.
            let _ = thread.join();
        }
    }
}
