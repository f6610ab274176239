//! A storage that is as fast as a device: the pager's seam to flash, over the model of [`crate::flash`].
//!
//! The bytes come from another storage, or are not there at all; when they come is the device's matter. Time is virtual
//! ([`VirtualPace`]) or real ([`RealPace`]): the very same queue either moves the clock on or lets time pass.
//!
//! Faults of the device are dealt with as every backend has to: a short read is continued, one that failed is tried again, and
//! only what fails [`TRIES`] times in a row is told.

use std::io;

use forebay_pager::{Clock, Done, Nanos, Read, ReadFault, Storage, SystemClock, Wait};

use crate::clock::VirtualClock;
use crate::flash::{Ended, Flash, Outcome, Request, ThermalState};

/// How often a read is tried before its failure is told.
pub const TRIES: u8 = 4;

/// How time passes for a device.
pub trait Pace {
    /// Now.
    fn now(&self) -> Nanos;

    /// Comes back at `at`, or at once if that is past.
    fn wait_until(&self, at: Nanos);

    /// The processor was busy with requests for so long.
    fn charge(&self, time: Nanos);

    /// So warm the device is now.
    fn warm(&self, state: ThermalState) {
        let _ = state;
    }
}

/// How much longer than asked for a thread may sleep: so much is waited for awake.
const OVERSLEPT: Nanos = Nanos(100_000);

/// Time of a simulation.
#[derive(Debug, Clone)]
pub struct VirtualPace(pub VirtualClock);

impl Pace for VirtualPace {
    fn now(&self) -> Nanos {
        self.0.now()
    }
    fn wait_until(&self, at: Nanos) {
        self.0.advance_to(at);
    }
    fn charge(&self, time: Nanos) {
        self.0.compute(time);
    }
    fn warm(&self, state: ThermalState) {
        self.0.warm(state);
    }
}

/// Real time.
#[derive(Debug, Clone, Copy)]
pub struct RealPace(pub SystemClock);

impl Pace for RealPace {
    fn now(&self) -> Nanos {
        self.0.now()
    }
    #[expect(clippy::disallowed_methods, reason = "a device that is slower than this machine's is waited for")]
    fn wait_until(&self, at: Nanos) {
        let left = at - self.0.now();
        if left > OVERSLEPT {
            std::thread::sleep((left - OVERSLEPT).into());
        }
        while self.0.now() < at {
            std::hint::spin_loop();
        }
    }
    /// This machine's own requests cost what they cost.
    fn charge(&self, _: Nanos) {}
}

/// Where the bytes come from. Reads go by their tags, of which there are as many as the device has reads in flight.
pub trait Source {
    /// Begins to fill the frame of `read`.
    fn begin(&mut self, read: Read);

    /// Comes back with the read of this tag when its frame is filled.
    fn end(&mut self, tag: u64) -> Done;

    /// In one line for people.
    fn describe(&self) -> String;
}

/// Nowhere: frames stay as they are. For runs of which only the time matters.
#[derive(Debug, Default)]
pub struct NoBytes(Vec<Read>);

impl Source for NoBytes {
    fn begin(&mut self, read: Read) {
        self.0.push(read);
    }

    fn end(&mut self, tag: u64) -> Done {
        let place = self.0.iter().position(|read| read.tag == tag).expect("what ends was begun");
        let read = self.0.swap_remove(place);
        Done { tag, frame: read.frame, result: Ok(()) }
    }

    fn describe(&self) -> String {
        "no bytes".to_owned()
    }
}

/// From a storage, which reads while the device is busy.
#[derive(Debug)]
pub struct Bytes<S> {
    storage: S,
    done: Vec<Done>,
}

impl<S: Storage> Bytes<S> {
    /// What `storage` reads.
    pub fn new(storage: S) -> Self {
        Bytes { done: Vec::with_capacity(storage.depth()), storage }
    }
}

impl<S: Storage> Source for Bytes<S> {
    fn begin(&mut self, read: Read) {
        self.storage.submit(read);
        self.storage.flush();
    }

    fn end(&mut self, tag: u64) -> Done {
        loop {
            if let Some(place) = self.done.iter().position(|done| done.tag == tag) {
                return self.done.swap_remove(place);
            }
            self.storage.reap(Wait::One, &mut self.done);
        }
    }

    fn describe(&self) -> String {
        self.storage.describe()
    }
}

/// A read that the device is busy with.
#[derive(Debug)]
struct Flight {
    /// What the pager knows it by. The source knows it by its slot.
    tag: u64,
    offset: u64,
    len: u32,
    /// Bytes that somebody asked for; what follows them only fills the last block.
    need: u32,
    /// Bytes that have come.
    come: u32,
    tries: u8,
}

