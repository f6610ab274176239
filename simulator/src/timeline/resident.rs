//! Which part of the time each page was in the window: by layer and expert, or by layer and page.

use std::collections::BTreeMap;

use forebay_pager::{Event, Nanos};
use serde::Serialize;

use super::Timeline;
use super::passes::Span;
use super::steps::Step;

/// More columns nobody tells apart: pages beyond that share them.
const MOST_COLUMNS: usize = 512;

/// Shares of the time that weights were resident: 1 for those that never left.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Residency {
    /// Whether columns are experts; else they are the pages of a layer, in their order; where there are too many of them, some
    /// neighbours together.
    pub by_expert: bool,
    /// The most columns of a row.
    pub columns: usize,
    /// The layers; last the head.
    pub rows: Vec<ResidencyRow>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResidencyRow {
    /// Its number; the head has none.
    pub layer: Option<u32>,
    /// Of the pages that every token uses, together; `None` where there are none.
    pub dense: Option<f32>,
    /// Of each expert, or of each page.
    pub columns: Vec<f32>,
}

/// Shares of the time of `span`.
pub(super) fn residency(timeline: &Timeline<'_>, span: Span) -> Residency {
    let times = times(timeline, span);
    let whole = span.length().as_secs_f64();
    let share = |pages: &[Nanos]| {
        let sum: f64 = pages.iter().map(|time| time.as_secs_f64()).sum();
        if whole > 0.0 { (sum / (whole * pages.len() as f64)) as f32 } else { 0.0 }
    };
    let of = |step: &Step| &times[step.pages.start as usize..step.pages.end as usize];
    let by_expert = timeline.steps.iter().any(|step| step.experts.is_some());
    let mut layers: BTreeMap<u32, Vec<&Step>> = BTreeMap::new();
    for step in &timeline.steps {
        // The head, which has no layer, comes last.
        layers.entry(step.name.layer.unwrap_or(u32::MAX)).or_default().push(step);
    }
    // The head of a small model has many more pages than a layer: they share columns, lest those of the layers be slivers.
    let dense_pages = |step: &&Step| if step.experts.is_none() { step.pages.len() } else { 0 };
    let of_layers = layers.range(..u32::MAX).map(|(_, steps)| steps.iter().map(dense_pages).sum());
    let most_columns = of_layers.max().unwrap_or(MOST_COLUMNS).clamp(1, MOST_COLUMNS);
    let row = |(&layer, steps): (&u32, &Vec<&Step>)| {
        let dense = steps.iter().filter(|step| step.experts.is_none());
        let dense: Vec<Nanos> = dense.flat_map(|step| of(step)).copied().collect();
        let columns = if by_expert {
            let choices = steps.iter().filter_map(|step| Some((step, step.experts?)));
            choices.flat_map(|(step, experts)| of(step).chunks(experts.each as usize).map(share)).collect()
        } else {
            columns_of(&dense, most_columns).map(share).collect()
        };
        let layer = (layer != u32::MAX).then_some(layer);
        ResidencyRow { layer, dense: (!dense.is_empty()).then(|| share(&dense)), columns }
    };
    let rows: Vec<ResidencyRow> = layers.iter().map(row).collect();
    let columns = rows.iter().map(|row| row.columns.len()).max().unwrap_or(0);
    Residency { by_expert, columns, rows }
}

/// One page each, or `most` columns that share the pages out evenly.
fn columns_of(pages: &[Nanos], most: usize) -> impl Iterator<Item = &[Nanos]> {
    let columns = pages.len().min(most);
    (0..columns).map(move |i| &pages[i * pages.len() / columns..(i + 1) * pages.len() / columns])
}

/// For how much of `span` each page was resident.
fn times(timeline: &Timeline<'_>, span: Span) -> Vec<Nanos> {
    let mut times = vec![Nanos::ZERO; timeline.pages.len()];
    // `None` while a page is absent.
    let mut since: Vec<Option<Nanos>> = vec![None; timeline.pages.len()];
    let mut met = vec![false; timeline.pages.len()];
    for entry in timeline.events.iter().take_while(|entry| entry.at <= span.to) {
        let Some(page) = super::page_of(entry.event).map(|page| page.index()) else { continue };
        // What is used or leaves, and never came, was there before the first event.
        let first = !std::mem::replace(&mut met[page], true);
        match entry.event {
            Event::Arrived { .. } => since[page] = Some(entry.at),
            Event::Leased(_) if first => since[page] = Some(timeline.begin),
            Event::Evicted { .. } => {
                let from = since[page].take().or(first.then_some(timeline.begin));
                times[page] += from.map_or(Nanos::ZERO, |from| span.clip(from, entry.at));
            }
            _ => {}
        }
    }
    for (time, since) in times.iter_mut().zip(since) {
        *time += since.map_or(Nanos::ZERO, |since| span.clip(since, span.to));
    }
    times
}
