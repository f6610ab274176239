//! A discrete-event model of flash on a virtual clock: when does a read end, and how. It moves no bytes.
//!
//! # The way of a read
//!
//! 1. **Commands.** A read is split into transfers. Each needs a command, and commands are taken one after the other, at
//!    the profile's rate (the cap of IOPS). Their times scatter; they grow with the range that is read (the address map
//!    is only partly cached) and on a small core.
//! 2. **Units.** Each transfer is sensed by the unit that its offset names, and waits while that unit senses another.
//!    The latency passes: always the same, but for a share of reads whose latency is a multiple of the mean.
//! 3. **The link** moves all reads that are ready at one rate: each gets its fair share, but no more than one stream can
//!    take. What is shared shrinks with heat, with bursts of other traffic, and with more requests than are useful.
//!
//! Where a profile has a [`Correction`], commands, latency, transfer and the bytes that the link has to move are all multiplied
//! by it: at a depth that is kept up the throughput is then what was measured.
//!
//! A read costs two events however long it is: it is ready, it has ended. All queues of the first two steps are numbers
//! (requests come in the order of time); the third needs one number for all reads and a heap of their ends.
//!
//! # Heat
//!
//! What is moved warms the device, and so does everything else in it. Two thresholds derate link and streams; below
//! each, by some degrees, full rate comes back ([`Thermal`]).
//!
//! # Fault model
//!
//! Every request draws its fate when it is submitted, from the seed and from nothing else that happens later:
//!
//! - **Delay**: its first byte comes later by a given time, as when the device moves data behind the host's back or the
//!   driver tries again. Others are not held up. It can come with any of the following.
//! - **Failed**: it ends after its latency with an error, and moves nothing.
//! - **Short**: it ends with at least one byte and less than asked for, uniformly; only these take time on the link.
//! - **Corrupt**: it looks whole and ends in time, but its bytes are not those that were written. Whoever keeps the bytes
//!   has to change some; the model only says which reads.
//!
//! No read is lost, no read ends twice, and no read ends at the time it was asked for, unless latency is zero. Reads of
//! different offsets are not related: a place that failed once may be read the next time.
//!
//! # The same on every machine
//!
//! Times are whole nanoseconds. Fractions are `f64` with `+ - * /` only, which are the same everywhere and at any
//! optimisation level; logarithms are a table made in software. Looking ([`Flash::next_end`]) or moving on in other
//! steps ([`Flash::advance`]) changes nothing.

mod commands;
mod correction;
mod options;
mod pace;
mod parameters;
#[cfg(test)]
mod tests;
mod thermal;

pub use correction::Correction;
pub use options::{Faults, FlashOptions, IssuingCore, ThermalState};
pub use parameters::{Background, FlashProfile, Heat, MapCache, Tail, Tier, UsefulDepth};
pub use thermal::Thermal;

use crate::chance::Chance;
use commands::Commands;
use forebay_pager::Nanos;
use pace::Pace;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A read that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Comes back with its end.
    pub id: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// A read that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ended {
    /// Of its request.
    pub id: u64,
    /// When.
    pub at: Nanos,
    /// How.
    pub outcome: Outcome,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// With all its bytes.
    Whole,
    /// With so many of its bytes.
    Short(u32),
    /// With this error number.
    Failed(i32),
    /// With all its bytes, some of them wrong.
    Corrupt,
}

/// A device, and the reads that it is busy with.
#[derive(Debug)]
pub struct Flash {
    faults: Faults,
    chance: Chance,
    commands: Commands,
    pace: Pace,
    submitted: u64,
    /// Reads whose bytes do not move yet, the next one last: by when they will, and by the order in which they were submitted.
    /// There are as many as the queue is deep, so to put one in its place costs less than a tree or a heap.
    waiting: Vec<Waiting>,
    /// Reads whose bytes move, the one that ends first on top.
    moving: BinaryHeap<Reverse<Moving>>,
    /// Reads that have ended and were not yet handed out.
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct Waiting {
    at: Nanos,
    order: u64,
    id: u64,
    /// What it takes of the link: its bytes, and those that could move while the link turns around.
    bytes: f64,
    outcome: Outcome,
}

/// Ordered by what active reads have got when it ends, as bits (the order of numbers that are not negative).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moving {
    until: u64,
    order: u64,
    id: u64,
    outcome: Outcome,
}

impl Flash {
    /// An idle device at time zero.
    pub fn new(profile: &FlashProfile, options: FlashOptions) -> Flash {
        let mut profile = profile.clone().driven_from(options.core);
        if let Some(gb) = options.capacity_gb {
            profile = profile.of_capacity(gb);
        }
        Flash {
            faults: options.faults,
            chance: Chance::new(options.seed, 0),
            commands: Commands::new(&profile, &options),
            pace: Pace::new(profile, &options),
            submitted: 0,
            waiting: Vec::new(),
            moving: BinaryHeap::new(),
            ended: VecDeque::new(),
        }
    }

    /// A read is asked for at `now`, which is no earlier than any time given before.
    pub fn submit(&mut self, now: Nanos, request: Request) {
        debug_assert!(now >= self.pace.now(), "{now} is before {}", self.pace.now());
        self.run_to(now);
        self.pace.pass_to(now);
        self.pace.set_in_flight(self.pace.in_flight() + 1);
        let in_flight = self.pace.in_flight();
        let ready = self.commands.ready(now, &request, in_flight, self.pace.profile());
        let (outcome, bytes, delay) = self.fate(request.len);
        let bytes = self.commands.work(bytes, &request, in_flight, self.pace.profile());
        self.submitted += 1;
        let read = Waiting { at: ready + delay, order: self.submitted, id: request.id, bytes, outcome };
        // Of those that come at the same time the last one submitted is the last to come: it goes to the front.
        let place = self.waiting.partition_point(|other| other.at > read.at);
        self.waiting.insert(place, read);
    }

