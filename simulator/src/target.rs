//! What is required of a figure: `tok_s >= 0.5`, `peak_ram <= 6GiB`, `stall < 20%`.

use std::fmt;
use std::str::FromStr;

use crate::figures::{Band, Metric};
use crate::size::Size;

/// Which edge of a band is looked at: of a profile's figures, or of a simulation's, where each figure has the edge that is worst for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// The pessimistic one.
    #[default]
    Worst,
    /// The profile's values.
    Nominal,
    /// The optimistic one.
    Best,
}

impl Edge {
    /// All of them, the pessimistic one first.
    pub const ALL: [Edge; 3] = [Edge::Worst, Edge::Nominal, Edge::Best];

    /// The name in files and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Edge::Worst => "worst",
            Edge::Nominal => "nominal",
            Edge::Best => "best",
        }
    }

    /// The figure there.
    pub fn of(self, band: Band) -> f64 {
        match self {
            Edge::Worst => band.worst,
            Edge::Nominal => band.nominal,
            Edge::Best => band.best,
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Edge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Edge::ALL.into_iter().find(|edge| edge.name() == text);
        named.ok_or_else(|| format!("'{text}' is no edge of a band; there are worst, nominal and best"))
    }
}

/// How a figure and its bound are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `<`
    Below,
}

impl Comparison {
    /// Those of two characters first, so that `>=` is not taken for `>`.
    const ALL: [(&str, Comparison); 4] =
        [(">=", Comparison::AtLeast), ("<=", Comparison::AtMost), (">", Comparison::Above), ("<", Comparison::Below)];

    /// Whether `figure` is on the right side of `bound`; what is no number is on neither.
    pub fn holds(self, figure: f64, bound: f64) -> bool {
        match self {
            Comparison::AtLeast => figure >= bound,
            Comparison::AtMost => figure <= bound,
            Comparison::Above => figure > bound,
            Comparison::Below => figure < bound,
        }
    }
}

/// A bound on a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Which figure.
    pub metric: Metric,
    /// On which side of the bound it has to be.
    pub comparison: Comparison,
    /// In the metric's unit; shares 0 to 1, sizes in bytes.
    pub bound: f64,
    text: String,
}

impl Target {
    /// Whether `figure` meets it.
    pub fn met_by(&self, figure: f64) -> bool {
        self.comparison.holds(figure, self.bound)
    }
}

/// As it was written, but for spaces.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Not a target. The message has no place; `at` is the offset of what is wrong, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoTarget {
    /// Bytes before what is wrong.
    pub at: usize,
    message: String,
}

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        let indent = text.len() - text.trim_start().len();
        let Some(at) = text.find(['<', '>']) else {
            let message = format!("'{text}' compares nothing; write for example \"tok_s >= 0.5\", with >=, <=, > or <");
            return Err(NoTarget { at: indent, message });
        };
        let (operator, comparison) =
            Comparison::ALL.into_iter().find(|(operator, _)| text[at..].starts_with(operator)).expect("one was found");
        let name = text[..at].trim();
        let metric = Metric::from_str(name).map_err(|e| NoTarget { at: indent, message: e.to_string() })?;
        let rest = &text[at + operator.len()..];
        let value = rest.trim();
        let at = text.len() - rest.trim_start().len();
        let bound = bound(metric, value).map_err(|message| NoTarget { at, message })?;
        Ok(Target { metric, comparison, bound, text: format!("{name} {operator} {value}") })
    }
}

/// A bound in the unit of its metric.
fn bound(metric: Metric, text: &str) -> Result<f64, String> {
    match metric {
        Metric::PeakRam => Size::from_str(text).map(|size| size.0 as f64).map_err(|e| e.to_string()),
        Metric::Stall | Metric::Compute | Metric::FlashBusy | Metric::HitRate => {
            let share = match text.strip_suffix('%') {
                Some(percent) => f64::from_str(percent.trim_end()).map(|percent| percent / 100.0),
                None => f64::from_str(text),
            };
            let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| format!("'{text}' is no share; {metric} is from 0 to 1, or from 0% to 100%"))
        }
        Metric::TimeToThrottle if text == "inf" => Ok(f64::INFINITY),
        Metric::TokensPerSecond
        | Metric::TimeToFirstToken
        | Metric::GigabytesPerToken
        | Metric::JoulesPerToken
        | Metric::TimeToThrottle => {
            let number = f64::from_str(text).ok().filter(|n| n.is_finite() && *n >= 0.0);
            number.ok_or_else(|| format!("'{text}' is no number; {metric} takes one without a unit, such as 0.5"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn targets_are_read_in_the_units_of_their_metrics() {
        assert_eq!(target("peak_ram <= 6GiB").bound, 6.0 * (1u64 << 30) as f64);
        assert_eq!(target("stall<20 %").bound, 0.2);
        assert_eq!(target("hit_rate > 0.5").bound, 0.5);
        assert_eq!(target(" tok_s>=0.5 ").to_string(), "tok_s >= 0.5");
        assert_eq!(target("throttle_s >= inf").bound, f64::INFINITY);
    }

    #[test]
    fn bounds_belong_to_the_side_that_the_operator_says() {
        let holds = |text: &str| [0.4, 0.5, 0.6].map(|figure| target(text).met_by(figure));
        assert_eq!(holds("tok_s >= 0.5"), [false, true, true]);
        assert_eq!(holds("tok_s > 0.5"), [false, false, true]);
        assert_eq!(holds("tok_s <= 0.5"), [true, true, false]);
        assert_eq!(holds("tok_s < 0.5"), [true, false, false]);
        assert!(!target("tok_s < 0.5").met_by(f64::NAN));
    }

    #[test]
    fn what_is_no_target_says_what_and_where() {
        let error = |text: &str| Target::from_str(text).map_err(|e| (e.at, e.to_string())).unwrap_err();
        assert_eq!(
            error("tok_s >= 6GiB"),
            (9, "'6GiB' is no number; tok_s takes one without a unit, such as 0.5".into())
        );
        assert_eq!(error("tok_s >= -1").1, "'-1' is no number; tok_s takes one without a unit, such as 0.5");
        assert_eq!(error("stall <=35"), (8, "'35' is no share; stall is from 0 to 1, or from 0% to 100%".into()));
        assert_eq!(error("peak_ram <= lots").1, "'lots' is no size; write 512MiB, 1.5G or a number of bytes");
        assert_eq!(
            error("  tok_s = 5"),
            (2, "'  tok_s = 5' compares nothing; write for example \"tok_s >= 0.5\", with >=, <=, > or <".into())
        );
        assert!(error("speed >= 1").1.starts_with("'speed' is no figure of a simulation; there are tok_s, "));
        assert_eq!(
            error("tok_s == 1").1,
            "'tok_s == 1' compares nothing; write for example \"tok_s >= 0.5\", with >=, <=, > or <"
        );
        assert_eq!(
            error("tok_s =< 1").1,
            "'tok_s =' is no figure of a simulation; there are tok_s, ttft_s, gb_per_token, stall, compute, flash_busy, hit_rate, peak_ram, j_per_token, throttle_s"
        );
    }
}
