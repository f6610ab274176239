//! Sweeps: one case along the product of several axes.

mod advise;
mod axis;
mod json;
mod rows;

pub use advise::{Advice, Advised, Found, advise};
pub use axis::{Axis, AxisError};
pub use json::to_json;
pub use rows::Rows;

use crate::case::Case;
use crate::settings::{self, Setting, SettingError};

/// More cells than this are a mistake in a step: they would take days.
const MOST_CELLS: usize = 10_000_000;

/// All combinations of the values of several axes, with what is the same for all.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    fixed: Vec<Setting>,
    axes: Vec<Axis>,
}

/// One combination.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Of each axis, the index of its value.
    pub at: Vec<usize>,
    /// What is simulated.
    pub case: Case,
}

impl Sweep {
    /// Along `axes`, of which the first varies slowest; `fixed` for what they do not set.
    ///
    /// # Errors
    /// If there are two axes of one field, more than ten million cells, or no device or model.
    pub fn new(fixed: Vec<Setting>, axes: Vec<Axis>) -> Result<Sweep, AxisError> {
        let twice = axes.iter().enumerate().find(|(i, axis)| axes[..*i].iter().any(|a| a.field() == axis.field()));
        if let Some((_, axis)) = twice {
            return Err(AxisError::Twice { field: axis.field().to_owned() });
        }
        if axes.iter().fold(1, |cells: usize, axis| cells.saturating_mul(axis.values().len())) > MOST_CELLS {
            return Err(AxisError::TooMany);
        }
        let sweep = Sweep { fixed, axes };
        sweep.case(&vec![0; sweep.axes.len()])?;
        Ok(sweep)
    }

    /// The axes, in their order.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// What is the same for all.
    pub fn fixed(&self) -> &[Setting] {
        &self.fixed
    }

    /// How many cells there are, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.values().len()).product()
    }

    /// All cells, in order; each is made when it is asked for.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        (0..self.len()).map(|index| self.cell(index))
    }

    fn cell(&self, index: usize) -> Cell {
        let (mut at, mut rest) = (vec![0; self.axes.len()], index);
        for (at, axis) in at.iter_mut().zip(&self.axes).rev() {
            (*at, rest) = (rest % axis.values().len(), rest / axis.values().len());
        }
        let case = self.case(&at).expect("each value was accepted, and fields do not depend on each other");
        Cell { at, case }
    }

    fn case(&self, at: &[usize]) -> Result<Case, SettingError> {
        let varied = self.axes.iter().zip(at).map(|(axis, &at)| &axis.values()[at]);
        settings::case(self.fixed.iter().chain(varied))
    }

    /// The field's axis.
    pub fn axis(&self, field: &str) -> Option<usize> {
        self.axes.iter().position(|axis| axis.field() == field)
    }
}
