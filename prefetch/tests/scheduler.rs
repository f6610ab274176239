//! The scheduler over a storage in memory: right bytes at any budget, and no more reads than the bound allows.

use forebay_pager::testing::{ManualClock, MockStorage, Order, Remote};
use forebay_pager::{ALIGN, FileId, Pager, Window};
use forebay_prefetch::{
    Layout, Pass, Plan, PolicyKind, Scheduler, SchedulerError, SchedulerOptions, Segment, StepId, TensorExtent,
};
use proptest::prelude::*;

const FRAME: usize = 2 * ALIGN;

/// One tensor per step; each row is its own number.
fn model(rows_per_step: &[u32]) -> (Vec<u8>, Vec<Segment>) {
    let row_bytes = 1000;
    let (mut file, mut extents) = (vec![0xee; 100], Vec::new());
    for (step, &rows) in rows_per_step.iter().enumerate() {
        extents.push(TensorExtent { file: FileId(0), offset: file.len() as u64, rows, row_bytes }.into());
        for row in 0..rows {
            file.extend(std::iter::repeat_n((step * 31 + row as usize * 7) as u8, row_bytes as usize));
        }
    }
    (file, extents)
}

struct Rig {
    scheduler: Scheduler<MockStorage, ManualClock>,
    layout: Layout,
    file: Vec<u8>,
    remote: Remote,
}

fn rig(rows_per_step: &[u32], frames: usize, depth: usize, options: SchedulerOptions) -> Rig {
    let (file, extents) = model(rows_per_step);
    let layout = Layout::cut(&extents, FRAME).unwrap();
    let counts: Vec<u32> = layout.tensors.iter().map(|t| t.len() as u32).collect();
    let (storage, remote) = MockStorage::new(vec![file.clone()], depth);
    let window = Window::new(FRAME, frames).unwrap();
    let pager = Pager::new(storage, ManualClock::new(), window, vec!["model".into()], layout.specs.clone()).unwrap();
    let scheduler = Scheduler::new(pager, Plan::cyclic(&counts, 1), &layout, options).unwrap();
    Rig { scheduler, layout, file, remote }
}

impl Rig {
    /// Runs one pass and checks that every page of every step is handed out once, with the file's bytes.
    fn pass(&mut self, pass: Pass, most: usize) -> Result<(), SchedulerError> {
        self.scheduler.begin_pass(pass);
        // One-off reads (the rows of an embedding) take arrivals in before the first step begins.
        self.scheduler.pager_mut().poll()?;
        let skip = usize::from(pass == Pass::WithoutTail);
        for step in 0..self.layout.tensors.len() - skip {
            let mut seen = Vec::new();
            self.scheduler.begin_step(StepId(step as u32));
            let mut batch = Vec::new();
            while self.scheduler.next_batch(most, &mut batch)? {
                assert!(!batch.is_empty() && batch.len() <= most);
                for lease in &batch {
                    let spec = self.layout.specs[lease.page().index()];
                    let at = spec.offset as usize;
                    assert!(lease.bytes() == &self.file[at..at + spec.len as usize], "{}", lease.page());
                    seen.push(lease.page().0);
                }
                self.scheduler.finish_batch(&mut batch);
                self.scheduler.pager().validate();
            }
            seen.sort_unstable();
            assert_eq!(seen, self.layout.tensors[step].clone().collect::<Vec<_>>(), "pages of step {step}");
        }
        Ok(())
    }

    fn reads_of_a_pass(&mut self) -> u64 {
        let before = self.scheduler.pager().stats().reads;
        self.pass(Pass::Full, 4).unwrap();
        self.scheduler.pager().stats().reads - before
    }
}

fn options(policy: PolicyKind, prefetch: bool) -> SchedulerOptions {
    SchedulerOptions { policy, prefetch, ..Default::default() }
}

proptest! {
    #[test]
    fn every_page_is_handed_out_once_with_the_right_bytes(
        rows in prop::collection::vec(1u32..40, 1..12),
        frames in 3usize..40,
        depth in 1usize..9,
        policy in prop::sample::select(PolicyKind::ALL.to_vec()),
        prefetch: bool,
        seed: u64,
        most in 1usize..6,
        tails in prop::collection::vec(any::<bool>(), 4),
    ) {
        let mut rig = rig(&rows, frames, depth, options(policy, prefetch));
        rig.remote.order(Order::Shuffled(seed));
        for tail in tails {
            rig.pass(if tail { Pass::Full } else { Pass::WithoutTail }, most).unwrap();
        }
    }

    #[test]
    fn the_forecast_reads_no_more_than_the_ring_adds_to_the_bound(
        rows in prop::collection::vec(1u32..40, 2..12),
        frames in 3usize..60,
        depth in 1usize..5,
        seed: u64,
    ) {
        let mut rig = rig(&rows, frames, depth, SchedulerOptions::default());
        rig.remote.order(Order::Shuffled(seed));
        let pages = rig.layout.page_count();
        for _ in 0..2 {
            rig.pass(Pass::Full, 4).unwrap(); // Until the resident set is resident.
        }
        let _ = rig.scheduler.pager_mut().take_stats();
        let steady: u64 = (0..4).map(|_| rig.reads_of_a_pass()).sum();
        let ring = (2 * depth).max(3).min(frames);
        let bound = if frames >= pages { 0 } else { 4 * (pages - (frames - ring)) };
        // Reads ahead may fall on either side of the end, and what was read ahead is used.
        prop_assert_eq!(rig.scheduler.pager().stats().hints_wasted, 0);
        prop_assert!(steady <= (bound + ring) as u64, "{steady} reads in four passes, at most {bound} + {ring}");
    }
}

