//! How fast flash is, at the request size and depth that the pager will use, through the very same storage.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::clock::{Clock, Nanos};
use crate::ids::{ALIGN, FileId};
use crate::stats::Histogram;
use crate::storage::{self, Backend, Choice, Done, OpenError, Read, ReadFault, Storage, Wait};
use crate::window::{Frame, Window, WindowError};

/// Where reads are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Anywhere: spread evenly over all files, in an order that no readahead guesses.
    #[default]
    Random,
    /// Each behind the one before.
    Sequential,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Where the reads are.
    pub pattern: Pattern,
    /// The length of each read; rounded up to a multiple of [`ALIGN`].
    pub read_len: u32,
    /// How many reads are kept in flight.
    pub depth: usize,
    /// Whether what has come is read through by the thread that asks for more, one read at a time, as by a thread that computes
    /// with it. Meanwhile nobody looks at the queue, and flash and processor share the memory.
    pub used: bool,
    /// How to read.
    pub backend: Backend,
    /// About how many bytes to measure. The queue is kept full meanwhile, so they should be many times those that are in flight.
    pub bytes: u64,
    /// About how many bytes to read before that, without measuring: a flash that has rested gives more than it can keep up (caches,
    /// throttles that save up credit).
    pub run_in: u64,
    /// Either part ends with the first read that ends after this time, however much it has read: slow flash is given up early.
    pub at_most: Nanos,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct ReadRate {
    /// Bytes per second, with the queue full from beginning to end.
    pub bytes_per_s: f64,
    /// The median time of one read, as its submitter sees it.
    pub latency: Nanos,
    /// The time of every read.
    pub latencies: Histogram,
    /// How many bytes were measured.
    pub bytes: u64,
    /// In what time.
    pub time: Nanos,
    /// Through what.
    pub choice: Choice,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no memory to read into.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A file or backend cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No file is as long as one read.
    #[error("no file is as long as one read of {read_len} bytes")]
    TooShort {
        /// The length of a read.
        read_len: u32,
    },
    /// A read failed.
    #[error("{}: cannot read at byte {offset}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What happened.
        source: ReadFault,
    },
}

/// How much memory there is at least, so that it is in huge pages, as a pager's window is: in small ones a read has a piece for
/// each 4 KiB, and behind a hypervisor the pieces cost as much as the flash.
const ROOM: usize = 16 << 20;

/// Measures how fast `files` can be read, into a ring of twice as many frames as reads are in flight, as a pager does that
/// streams. Each place of the files comes once before any comes again.
pub fn measure_read_rate(files: &[PathBuf], probe: &Probe, clock: &impl Clock) -> Result<ReadRate, ProbeError> {
    let read_len = probe.read_len.max(1).next_multiple_of(ALIGN as u32);
    let window = Window::new(read_len as usize, (2 * probe.depth).max(ROOM / read_len as usize).max(2))?;
    let (mut storage, choice) = storage::open(files, &window, probe.depth.max(1), probe.backend)?;
    let places = Places::new(&lengths(files)?, read_len, probe.pattern).ok_or(ProbeError::TooShort { read_len })?;
    let reads = (probe.bytes / u64::from(read_len)).max(1);
    let run_in = probe.run_in / u64::from(read_len);
    let (mut frames, _) = window.into_frames();
    frames.truncate((2 * probe.depth).max(2));
    let (in_flight, frames) = (vec![Flight::default(); frames.len()], VecDeque::from(frames));
    let run = Run { places, read_len, reads, run_in, used: probe.used, at_most: probe.at_most, clock, in_flight };
    let (time, latencies) = run.drive(&mut storage, frames).map_err(|(flight, source)| ProbeError::Read {
        file: files[flight.file.index()].clone(),
        offset: flight.offset,
        source,
    })?;
    let bytes = latencies.count() * u64::from(read_len);
    let bytes_per_s = bytes as f64 / time.max(Nanos(1)).as_secs_f64();
    Ok(ReadRate { bytes_per_s, latency: latencies.percentile(50.0), latencies, bytes, time, choice })
}

fn lengths(files: &[PathBuf]) -> Result<Vec<u64>, OpenError> {
    let len = |path: &PathBuf| match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(source) => Err(OpenError::File { path: path.clone(), source }),
    };
    files.iter().map(len).collect()
}

/// Every whole read that the files have room for, numbered, and a walk through the numbers.
#[derive(Debug)]
struct Places {
    /// For each file, the number of its first place; then the number of all.
    first: Vec<u64>,
    read_len: u64,
    /// Prime to the number of places, so that a walk by it meets each place once. Of reads anywhere it is near the golden ratio
    /// of that number, so that any part of the walk is spread evenly.
    stride: u64,
}

