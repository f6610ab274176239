//! A fixed set of threads that share out the tasks of one call at a time.
//!
//! [`Pool::run`] lends a closure that borrows from the caller's stack to threads that outlive the call. That is the
//! reason for the `unsafe` here, and everything else serves one claim: **when `run` returns or unwinds, no other thread
//! is using the closure, nor can one start to.**
//!
//! # The gate
//!
//! One atomic word, `gate`, holds an epoch, an open bit and the number of workers inside.
//!
//! - A worker enters by a compare-exchange that adds one to the count of an *open* gate. It reads the job only inside,
//!   and leaves by subtracting one.
//! - The caller writes the job while the gate is closed and empty, opens the gate with the next epoch, works itself,
//!   then closes the gate and waits for the count to reach zero.
//!
//! Entering and closing are read-modify-writes of the same word, so they are totally ordered: a worker is either counted
//! before the gate closes, and waited for, or finds the gate closed and never looks at the job. A worker that wakes late
//! is of the second kind and costs the caller nothing. The epoch only keeps a worker from entering the same run
//! twice; safety does not rest on it, so its wrapping around is harmless.
//!
//! # Ordering
//!
//! - *job before work*: the caller's store that opens the gate is a release; the worker's entry acquires. Entries and
//!   departures in between are read-modify-writes and so continue the release sequence.
//! - *work before return*: each departure is a release, and the caller's load that sees the count at zero acquires. It
//!   synchronises with every departure, again through the release sequence.
//! - *no lost wake-up*: a worker that wants to sleep sets its flag, then looks at the gate once more; the caller opens
//!   the gate, then looks at the flags. All four are sequentially consistent, so at least one sees the other.

#![allow(clippy::disallowed_methods)] // Threads are this module's purpose.

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

/// Workers inside: the low 16 bits of the gate.
const INSIDE: u64 = 0xffff;
/// The open bit of the gate.
const OPEN: u64 = 1 << 16;
/// One step of the epoch, which fills the bits from here up.
const EPOCH: u64 = 1 << 32;

/// How often an idle worker looks at the gate before it sleeps: some tens of microseconds, which is longer than the
/// gaps between the operations of a token and much shorter than a read from flash.
const IDLE_SPINS: u32 = if cfg!(target_arch = "x86_64") { 1_000 } else { 8_000 };
/// How often the caller looks for the last worker to leave before it offers its core to others.
const LEAVE_SPINS: u32 = 2_000;

/// The closure of a run: called with a slot and a task.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What the workers need to know of a run.
#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    tasks: usize,
}

/// Keeps what it holds on cache lines of its own, so that claiming tasks does not slow down those who watch the gate.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    gate: Apart<AtomicU64>,
    /// The next task to claim.
    next: Apart<AtomicUsize>,
    /// Written by the caller while the gate is closed and empty; read by those inside.
    job: UnsafeCell<Option<Job>>,
    /// The payload of the first panic of a run.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Which workers sleep or are about to.
    asleep: Box<[AtomicBool]>,
    stop: AtomicBool,
    /// Held for the time of a run.
    busy: AtomicBool,
}

// SAFETY: all fields but `job` are `Sync` by themselves. `job` is written by the holder of `busy` while the gate is
// closed and empty, and read only between entering and leaving the gate, so writes never meet reads (module comment). The
// closure it points to is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is followed only under the rules above, whichever thread holds the `Shared`.
unsafe impl Send for Shared {}