    /// When the next read ends if nothing else is submitted; `None` when idle.
    pub fn next_end(&mut self) -> Option<Nanos> {
        if let Some(ended) = self.ended.front() {
            return Some(ended.at);
        }
        let mut pace = self.pace.clone();
        let mut first = self.moving.peek().map(|Reverse(m)| f64::from_bits(m.until));
        let mut waiting = self.waiting.iter().rev().peekable();
        loop {
            let arrival = waiting.peek().map(|read| read.at);
            if first.is_none() && arrival.is_none() {
                return None;
            }
            match Event::next(&pace, first, arrival) {
                Event::End(at) => return Some(at),
                Event::Change(at) => {
                    pace.move_to(at);
                    pace.change();
                }
                Event::Arrival(at) => {
                    pace.move_to(at);
                    let read = waiting.next()?;
                    let until = pace.begin(read.bytes);
                    first = Some(first.map_or(until, |f| f.min(until)));
                }
            }
        }
    }

    /// Moves on to when the next read ends, as [`advance`](Flash::advance) does, and tells when that is; `None` when idle. Nothing
    /// may be submitted before that time any more. It costs half of looking first and then going there.
    pub fn advance_to_end(&mut self) -> Option<Nanos> {
        while self.ended.is_empty() {
            let event = self.next_event()?;
            self.take(event);
        }
        self.ended.front().map(|ended| ended.at)
    }

    /// Moves on to `until`; reads that have ended are appended in the order of their ends.
    pub fn advance(&mut self, until: Nanos, ended: &mut Vec<Ended>) {
        self.run_to(until);
        ended.extend(self.ended.drain(..));
    }

    /// Reads that were submitted and not yet handed out by [`advance`](Flash::advance).
    pub fn in_flight(&self) -> usize {
        self.waiting.len() + self.moving.len() + self.ended.len()
    }

    /// Joules of heat that came from elsewhere in the device, as from its cores, since this was last told. They count when
    /// heat is reckoned next, within a tenth of a second, or when the next read comes.
    pub fn warm(&mut self, joules: f64) {
        self.pace.warm(joules);
    }

    /// The derating in force and the temperature in degrees Celsius, at the last event.
    pub fn thermal(&self) -> (ThermalState, f64) {
        self.pace.thermal()
    }

    /// Takes all events up to `until`.
    fn run_to(&mut self, until: Nanos) {
        while let Some(event) = self.next_event().filter(|event| event.at() <= until) {
            self.take(event);
        }
    }

    /// What happens next while reads are under way. Heat and other traffic are caught up with when the next one comes.
    fn next_event(&self) -> Option<Event> {
        let first = self.moving.peek().map(|Reverse(m)| f64::from_bits(m.until));
        let arrival = self.waiting.last().map(|read| read.at);
        (first.is_some() || arrival.is_some()).then(|| Event::next(&self.pace, first, arrival))
    }

    fn take(&mut self, event: Event) {
        self.pace.move_to(event.at());
        match event {
            Event::End(at) => self.end(at),
            Event::Change(_) => self.pace.change(),
            Event::Arrival(_) => self.begin(),
        }
    }

    fn begin(&mut self) {
        if let Some(Waiting { order, id, bytes, outcome, .. }) = self.waiting.pop() {
            let until = self.pace.begin(bytes).to_bits();
            self.moving.push(Reverse(Moving { until, order, id, outcome }));
        }
    }

    fn end(&mut self, at: Nanos) {
        if let Some(Reverse(read)) = self.moving.pop() {
            self.pace.finish();
            self.pace.set_in_flight(self.pace.in_flight() - 1);
            self.ended.push_back(Ended { id: read.id, at, outcome: read.outcome });
        }
    }

    /// What becomes of a read of `len` bytes: how it ends, what it moves, and how much later.
    fn fate(&mut self, len: u32) -> (Outcome, u32, Nanos) {
        let Faults { delayed, delay_s, short, failed, errno, corrupt } = self.faults;
        let delay = if self.chance.happens(delayed) { Nanos::from_secs_f64(delay_s) } else { Nanos::ZERO };
        if self.chance.happens(failed) {
            (Outcome::Failed(errno), 0, delay)
        } else if len > 1 && self.chance.happens(short) {
            let came = 1 + (self.chance.uniform() * f64::from(len - 1)) as u32;
            (Outcome::Short(came), came, delay)
        } else if self.chance.happens(corrupt) {
            (Outcome::Corrupt, len, delay)
        } else {
            (Outcome::Whole, len, delay)
        }
    }
}

/// What happens next. Of events at one time ends come first, then changes of the rate, then arrivals.
#[derive(Debug, Clone, Copy)]
enum Event {
    End(Nanos),
    Change(Nanos),
    Arrival(Nanos),
}

impl Event {
    fn next(pace: &Pace, first: Option<f64>, arrival: Option<Nanos>) -> Event {
        let change = pace.next_change();
        let arrival = arrival.unwrap_or(Nanos(u64::MAX));
        match first.map(|until| pace.reaches(until)) {
            Some(end) if end <= change && end <= arrival => Event::End(end),
            _ if change <= arrival => Event::Change(change),
            _ => Event::Arrival(arrival),
        }
    }

    fn at(self) -> Nanos {
        match self {
            Event::End(at) | Event::Change(at) | Event::Arrival(at) => at,
        }
    }
}
