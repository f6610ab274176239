//! A model of layers with experts, whose weights lie in a storage in memory, and a scheduler that is driven over it.
#![allow(dead_code)] // Each user needs a part.

use std::collections::HashMap;

use forebay_pager::testing::{ManualClock, MockStorage, Remote};
use forebay_pager::{ALIGN, FileId, Pager, Window};
use forebay_prefetch::plan::Need;
use forebay_prefetch::scheduler::least_frames;
use forebay_prefetch::{
    Chosen, Layout, Pass, Plan, Scheduler, SchedulerError, SchedulerOptions, Segment, StepId, StepShape, TensorExtent,
};
use proptest::prelude::*;

pub(crate) const FRAME: usize = 2 * ALIGN;
pub(crate) const ROW: u32 = 1000;

/// A layer: a dense step, and a choice of `k` of `experts` experts with two matrices each.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) dense_rows: u32,
    pub(crate) expert_rows: [u32; 2],
    pub(crate) experts: u32,
    pub(crate) k: u32,
}

pub(crate) struct Rig {
    pub(crate) scheduler: Scheduler<MockStorage, ManualClock>,
    pub(crate) layout: Layout,
    pub(crate) layers: Vec<Layer>,
    pub(crate) file: Vec<u8>,
    pub(crate) remote: Remote,
}

/// The layers, and a dense step as the tail. Each row of the file is filled with a number of its own.
pub(crate) fn parts(layers: &[Layer], tail: u32) -> (Vec<u8>, Layout, Plan) {
    let (mut file, mut segments, mut shapes) = (vec![0xee; 100], Vec::new(), Vec::new());
    let mut extent = |rows: u32, copies: u32| {
        let offset = file.len() as u64;
        for row in 0..rows * copies {
            file.extend(std::iter::repeat_n((offset / 8 + u64::from(row) * 7) as u8, ROW as usize));
        }
        TensorExtent { file: FileId(0), offset, rows, row_bytes: ROW }
    };
    for layer in layers {
        segments.push(extent(layer.dense_rows, 1).into());
        let tensors = layer.expert_rows.map(|rows| extent(rows, layer.experts)).to_vec();
        segments.push(Segment::Experts { tensors, count: layer.experts });
    }
    segments.push(extent(tail, 1).into());
    let layout = Layout::cut(&segments, FRAME).unwrap();
    for (i, segment) in layout.segments.iter().enumerate() {
        let pages = segment.pages.len() as u32;
        shapes.push(match segment.experts {
            None => StepShape::All { pages },
            Some(experts) => StepShape::Choice { experts, pages_per_expert: pages / experts, chosen: layers[i / 2].k },
        });
    }
    (file, layout, Plan::new(shapes, 1))
}

pub(crate) fn rig(
    layers: &[Layer],
    frames: usize,
    depth: usize,
    options: SchedulerOptions,
) -> Result<Rig, SchedulerError> {
    let (file, layout, plan) = parts(layers, 5);
    let (storage, remote) = MockStorage::new(vec![file.clone()], depth);
    let window = Window::new(FRAME, frames).unwrap();
    let pager = Pager::new(storage, ManualClock::new(), window, vec!["model".into()], layout.specs.clone()).unwrap();
    let scheduler = Scheduler::new(pager, plan, &layout, options)?;
    Ok(Rig { scheduler, layout, layers: layers.to_vec(), file, remote })
}

/// The fewest frames for these layers.
pub(crate) fn least(layers: &[Layer]) -> usize {
    let (_, _, plan) = parts(layers, 5);
    least_frames(plan.choices().iter().map(|(_, c)| c.pages_per_expert as usize).max().unwrap())
}

pub(crate) fn chosen(experts: &[u32]) -> Vec<Chosen> {
    experts.iter().map(|&expert| Chosen { token: 0, expert, weight: 1.0 }).collect()
}

