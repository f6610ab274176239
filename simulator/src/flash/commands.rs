//! From a request to its first byte: commands one after the other, then the units that sense.

use super::Request;
use super::options::FlashOptions;
use super::parameters::FlashProfile;
use crate::chance::{Chance, mix};
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
    sense_ns: f64,
    /// The length from which on a transfer senses so long.
    sense_bytes: f64,
    transfer_bytes: u32,
    /// What the link could move while it turns around for a transfer, in bytes.
    turnaround_bytes: f64,
    /// Bytes that lie in one unit before the next one begins.
    stripe: u64,
    /// How long a whole transfer takes at a stream's rate, in nanoseconds.
    transfer_ns: f64,
}

impl Commands {
    pub(super) fn new(profile: &FlashProfile, options: &FlashOptions) -> Commands {
        let tail = &profile.tail;
        let map = options.range_bytes.map_or(1.0, |range| profile.map.times(range as f64));
        let mean = profile.latency_s * 1e9;
        Commands {
            chance: Chance::new(options.seed, 2),
            taken: Nanos::ZERO,
            units: vec![Nanos::ZERO; profile.units.max(1) as usize],
            command_ns: 1e9 * map / profile.commands_s,
            latency_ns: [mean * (1.0 - tail.share * tail.times) / (1.0 - tail.share), mean * tail.times],
            sense_ns: profile.sense_s * 1e9,
            sense_bytes: profile.sense_bytes,
            transfer_bytes: u32::try_from(profile.transfer_bytes).unwrap_or(u32::MAX),
            turnaround_bytes: profile.turnaround_s * profile.link_bytes_s,
            stripe: (profile.sense_bytes as u64).max(512),
            transfer_ns: profile.transfer_bytes as f64 / profile.stream_bytes_s * 1e9,
        }
    }

    /// When the bytes of `request`, asked for at `now`, begin to move, with so many requests at the device; everything on the way
    /// takes `times` as long as the figures say.
    ///
    /// The transfers of one read are sensed by different units at once and move in their order. The whole read begins
    /// when none of them will have to wait for its unit any more.
    pub(super) fn ready(&mut self, now: Nanos, request: &Request, in_flight: usize, profile: &FlashProfile) -> Nanos {
        let times = profile.correction.times(request.len, in_flight);
        let crowded = times / profile.depth.share(in_flight);
        let command_ns = self.command_ns * crowded;
        let slow = self.chance.happens(profile.tail.share);
        let latency_ns = self.latency_ns[usize::from(slow)];
        let latency = nanos(latency_ns * times * self.scatter(profile.jitter));
        let transfer = nanos(self.transfer_ns * times);
        let transfers = u64::from(request.len).div_ceil(profile.transfer_bytes).max(1);
        let longest = u64::from(request.len).min(profile.transfer_bytes) as f64;
        let sense = nanos(self.sense_ns * crowded * (longest / self.sense_bytes).min(1.0));
        self.taken = self.taken.max(now);
        let mut ready = Nanos::ZERO;
        for i in 0..transfers {
            let scatter = self.scatter(profile.jitter);
            self.taken += nanos(command_ns * scatter);
            let unit = (u128::from(mix((request.offset + i * profile.transfer_bytes) / self.stripe))
                * self.units.len() as u128)
                >> 64;
            let unit = &mut self.units[unit as usize];
            let begins = self.taken.max(*unit);
            *unit = begins + sense;
            ready = ready.max(begins + latency - Nanos(transfer.0 * i));
        }
        ready
    }

    /// What moving `bytes` of `request` takes of the link, in bytes.
    pub(super) fn work(&self, bytes: u32, request: &Request, in_flight: usize, profile: &FlashProfile) -> f64 {
        let work = f64::from(bytes) + f64::from(bytes.div_ceil(self.transfer_bytes)) * self.turnaround_bytes;
        work * profile.correction.times(request.len, in_flight)
    }

    /// A factor of mean 1.
    fn scatter(&mut self, jitter: f64) -> f64 {
        if jitter == 0.0 { 1.0 } else { 1.0 - jitter + jitter * self.chance.exponential() }
    }
}

fn nanos(ns: f64) -> Nanos {
    Nanos((ns + 0.5) as u64)
}
