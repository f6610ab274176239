//! Charts of figures with their bands, as SVG or PNG. They need no font of the system.

mod draw;
mod lines;

pub use lines::{Lines, NoChart};

use crate::simulator::{Band, Metric};

/// Lines over a common axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What is drawn, with its unit.
    pub title: String,
    /// What is the same for all of it.
    pub subtitle: String,
    /// What is along the axis.
    pub x: Abscissa,
    /// At most [`Chart::MOST_LINES`].
    pub lines: Vec<Line>,
}

/// The axis that all lines share.
#[derive(Debug, Clone, PartialEq)]
pub struct Abscissa {
    /// What it is.
    pub label: String,
    /// Its values, smallest first, and how they are written.
    pub values: Vec<(f64, String)>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What is said of it in the legend.
    pub label: String,
    /// For each value of the axis the figure, or a gap.
    pub bands: Vec<Option<Band>>,
}

/// What came of drawing. Nothing that a chart says should make it fail.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct DrawError(String);

impl Chart {
    /// More lines cannot be told apart.
    pub const MOST_LINES: usize = 14;
}

/// What a metric is called in a chart, and what its figures are multiplied with to be in the unit said there.
fn quantity(metric: Metric) -> (&'static str, f64) {
    match metric {
        Metric::TokensPerSecond => ("tokens/s", 1.0),
        Metric::TimeToFirstToken => ("time to first token, s", 1.0),
        Metric::GigabytesPerToken => ("read per token, GB", 1.0),
        Metric::Stall => ("stalled, % of the time", 100.0),
        Metric::Compute => ("computing, % of the time", 100.0),
        Metric::FlashBusy => ("flash busy, % of the time", 100.0),
        Metric::HitRate => ("hit rate, %", 100.0),
        Metric::PeakRam => ("peak memory, GiB", 1.0 / (1u64 << 30) as f64),
        Metric::JoulesPerToken => ("energy per token, J", 1.0),
        Metric::TimeToThrottle => ("time to throttling, s", 1.0),
    }
}
