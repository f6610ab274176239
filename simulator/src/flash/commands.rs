//! From a request to its first byte: commands one after the other, then the units that sense.

use super::Request;
use super::chance::{Chance, Exponential, mix};
use super::options::{FlashOptions, IssuingCore};
use super::parameters::FlashProfile;
use forebay_pager::Nanos;

/// Who is busy until when. Requests come in the order of time, so a queue is one number: when it will be empty.
#[derive(Debug)]
pub(super) struct Commands {
    chance: Chance,
    /// When the controller has taken all commands so far.
    taken: Nanos,
    /// When each unit is free.
    units: Vec<Nanos>,
    /// The mean time of a command, in nanoseconds.
    command_ns: f64,
    /// The latency of ordinary reads and of slow ones, in nanoseconds.
    latency_ns: [f64; 2],
    sense: Nanos,
    /// How long a whole transfer takes at a stream's rate.
    transfer: Nanos,
}

impl Commands {
    pub(super) fn new(profile: &FlashProfile, options: &FlashOptions) -> Commands {
        let tail = &profile.tail;
        let core = match options.core {
            IssuingCore::Big => 1.0,
            IssuingCore::Small => profile.small_core_share,
        };
        let map = options.range_bytes.map_or(1.0, |range| profile.map.times(range as f64));
        let mean = profile.latency_s * 1e9;
        Commands {
            chance: Chance::new(options.seed, 2),
            taken: Nanos::ZERO,
            units: vec![Nanos::ZERO; profile.units.max(1) as usize],
            command_ns: 1e9 * map / (profile.commands_s * core),
            latency_ns: [mean * (1.0 - tail.share * tail.times) / (1.0 - tail.share), mean * tail.times],
            sense: nanos(profile.sense_s * 1e9),
            transfer: nanos(profile.transfer_bytes as f64 / profile.stream_bytes_s * 1e9),
        }
    }

    /// When the bytes of `request`, asked for at `now`, begin to move, with so many requests at the device.
    ///
    /// The transfers of one read are sensed by different units at once and move in their order. The whole read begins
    /// when none of them will have to wait for its unit any more.
    pub(super) fn ready(
        &mut self,
        now: Nanos,
        request: &Request,
        in_flight: usize,
        profile: &FlashProfile,
        exponential: &Exponential,
    ) -> Nanos {
        let command_ns = self.command_ns / profile.depth.share(in_flight);
        let slow = self.chance.happens(profile.tail.share);
        let latency = nanos(self.latency_ns[usize::from(slow)]);
        let first = request.offset / profile.transfer_bytes;
        let transfers = u64::from(request.len).div_ceil(profile.transfer_bytes).max(1);
        self.taken = self.taken.max(now);
        let mut ready = Nanos::ZERO;
        for i in 0..transfers {
            let scatter = match profile.jitter {
                0.0 => 1.0,
                jitter => 1.0 - jitter + jitter * self.chance.exponential(exponential),
            };
            self.taken += nanos(command_ns * scatter);
            let unit = (u128::from(mix(first + i)) * self.units.len() as u128) >> 64;
            let unit = &mut self.units[unit as usize];
            let begins = self.taken.max(*unit);
            *unit = begins + self.sense;
            ready = ready.max(begins + latency - Nanos(self.transfer.0 * i));
        }
        ready
    }
}

fn nanos(ns: f64) -> Nanos {
    Nanos((ns + 0.5) as u64)
}
