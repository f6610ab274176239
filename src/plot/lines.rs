//! What of a sweep becomes a line, and what the axis.

use super::{Abscissa, Chart, Line, quantity};
use crate::simulator::settings::{Setting, is_size};
use crate::simulator::sweep::{Axis, Cell, Sweep};
use crate::simulator::{Band, Metric};

/// The lines of a sweep: along its first axis of numbers, one for each combination of the others. They keep one band for a cell.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    sweep: &'a Sweep,
    metric: Metric,
    along: usize,
    /// The values along the axis, smallest first.
    order: Vec<usize>,
    lines: Vec<Line>,
}

/// Why a sweep is no chart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChart {
    /// There is nothing to have along the axis.
    #[error("a plot needs an axis of several numbers or sizes")]
    NoAbscissa,
    /// Nobody could tell the lines apart.
    #[error(
        "a plot of {lines} lines cannot be read; at most {} can: give the other axes fewer values",
        Chart::MOST_LINES
    )]
    TooManyLines {
        /// How many it would have.
        lines: usize,
    },
}

impl<'a> Lines<'a> {
    /// Without figures yet.
    ///
    /// # Errors
    /// If `sweep` has no axis of several numbers, or too many combinations of the others.
    pub fn new(sweep: &'a Sweep, metric: Metric) -> Result<Self, NoChart> {
        let axes = sweep.axes();
        let numbers = |axis: &Axis| axis.numbers().filter(|numbers| numbers.len() > 1);
        let mut found = axes.iter().enumerate().filter_map(|(i, axis)| Some((i, numbers(axis)?)));
        let (along, numbers) = found.next().ok_or(NoChart::NoAbscissa)?;
        let count = sweep.len() / numbers.len();
        if count > Chart::MOST_LINES {
            return Err(NoChart::TooManyLines { lines: count });
        }
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
        let mut lines = Lines { sweep, metric, along, order, lines: Vec::with_capacity(count) };
        // The cells at the beginning of the axis are the lines, in order.
        for cell in sweep.cells().filter(|cell| cell.at[along] == 0) {
            let label = lines.label(&cell);
            lines.lines.push(Line { label, bands: vec![None; numbers.len()] });
        }
        Ok(lines)
    }

    /// Has the figure of a cell, in any order.
    pub fn set(&mut self, cell: &Cell, band: Band) {
        let (_, scale) = quantity(self.metric);
        let line = self.line(cell);
        let at = self.order.iter().position(|&i| i == cell.at[self.along]).expect("a cell of this sweep");
        let Band { worst, nominal, best } = band;
        self.lines[line].bands[at] = Some(Band { worst: worst * scale, nominal: nominal * scale, best: best * scale });
    }

    /// As it is by now.
    pub fn chart(&self) -> Chart {
        let axis = &self.sweep.axes()[self.along];
        let value = |&i: &usize| (axis.values()[i].number().unwrap_or_default(), axis.values()[i].to_string());
        let same = self.sweep.axes().iter().filter(|axis| axis.values().len() == 1).map(|axis| &axis.values()[0]);
        let same = self.sweep.fixed().iter().filter(|s| self.sweep.axis(s.field()).is_none()).chain(same);
        Chart {
            title: quantity(self.metric).0.to_owned(),
            subtitle: same.map(told).collect::<Vec<_>>().join(", "),
            x: Abscissa { label: axis.field().to_owned(), values: self.order.iter().map(value).collect() },
            lines: self.lines.clone(),
        }
    }

    /// The axes that tell lines apart, with their index.
    fn across(&self) -> impl Iterator<Item = (usize, &Axis)> {
        self.sweep.axes().iter().enumerate().filter(|(i, axis)| *i != self.along && axis.values().len() > 1)
    }

    fn line(&self, cell: &Cell) -> usize {
        self.across().fold(0, |line, (i, axis)| line * axis.values().len() + cell.at[i])
    }

    fn label(&self, cell: &Cell) -> String {
        self.across().map(|(i, axis)| told(&axis.values()[cell.at[i]])).collect::<Vec<_>>().join(", ")
    }
}

/// A setting as a legend has it: names speak for themselves, numbers do not.
fn told(setting: &Setting) -> String {
    let plain = setting.number().is_none() || is_size(setting.field()) && setting.field() == "ram";
    if plain { setting.to_string() } else { format!("{} {setting}", setting.field()) }
}