#[test]
fn lru_on_a_cyclic_scan_never_hits_and_the_forecast_does() {
    let rows = [16; 20]; // 20 steps of 2 or 3 pages
    let reads = |policy| {
        let mut rig = rig(&rows, 30, 2, options(policy, true));
        rig.pass(Pass::Full, 4).unwrap();
        (rig.reads_of_a_pass() as usize, rig.layout.page_count())
    };
    let (lru, pages) = reads(PolicyKind::Lru);
    assert!(lru >= pages - 4, "{lru} of {pages}");
    let (forecast, _) = reads(PolicyKind::Forecast);
    assert!(forecast <= pages - 30 + 4 + 4, "{forecast} of {pages}");
}

#[test]
fn the_demands_of_a_step_are_submitted_before_any_hint() {
    let mut rig = rig(&[16, 16, 16, 16], 16, 8, SchedulerOptions::default());
    rig.remote.hold();
    rig.scheduler.begin_pass(Pass::Full);
    rig.scheduler.begin_step(StepId(1));
    rig.remote.allow(1);
    let mut batch = Vec::new();
    assert!(rig.scheduler.next_batch(1, &mut batch).unwrap());
    let wanted: Vec<u64> = rig.layout.tensors[1]
        .clone()
        .chain(rig.layout.tensors[2].clone())
        .map(|p| rig.layout.specs[p as usize].offset / ALIGN as u64 * ALIGN as u64)
        .collect();
    let order: Vec<u64> = rig.remote.submitted().iter().map(|(_, offset)| *offset).collect();
    assert_eq!(order[..wanted.len()], wanted[..], "the step's own pages first, then the next step's");
    rig.scheduler.finish_batch(&mut batch);
}

#[test]
fn a_failed_demand_is_an_error_and_the_run_goes_on_once_it_is_mended() {
    let mut rig = rig(&[16, 16, 16], 4, 2, SchedulerOptions::default());
    rig.pass(Pass::Full, 2).unwrap();
    for _ in 0..2 {
        // Every page, as some are resident and would not be read.
        for spec in &rig.layout.specs {
            rig.remote.fail(FileId(0), spec.offset / ALIGN as u64 * ALIGN as u64, 5);
        }
        let error = rig.pass(Pass::Full, 2).unwrap_err();
        assert!(error.to_string().starts_with("model: cannot read page "), "{error}");
        rig.remote.heal();
        rig.pass(Pass::Full, 2).unwrap();
    }
}

#[test]
fn faults_that_came_together_fail_one_pass_only() {
    let mut rig = rig(&[16, 16, 16], 6, 4, SchedulerOptions { prefetch: false, ..SchedulerOptions::default() });
    for page in rig.layout.tensors[1].clone() {
        rig.remote.fail(FileId(0), rig.layout.specs[page as usize].offset / ALIGN as u64 * ALIGN as u64, 5);
    }
    rig.pass(Pass::Full, 4).unwrap_err();
    rig.remote.heal();
    rig.pass(Pass::Full, 4).unwrap();
}

#[test]
fn a_fault_of_a_pass_that_was_given_up_is_nothing_to_a_later_one() {
    let mut rig = rig(&[40, 40, 5], 20, 2, options(PolicyKind::Forecast, true));
    rig.remote.hold();
    rig.scheduler.begin_pass(Pass::Full);
    rig.scheduler.begin_step(StepId(0));
    // Two demands are on their way when the caller turns away.
    assert!(rig.scheduler.tend().is_ok() && rig.scheduler.pager().in_flight() == 2);
    rig.remote.submitted().iter().for_each(|&(file, offset)| rig.remote.fail(file, offset, 5));
    rig.scheduler.begin_pass(Pass::Full);
    // Both fail in the next pass, before its first step, and that pass ends with the first of them.
    rig.remote.allow(usize::MAX);
    assert!(rig.scheduler.pager_mut().poll().is_err());
    rig.remote.heal();
    rig.pass(Pass::Full, 4).unwrap();
}

#[test]
fn a_tail_that_is_left_out_pushes_nothing_out() {
    // All but the tail fits, with a frame to spare: a prompt in parts reads it once.
    let mut rig = rig(&[40, 40, 40], 20, 2, options(PolicyKind::Forecast, true));
    assert_eq!(rig.layout.tensors[2].start, 19);
    (0..2).for_each(|_| rig.pass(Pass::WithoutTail, 4).unwrap());
    let before = rig.scheduler.pager().stats().reads;
    (0..5).for_each(|_| rig.pass(Pass::WithoutTail, 4).unwrap());
    assert_eq!(rig.scheduler.pager().stats().reads, before);
}

#[test]
fn a_window_that_cannot_work_is_refused_with_the_numbers() {
    let (file, extents) = model(&[16, 16]);
    let layout = Layout::cut(&extents, FRAME).unwrap();
    let (storage, _remote) = MockStorage::new(vec![file], 2);
    let window = Window::new(FRAME, 2).unwrap();
    let pager = Pager::new(storage, ManualClock::new(), window, vec!["model".into()], layout.specs.clone()).unwrap();
    let plan = Plan::cyclic(&layout.tensors.iter().map(|t| t.len() as u32).collect::<Vec<_>>(), 1);
    let error = Scheduler::new(pager, plan, &layout, SchedulerOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "the window of 2 frames is too small: at least 3 are needed");
}
