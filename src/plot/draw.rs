//! Charts drawn.

use std::ops::Range;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Chart, DrawError, Line};
use crate::simulator::Band;

/// Colours that people who see fewer of them tell apart, too (Okabe and Ito), the palest left out. Twice: the second time dashed.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(226, 226, 226);
const FONT: &str = "sans-serif";

/// What the chart takes without its legend, in points.
const SIZE: (u32, u32) = (760, 480);
/// A picture of points has so many for each point of the drawing, each way.
const PIXELS: u32 = 2;
/// A picture is drawn so much larger than it will be, then averaged: edges become smooth.
const OVERSAMPLED: u32 = 2;
/// The drawing library counts in whole numbers: an SVG has so many for each point.
const PARTS: u32 = 8;
/// At most so many labels stand along the axis.
const MOST_TICKS: usize = 12;

impl Chart {
    /// As SVG.
    ///
    /// # Errors
    /// If the drawing library does.
    pub fn svg(&self) -> Result<String, DrawError> {
        let mut text = String::new();
        let (width, height) = self.size()?;
        let fine = (width * PARTS, height * PARTS);
        self.draw(SVGBackend::with_string(&mut text, fine).into_drawing_area(), PARTS.into())?;
        let size = |(width, height): (u32, u32)| format!("width=\"{width}\" height=\"{height}\"");
        Ok(text.replacen(&size(fine), &size((width, height)), 1))
    }

    /// As PNG.
    ///
    /// # Errors
    /// If the drawing library does.
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        let (width, height) = self.size()?;
        let (width, height) = (width * PIXELS, height * PIXELS);
        let large = (width * OVERSAMPLED, height * OVERSAMPLED);
        let mut pixels = vec![0; 3 * (large.0 * large.1) as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, large).into_drawing_area();
        self.draw(area, (PIXELS * OVERSAMPLED).into())?;
        let pixels = averaged(&pixels, large.0 as usize, OVERSAMPLED as usize);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|e| DrawError(e.to_string()))?;
        Ok(file)
    }

    /// With the legend, in points.
    fn size(&self) -> Result<(u32, u32), DrawError> {
        // Measured where nothing is drawn.
        let mut nothing = String::new();
        let area = SVGBackend::with_string(&mut nothing, SIZE).into_drawing_area();
        Ok((SIZE.0 + self.legend_width(&area, 1.0)?, SIZE.1))
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>, scale: f64) -> Result<(), DrawError> {
        let pt = |points: f64| (points * scale).round() as i32;
        area.fill(&WHITE).map_err(failed)?;
        let title = text(17.0 * scale, &INK);
        area.draw(&Text::new(self.title.as_str(), (pt(16.0), pt(12.0)), title)).map_err(failed)?;
        let subtitle = text(11.5 * scale, &FAINT);
        area.draw(&Text::new(self.subtitle.as_str(), (pt(16.0), pt(36.0)), subtitle)).map_err(failed)?;
        let (width, _) = area.dim_in_pixel();
        let legend = self.legend_width(&area, scale)?;
        let (left, right) = area.split_horizontally(width - legend);
        self.plot(&left.margin(pt(60.0), pt(10.0), pt(12.0), pt(24.0)), scale)?;
        if legend > 0 {
            self.legend(&right.margin(pt(60.0), 0, pt(8.0), 0), scale)?;
        }
        area.present().map_err(failed)
    }

    fn plot<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: f64) -> Result<(), DrawError> {
        let pt = |points: f64| (points * scale).round() as i32;
        let xs = self.positions();
        let highest = self.highest();
        let (first, last) = (xs[0], xs[xs.len() - 1]);
        let space = 0.02 * (last - first);
        let every = xs.len().div_ceil(MOST_TICKS);
        let ticks: Vec<f64> = xs.iter().copied().step_by(every).collect();
        let written = |x: &f64| {
            let value = xs.iter().position(|known| known == x).map(|i| self.x.values[i].1.as_str());
            value.unwrap_or_default().to_owned()
        };
        let mut chart = ChartBuilder::on(area)
            .x_label_area_size(pt(44.0))
            .y_label_area_size(pt(52.0))
            .build_cartesian_2d(Along { range: (first - space)..(last + space), ticks }, 0.0..highest)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(ShapeStyle::from(&GRID).stroke_width(pt(1.0) as u32))
            .axis_style(ShapeStyle::from(&FAINT).stroke_width(pt(1.0) as u32))
            .disable_x_mesh()
            .label_style(text(11.5 * scale, &INK))
            .set_all_tick_mark_size(pt(4.0))
            .y_labels(8)
            .x_label_formatter(&written)
            .y_label_formatter(&|y| short(*y, highest))
            .x_desc(self.x.label.as_str())
            .axis_desc_style(text(13.0 * scale, &INK))
            .draw()
            .map_err(failed)?;
        for (i, line) in self.lines.iter().enumerate() {
            for run in runs(line, &xs) {
                let outline = run.iter().map(|(x, b)| (*x, b.worst)).chain(run.iter().rev().map(|(x, b)| (*x, b.best)));
                let fill = colour(i).mix(if self.lines.len() > 6 { 0.07 } else { 0.16 }).filled();
                chart.draw_series([Polygon::new(outline.collect::<Vec<_>>(), fill)]).map_err(failed)?;
            }
        }
        for (i, line) in self.lines.iter().enumerate() {
            let style = ShapeStyle::from(&colour(i)).stroke_width(pt(2.0) as u32);
            for run in runs(line, &xs) {
                let points: Vec<_> = run.iter().map(|(x, b)| (*x, b.nominal)).collect();
                if dashed(i) {
                    let dashes = DashedLineSeries::new(points.clone(), pt(6.0) as u32, pt(4.0) as u32, style);
                    chart.draw_series(dashes).map_err(failed)?;
                } else {
                    chart.draw_series(LineSeries::new(points.clone(), style)).map_err(failed)?;
                }
                let dots = points.into_iter().map(|point| Circle::new(point, pt(3.0), colour(i).filled()));
                chart.draw_series(dots).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Where the values stand along the axis: as they are, or by their logarithms if that spreads them more evenly.
    fn positions(&self) -> Vec<f64> {
        let values: Vec<f64> = self.x.values.iter().map(|(value, _)| *value).collect();
        let (first, last) = (values[0], values[values.len() - 1]);
        let middle = (values[(values.len() - 1) / 2] * values[values.len() / 2]).sqrt();
        // Nearer to the geometric mean of the ends than to the arithmetic one.
        let (geometric, arithmetic) = ((first * last).sqrt(), (first + last) / 2.0);
        let geometric = first > 0.0 && values.len() > 2 && middle * middle < geometric * arithmetic;
        if geometric { values.into_iter().map(f64::log2).collect() } else { values }
    }

    /// A little above all that is drawn.
    fn highest(&self) -> f64 {
        let bands = self.lines.iter().flat_map(|line| line.bands.iter().flatten());
        let figures = bands.flat_map(|b| [b.worst, b.nominal, b.best]).filter(|figure| figure.is_finite());
        let highest = figures.fold(0.0, f64::max);
        if highest > 0.0 { 1.06 * highest } else { 1.0 }
    }

    /// Nothing for a line that has no name.
    fn legend_width<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: f64) -> Result<u32, DrawError> {
        let style = text(12.0 * scale, &INK);
        let mut widest = 0;
        for line in &self.lines {
            widest = widest.max(area.estimate_text_size(&line.label, &style).map_err(failed)?.0);
        }
        Ok(if widest == 0 { 0 } else { widest + (60.0 * scale) as u32 })
    }

    /// The highest line first, as they end at the right.
    fn legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, scale: f64) -> Result<(), DrawError> {
        let pt = |points: f64| (points * scale).round() as i32;
        let end = |line: &Line| line.bands.iter().rev().flatten().map(|b| b.nominal).find(|y| y.is_finite());
        let mut order: Vec<usize> = (0..self.lines.len()).collect();
        order.sort_by(|&a, &b| {
            let [a, b] = [a, b].map(|i| end(&self.lines[i]).unwrap_or(f64::NEG_INFINITY));
            b.total_cmp(&a)
        });
        let style = text(12.0 * scale, &INK).pos(Pos::new(HPos::Left, VPos::Center));
        for (row, &i) in order.iter().enumerate() {
            let y = pt(10.0 + 22.0 * row as f64);
            let stroke = ShapeStyle::from(&colour(i)).stroke_width(pt(2.0) as u32);
            let ends: &[_] = if dashed(i) { &[(0.0, 6.0), (10.0, 18.0), (22.0, 28.0)] } else { &[(0.0, 28.0)] };
            for &(from, to) in ends {
                area.draw(&PathElement::new([(pt(from), y), (pt(to), y)], stroke)).map_err(failed)?;
            }
            area.draw(&Circle::new((pt(14.0), y), pt(3.0), colour(i).filled())).map_err(failed)?;
            area.draw(&Text::new(self.lines[i].label.as_str(), (pt(36.0), y), style.clone())).map_err(failed)?;
        }
        Ok(())
    }
}