impl Flight {
    /// Where a request for what is missing begins: with the last whole block.
    fn begins(&self) -> u32 {
        self.come / ALIGN * ALIGN
    }
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct DeviceStorage<B, P> {
    flash: Flash,
    pace: P,
    source: B,
    depth: usize,
    /// What the processor does for a request.
    request: Nanos,
    /// By the number that the device knows a read by.
    flights: Vec<Option<Flight>>,
    in_flight: usize,
    ended: Vec<Ended>,
    describe: String,
}

impl<B: Source, P: Pace> DeviceStorage<B, P> {
    /// Reads of `source` at the pace of `flash`, with at most `depth` in flight, each of which keeps the processor busy for
    /// `request`. `name` is the device's.
    pub fn new(flash: Flash, pace: P, source: B, depth: usize, request: Nanos, name: &str) -> Self {
        let describe = format!("at the pace of {name}, over {}", source.describe());
        let flights = (0..depth).map(|_| None).collect();
        let ended = Vec::with_capacity(depth);
        DeviceStorage { flash, pace, source, depth, request, flights, in_flight: 0, ended, describe }
    }

    /// The device.
    pub fn flash(&self) -> &Flash {
        &self.flash
    }

    fn ask(&mut self, slot: usize, offset: u64, len: u32) {
        self.pace.charge(self.request);
        self.flash.submit(self.pace.now(), Request { id: slot as u64, offset, len });
    }

    /// Takes in what has ended until now.
    fn collect(&mut self, done: &mut Vec<Done>) {
        let mut ended = std::mem::take(&mut self.ended);
        self.flash.advance(self.pace.now(), &mut ended);
        self.pace.warm(self.flash.thermal().0);
        for Ended { id, outcome, .. } in ended.drain(..) {
            let slot = id as usize;
            let flight = self.flights[slot].as_mut().expect("the device ends what it was asked for");
            match outcome {
                Outcome::Whole | Outcome::Corrupt => {
                    done.push(self.deliver(slot, outcome == Outcome::Corrupt, None));
                    continue;
                }
                Outcome::Short(bytes) => flight.come = flight.come.max(flight.begins() + bytes),
                Outcome::Failed(errno) => {
                    flight.tries += 1;
                    if flight.tries == TRIES {
                        done.push(self.deliver(slot, false, Some(errno)));
                        continue;
                    }
                }
            }
            let begins = flight.begins();
            let (offset, rest) = (flight.offset + u64::from(begins), flight.len - begins);
            self.ask(slot, offset, rest);
        }
        self.ended = ended;
    }

    fn deliver(&mut self, slot: usize, corrupt: bool, errno: Option<i32>) -> Done {
        let flight = self.flights[slot].take().expect("the device ends what it was asked for");
        self.in_flight -= 1;
        let mut done = self.source.end(slot as u64);
        done.tag = flight.tag;
        if let Some(errno) = errno {
            done.result = Err(ReadFault::Io(io::Error::from_raw_os_error(errno)));
        }
        if corrupt && done.result.is_ok() {
            done.frame.bytes_mut()[flight.need as usize - 1] ^= 0x10;
        }
        done
    }
}

const ALIGN: u32 = forebay_pager::ALIGN as u32;

impl<B: Source, P: Pace> Storage for DeviceStorage<B, P> {
    fn depth(&self) -> usize {
        self.depth
    }

    fn alignment(&self) -> usize {
        forebay_pager::ALIGN
    }

    fn submit(&mut self, read: Read) {
        assert!(
            self.in_flight < self.depth,
            "a read is submitted while {} of {} are in flight",
            self.depth,
            self.depth
        );
        let slot = self.flights.iter().position(Option::is_none).expect("a slot for each read in flight");
        // Files lie one behind the other.
        let (offset, len) = (((read.file.index() as u64) << 42) + read.offset, read.len);
        self.flights[slot] = Some(Flight { tag: read.tag, offset, len, need: read.need, come: 0, tries: 0 });
        self.in_flight += 1;
        self.source.begin(Read { tag: slot as u64, ..read });
        self.ask(slot, offset, len);
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let before = done.len();
        self.collect(done);
        while wait == Wait::One && done.len() == before && self.in_flight > 0 {
            let next = self.flash.advance_to_end().expect("what is in flight ends");
            self.pace.wait_until(next);
            self.collect(done);
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn describe(&self) -> String {
        self.describe.clone()
    }
}
