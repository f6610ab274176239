//! Experts that are read before their router has spoken: only when all that was chosen is on its way, never at the cost of what
//! is worth more, and counted.

mod rig;

use forebay_pager::PageState;
use forebay_prefetch::{Lookahead, Pass, PolicyKind, SchedulerOptions, StepId};
use rig::{Layer, Rig, chosen, parts};

const EXPERTS: u32 = 8;

/// Two layers of which a token needs one expert, in a window that lacks `absent` experts.
fn rig(lookahead: Lookahead, absent: usize, depth: usize) -> Rig {
    let layers = vec![Layer { dense_rows: 16, expert_rows: [10, 5], experts: EXPERTS, k: 1 }; 2];
    let (_, layout, plan) = parts(&layers, 5);
    let frames = layout.page_count() - absent * plan.choices()[0].1.pages_per_expert as usize;
    rig::rig(&layers, frames, depth, SchedulerOptions { lookahead, ..Default::default() }).unwrap()
}

#[test]
fn what_a_router_names_early_is_there_when_it_is_chosen() {
    let mut rig = rig(Lookahead::Router, 9, 4);
    for token in 0..40u32 {
        // Neither layer repeats itself, and the second follows nothing.
        let [first, second] = [token * 3 % EXPERTS, token * token * 5 % 11 % EXPERTS];
        rig.scheduler.begin_pass(Pass::Full);
        rig.dense_step(0).unwrap();
        rig.scheduler.choose(StepId(1), 1, &chosen(&[first]));
        assert!(rig.scheduler.foresees());
        let scores: Vec<f32> = (0..EXPERTS).map(|e| if e == second { 9.0 } else { e as f32 / 8.0 }).collect();
        rig.scheduler.foresee(1, &scores);
        rig.experts(1).unwrap();
        rig.dense_step(2).unwrap();
        rig.scheduler.choose(StepId(3), 1, &chosen(&[second]));
        rig.experts(3).unwrap();
        rig.dense_step(4).unwrap();
    }
    let stats = rig.scheduler.expert_stats();
    assert!(stats.hints_used + stats.hints_wasted <= stats.hints, "{stats:?}");
    assert!(stats.hints_used > 0 && stats.hints_used > stats.hints_wasted, "{stats:?}");
    assert!(stats.hint_reads > 0, "{stats:?}");
}

#[test]
fn nothing_is_guessed_where_it_is_switched_off_or_of_no_use() {
    for (lookahead, absent, policy, prefetch) in [
        (Lookahead::Off, 9, PolicyKind::Forecast, true),
        (Lookahead::Router, 9, PolicyKind::Forecast, false),
        (Lookahead::Router, 9, PolicyKind::Lru, true),
        (Lookahead::Router, 0, PolicyKind::Forecast, true),
    ] {
        let layers = vec![Layer { dense_rows: 16, expert_rows: [10, 5], experts: EXPERTS, k: 1 }; 2];
        let (_, layout, plan) = parts(&layers, 5);
        let frames = layout.page_count() - absent * plan.choices()[0].1.pages_per_expert as usize;
        let mut rig = rig::rig(&layers, frames, 4, SchedulerOptions { lookahead, policy, prefetch }).unwrap();
        for token in 0..20 {
            rig.pass(Pass::Full, &[vec![token % 3], vec![token % 3 + 1]]).unwrap();
            assert!(!rig.scheduler.foresees());
        }
        assert_eq!(rig.scheduler.expert_stats().hints, 0, "{lookahead}, {policy}");
    }
}

#[test]
fn no_guess_is_asked_for_before_all_that_was_chosen() {
    // An expert has five pages: the shorter queue has no room for all of them at once.
    for depth in [4, 8] {
        let mut rig = rig(Lookahead::Router, 9, depth);
        for token in 0..20 {
            rig.pass(Pass::Full, &[vec![token % 5], vec![(token + 1) % 5]]).unwrap();
        }
        rig.scheduler.begin_pass(Pass::Full);
        rig.dense_step(0).unwrap();
        let pages = |rig: &Rig, layer: usize, expert: u32| rig.scheduler.plan().choices()[layer].1.pages(expert);
        let state = |rig: &Rig, page: u32| rig.scheduler.pager().state(forebay_pager::PageId(page));
        let absent = |rig: &Rig, layer: usize, expert: u32| {
            pages(rig, layer, expert).all(|p| state(rig, p) == PageState::Absent)
        };
        let missing = (0..EXPERTS).find(|&e| absent(&rig, 0, e)).unwrap();
        let guessed = (0..EXPERTS).find(|&e| absent(&rig, 1, e)).unwrap();
        let mut scores = [0.0; EXPERTS as usize];
        scores[guessed as usize] = 9.0;
        rig.scheduler.choose(StepId(1), 1, &chosen(&[missing]));
        rig.scheduler.foresee(1, &scores);
        let asked = pages(&rig, 0, missing).filter(|&p| state(&rig, p) != PageState::Absent).count();
        assert_eq!(asked, depth.min(5), "what was chosen comes first");
        assert_eq!(absent(&rig, 1, guessed), depth < 5, "the guess when all of it is on its way");
        rig.experts(1).unwrap();
        rig.dense_step(2).unwrap();
        assert!(pages(&rig, 1, guessed).all(|p| state(&rig, p) != PageState::Absent), "and now it is there");
    }
}
