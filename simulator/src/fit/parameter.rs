//! The figures that a fit may change.

use crate::flash::FlashProfile;

/// A figure of [`FlashProfile`] that sweeps tell something of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// What the shared link moves.
    Link,
    /// What one read gets of it.
    Stream,
    /// From command to first byte.
    Latency,
    /// Commands per second.
    Commands,
    /// How far their time scatters.
    Jitter,
    /// How long a transfer holds its unit.
    Sense,
    /// Requests in flight that are served at full rate.
    UsefulDepth,
    /// What each one more adds.
    Sag,
    /// What is left in the end.
    SagFloor,
    /// What is left when warm.
    WarmShare,
}

impl Parameter {
    /// All of them.
    pub const ALL: [Parameter; 10] = [
        Parameter::Link,
        Parameter::Stream,
        Parameter::Latency,
        Parameter::Commands,
        Parameter::Jitter,
        Parameter::Sense,
        Parameter::UsefulDepth,
        Parameter::Sag,
        Parameter::SagFloor,
        Parameter::WarmShare,
    ];

    /// Its value.
    pub fn get(self, profile: &FlashProfile) -> f64 {
        match self {
            Parameter::Link => profile.link_bytes_s,
            Parameter::Stream => profile.stream_bytes_s,
            Parameter::Latency => profile.latency_s,
            Parameter::Commands => profile.commands_s,
            Parameter::Jitter => profile.jitter,
            Parameter::Sense => profile.sense_s,
            Parameter::UsefulDepth => profile.depth.requests,
            Parameter::Sag => profile.depth.sag,
            Parameter::SagFloor => profile.depth.floor,
            Parameter::WarmShare => profile.heat.warm_share,
        }
    }

    /// Sets it, as near to `value` as its domain allows.
    pub fn set(self, profile: &mut FlashProfile, value: f64) {
        match self {
            Parameter::Link => profile.link_bytes_s = value,
            Parameter::Stream => profile.stream_bytes_s = value,
            Parameter::Latency => profile.latency_s = value,
            Parameter::Commands => profile.commands_s = value,
            Parameter::Jitter => profile.jitter = value.min(0.999),
            Parameter::Sense => profile.sense_s = value,
            Parameter::UsefulDepth => profile.depth.requests = value,
            Parameter::Sag => profile.depth.sag = value,
            Parameter::SagFloor => profile.depth.floor = value.min(1.0),
            Parameter::WarmShare => profile.heat.warm_share = value.min(1.0),
        }
        profile.sense_s = profile.sense_s.min(profile.latency_s);
    }
}
