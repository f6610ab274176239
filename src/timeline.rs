//! The timelines of real and of simulated runs: how much journal they take, and what stands in their heads.

use std::borrow::Cow;

use forebay_infer::budget::{Budget, SHORTEST_PAGE};
use forebay_infer::model::weights::plan;
use forebay_infer::model::{Engine, ModelMap, step_names};
use forebay_pager::{Clock, Journal, Nanos, Storage};
use forebay_simulator::Case;
use forebay_simulator::timeline::{ClockKind, Facts, Timeline, steps_of};

use crate::simulate::Simulation;

/// No journal has room for more events: 24 MB of them.
pub const MOST_EVENTS: usize = 1_000_000;
/// Nor does one take a larger part of the ceiling: what it takes the window lacks.
const SHARE_OF_CEILING: u64 = 16;

/// What a page that is read meets besides being used: the read, its end, the wait for it, and the eviction.
const EVENTS_PER_READ: u64 = 4;
/// A pass goes through fewer tokens only when the ceiling, or what is left of the prompt, has no room for so many.
const SHORTEST_CHUNK: u64 = 8;

/// Events that a run of `prompt` tokens and `decode` behind them comes to, about, within bounds. `page_len` is the length of a
/// page that was asked for.
///
/// A guess, as the window is known only when the journal is paid: half of the ceiling is taken for it. What is
/// guessed too high the window lacks; what is guessed too low is lost, and told.
pub fn capacity(map: &ModelMap, prompt: usize, decode: usize, page_len: Option<usize>, ceiling: u64) -> usize {
    let pass = |used: u64, read: u64| map.steps.len() as u64 + 1 + used + EVENTS_PER_READ.saturating_mul(read);
    let all = most_pages(map, page_len);
    let of_prompt = (prompt as u64).div_ceil(SHORTEST_CHUNK).saturating_mul(pass(all, all));
    // A quarter more, for what is read in vain, and where pages are shorter than they should be.
    let read = pages_of(map.read_per_token(ceiling / 2), page_len) * 5 / 4;
    let of_decode = (decode as u64).saturating_mul(pass(pages_per_token(map, page_len), read));
    let most = (ceiling / SHARE_OF_CEILING / Journal::bytes(1) as u64).min(MOST_EVENTS as u64);
    of_prompt.saturating_add(of_decode).min(most) as usize
}

/// Pages that the model is cut into, at most, or a little less.
pub fn most_pages(map: &ModelMap, page_len: Option<usize>) -> u64 {
    map.matrices.iter().map(|matrix| matrix.copies as u64 * pages_of(matrix.bytes(), page_len)).sum()
}

/// Those that one token uses.
fn pages_per_token(map: &ModelMap, page_len: Option<usize>) -> u64 {
    let steps = map.matrices_by_step();
    steps
        .map(|(step, matrices)| {
            let each: u64 = matrices.iter().map(|matrix| pages_of(matrix.bytes(), page_len)).sum();
            each * u64::from(step.chosen.unwrap_or(1))
        })
        .sum()
}

/// Pages of a matrix of so many bytes.
fn pages_of(bytes: u64, page_len: Option<usize>) -> u64 {
    bytes.div_ceil((page_len.unwrap_or(SHORTEST_PAGE) as u64).max(1)) + 1
}

/// What a run was of, for the head of its timeline.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The model's name.
    pub model: &'a str,
    /// How flash is read, or which device is simulated.
    pub flash: &'a str,
    /// Whose time it is.
    pub clock: ClockKind,
    /// How the ceiling is divided.
    pub budget: &'a Budget,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
}

/// The timeline of what `engine` has put down in `journal` since `begin`, up to now.
pub fn of_engine<'a, S: Storage, C: Clock>(
    run: Run<'_>,
    map: &ModelMap,
    engine: &'a Engine<S, C>,
    journal: &'a Journal,
    begin: Nanos,
) -> Timeline<'a> {
    let scheduler = engine.weights().scheduler();
    let facts = facts(run, map, scheduler.pager().depth());
    Timeline::of_run(facts, scheduler, engine.weights().layout(), step_names(map), journal, begin)
}

/// The timeline of the run of `case` at the profile's values, if there was one with a pager, and its
/// events were kept. They are those of decoding; the prompt
/// is only known to have come before.
pub fn of_simulation<'a>(case: &Case, simulation: &'a Simulation) -> Option<Timeline<'a>> {
    let Simulation { budget, nominal, map, profile, .. } = simulation;
    let nominal = nominal.as_ref()?;
    let journal = nominal.journal.as_ref()?;
    let run = Run {
        model: &case.model,
        flash: &profile.title,
        clock: ClockKind::Virtual,
        budget,
        prompt_tokens: case.prompt as usize,
    };
    let mut steps = steps_of(&plan(map, &nominal.layout), step_names(map));
    if let Some(chosen) = case.experts_chosen {
        steps.iter_mut().filter_map(|step| step.experts.as_mut()).for_each(|experts| experts.chosen = chosen);
    }
    Some(Timeline {
        facts: facts(run, map, usize::from(case.depth)),
        steps,
        pages: Cow::Borrowed(&nominal.layout.specs),
        events: Cow::Borrowed(journal.entries()),
        lost: journal.lost(),
        begin: Nanos::ZERO,
        end: nominal.prompt + nominal.decode,
    })
}

fn facts(run: Run<'_>, map: &ModelMap, depth: usize) -> Facts {
    Facts {
        model: run.model.to_owned(),
        flash: run.flash.to_owned(),
        clock: run.clock,
        ceiling: run.budget.ceiling,
        frames: run.budget.frames as u64,
        frame_len: run.budget.frame_len as u64,
        depth: depth as u32,
        layers: map.decoder.shape.layers as u32,
        prompt_tokens: run.prompt_tokens as u32,
    }
}
