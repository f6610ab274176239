//! What a simulation tells: figures with their bands.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What can be told, and required, of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Tokens decoded per second.
    TokensPerSecond,
    /// Seconds from the prompt to the first token.
    TimeToFirstToken,
    /// Gigabytes (10^9) read for a decoded token.
    GigabytesPerToken,
    /// Of the time of decoding, how much compute waited, 0 to 1.
    Stall,
    /// Of the time of decoding, how much compute worked, 0 to 1.
    Compute,
    /// Of the time of decoding, how much the flash had something to do, 0 to 1.
    FlashBusy,
    /// Of the experts needed (of pages, where there are no experts), how many were in memory, 0 to 1.
    HitRate,
    /// The most memory that is held, in bytes.
    PeakRam,
    /// Energy for a decoded token, in joules.
    JoulesPerToken,
    /// Seconds of decoding, at its mean load, until a rested device has to slow down; infinite where it never has to.
    TimeToThrottle,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub const ALL: [Metric; 10] = [
        Metric::TokensPerSecond,
        Metric::TimeToFirstToken,
        Metric::GigabytesPerToken,
        Metric::Stall,
        Metric::Compute,
        Metric::FlashBusy,
        Metric::HitRate,
        Metric::PeakRam,
        Metric::JoulesPerToken,
        Metric::TimeToThrottle,
    ];

    /// The name that budget files and tables have for it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::TokensPerSecond => "tok_s",
            Metric::TimeToFirstToken => "ttft_s",
            Metric::GigabytesPerToken => "gb_per_token",
            Metric::Stall => "stall",
            Metric::Compute => "compute",
            Metric::FlashBusy => "flash_busy",
            Metric::HitRate => "hit_rate",
            Metric::PeakRam => "peak_ram",
            Metric::JoulesPerToken => "j_per_token",
            Metric::TimeToThrottle => "throttle_s",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        use Metric::*;
        matches!(self, TokensPerSecond | Compute | HitRate | TimeToThrottle | FlashBusy)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No metric has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no figure of a simulation; there are {}", Metric::ALL.map(Metric::name).join(", "))]
pub struct UnknownMetric {
    name: String,
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        Metric::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| UnknownMetric { name: name.to_owned() })
    }
}

/// A figure as a device at the pessimistic edge of its profile gives it, as the profile's values do, and as the optimistic edge
/// does. Not sorted by size: of a time the pessimistic figure is the largest, and shares go either way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// At the pessimistic edge.
    pub worst: f64,
    /// At the profile's values.
    pub nominal: f64,
    /// At the optimistic edge.
    pub best: f64,
}

/// All figures of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures([Band; Metric::ALL.len()]);

impl Figures {
    /// Figures out of those of the three edges: the pessimistic one, the nominal one, the optimistic one.
    pub fn new(edges: [impl Fn(Metric) -> f64; 3]) -> Self {
        let [worst, nominal, best] = edges;
        Figures(Metric::ALL.map(|m| Band { worst: worst(m), nominal: nominal(m), best: best(m) }))
    }

    /// The band of one figure.
    pub fn band(&self, metric: Metric) -> Band {
        self.0[metric as usize]
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Metric::ALL.map(|m| (m.name(), self.band(m))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_by_their_names() {
        for (i, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric.name().parse(), Ok(metric));
            assert_eq!(metric as usize, i, "the index of its band");
        }
        assert!("tok/s".parse::<Metric>().unwrap_err().to_string().starts_with("'tok/s' is no figure"));
    }
}