impl Rig {
    pub(crate) fn dense_step(&mut self, step: usize) -> Result<(), SchedulerError> {
        self.scheduler.begin_step(StepId(step as u32));
        let (mut batch, mut seen) = (Vec::new(), Vec::new());
        while self.scheduler.next_batch(2, &mut batch)? {
            for lease in &batch {
                self.check(lease.page().index(), lease.bytes());
                seen.push(lease.page().0);
            }
            self.scheduler.finish_batch(&mut batch);
        }
        seen.sort_unstable();
        assert_eq!(seen, self.layout.segments[step].pages.clone().collect::<Vec<_>>(), "pages of step {step}");
        Ok(())
    }

    pub(crate) fn check(&self, page: usize, bytes: &[u8]) {
        let spec = self.layout.specs[page];
        let at = spec.offset as usize;
        assert!(bytes == &self.file[at..at + spec.len as usize], "page {page}");
    }

    /// Computes the chosen experts; returns them in the order in which they came.
    pub(crate) fn experts(&mut self, step: usize) -> Result<Vec<u32>, SchedulerError> {
        self.scheduler.begin_step(StepId(step as u32));
        let Need::Choice(choice) = self.scheduler.plan().steps()[step].need else { panic!("step {step}") };
        let (mut pages, mut order) = (Vec::new(), Vec::new());
        while let Some(expert) = self.scheduler.next_expert(&mut pages)? {
            let there: Vec<u32> = pages.iter().map(|lease| lease.page().0).collect();
            assert_eq!(there, choice.pages(expert).collect::<Vec<_>>());
            self.scheduler.tend()?;
            for lease in &pages {
                self.check(lease.page().index(), lease.bytes());
            }
            self.scheduler.finish_expert(&mut pages);
            self.scheduler.pager().validate();
            order.push(expert);
        }
        Ok(order)
    }

    /// One pass; `choices` says for each layer which experts are chosen.
    pub(crate) fn pass(&mut self, pass: Pass, choices: &[Vec<u32>]) -> Result<(), SchedulerError> {
        self.scheduler.begin_pass(pass);
        self.scheduler.pager_mut().poll()?;
        for (layer, experts) in choices.iter().enumerate() {
            self.dense_step(2 * layer)?;
            self.scheduler.choose(StepId(2 * layer as u32 + 1), 1, &chosen(experts));
            let mut order = self.experts(2 * layer + 1)?;
            order.sort_unstable();
            assert_eq!(&order, experts);
        }
        if pass == Pass::Full {
            self.dense_step(2 * self.layers.len())?;
        }
        Ok(())
    }

    /// How often each page was read since the last call.
    pub(crate) fn reads(&mut self, since: &mut usize) -> HashMap<usize, usize> {
        let submitted = self.remote.submitted();
        let mut counts = HashMap::new();
        for (_, offset) in &submitted[*since..] {
            let starts = |spec: &forebay_pager::PageSpec| spec.offset / ALIGN as u64 * ALIGN as u64 == *offset;
            // Several pages can begin in one block: any of them stands for all.
            let page = self.layout.specs.iter().position(starts).unwrap();
            *counts.entry(page).or_insert(0) += 1;
        }
        *since = submitted.len();
        counts
    }
}

/// `k` of the experts, drawn by a seed, with a liking for the first.
pub(crate) fn draw(layer: &Layer, seed: &mut u64) -> Vec<u32> {
    let mut experts = Vec::new();
    while (experts.len() as u32) < layer.k {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (*seed >> 33) as f64 / (1u64 << 31) as f64;
        let expert = (uniform * uniform * f64::from(layer.experts)) as u32;
        if !experts.contains(&expert) {
            experts.push(expert);
        }
    }
    experts.sort_unstable();
    experts
}

pub(crate) fn layer() -> impl Strategy<Value = Layer> {
    (1u32..20, [1u32..20, 1u32..12], 1u32..9).prop_flat_map(|(dense_rows, expert_rows, experts)| {
        (1..=experts).prop_map(move |k| Layer { dense_rows, expert_rows, experts, k })
    })
}
