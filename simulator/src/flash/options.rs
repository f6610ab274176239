//! What differs from one run on a device to the next.

use std::fmt;
use std::str::FromStr;

/// Everything about a run that is not the device.
#[derive(Debug, Clone, PartialEq)]
pub struct FlashOptions {
    /// Of all chance in the run: the same seed and the same requests give the same events.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// How warm the device is when the run begins.
    pub start: ThermalState,
    /// Who issues the commands.
    pub core: IssuingCore,
    /// The bytes that reads are spread over; `None` where the device's map covers them.
    pub range_bytes: Option<u64>,
    /// The capacity in GB (1e9 bytes), where it is not that of the profile.
    pub capacity_gb: Option<u32>,
    /// Heat of everything else in the device, in watts.
    pub other_watts: f64,
}

impl Default for FlashOptions {
    /// A cold device without faults, driven from a big core.
    fn default() -> FlashOptions {
        FlashOptions {
            seed: 0,
            faults: Faults::NONE,
            start: ThermalState::Cold,
            core: IssuingCore::Big,
            range_bytes: None,
            capacity_gb: None,
            other_watts: 0.0,
        }
    }
}

/// Probabilities for each request, from 0 to 1. At most one of short, failed and corrupt befalls it, besides a delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// It takes `delay_s` longer.
    pub delayed: f64,
    /// What a delay adds, in seconds.
    pub delay_s: f64,
    /// It ends early, with some of its bytes.
    pub short: f64,
    /// It fails, with `errno`, and moves nothing.
    pub failed: f64,
    /// The error of failed reads.
    pub errno: i32,
    /// It seems whole and carries bytes that differ from what was written.
    pub corrupt: f64,
}

impl Faults {
    /// Linux's `EIO`, which is the same number on Apple's systems.
    pub const EIO: i32 = 5;

    /// Nothing goes wrong.
    pub const NONE: Faults =
        Faults { delayed: 0.0, delay_s: 0.0, short: 0.0, failed: 0.0, errno: Faults::EIO, corrupt: 0.0 };
}

/// Which kind of core issues the reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum IssuingCore {
    /// One that keeps up with the device.
    #[default]
    Big,
    /// One that is slower than the device's commands.
    Small,
}

impl fmt::Display for IssuingCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            IssuingCore::Big => "big",
            IssuingCore::Small => "small",
        })
    }
}

impl FromStr for IssuingCore {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "big" => Ok(IssuingCore::Big),
            "small" => Ok(IssuingCore::Small),
            _ => Err(format!("unknown core '{name}'; there are big and small")),
        }
    }
}

/// The three steps of derating.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ThermalState {
    /// Full rate.
    #[default]
    Cold,
    /// The first derating.
    Warm,
    /// The second.
    Hot,
}
