//! Curves and columns: numbers become places in a drawing of fixed size.

use serde::Serialize;

use super::words::number;
use crate::timeline::histogram::Bar;

/// Drawings that take the page's width, and half of it, in their own units; the page scales them.
pub(super) const WIDE: f64 = 960.0;
pub(super) const NARROW: f64 = 470.0;
const LEFT: f64 = 52.0;
/// Room behind the last label.
const MARGIN: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 168.0;
/// More points than this nobody sees apart: those beyond share one.
const MOST_POINTS: usize = 900;
/// Room that a label below the axis takes.
const LABEL: f64 = 56.0;

/// A mark at an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// One value for each pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Curve {
    width: f64,
    left: f64,
    right: f64,
    bottom: f64,
    line: String,
    area: String,
    x: Vec<Tick>,
    y: Vec<Tick>,
    least: String,
    most: String,
    /// How many passes a point stands for.
    each: usize,
}

/// A bar of two parts for each of some things.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Columns {
    width: f64,
    left: f64,
    right: f64,
    bottom: f64,
    bars: Vec<Column>,
    x: Vec<Tick>,
    y: Vec<Tick>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Column {
    x: f64,
    width: f64,
    y: f64,
    height: f64,
    /// The second part stands on the first.
    y2: f64,
    height2: f64,
    title: String,
}

/// To a tenth of a unit: finer is not seen, and takes space.
pub(super) fn place(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

pub(super) fn curve(values: &[f64]) -> Curve {
    let each = values.len().div_ceil(MOST_POINTS).max(1);
    let points: Vec<f64> = values.chunks(each).map(|some| some.iter().sum::<f64>() / some.len() as f64).collect();
    let top = values.iter().copied().fold(0.0, f64::max);
    let (y, scale) = y_axis(top);
    let right = WIDE - MARGIN;
    // A point stands in the middle of its part of the axis.
    let at = |i: f64| place(LEFT + (right - LEFT) * (i + 0.5) / points.len().max(1) as f64);
    let mut line = String::new();
    for (i, &value) in points.iter().enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        line += &format!("{letter}{} {}", at(i as f64), height(value, scale));
    }
    let area = match points.len() {
        0 => String::new(),
        n => format!("{line}L{} {BOTTOM}L{} {BOTTOM}Z", at((n - 1) as f64), at(0.0)),
    };
    let marks = ticks(values.len() as f64, 10);
    let marks = marks.iter().map(|&mark| mark as usize).filter(|mark| (1..=values.len()).contains(mark));
    let mut x: Vec<Tick> = marks.map(|n| Tick { at: at(((n - 1) / each) as f64), label: n.to_string() }).collect();
    x.dedup();
    Curve {
        width: WIDE,
        left: LEFT,
        right,
        bottom: BOTTOM,
        line,
        area,
        x,
        y,
        least: number(values.iter().copied().fold(f64::INFINITY, f64::min).min(top)),
        most: number(top),
        each,
    }
}

/// `bars` are labels and the two parts of each.
pub(super) fn columns(bars: Vec<(String, [f64; 2])>) -> Columns {
    let mut chart = bars_of(WIDE, 0.8, &bars);
    let slot = chart.slot(bars.len());
    let every = (LABEL / 1.6 / slot).ceil().max(1.0) as usize;
    let last = bars.len().saturating_sub(1);
    for (i, (label, _)) in bars.into_iter().enumerate() {
        // The last is another thing than those before it, and always named.
        if i == last || (i.is_multiple_of(every) && last - i >= every) {
            chart.x.push(Tick { at: place(LEFT + slot * (i as f64 + 0.5)), label });
        }
    }
    chart
}

/// How many values there are between edges that follow one another.
pub(super) fn histogram(bars: &[Bar], label: fn(f64) -> String) -> Columns {
    let title = |bar: &Bar| format!("{} to {}", label(bar.from as f64), label(bar.to as f64));
    let counts: Vec<_> = bars.iter().map(|bar| (title(bar), [bar.count as f64, 0.0])).collect();
    let mut chart = bars_of(NARROW, 0.92, &counts);
    let slot = chart.slot(bars.len());
    let every = (LABEL / slot).ceil().max(1.0) as usize;
    let edges = bars.iter().map(|bar| bar.from).chain(bars.last().map(|bar| bar.to));
    let ticks = edges.enumerate().step_by(every);
    chart.x = ticks.map(|(i, edge)| Tick { at: place(LEFT + slot * i as f64), label: label(edge as f64) }).collect();
    chart
}

