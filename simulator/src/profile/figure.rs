//! One figure of a profile: a number, how sure it is, and who says so.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::ops::Range;
use toml::Spanned;

/// A number with its band, grade and source.
///
/// `low <= value <= high` holds; a profile that says otherwise is refused. Where a file gives no band the figure is
/// exact, and both edges are the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The best guess.
    pub value: f64,
    /// The lower edge of the band.
    pub low: f64,
    /// The upper edge.
    pub high: f64,
    /// How it is known.
    pub grade: Grade,
    /// Who says so, or from what it was estimated.
    pub source: String,
    /// Where it stands in the profile's file, in bytes.
    pub(super) span: Range<usize>,
}

/// How a figure is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Somebody measured it, or it was fitted to measurements.
    Measured,
    /// The maker states it.
    Spec,
    /// Neither: it was inferred from the like.
    Estimate,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Measured => "measured",
            Grade::Spec => "spec",
            Grade::Estimate => "estimate",
        })
    }
}

/// Which numbers of the bands are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Edge {
    /// Of every figure the one that is worse for a run: a slower device.
    Low,
    /// The values.
    #[default]
    Nominal,
    /// Of every figure the one that is better.
    High,
}

/// Whether a run is better off with more of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sense {
    /// More is better, as of bandwidth.
    Gain,
    /// Less is better, as of latency.
    Cost,
}

/// Which numbers make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Above zero.
    Positive,
    /// Above zero, at most one.
    Share,
    /// From zero to below one.
    Fraction,
    /// Zero or more.
    NotNegative,
    /// From one on.
    Times,
}

/// No figure of a device in use is beyond these, in the units of profiles: a simulation of one that is would not end.
const LEAST: f64 = 1e-3;
const MOST: f64 = 1e9;

impl Domain {
    fn has(self, x: f64) -> bool {
        x <= MOST && self.begins_below(x)
    }

    fn begins_below(self, x: f64) -> bool {
        match self {
            Domain::Positive => x >= LEAST,
            Domain::Share => x > 0.0 && x <= 1.0,
            Domain::Fraction => (0.0..1.0).contains(&x),
            Domain::NotNegative => x >= 0.0,
            Domain::Times => x >= 1.0,
        }
    }

    fn says(self) -> &'static str {
        match self {
            Domain::Positive => "0.001 or more",
            Domain::Share => "above 0 and at most 1",
            Domain::Fraction => "from 0 to below 1",
            Domain::NotNegative => "0 or more",
            Domain::Times => "1 or more",
        }
    }
}

impl Figure {
    /// A figure that comes from no file.
    ///
    /// # Panics
    /// If `low <= value <= high` does not hold.
    pub fn new(value: f64, low: f64, high: f64, grade: Grade, source: impl Into<String>) -> Figure {
        assert!(low <= value && value <= high, "{low} <= {value} <= {high}");
        Figure { value, low, high, grade, source: source.into(), span: 0..0 }
    }

    /// The number at an edge.
    pub fn at(&self, sense: Sense, edge: Edge) -> f64 {
        match (edge, sense) {
            (Edge::Nominal, _) => self.value,
            (Edge::Low, Sense::Gain) | (Edge::High, Sense::Cost) => self.low,
            (Edge::Low, Sense::Cost) | (Edge::High, Sense::Gain) => self.high,
        }
    }

    /// Whether all three numbers lie in the domain; if not, why.
    pub(super) fn check(&self, domain: Domain) -> Result<(), String> {
        for (name, x) in [("value", self.value), ("low", self.low), ("high", self.high)] {
            if !domain.has(x) {
                return Err(format!("{name} is {x} and must be {}", domain.says()));
            }
        }
        Ok(())
    }
}

/// As it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
    grade: Grade,
    source: String,
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Figure, D::Error> {
        let spanned = Spanned::<Written>::deserialize(deserializer)?;
        let span = spanned.span();
        let Written { value, low, high, grade, source } = spanned.into_inner();
        let figure = Figure { value, low: low.unwrap_or(value), high: high.unwrap_or(value), grade, source, span };
        let Figure { low, high, .. } = figure;
        let error = if !(value.is_finite() && low.is_finite() && high.is_finite()) {
            "value, low and high must be finite".into()
        } else if low > value || value > high {
            format!("low <= value <= high does not hold: {low}, {value}, {high}")
        } else if figure.source.trim().is_empty() {
            "source is empty".into()
        } else {
            return Ok(figure);
        };
        Err(serde::de::Error::custom(error))
    }
}
