//! The figures that a fit may change.

use crate::flash::FlashProfile;
use serde::Deserialize;

/// A figure of [`FlashProfile`] that sweeps tell something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Parameter {
    /// What the shared link moves.
    #[serde(rename = "link_mb_s")]
    Link,
    /// What one read gets of it.
    #[serde(rename = "stream_mb_s")]
    Stream,
    /// From command to first byte.
    #[serde(rename = "latency_us")]
    Latency,
    /// Commands per second.
    #[serde(rename = "commands_s")]
    Commands,
    /// How far their time scatters.
    #[serde(rename = "jitter")]
    Jitter,
    /// What a transfer costs the link besides its bytes.
    #[serde(rename = "turnaround_us")]
    Turnaround,
    /// How long a transfer holds its unit.
    #[serde(rename = "sense_us")]
    Sense,
    /// Requests in flight that are served at full rate.
    #[serde(rename = "useful_depth")]
    UsefulDepth,
    /// What each one more adds.
    #[serde(rename = "sag")]
    Sag,
    /// What is left in the end.
    #[serde(rename = "sag_floor")]
    SagFloor,
    /// What is left when warm.
    #[serde(rename = "warm_share")]
    WarmShare,
}

impl Parameter {
    /// All of them.
    pub const ALL: [Parameter; 11] = [
        Parameter::Link,
        Parameter::Stream,
        Parameter::Latency,
        Parameter::Commands,
        Parameter::Jitter,
        Parameter::Turnaround,
        Parameter::Sense,
        Parameter::UsefulDepth,
        Parameter::Sag,
        Parameter::SagFloor,
        Parameter::WarmShare,
    ];

    /// As in the table `flash` of a profile.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::Link => "link_mb_s",
            Parameter::Stream => "stream_mb_s",
            Parameter::Latency => "latency_us",
            Parameter::Commands => "commands_s",
            Parameter::Jitter => "jitter",
            Parameter::Turnaround => "turnaround_us",
            Parameter::Sense => "sense_us",
            Parameter::UsefulDepth => "useful_depth",
            Parameter::Sag => "sag",
            Parameter::SagFloor => "sag_floor",
            Parameter::WarmShare => "warm_share",
        }
    }

    /// What one of the profile's unit is in SI units.
    pub fn unit(self) -> f64 {
        match self {
            Parameter::Link | Parameter::Stream => 1e6,
            Parameter::Latency | Parameter::Turnaround | Parameter::Sense => 1e-6,
            _ => 1.0,
        }
    }

    /// Its value, in SI units.
    pub fn get(self, profile: &FlashProfile) -> f64 {
        match self {
            Parameter::Link => profile.link_bytes_s,
            Parameter::Stream => profile.stream_bytes_s,
            Parameter::Latency => profile.latency_s,
            Parameter::Commands => profile.commands_s,
            Parameter::Jitter => profile.jitter,
            Parameter::Turnaround => profile.turnaround_s,
            Parameter::Sense => profile.sense_s,
            Parameter::UsefulDepth => profile.depth.requests,
            Parameter::Sag => profile.depth.sag,
            Parameter::SagFloor => profile.depth.floor,
            Parameter::WarmShare => profile.heat.warm_share,
        }
    }

    /// Sets it, in SI units, as near to `value` as its domain allows.
    pub fn set(self, profile: &mut FlashProfile, value: f64) {
        match self {
            Parameter::Link => profile.link_bytes_s = value,
            Parameter::Stream => profile.stream_bytes_s = value,
            Parameter::Latency => profile.latency_s = value,
            Parameter::Commands => profile.commands_s = value,
            Parameter::Jitter => profile.jitter = value.min(0.999),
            Parameter::Turnaround => profile.turnaround_s = value,
            Parameter::Sense => profile.sense_s = value,
            Parameter::UsefulDepth => profile.depth.requests = value,
            Parameter::Sag => profile.depth.sag = value,
            Parameter::SagFloor => profile.depth.floor = value.min(1.0),
            Parameter::WarmShare => profile.heat.warm_share = value.min(1.0),
        }
        profile.sense_s = profile.sense_s.min(profile.latency_s);
    }
}
