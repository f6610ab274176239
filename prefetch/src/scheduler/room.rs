//! How the frames of the window are shared out.

use crate::layout::Layout;
use crate::plan::{Choice, Plan};
use crate::residency::keep_set;

/// The fewest frames that a run can work with where there are no experts: one under compute, one being read, and one to
/// choose.
pub const LEAST_FRAMES: usize = 3;

/// The fewest frames that a run can work with when the largest expert has so many pages: all of these, as an expert is
/// computed as a whole, one being read, and one to choose.
pub fn least_frames(pages_per_expert: usize) -> usize {
    LEAST_FRAMES.max(pages_per_expert + 2)
}

/// The fewest frames that a plan can be run with.
pub(super) fn least(plan: &Plan) -> usize {
    least_frames(plan.choices().iter().map(|(_, choice)| choice.pages_per_expert as usize).max().unwrap_or(0))
}

/// Which pages stay for good: dense ones, as every token uses them; all but what has to be free for the others.
pub(super) fn kept_pages(plan: &Plan, layout: &Layout, frames: usize, depth: usize) -> Vec<bool> {
    let dense = plan.dense();
    let lens: Vec<u32> = dense.iter().map(|&page| layout.specs[page as usize].len).collect();
    let free = if frames >= layout.page_count() { 0 } else { ring(plan, frames, depth) };
    let mut keep = vec![false; layout.page_count()];
    for (&page, kept) in dense.iter().zip(keep_set(&lens, layout.frame_len, frames - free)) {
        keep[page as usize] = kept;
    }
    keep
}

/// Frames kept free of the resident set: a full queue and as much again waiting to be computed, and the experts of a token.
pub(super) fn ring(plan: &Plan, frames: usize, depth: usize) -> usize {
    let of_a_token = |choice: &Choice| (choice.chosen * choice.pages_per_expert) as usize;
    let experts = plan.choices().iter().map(|(_, choice)| of_a_token(choice)).max().unwrap_or(0);
    (2 * depth + experts).max(LEAST_FRAMES).min(frames)
}
