//! What a simulated device gives at a size and a depth that are kept up.

use super::sweep::{Pattern, Point};
use crate::flash::{Flash, FlashOptions, FlashProfile, Request};
use forebay_pager::Nanos;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

/// Random reads lie in so many bytes.
const RANGE: u64 = 64 << 30;

/// Reads that are counted, besides some for each in flight.
const READS: usize = 800;

/// Bytes per second with `depth` reads in flight, after the first few.
pub fn throughput(profile: &FlashProfile, point: &Point) -> f64 {
    let reads = READS + 8 * point.depth;
    let options = FlashOptions { start: point.state, ..FlashOptions::default() };
    let mut flash = Flash::new(profile, options);
    let mut places = Places {
        pattern: point.pattern,
        block: u64::from(point.block_bytes),
        next: SplitMix64::seed_from_u64(0),
        at: 0,
    };
    for id in 0..point.depth as u64 {
        flash.submit(Nanos::ZERO, Request { id, offset: places.next(), len: point.block_bytes });
    }
    let warm_up = 2 * point.depth;
    let (mut ended, mut count, mut began, mut now) = (Vec::new(), 0, Nanos::ZERO, Nanos::ZERO);
    while count < warm_up + reads {
        let Some(at) = flash.next_end() else { break };
        now = at;
        flash.advance(now, &mut ended);
        for end in ended.drain(..) {
            count += 1;
            if count == warm_up {
                began = now;
            }
            flash.submit(now, Request { id: end.id, offset: places.next(), len: point.block_bytes });
        }
    }
    (count - warm_up) as f64 * f64::from(point.block_bytes) / (now - began).as_secs_f64()
}

struct Places {
    pattern: Pattern,
    block: u64,
    next: SplitMix64,
    at: u64,
}

impl Places {
    fn next(&mut self) -> u64 {
        match self.pattern {
            Pattern::Random => self.next.next_u64() % (RANGE / self.block) * self.block,
            Pattern::Sequential => {
                self.at += self.block;
                self.at
            }
        }
    }
}
