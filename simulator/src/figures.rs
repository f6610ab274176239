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

/// A figure as the profile's values give it, and the worst and the best of what the profile gives at its values and at the two
/// edges. Of a time the worst is the largest. Shares may go either way: a faster flash is less busy, and a device at its pessimistic
/// edge may be the one that stalls least.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// At the pessimistic edge, or where else it is worst.
    pub worst: f64,
    /// At the profile's values.
    pub nominal: f64,
    /// At the optimistic edge, or where else it is best.
    pub best: f64,
}

/// All figures of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures([Band; Metric::ALL.len()]);

impl Figures {
    /// Figures out of those of the three edges: the pessimistic one, the nominal one, the optimistic one.
    pub fn new(edges: [impl Fn(Metric) -> f64; 3]) -> Self {
        Figures(Metric::ALL.map(|metric| {
            let at @ [_, nominal, _] = edges.each_ref().map(|edge| edge(metric));
            let (least, most) = (at.into_iter().fold(nominal, f64::min), at.into_iter().fold(nominal, f64::max));
            let (worst, best) = if metric.more_is_better() { (least, most) } else { (most, least) };
            Band { worst, nominal, best }
        }))
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
    fn a_band_goes_from_the_worst_to_the_best() {
        let figures = Figures::new([2.0, 1.0, 3.0].map(|x| move |_| x));
        let band = |metric| figures.band(metric);
        assert_eq!(band(Metric::FlashBusy), Band { worst: 1.0, nominal: 1.0, best: 3.0 });
        assert_eq!(band(Metric::Stall), Band { worst: 3.0, nominal: 1.0, best: 1.0 });
    }

    #[test]
    fn figures_go_by_their_names() {
        for (i, metric) in Metric::ALL.into_iter().enumerate() {
            assert_eq!(metric.name().parse(), Ok(metric));
            assert_eq!(metric as usize, i, "the index of its band");
        }
        assert!("tok/s".parse::<Metric>().unwrap_err().to_string().starts_with("'tok/s' is no figure"));
    }
}
