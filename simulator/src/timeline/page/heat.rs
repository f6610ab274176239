//! The heat map: which part of the time weights were in the window, a cell for each expert or page of a layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::charts::{Tick, place};
use crate::timeline::resident::{Residency, ResidencyRow};

const LEFT: f64 = 52.0;
const RIGHT: f64 = 948.0;
/// Room for the labels of the columns.
const TOP: f64 = 24.0;
/// Of the column for what every token uses, where the others are experts, and the room beside it.
const DENSE: f64 = 22.0;
const GAP: f64 = 8.0;
/// Shades that are told apart. Nothing is drawn for the lowest.
const LEVELS: u32 = 16;

#[derive(Serialize)]
pub(super) struct HeatMap {
    by_expert: bool,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    dense: f64,
    cell: f64,
    row: f64,
    columns: usize,
    levels: Vec<Level>,
    rows: Vec<Tick>,
    heads: Vec<Tick>,
    /// For each row its label, percent for the dense part (empty without) and two hexadecimal digits of percent per cell.
    cells: Vec<Cells>,
}

/// Everything of one shade.
#[derive(Serialize)]
struct Level {
    opacity: f64,
    path: String,
}

#[derive(Serialize)]
struct Cells {
    name: String,
    dense: String,
    cells: String,
}

pub(super) fn heat_map(residency: &Residency) -> HeatMap {
    let Residency { by_expert, columns, rows } = residency;
    let left = if *by_expert { LEFT + DENSE + GAP } else { LEFT };
    let cell = ((RIGHT - left) / (*columns).max(1) as f64).min(110.0);
    let row = (420.0 / rows.len().max(1) as f64).clamp(4.0, 14.0);
    let mut paths = BTreeMap::new();
    for (i, of_row) in rows.iter().enumerate() {
        let y = TOP + i as f64 * row;
        if let (true, Some(share)) = (by_expert, of_row.dense) {
            draw(&mut paths, share, LEFT, y, DENSE, row);
        }
        for (first, count, share) in runs(&of_row.columns, cell) {
            // Cells that are wide enough to be seen as such stand apart.
            let gap = if cell >= 6.0 { 1.0 } else { 0.0 };
            draw(&mut paths, share, left + first as f64 * cell, y, count as f64 * cell - gap, row);
        }
    }
    let level = |(level, path)| Level { opacity: f64::from(level) / f64::from(LEVELS - 1), path };
    let bottom = TOP + rows.len() as f64 * row;
    HeatMap {
        by_expert: *by_expert,
        height: bottom + 8.0,
        left,
        right: place(left + cell * *columns as f64),
        top: TOP,
        bottom,
        dense: LEFT,
        cell,
        row,
        columns: *columns,
        levels: paths.into_iter().map(level).collect(),
        rows: row_labels(rows, row),
        heads: column_labels(*columns, left, cell),
        cells: rows.iter().map(cells).collect(),
    }
}

fn level(share: f32) -> u32 {
    (share.clamp(0.0, 1.0) * (LEVELS - 1) as f32).round() as u32
}

/// Neighbours of one shade, where cells are not seen apart: where the first is, how many, and a share of theirs.
fn runs(shares: &[f32], cell: f64) -> impl Iterator<Item = (usize, usize, f32)> {
    let mut first = 0;
    shares.chunk_by(move |&a, &b| cell < 6.0 && level(a) == level(b)).map(move |run| {
        first += run.len();
        (first - run.len(), run.len(), run[0])
    })
}

fn draw(paths: &mut BTreeMap<u32, String>, share: f32, x: f64, y: f64, width: f64, row: f64) {
    let level = level(share);
    if level > 0 {
        let gap = if row >= 6.0 { 1.0 } else { 0.0 };
        let (x, y, width, height) = (place(x), place(y), place(width), place(row - gap));
        // Writing to a string does not fail.
        let _ = write!(paths.entry(level).or_default(), "M{x} {y}h{width}v{height}h-{width}z");
    }
}

fn name(row: &ResidencyRow) -> String {
    row.layer.map_or_else(|| "head".into(), |layer| layer.to_string())
}

fn row_labels(rows: &[ResidencyRow], height: f64) -> Vec<Tick> {
    let every = (11.0 / height).ceil() as usize;
    let middle = |i: usize| place(TOP + (i as f64 + 0.5) * height);
    let last = rows.len().saturating_sub(1);
    let shown = |i: &usize| *i == last || i.is_multiple_of(every) && last - i >= every;
    (0..rows.len()).filter(shown).map(|i| Tick { at: middle(i), label: name(&rows[i]) }).collect()
}

fn column_labels(columns: usize, left: f64, cell: f64) -> Vec<Tick> {
    let every = ((36.0 / cell).ceil() as usize).next_power_of_two();
    let every = if cell >= 18.0 { 1 } else { every };
    let label = |i: usize| Tick { at: place(left + (i as f64 + 0.5) * cell), label: i.to_string() };
    (0..columns).step_by(every).map(label).collect()
}

fn cells(row: &ResidencyRow) -> Cells {
    let percent = |share: f32| (share.clamp(0.0, 1.0) * 100.0).round() as u32;
    let dense = row.dense.map_or_else(String::new, |share| percent(share).to_string());
    let cells = row.columns.iter().fold(String::new(), |mut all, &share| {
        let _ = write!(all, "{:02x}", percent(share));
        all
    });
    Cells { name: name(row), dense, cells }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_shade_are_one_where_cells_are_small() {
        let shares = [1.0, 1.0, 0.0, 0.5, 0.5];
        let all: Vec<_> = runs(&shares, 2.0).collect();
        assert_eq!(all, [(0, 2, 1.0), (2, 1, 0.0), (3, 2, 0.5)]);
        assert_eq!(runs(&shares, 8.0).count(), 5);
    }

    #[test]
    fn every_cell_is_in_the_picture_and_in_the_text() {
        let row = |layer, dense, columns: &[f32]| ResidencyRow { layer, dense, columns: columns.to_vec() };
        let rows = vec![row(Some(0), Some(1.0), &[0.0, 0.5, 1.0]), row(None, Some(0.25), &[])];
        let map = heat_map(&Residency { by_expert: true, columns: 3, rows });
        let drawn: usize = map.levels.iter().map(|level| level.path.matches('M').count()).sum();
        assert_eq!(drawn, 4, "two cells and two dense parts; nothing where nothing was resident");
        assert_eq!((map.cells[0].cells.as_str(), map.cells[0].dense.as_str()), ("003264", "100"));
        assert_eq!((map.cells[1].name.as_str(), map.cells[1].cells.as_str()), ("head", ""));
    }
}
