//! What is known of a flash device, as plain numbers.

use super::correction::Correction;
use super::options::IssuingCore;

/// Flash and its controller, in SI units. A profile at one edge of its bands gives one
/// ([`Profile::at`](crate::profile::Profile::at)).
#[derive(Debug, Clone, PartialEq)]
pub struct FlashProfile {
    /// What the shared link moves, all reads together, in bytes per second.
    pub link_bytes_s: f64,
    /// What one read gets of it at most, in bytes per second.
    pub stream_bytes_s: f64,
    /// From the end of a transfer's command to its first byte where nothing else is asked for, in seconds.
    pub latency_s: f64,
    /// Commands per second that the controller and its driver take, one after the other: the cap of IOPS.
    pub commands_s: f64,
    /// The largest transfer: a longer read is split, each part with a command of its own.
    pub transfer_bytes: u64,
    /// What each transfer costs the link besides its bytes, in seconds.
    pub turnaround_s: f64,
    /// Units (dies, lanes) that sense independently of each other. Which one a transfer needs, its offset says.
    pub units: u32,
    /// How long a transfer holds its unit, in seconds; at most `latency_s`.
    pub sense_s: f64,
    /// Shorter transfers hold their unit for a shorter time, in proportion; longer ones do not hold it longer, in bytes.
    pub sense_bytes: f64,
    /// How far the times of commands and latencies scatter: 0 always the same, 1 exponential. The mean is kept.
    pub jitter: f64,
    /// Reads that take longer than others.
    pub tail: Tail,
    /// Where more requests at once no longer help.
    pub depth: UsefulDepth,
    /// What reads take beyond all that: none of a device whose figures say all that is known.
    pub correction: Correction,
    /// The map from logical to physical addresses, of which the controller holds a part.
    pub map: MapCache,
    /// Commands per second when a small core issues them, as a share of `commands_s`.
    pub small_core_share: f64,
    /// Heat.
    pub heat: Heat,
    /// What the rest of the system reads and writes.
    pub background: Background,
    /// The same device with other capacities.
    pub tiers: Vec<Tier>,
    /// Energy to move a byte, in joules; all of it becomes heat.
    pub joules_byte: f64,
}

impl FlashProfile {
    /// The same device with so many GB (1e9 bytes): with the rates of the largest tier that it reaches, or its own below all of them.
    pub fn of_capacity(mut self, gb: u32) -> FlashProfile {
        let tier = self.tiers.iter().filter(|t| t.capacity_gb <= gb).max_by_key(|t| t.capacity_gb);
        let times = tier.map_or(1.0, |t| t.rate_times);
        self.link_bytes_s *= times;
        self.stream_bytes_s *= times;
        self
    }

    /// The same device when its commands come from such a core.
    pub fn driven_from(mut self, core: IssuingCore) -> FlashProfile {
        if core == IssuingCore::Small {
            self.commands_s *= self.small_core_share;
        }
        self
    }
}

/// A share of reads has a latency that is a multiple of the others'. The mean over all is the profile's latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tail {
    /// Of all reads, from 0 to below 1.
    pub share: f64,
    /// Their latency as a multiple of the mean, with `share * times` below 1.
    pub times: f64,
}

/// Up to `requests` in flight cost nothing; each one more slows down commands and link alike.
///
/// The share that is left at a depth of `d` is `1 / (1 + sag * (d - requests))`, and `floor` at least: the cost is work
/// per request that grows with the queue, as of a lock that is fought for or a list that is walked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsefulDepth {
    /// Requests in flight that are served at full rate.
    pub requests: f64,
    /// What each one more adds to the time, as a share.
    pub sag: f64,
    /// The share of the full rate that is always left.
    pub floor: f64,
}

impl UsefulDepth {
    /// The share of the full rate that is left with `in_flight` requests at the device.
    pub fn share(&self, in_flight: usize) -> f64 {
        let beyond = (in_flight as f64 - self.requests).max(0.0);
        (1.0 / (1.0 + self.sag * beyond)).max(self.floor)
    }
}

/// Part of the address map is held by the controller; a command whose entry is elsewhere costs a look-up more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapCache {
    /// The range of bytes that the cached part covers.
    pub bytes: f64,
    /// The time of a command whose entry is not cached, as a multiple of one whose entry is.
    pub miss_times: f64,
}

impl MapCache {
    /// The mean time of a command as a multiple of one that hits, for reads spread over `range` bytes.
    pub fn times(&self, range: f64) -> f64 {
        if range <= self.bytes { 1.0 } else { 1.0 + (1.0 - self.bytes / range) * (self.miss_times - 1.0) }
    }
}

/// One temperature, warmed by what is moved and by everything else, cooled towards the surroundings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heat {
    /// Around the device, in degrees Celsius.
    pub ambient_c: f64,
    /// Degrees that each watt adds in the end.
    pub kelvin_watt: f64,
    /// Joules for each degree.
    pub joules_kelvin: f64,
    /// Where the first derating begins, in degrees Celsius.
    pub warm_c: f64,
    /// Where the second begins; above `warm_c`.
    pub hot_c: f64,
    /// How far below its threshold a derating ends, in degrees.
    pub recovery_k: f64,
    /// The share of the link and of a stream that is left when warm.
    pub warm_share: f64,
    /// The share that is left when hot.
    pub hot_share: f64,
}

impl Heat {
    /// How long a device that begins at the temperature of its surroundings takes to get warm at a steady load, in seconds;
    /// infinite where it never does. Newton's law of cooling.
    pub fn seconds_to_warm(&self, watts: f64) -> f64 {
        let share = (self.warm_c - self.ambient_c) / (watts * self.kelvin_watt);
        if share < 1.0 { -libm::log(1.0 - share) * self.kelvin_watt * self.joules_kelvin } else { f64::INFINITY }
    }
}

/// Bursts of other traffic that take a part of the link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Background {
    /// Of the link, over a long time; 0 where the device is left alone.
    pub share: f64,
    /// Of the link while a burst lasts; above `share`, below 1.
    pub burst_share: f64,
    /// How long a burst lasts, in seconds.
    pub burst_s: f64,
}

/// A capacity of the device that differs from that of the profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// From this capacity on, in GB (1e9 bytes).
    pub capacity_gb: u32,
    /// Link and stream as a multiple of the profile's.
    pub rate_times: f64,
}
