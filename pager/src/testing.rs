//! For tests, here and in the crates above (feature `testing`): a storage in memory that does what it is told, and a
//! clock that is wound by hand.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::clock::{Clock, Nanos};
use crate::ids::FileId;
use crate::storage::{Done, Read, ReadFault, Storage, Wait};

/// A clock that stands still until it is advanced. Clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> ManualClock {
        ManualClock::default()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Nanos) {
        self.0.fetch_add(by.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Which of the pending reads ends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The one submitted first.
    Oldest,
    /// The one submitted last.
    Newest,
    /// Any, by a generator with this seed.
    Shuffled(u64),
}

/// A storage in memory. Its [`Remote`] says what ends when, and how.
#[derive(Debug)]
pub struct MockStorage {
    depth: usize,
    pending: Vec<Read>,
    shared: Arc<Mutex<Shared>>,
}

/// Steers a [`MockStorage`] that has gone into a pager.
#[derive(Debug, Clone)]
pub struct Remote(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    files: Vec<Vec<u8>>,
    order: Order,
    /// How many reads may end without anyone waiting for them.
    ready: usize,
    faults: HashMap<(FileId, u64), i32>,
    submitted: Vec<(FileId, u64)>,
    tick: Option<(ManualClock, Nanos)>,
}

impl MockStorage {
    /// A storage with these files. All reads end as soon as they are looked for, oldest first.
    pub fn new(files: Vec<Vec<u8>>, depth: usize) -> (MockStorage, Remote) {
        let shared = Arc::new(Mutex::new(Shared {
            files,
            order: Order::Oldest,
            ready: usize::MAX,
            faults: HashMap::new(),
            submitted: Vec::new(),
            tick: None,
        }));
        (MockStorage { depth, pending: Vec::with_capacity(depth), shared: shared.clone() }, Remote(shared))
    }
}

impl Remote {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().expect("no test holds it while panicking")
    }

    /// Lets no read end any more, unless somebody waits for one.
    pub fn hold(&self) {
        self.shared().ready = 0;
    }

    /// After [`hold`](Remote::hold), lets `count` more reads end.
    pub fn allow(&self, count: usize) {
        let mut shared = self.shared();
        shared.ready = shared.ready.saturating_add(count);
    }

    /// From now on, reads end in this order.
    pub fn order(&self, order: Order) {
        self.shared().order = order;
    }

    /// Makes the read at this aligned offset fail with an `errno`, every time until [`heal`](Remote::heal).
    pub fn fail(&self, file: FileId, offset: u64, errno: i32) {
        self.shared().faults.insert((file, offset), errno);
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.shared().faults.clear();
    }

    /// Cuts a file.
    pub fn truncate(&self, file: FileId, len: usize) {
        self.shared().files[file.index()].truncate(len);
    }

    /// Makes every read that is waited for take this long, on this clock.
    pub fn tick(&self, clock: &ManualClock, time: Nanos) {
        self.shared().tick = Some((clock.clone(), time));
    }

    /// Every read that was ever submitted, by file and aligned offset.
    pub fn submitted(&self) -> Vec<(FileId, u64)> {
        self.shared().submitted.clone()
    }
}

impl Shared {
    fn pick(&mut self, pending: usize) -> usize {
        match &mut self.order {
            Order::Oldest => 0,
            Order::Newest => pending - 1,
            Order::Shuffled(state) => {
                // SplitMix64.
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((z ^ (z >> 31)) % pending as u64) as usize
            }
        }
    }

    fn perform(&self, mut read: Read) -> Done {
        let result = self.fill(&mut read);
        Done { tag: read.tag, frame: read.frame, result }
    }

    fn fill(&self, read: &mut Read) -> Result<(), ReadFault> {
        // What a failed read leaves in the frame must not matter.
        read.frame.bytes_mut().fill(0xEE);
        if let Some(&errno) = self.faults.get(&(read.file, read.offset)) {
            return Err(io::Error::from_raw_os_error(errno).into());
        }
        let file = &self.files[read.file.index()];
        let start = usize::try_from(read.offset).unwrap_or(usize::MAX).min(file.len());
        let there = &file[start..file.len().min(start + read.len as usize)];
        read.frame.bytes_mut()[..there.len()].copy_from_slice(there);
        if there.len() < read.need as usize {
            let (end, wanted) = (file.len() as u64, read.offset + u64::from(read.need));
            return Err(ReadFault::Shrunk { end, wanted });
        }
        Ok(())
    }
}

impl Storage for MockStorage {
    fn depth(&self) -> usize {
        self.depth
    }

    fn alignment(&self) -> usize {
        1
    }

    fn submit(&mut self, read: Read) {
        let mut shared = self.shared.lock().expect("no test holds it while panicking");
        crate::storage::check(&read, self.pending.len(), self.depth, shared.files.len());
        shared.submitted.push((read.file, read.offset));
        self.pending.push(read);
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let mut shared = self.shared.lock().expect("no test holds it while panicking");
        let mut ending = shared.ready.min(self.pending.len());
        if wait == Wait::One && !self.pending.is_empty() {
            ending = ending.max(1);
            if let Some((clock, time)) = &shared.tick {
                clock.advance(*time);
            }
        }
        if shared.ready != usize::MAX {
            shared.ready -= ending.min(shared.ready);
        }
        for _ in 0..ending {
            let next = shared.pick(self.pending.len());
            done.push(shared.perform(self.pending.remove(next)));
        }
    }

    fn in_flight(&self) -> usize {
        self.pending.len()
    }

    fn describe(&self) -> String {
        "files in memory".to_owned()
    }
}