/// A fixed set of threads, the caller's included, that share out the tasks of one call at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads, the one that calls [`Pool::run`] included: a pool of one starts none.
    ///
    /// Where the system refuses a thread the pool makes do with those it got; [`Pool::threads`] tells. No result
    /// depends on their number.
    pub fn new(threads: NonZero<usize>) -> Self {
        let extra = threads.get().min(INSIDE as usize) - 1;
        let shared = Arc::new(Shared {
            gate: Apart(AtomicU64::new(0)),
            next: Apart(AtomicUsize::new(0)),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            asleep: (0..extra).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        });
        let workers = (0..extra)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                thread::Builder::new().name(format!("kernel-{}", index + 1)).spawn(move || shared.serve(index)).ok()
            })
            .collect();
        Self { shared, workers }
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once with each of `0..tasks`, on any thread and in any order, and returns when all calls have.
    ///
    /// A pool that is already running (`run` inside a task, or from two threads at once) does the new tasks on the
    /// calling thread alone.
    ///
    /// # Panics
    ///
    /// With the payload of the first task that panicked. Tasks not yet begun are then left out.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.run_slots(tasks, &|_, task| work(task));
    }

    /// Like [`Pool::run`], but neighbouring tasks are mostly done by the same thread, in their order: each thread begins with a
    /// share of its own, and when that is done it takes from the front of what is left of the others.
    ///
    /// # Panics
    ///
    /// Like [`Pool::run`]; the other threads do all tasks first.
    pub fn run_shares(&self, tasks: usize, work: &(dyn Fn(Turn) + Sync)) {
        /// More threads than this have no share of their own.
        const MOST: usize = 32;
        let shares = self.threads().min(MOST).min(tasks);
        let begin = |share: usize| tasks * share / shares;
        let next: [_; MOST] =
            std::array::from_fn(|share| Apart(AtomicUsize::new(if share < shares { begin(share) } else { 0 })));
        self.run(self.threads().min(tasks), &|thread| {
            let first = thread % shares;
            let mut done = None;
            for share in (first..shares).chain(0..first) {
                let end = begin(share + 1);
                loop {
                    let task = next[share].0.fetch_add(1, Ordering::Relaxed);
                    if task >= end {
                        break;
                    }
                    work(Turn { task, end, follows: task > 0 && done == Some(task - 1) });
                    done = Some(task);
                }
            }
        });
    }

    /// Like [`Pool::run`], but `work` also gets, as its first argument, a slot below [`Pool::threads`] that no two calls
    /// have at the same time: an index for scratch memory.
    ///
    /// # Panics
    ///
    /// Like [`Pool::run`].
    pub fn run_slots(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let alone = self.workers.is_empty() || tasks < 2;
        if alone || self.shared.busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return (0..tasks).for_each(|task| work(0, task));
        }
        let panic = self.shared.share_out(tasks, work, &self.workers);
        self.shared.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

