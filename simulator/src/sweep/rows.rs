//! Cells and their figures as CSV.

use std::io::Write;

use super::{Axis, Cell, Sweep};
use crate::figures::{Figures, Metric};
use crate::target::Edge;

/// Writes a row for each cell: the values of the axes (sizes in bytes), every figure at its three edges (in its own unit, shares
/// from 0 to 1, `inf` for never), and why there are none.
pub struct Rows<'a, W: Write> {
    axes: &'a [Axis],
    csv: csv::Writer<W>,
}

impl<'a, W: Write> Rows<'a, W> {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn new(sweep: &'a Sweep, out: W) -> Result<Self, csv::Error> {
        let mut csv = csv::Writer::from_writer(out);
        let axes = sweep.axes().iter().map(|axis| axis.field().to_owned());
        let figures = Metric::ALL.iter().flat_map(|metric| Edge::ALL.map(|edge| format!("{metric}_{edge}")));
        csv.write_record(axes.chain(figures).chain(["error".to_owned()]))?;
        csv.flush()?;
        Ok(Rows { axes: sweep.axes(), csv })
    }

    /// Writes the row of `cell`, at once: whoever reads along sees it.
    ///
    /// # Errors
    /// If the output fails.
    pub fn write(&mut self, cell: &Cell, figures: Result<&Figures, &str>) -> Result<(), csv::Error> {
        for (axis, &at) in self.axes.iter().zip(&cell.at) {
            let value = &axis.values()[at];
            self.csv.write_field(value.number().map_or_else(|| value.to_string(), |number| number.to_string()))?;
        }
        for metric in Metric::ALL {
            for edge in Edge::ALL {
                let figure = figures.map(|figures| edge.of(figures.band(metric)).to_string());
                self.csv.write_field(figure.unwrap_or_default())?;
            }
        }
        self.csv.write_field(figures.err().unwrap_or_default())?;
        self.csv.write_record(None::<&[u8]>)?;
        self.csv.flush()?;
        Ok(())
    }
}