impl Columns {
    /// The room that each of so many bars has.
    fn slot(&self, bars: usize) -> f64 {
        // A few bars need not fill the drawing.
        ((self.right - LEFT) / bars.max(1) as f64).min(80.0)
    }
}

/// The bars, which fill `part` of the room that they have, without labels below.
fn bars_of(width: f64, part: f64, bars: &[(String, [f64; 2])]) -> Columns {
    let (y, scale) = y_axis(bars.iter().map(|(_, [a, b])| a + b).fold(0.0, f64::max));
    // The label of the last edge is as wide as others.
    let right = width - if width < WIDE { LABEL / 2.0 } else { MARGIN };
    let mut chart = Columns { width, left: LEFT, right, bottom: BOTTOM, bars: Vec::new(), x: Vec::new(), y };
    let slot = chart.slot(bars.len());
    let bar = |(i, (label, [a, b])): (usize, &(String, [f64; 2]))| {
        let (y1, y2) = (height(*a, scale), height(a + b, scale));
        let title = match b {
            0.0 => format!("{label}: {}", number(*a)),
            _ => format!("{label}: {} + {}", number(*a), number(*b)),
        };
        Column {
            x: place(LEFT + slot * (i as f64 + (1.0 - part) / 2.0)),
            width: place(slot * part),
            y: y1,
            height: place(BOTTOM - y1),
            y2,
            height2: place(y1 - y2),
            title,
        }
    };
    chart.bars = bars.iter().enumerate().map(bar).collect();
    chart
}

/// As many digits behind the point as tell the first mark from 0.
pub(super) fn digits(marks: &[f64]) -> usize {
    marks.get(1).map_or(0, |step| (-step.log10().floor()).max(0.0) as usize)
}

/// Marks from 0 to `top` or a little beyond, and the value that stands for the whole height.
fn y_axis(top: f64) -> (Vec<Tick>, f64) {
    let values = ticks(top, 4);
    let scale = values.last().copied().unwrap_or(1.0);
    let digits = digits(&values);
    let label = |value: f64| if value >= 1e4 { number(value) } else { format!("{value:.digits$}") };
    (values.into_iter().map(|value| Tick { at: height(value, scale), label: label(value) }).collect(), scale)
}

fn height(value: f64, scale: f64) -> f64 {
    place(BOTTOM - (BOTTOM - TOP) * (value / scale).clamp(0.0, 1.0))
}

/// Round values from 0 to `top` or a little beyond: about `count` steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(top: f64, count: usize) -> Vec<f64> {
    if !(top > 0.0 && top.is_finite()) {
        return vec![0.0, 1.0];
    }
    let raw = top / count as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= raw * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let steps = (top / step - 1e-9).ceil().max(1.0) as usize;
    (0..=steps).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(ticks(107.0, 4), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(ticks(8.0, 4), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(0.0, 4), [0.0, 1.0]);
        assert_eq!(ticks(f64::NAN, 4), [0.0, 1.0]);
        for top in [1e-7, 0.3, 4.0, 99.9, 1e12] {
            let ticks = ticks(top, 4);
            assert!(*ticks.last().unwrap() >= top * 0.999 && ticks.len() <= 7, "{top}: {ticks:?}");
        }
    }

    #[test]
    fn marks_have_as_many_digits_as_their_steps() {
        let labels = |top| y_axis(top).0.into_iter().map(|tick| tick.label).collect::<Vec<_>>();
        assert_eq!(labels(1.9), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(labels(0.07), ["0.00", "0.02", "0.04", "0.06", "0.08"]);
        assert_eq!(labels(7.0), ["0", "2", "4", "6", "8"]);
    }

    #[test]
    fn long_runs_share_points_and_empty_ones_have_none() {
        let long = curve(&vec![1.0; 10_000]);
        assert_eq!((long.each, long.line.matches('L').count()), (12, 833));
        assert_eq!(curve(&[]).line, "");
        let one = columns(vec![("a".into(), [3.0, 1.0])]);
        assert_eq!((one.bars[0].height + one.bars[0].height2, one.x.len()), (BOTTOM - TOP, 1));
        let edges = histogram(&[Bar { from: 1, to: 2, count: 3 }, Bar { from: 2, to: 3, count: 0 }], number);
        let labels: Vec<&str> = edges.x.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!((labels, edges.bars[1].height), (vec!["1", "2", "3"], 0.0));
    }
}