/// A task of [`Pool::run_shares`].
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The task.
    pub task: usize,
    /// Where the share ends that the task is of: those up to there will most likely come to the same thread.
    pub end: usize,
    /// Whether the task before this one was the last that this thread did in this run.
    pub follows: bool,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The gate is closed and empty: `run` borrows the pool. The new epoch wakes the spinning workers.
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.gate.0.fetch_add(EPOCH, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so there is none to report here.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

impl Shared {
    /// One run, by the holder of `busy`. Returns the payload of the first panic.
    fn share_out(&self, tasks: usize, work: &Work<'_>, workers: &[JoinHandle<()>]) -> Option<Box<dyn Any + Send>> {
        // SAFETY: only the lifetime changes. Nobody follows the pointer outside the gate, and this function closes and
        // empties the gate before it ends; it cannot unwind before that, for tasks are called under `catch_unwind`.
        let work = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        let job = Job { work, tasks };
        // SAFETY: the gate is closed and empty, as it began and as every run leaves it, so nobody reads the cell; and
        // only the holder of `busy` writes it.
        unsafe { *self.job.get() = Some(job) };
        self.next.0.store(0, Ordering::Relaxed);
        // A closed and empty gate holds nothing but the epoch, and only the holder of `busy` changes it.
        let epoch = self.gate.0.load(Ordering::Relaxed).wrapping_add(EPOCH);
        self.gate.0.store(epoch | OPEN, Ordering::SeqCst);
        // No more helpers than there are tasks left for them.
        for (asleep, worker) in self.asleep.iter().zip(workers).take(tasks - 1) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        self.claim(0, job);
        self.gate.0.fetch_and(!OPEN, Ordering::Relaxed);
        let mut spins = 0;
        while self.gate.0.load(Ordering::Acquire) & INSIDE != 0 {
            if spins < LEAVE_SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                // The worker has a long task, or lost its core: let it have this one.
                thread::yield_now();
            }
        }
        // SAFETY: as above: the gate is closed and empty again.
        unsafe { *self.job.get() = None };
        self.panic.lock().take()
    }

    /// Claims and does tasks until none is left. Does not unwind.
    fn claim(&self, slot: usize, job: Job) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the caller of `run` keeps the closure alive until the gate is closed and empty; this is called by
            // `share_out`, which is what waits for that, and by workers inside.
            let work = unsafe { &*job.work };
            loop {
                // The counter gives out each number once; what the tasks write is published by leaving the gate.
                let task = self.next.0.fetch_add(1, Ordering::Relaxed);
                if task >= job.tasks {
                    break;
                }
                work(slot, task);
            }
        }));
        if let Err(payload) = result {
            self.next.0.store(job.tasks, Ordering::Relaxed);
            let mut first = self.panic.lock();
            if first.is_none() {
                *first = Some(payload);
            } else {
                // Dropping somebody's payload could panic again, and here nothing may unwind.
                std::mem::forget(payload);
            }
        }
    }

    /// The life of worker `index`.
    fn serve(&self, index: usize) {
        let mut epoch = 0;
        loop {
            epoch = self.next_epoch(index, epoch);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if !self.enter(epoch) {
                continue;
            }
            // SAFETY: inside the gate the cell is only read.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job {
                self.claim(index + 1, job);
            }
            self.gate.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until the gate shows another epoch than `seen`.
    fn next_epoch(&self, index: usize, seen: u64) -> u64 {
        for _ in 0..IDLE_SPINS {
            let epoch = self.gate.0.load(Ordering::Acquire) / EPOCH;
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        self.asleep[index].store(true, Ordering::SeqCst);
        loop {
            let epoch = self.gate.0.load(Ordering::SeqCst) / EPOCH;
            if epoch != seen {
                self.asleep[index].store(false, Ordering::Relaxed);
                return epoch;
            }
            thread::park();
        }
    }

    /// Enters the gate if it is open for the run `epoch`.
    fn enter(&self, epoch: u64) -> bool {
        let mut word = self.gate.0.load(Ordering::Relaxed);
        loop {
            if word & OPEN == 0 || word / EPOCH != epoch {
                return false;
            }
            match self.gate.0.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZero::new(threads).unwrap())
    }

    #[test]
    fn every_task_is_called_once_and_done_on_return() {
        for threads in 1..=5 {
            let pool = pool(threads);
            assert_eq!(pool.threads(), threads);
            for round in 0..3_000 {
                let tasks = round % 37;
                // On the stack of this frame: a late worker that touched it would read a dead frame.
                let calls: [AtomicUsize; 37] = std::array::from_fn(|_| AtomicUsize::new(0));
                pool.run(tasks, &|task| {
                    calls[task].fetch_add(round + 1, Ordering::Relaxed);
                });
                for (task, count) in calls.into_iter().enumerate() {
                    assert_eq!(count.into_inner(), if task < tasks { round + 1 } else { 0 });
                }
            }
        }
    }

    #[test]
    fn shares_are_done_once_and_in_order() {
        for threads in [1, 2, 3, 40] {
            let pool = pool(threads);
            for tasks in [0, 1, 2, 7, 100] {
                let calls: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                let last: Mutex<Vec<(thread::ThreadId, usize)>> = Mutex::default();
                pool.run_shares(tasks, &|Turn { task, end, follows }| {
                    calls[task].fetch_add(1, Ordering::Relaxed);
                    assert!(task < end && end <= tasks);
                    let mut last = last.lock();
                    let before = last.iter().rposition(|(thread, _)| *thread == thread::current().id());
                    assert_eq!(follows, before.is_some_and(|i| last[i].1 + 1 == task), "task {task}");
                    last.push((thread::current().id(), task));
                });
                assert!(calls.into_iter().all(|count| count.into_inner() == 1), "{tasks} tasks of {threads} threads");
            }
        }
    }

    #[test]
    fn no_two_calls_share_a_slot() {
        let pool = pool(4);
        let taken: [AtomicBool; 4] = std::array::from_fn(|_| AtomicBool::new(false));
        for _ in 0..500 {
            pool.run_slots(50, &|slot, _| {
                assert!(!taken[slot].swap(true, Ordering::Acquire));
                std::hint::spin_loop();
                taken[slot].store(false, Ordering::Release);
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        for threads in [1, 2, 4] {
            let pool = pool(threads);
            for bad in 0..20 {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    pool.run(20, &|task| assert_ne!(task, bad, "task {bad}"));
                }));
                let payload = result.unwrap_err();
                let message = payload.downcast_ref::<String>().unwrap();
                assert!(message.contains(&format!("task {bad}")), "{message}");
            }
            let sum = AtomicUsize::new(0);
            pool.run(100, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn runs_inside_tasks_and_from_several_threads_are_complete() {
        let pool = pool(3);
        let sum = AtomicUsize::new(0);
        let body = || {
            for _ in 0..200 {
                pool.run(8, &|_| {
                    pool.run(5, &|task| {
                        sum.fetch_add(task, Ordering::Relaxed);
                    });
                });
            }
        };
        thread::scope(|scope| {
            scope.spawn(body);
            body();
        });
        assert_eq!(sum.into_inner(), 2 * 200 * 8 * 10);
    }
}
