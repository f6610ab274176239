//! One pass as it went: compute and the lanes of the flash, side by side.

use std::fmt::Write as _;

use forebay_pager::{Class, Entry, Event, Nanos};
use serde::Serialize;

use super::charts::{Tick, digits, place, ticks};
use super::words::duration;
use crate::timeline::Timeline;
use crate::timeline::fates::Fates;
use crate::timeline::figures::Phase;
use crate::timeline::lanes::Lanes;
use crate::timeline::passes::{self, PassSpan, Span, split};

const LEFT: f64 = 70.0;
const RIGHT: f64 = 948.0;
const TOP: f64 = 8.0;
const LANE: f64 = 18.0;
/// Less is not seen.
const THINNEST: f64 = 0.4;
/// Of more reads no picture can be read.
const MOST_READS: usize = 8000;

#[derive(Serialize)]
pub(super) struct TokenStrip {
    position: u32,
    tokens: u32,
    time: String,
    left: f64,
    right: f64,
    bottom: f64,
    height: f64,
    lane: f64,
    /// Layers by turns, so that one is told from the next.
    even: String,
    odd: String,
    stall: String,
    demand: String,
    hint: String,
    lanes: Vec<Tick>,
    x: Vec<Tick>,
}

/// The pass that took as long as most did; `None` where there is none, or too much in it.
pub(super) fn token_strip(timeline: &Timeline<'_>, phase: Phase) -> Option<TokenStrip> {
    let all = passes::passes(timeline);
    let (prompt, decode) = split(timeline, &all);
    let mut shown = if phase == Phase::Decode { decode.to_vec() } else { prompt.to_vec() };
    shown.sort_by_key(|pass| pass.span.length());
    let pass = *shown.get(shown.len() / 2)?;
    if pass.span.length() == Nanos::ZERO {
        return None;
    }
    let mut drawing = Drawing::new(timeline, pass);
    for &entry in timeline.events.iter() {
        drawing.take(timeline, entry);
    }
    (drawing.reads <= MOST_READS).then(|| drawing.finish(timeline))
}

struct Drawing<'a> {
    fates: Fates<'a>,
    lanes: Lanes,
    pass: PassSpan,
    strip: TokenStrip,
    reads: usize,
    /// The layer that compute is in, and since when; none while rows of the embedding are read.
    layer: Option<(Option<u32>, Nanos)>,
    most_lanes: usize,
}

impl<'a> Drawing<'a> {
    fn new(timeline: &'a Timeline<'_>, pass: PassSpan) -> Self {
        let strip = TokenStrip {
            position: pass.position,
            tokens: pass.tokens,
            time: duration(pass.span.length().as_secs_f64()),
            left: LEFT,
            right: RIGHT,
            bottom: 0.0,
            height: 0.0,
            lane: LANE,
            even: String::new(),
            odd: String::new(),
            stall: String::new(),
            demand: String::new(),
            hint: String::new(),
            lanes: Vec::new(),
            x: Vec::new(),
        };
        let (fates, lanes) = (Fates::new(timeline), Lanes::default());
        Drawing { fates, lanes, pass, strip, reads: 0, layer: None, most_lanes: 0 }
    }

    fn take(&mut self, timeline: &Timeline<'_>, Entry { at, event }: Entry) {
        let class = crate::timeline::page_of(event).and_then(|page| self.fates.class(page));
        let len = crate::timeline::page_of(event).map_or(0, |page| timeline.read_len(page));
        self.fates.take(event, len);
        let span = self.pass.span;
        match event {
            Event::Read { page, .. } => self.lanes.start(page, at),
            Event::Arrived { page, since } | Event::Failed { page, since } => {
                let lane = self.lanes.end(page, since, at);
                if let Some((x, width)) = self.across(since, at) {
                    self.most_lanes = self.most_lanes.max(lane + 1);
                    self.reads += 1;
                    let path = match class {
                        Some(Class::Hint) => &mut self.strip.hint,
                        _ => &mut self.strip.demand,
                    };
                    block(path, x, lane + 1, width);
                }
            }
            Event::Stalled { since } => {
                if let Some((x, width)) = self.across(since, at) {
                    block(&mut self.strip.stall, x, 0, width);
                }
            }
            Event::Pass { .. } => self.turn_to(None, at),
            Event::Step(step) if span.has(at) => {
                let layer = timeline.steps[step as usize].name.layer;
                if self.layer.is_none_or(|(old, _)| old != layer) {
                    self.turn_to(Some(layer), at);
                }
            }
            _ => {}
        }
    }

    /// Where something lies in the picture, if any of it does.
    fn across(&self, from: Nanos, to: Nanos) -> Option<(f64, f64)> {
        let Span { from: first, to: last } = self.pass.span;
        let (from, to) = (from.max(first), to.min(last));
        let whole = self.pass.span.length().0 as f64;
        if from > to || whole == 0.0 {
            return None;
        }
        let x = |time: Nanos| LEFT + (RIGHT - LEFT) * ((time - first).0 as f64 / whole);
        Some((x(from), (x(to) - x(from)).max(THINNEST)))
    }

    fn turn_to(&mut self, layer: Option<Option<u32>>, at: Nanos) {
        if let Some((old, since)) = std::mem::replace(&mut self.layer, layer.map(|layer| (layer, at)))
            && let Some((x, width)) = self.across(since, at)
        {
            let even = old.is_none_or(|layer| layer.is_multiple_of(2));
            block(if even { &mut self.strip.even } else { &mut self.strip.odd }, x, 0, width);
        }
    }

    fn finish(mut self, timeline: &Timeline<'_>) -> TokenStrip {
        self.turn_to(None, timeline.end);
        let lanes = self.most_lanes;
        let middle = |lane: usize| place(TOP + LANE * (lane as f64 + 0.5));
        let name = |lane: usize| if lane == 0 { "compute".to_owned() } else { format!("flash {}", lane - 1) };
        self.strip.lanes = (0..=lanes).map(|lane| Tick { at: middle(lane), label: name(lane) }).collect();
        self.strip.bottom = TOP + LANE * (lanes + 1) as f64;
        self.strip.height = self.strip.bottom + 24.0;
        let (whole, unit) = match self.pass.span.length().as_secs_f64() {
            s if s >= 1.0 => (s, "s"),
            s if s >= 1e-3 => (s * 1e3, "ms"),
            s => (s * 1e6, "\u{b5}s"),
        };
        let at = |mark: f64| place(LEFT + (RIGHT - LEFT) * mark / whole);
        let marks = ticks(whole, 8);
        let digits = digits(&marks);
        let shown = marks.into_iter().filter(|&mark| mark <= whole);
        self.strip.x = shown.map(|mark| Tick { at: at(mark), label: format!("{mark:.digits$} {unit}") }).collect();
        self.strip
    }
}

fn block(path: &mut String, x: f64, lane: usize, width: f64) {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let (x, width, y) = (round(x), round(width), TOP + LANE * lane as f64 + 1.0);
    // Writing to a string does not fail.
    let _ = write!(path, "M{x} {y}h{width}v{}h-{width}z", LANE - 2.0);
}
