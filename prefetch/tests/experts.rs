//! Choices among experts: whole experts with the right bytes at any budget, each page read at most once for a step, nothing
//! read on demand that was not chosen, and errors that name the expert.

use std::collections::HashMap;

use forebay_pager::testing::{ManualClock, MockStorage, Order, Remote};
use forebay_pager::{ALIGN, FileId, Pager, Window};
use forebay_prefetch::plan::Need;
use forebay_prefetch::scheduler::least_frames;
use forebay_prefetch::{
    Chosen, Layout, Pass, Plan, PolicyKind, Scheduler, SchedulerError, SchedulerOptions, Segment, StepId, StepShape,
    TensorExtent,
};
use proptest::prelude::*;

const FRAME: usize = 2 * ALIGN;
const ROW: u32 = 1000;

/// A layer: a dense step, and a choice of `k` of `experts` experts with two matrices each.
#[derive(Debug, Clone)]
struct Layer {
    dense_rows: u32,
    expert_rows: [u32; 2],
    experts: u32,
    k: u32,
}

struct Rig {
    scheduler: Scheduler<MockStorage, ManualClock>,
    layout: Layout,
    layers: Vec<Layer>,
    file: Vec<u8>,
    remote: Remote,
}

/// The layers, and a dense step as the tail. Each row of the file is filled with a number of its own.
fn parts(layers: &[Layer], tail: u32) -> (Vec<u8>, Layout, Plan) {
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

fn rig(layers: &[Layer], frames: usize, depth: usize, options: SchedulerOptions) -> Result<Rig, SchedulerError> {
    let (file, layout, plan) = parts(layers, 5);
    let (storage, remote) = MockStorage::new(vec![file.clone()], depth);
    let window = Window::new(FRAME, frames).unwrap();
    let pager = Pager::new(storage, ManualClock::new(), window, vec!["model".into()], layout.specs.clone()).unwrap();
    let scheduler = Scheduler::new(pager, plan, &layout, options)?;
    Ok(Rig { scheduler, layout, layers: layers.to_vec(), file, remote })
}

/// The fewest frames for these layers.
fn least(layers: &[Layer]) -> usize {
    let (_, _, plan) = parts(layers, 5);
    least_frames(plan.choices().iter().map(|(_, c)| c.pages_per_expert as usize).max().unwrap())
}

fn chosen(experts: &[u32]) -> Vec<Chosen> {
    experts.iter().map(|&expert| Chosen { expert, tokens: 1 }).collect()
}

impl Rig {
    fn dense_step(&mut self, step: usize) -> Result<(), SchedulerError> {
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

    fn check(&self, page: usize, bytes: &[u8]) {
        let spec = self.layout.specs[page];
        let at = spec.offset as usize;
        assert!(bytes == &self.file[at..at + spec.len as usize], "page {page}");
    }

    /// Computes the chosen experts; returns them in the order in which they came.
    fn experts(&mut self, step: usize) -> Result<Vec<u32>, SchedulerError> {
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
    fn pass(&mut self, pass: Pass, choices: &[Vec<u32>]) -> Result<(), SchedulerError> {
        self.scheduler.begin_pass(pass);
        self.scheduler.pager_mut().poll()?;
        for (layer, experts) in choices.iter().enumerate() {
            self.dense_step(2 * layer)?;
            self.scheduler.choose(StepId(2 * layer as u32 + 1), &chosen(experts));
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
    fn reads(&mut self, since: &mut usize) -> HashMap<usize, usize> {
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
fn draw(layer: &Layer, seed: &mut u64) -> Vec<u32> {
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

fn layer() -> impl Strategy<Value = Layer> {
    (1u32..20, [1u32..20, 1u32..12], 1u32..9).prop_flat_map(|(dense_rows, expert_rows, experts)| {
        (1..=experts).prop_map(move |k| Layer { dense_rows, expert_rows, experts, k })
    })
}

proptest! {
    #[test]
    fn whole_experts_are_handed_out_once_with_the_right_bytes(
        layers in prop::collection::vec(layer(), 1..4),
        more_frames in 0usize..40,
        depth in 1usize..9,
        policy in prop::sample::select(PolicyKind::ALL.to_vec()),
        prefetch: bool,
        mut seed: u64,
        tails in prop::collection::vec(any::<bool>(), 5),
    ) {
        let mut rig = rig(&layers, least(&layers) + more_frames, depth, SchedulerOptions { policy, prefetch }).unwrap();
        rig.remote.order(Order::Shuffled(seed));
        for tail in tails {
            let choices: Vec<_> = layers.iter().map(|layer| draw(layer, &mut seed)).collect();
            rig.pass(if tail { Pass::Full } else { Pass::WithoutTail }, &choices).unwrap();
        }
    }

    #[test]
    fn no_page_of_an_expert_is_read_twice_for_a_step_and_none_of_the_others(
        layer in layer(),
        more_frames in 0usize..20,
        depth in 1usize..9,
        policy in prop::sample::select(PolicyKind::ALL.to_vec()),
        mut seed: u64,
    ) {
        let layers = [layer];
        let options = SchedulerOptions { policy, prefetch: true };
        let mut rig = rig(&layers, least(&layers) + more_frames, depth, options).unwrap();
        rig.remote.order(Order::Shuffled(seed));
        let (_, choice) = rig.scheduler.plan().choices()[0];
        for _ in 0..6 {
            let experts = draw(&layers[0], &mut seed);
            rig.scheduler.begin_pass(Pass::Full);
            rig.dense_step(0).unwrap();
            let before = rig.scheduler.pager().stats().demands;
            let _ = rig.scheduler.take_expert_stats();
            rig.scheduler.choose(StepId(1), &chosen(&experts));
            rig.experts(1).unwrap();
            let stats = rig.scheduler.expert_stats();
            prop_assert!(stats.reads <= stats.loads * u64::from(choice.pages_per_expert), "{stats:?}");
            let most = experts.len() * choice.pages_per_expert as usize;
            prop_assert!(rig.scheduler.pager().stats().demands - before <= most as u64);
            rig.dense_step(2).unwrap();
        }
    }
}

fn eight(k: u32) -> Vec<Layer> {
    vec![Layer { dense_rows: 16, expert_rows: [10, 5], experts: 8, k }; 2]
}

#[test]
fn what_is_resident_comes_first() {
    let layers = eight(3);
    let mut rig = rig(&layers, 64, 4, SchedulerOptions { prefetch: false, ..Default::default() }).unwrap();
    rig.pass(Pass::Full, &[vec![5, 6, 7], vec![0, 1, 2]]).unwrap();
    rig.scheduler.begin_pass(Pass::Full);
    rig.dense_step(0).unwrap();
    rig.scheduler.choose(StepId(1), &chosen(&[1, 3, 6]));
    assert_eq!(rig.experts(1).unwrap(), [6, 1, 3]);
    let stats = rig.scheduler.take_expert_stats();
    assert_eq!((stats.used, stats.loads), (9, 8));
}

#[test]
fn chosen_experts_are_read_while_dense_steps_are_computed() {
    let layers = eight(2);
    let mut rig = rig(&layers, 30, 8, SchedulerOptions::default()).unwrap();
    let (_, choice) = rig.scheduler.plan().choices()[1];
    rig.scheduler.begin_pass(Pass::Full);
    // The second layer's experts, chosen before the first layer: they are there when their step begins.
    rig.scheduler.choose(StepId(3), &chosen(&[4, 7]));
    rig.dense_step(0).unwrap();
    rig.dense_step(2).unwrap();
    let there = |rig: &Rig, expert: u32| {
        choice.pages(expert).all(|p| rig.scheduler.pager().state(p_id(p)) == forebay_pager::PageState::Resident)
    };
    assert!(there(&rig, 4) && there(&rig, 7));
    assert_eq!(rig.experts(3).unwrap(), [4, 7]);
    assert_eq!(rig.scheduler.pager().stats().hints_wasted, 0);
}

fn p_id(page: u32) -> forebay_pager::PageId {
    forebay_pager::PageId(page)
}

#[test]
fn dense_pages_stay_before_experts() {
    let layers = eight(2);
    let (_, layout, plan) = parts(&layers, 5);
    let dense = plan.dense().len();
    // Room for everything that is dense, a queue, and the experts of a token.
    let frames = dense + 4 + 2 * plan.choices()[0].1.pages_per_expert as usize;
    assert!(frames < layout.page_count());
    let mut rig = rig(&layers, frames, 2, SchedulerOptions::default()).unwrap();
    let mut seed = 1;
    for _ in 0..3 {
        let choices: Vec<_> = layers.iter().map(|layer| draw(layer, &mut seed)).collect();
        rig.pass(Pass::Full, &choices).unwrap();
    }
    let mut since = rig.remote.submitted().len();
    for _ in 0..20 {
        let choices: Vec<_> = layers.iter().map(|layer| draw(layer, &mut seed)).collect();
        rig.pass(Pass::Full, &choices).unwrap();
    }
    let reads = rig.reads(&mut since);
    assert!(!reads.is_empty());
    for page in plan.dense() {
        assert_eq!(reads.get(&(*page as usize)), None, "dense page {page} is read again");
    }
}

#[test]
fn popular_experts_hit_in_a_window_below_one_tokens_working_set() {
    // Two layers of which a token needs 3 of 8; the window holds less than that beside the dense pages.
    let layers = eight(3);
    let (_, _, plan) = parts(&layers, 5);
    let per_expert = plan.choices()[0].1.pages_per_expert as usize;
    let frames = plan.dense().len() + 5 * per_expert;
    let mut hits = HashMap::new();
    for policy in [PolicyKind::Forecast, PolicyKind::Lru] {
        let mut rig = rig(&layers, frames, 1, SchedulerOptions { policy, prefetch: true }).unwrap();
        // Expert 0 of each layer every time, the others in turn.
        for token in 0..60 {
            let of_layer = |i: u32| {
                let (a, b) = (1 + (token + i) % 7, 1 + (token + i + 3) % 7);
                vec![0, a.min(b), a.max(b)]
            };
            rig.pass(Pass::Full, &[of_layer(0), of_layer(1)]).unwrap();
        }
        let stats = rig.scheduler.expert_stats();
        hits.insert(policy.name(), stats.used - stats.loads);
    }
    assert!(hits["forecast"] >= 2 * 55, "{hits:?}");
}

#[test]
fn a_failed_read_names_the_expert_and_a_retry_works() {
    for frames in [least(&eight(3)), 40] {
        let layers = eight(3);
        let mut rig = rig(&layers, frames, 4, SchedulerOptions::default()).unwrap();
        let (_, choice) = rig.scheduler.plan().choices()[1];
        let broken = rig.layout.specs[choice.pages(6).start as usize + 1];
        rig.remote.fail(FileId(0), broken.offset / ALIGN as u64 * ALIGN as u64, 5);
        let choices = [vec![0, 1, 2], vec![3, 6, 7]];
        for _ in 0..2 {
            let error = rig.pass(Pass::Full, &choices).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("expert 6 of choice 1: model: cannot read page "), "{text}");
        }
        rig.remote.heal();
        rig.pass(Pass::Full, &choices).unwrap();
    }
}

#[test]
fn a_window_without_room_for_an_expert_is_refused_with_the_numbers() {
    let layers = vec![Layer { dense_rows: 3, expert_rows: [20, 20], experts: 2, k: 1 }];
    let (_, _, plan) = parts(&layers, 5);
    let per_expert = plan.choices()[0].1.pages_per_expert as usize;
    assert!(per_expert > 3);
    assert!(rig(&layers, per_expert + 2, 2, SchedulerOptions::default()).is_ok());
    let error = rig(&layers, per_expert + 1, 2, SchedulerOptions::default()).map(|_| ()).unwrap_err();
    let expected =
        format!("the window of {} frames is too small: at least {} are needed", per_expert + 1, per_expert + 2);
    assert_eq!(error.to_string(), expected);
}

#[test]
#[should_panic(expected = "are not chosen")]
fn a_choice_begins_after_it_was_made() {
    let mut rig = rig(&eight(1), 30, 2, SchedulerOptions::default()).unwrap();
    rig.scheduler.begin_pass(Pass::Full);
    rig.scheduler.begin_step(StepId(1));
}