/// An axis with labels where it has values, and not where round numbers are.
struct Along {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Along {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// What of a line hangs together: without its gaps, and without what is infinite.
fn runs(line: &Line, xs: &[f64]) -> Vec<Vec<(f64, Band)>> {
    let finite = |b: &Band| b.worst.is_finite() && b.nominal.is_finite() && b.best.is_finite();
    let points: Vec<_> = xs.iter().zip(&line.bands).map(|(x, band)| band.filter(finite).map(|b| (*x, b))).collect();
    points
        .split(Option::is_none)
        .filter(|run| !run.is_empty())
        .map(|run| run.iter().flatten().copied().collect())
        .collect()
}

fn colour(line: usize) -> RGBColor {
    COLOURS[line % COLOURS.len()]
}

fn dashed(line: usize) -> bool {
    line >= COLOURS.len()
}

/// Text that is the same on every machine, as far as pixels go; SVG leaves the font to who shows it.
fn text<'a>(size: f64, colour: &'a RGBColor) -> TextStyle<'a> {
    static FONTS: Once = Once::new();
    FONTS.call_once(|| {
        // It is the only font there is; without it drawing says so.
        let _ = plotters::style::register_font(FONT, FontStyle::Normal, include_bytes!("font/dejavu-sans-subset.ttf"));
    });
    TextStyle::from((FONT, size).into_font()).color(colour)
}

/// A number along the axis, with as many digits as the range needs.
fn short(y: f64, highest: f64) -> String {
    let behind = (2.0 - highest.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{y:.behind$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Squares of `by` x `by` pixels of three bytes become one.
fn averaged(pixels: &[u8], width: usize, by: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / (by * by));
    let mut sums = vec![0u32; 3 * width / by];
    for rows in pixels.chunks_exact(3 * width * by) {
        sums.fill(0);
        for row in rows.chunks_exact(3 * width) {
            for (i, pixel) in row.chunks_exact(3).enumerate() {
                for (channel, byte) in pixel.iter().enumerate() {
                    sums[3 * (i / by) + channel] += u32::from(*byte);
                }
            }
        }
        out.extend(sums.iter().map(|sum| (sum / (by * by) as u32) as u8));
    }
    out
}

fn failed(error: impl std::fmt::Display) -> DrawError {
    DrawError(error.to_string())
}