impl Places {
    fn new(lengths: &[u64], read_len: u32, pattern: Pattern) -> Option<Places> {
        let read_len = u64::from(read_len);
        let mut first = vec![0];
        for len in lengths {
            first.push(first[first.len() - 1] + len / read_len);
        }
        let count = *first.last()?;
        let least = match pattern {
            Pattern::Random => ((count as f64 * 0.618_033_988_749_895) as u64).max(1),
            Pattern::Sequential => 1,
        };
        let stride = (least..).find(|&stride| gcd(stride, count) == 1)?;
        (count > 0).then_some(Places { first, read_len, stride })
    }

    /// The `i`-th place of the walk.
    fn get(&self, i: u64) -> (FileId, u64) {
        let count = self.first[self.first.len() - 1];
        let place = (u128::from(i) * u128::from(self.stride) % u128::from(count)) as u64;
        let file = self.first.partition_point(|&first| first <= place) - 1;
        (FileId(file as u16), (place - self.first[file]) * self.read_len)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    file: FileId,
    offset: u64,
    since: Nanos,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { file: FileId(0), offset: 0, since: Nanos::ZERO }
    }
}

struct Run<'a, C: Clock> {
    places: Places,
    read_len: u32,
    reads: u64,
    /// Reads before those.
    run_in: u64,
    used: bool,
    at_most: Nanos,
    clock: &'a C,
    /// By frame.
    in_flight: Vec<Flight>,
}

impl<C: Clock> Run<'_, C> {
    /// Keeps every frame in flight: through the run-in, and then until what is to be measured is over. Returns how long that took.
    fn drive(
        mut self,
        storage: &mut impl Storage,
        mut frames: VecDeque<Frame>,
    ) -> Result<(Nanos, Histogram), (Flight, ReadFault)> {
        let mut latencies = Histogram::default();
        let mut done: Vec<Done> = Vec::with_capacity(storage.depth());
        // Come, and not yet used.
        let mut unused = VecDeque::with_capacity(frames.len());
        let (mut next, mut ended, mut start) = (0, 0, self.clock.now());
        let mut running_in = self.run_in > 0;
        let time = loop {
            while storage.in_flight() < storage.depth()
                && let Some(frame) = frames.pop_front()
            {
                storage.submit(self.read(next, frame));
                next += 1;
            }
            if let Some(frame) = unused.pop_front() {
                storage.flush();
                read_through(&frame);
                frames.push_back(frame);
            }
            storage.reap(if unused.is_empty() { Wait::One } else { Wait::No }, &mut done);
            let (now, before) = (self.clock.now(), ended);
            for Done { frame, result, .. } in done.drain(..) {
                let flight = self.in_flight[frame.id().index()];
                result.map_err(|fault| (flight, fault))?;
                if self.used {
                    unused.push_back(frame)
                } else {
                    frames.push_back(frame)
                }
                ended += 1;
                if !running_in && latencies.count() < self.reads {
                    latencies.record(now - flight.since);
                }
            }
            if ended == before {
                continue; // Either part ends with a read.
            }
            let late = now - start >= self.at_most;
            if running_in && (late || ended >= self.run_in) {
                (running_in, start) = (false, now);
            } else if !running_in && (late || latencies.count() == self.reads) {
                break now - start;
            }
        };
        while storage.in_flight() > 0 {
            storage.reap(Wait::One, &mut done);
            done.clear();
        }
        Ok((time, latencies))
    }

    fn read(&mut self, i: u64, frame: Frame) -> Read {
        let (file, offset) = self.places.get(i);
        self.in_flight[frame.id().index()] = Flight { file, offset, since: self.clock.now() };
        Read { tag: i, file, offset, len: self.read_len, need: self.read_len, frame }
    }
}

fn read_through(frame: &Frame) {
    let words = frame.bytes().chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    std::hint::black_box(words.fold(0, |all, word| all ^ word));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_meets_every_place_once() {
        let places = Places::new(&[8192 * 5 + 1, 100, 8192 * 12], 8192, Pattern::Random).unwrap();
        let mut met: Vec<_> = (0..17).map(|i| places.get(i)).collect();
        assert_eq!(met[0], places.get(17), "then it starts again");
        met.sort();
        met.dedup();
        assert_eq!(met.len(), 17);
        assert!(met.iter().all(|(file, offset)| *offset < [40_960, 0, 98_304][file.index()]));
        assert!(Places::new(&[100], 8192, Pattern::Random).is_none());
    }

    #[test]
    fn in_sequence_each_place_is_behind_the_one_before() {
        let places = Places::new(&[8192 * 2 + 1, 8192], 8192, Pattern::Sequential).unwrap();
        let walk: Vec<_> = (0..4).map(|i| places.get(i)).collect();
        assert_eq!(walk, [(FileId(0), 0), (FileId(0), 8192), (FileId(1), 0), (FileId(0), 0)]);
    }
}
