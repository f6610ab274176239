//! Choices among experts: whole experts with the right bytes at any budget, each page read at most once for a step, nothing
//! read on demand that was not chosen, and errors that name the expert.

mod rig;

use std::collections::HashMap;

use forebay_pager::testing::Order;
use forebay_pager::{ALIGN, FileId};
use forebay_prefetch::{Chosen, Lookahead, Pass, PolicyKind, SchedulerOptions, StepId};
use proptest::prelude::*;
use rig::{Layer, Rig, chosen, draw, layer, least, parts, rig};

proptest! {
    #[test]
    fn whole_experts_are_handed_out_once_with_the_right_bytes(
        layers in prop::collection::vec(layer(), 1..4),
        more_frames in 0usize..40,
        depth in 1usize..9,
        policy in prop::sample::select(PolicyKind::ALL.to_vec()),
        prefetch: bool,
        lookahead in prop::sample::select(Lookahead::ALL.to_vec()),
        mut seed: u64,
        tails in prop::collection::vec(any::<bool>(), 5),
    ) {
        let options = SchedulerOptions { policy, prefetch, lookahead };
        let mut rig = rig(&layers, least(&layers) + more_frames, depth, options).unwrap();
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
        let options = SchedulerOptions { policy, prefetch: true, lookahead: Lookahead::Off };
        let mut rig = rig(&layers, least(&layers) + more_frames, depth, options).unwrap();
        rig.remote.order(Order::Shuffled(seed));
        let (_, choice) = rig.scheduler.plan().choices()[0];
        for _ in 0..6 {
            let experts = draw(&layers[0], &mut seed);
            rig.scheduler.begin_pass(Pass::Full);
            rig.dense_step(0).unwrap();
            let before = rig.scheduler.pager().stats().demands;
            let _ = rig.scheduler.take_expert_stats();
            rig.scheduler.choose(StepId(1), 1, &chosen(&experts));
            rig.experts(1).unwrap();
            let stats = rig.scheduler.expert_stats();
            prop_assert!(stats.reads <= stats.loads * u64::from(choice.pages_per_expert), "{stats:?}");
            let counted = rig.scheduler.pass_experts();
            prop_assert_eq!((counted.needed, counted.reads), (stats.used, stats.loads));
            prop_assert!(counted.most_reads <= 1, "{:?}", counted);
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
    rig.scheduler.choose(StepId(1), 1, &chosen(&[1, 3, 6]));
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
    rig.scheduler.choose(StepId(3), 1, &chosen(&[4, 7]));
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
        let mut rig = rig(&layers, frames, 1, SchedulerOptions { policy, ..Default::default() }).unwrap();
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
fn a_prompt_that_needs_every_expert_leaves_those_that_are_worth_more() {
    let layers = eight(1);
    let (_, _, plan) = parts(&layers, 5);
    let choices: Vec<_> = plan.choices().iter().map(|(_, choice)| *choice).collect();
    // Beside the dense pages a queue of one read, twice, and four experts: one to pass through, three to stay.
    let frames = plan.dense().len() + 2 + 4 * choices[0].pages_per_expert as usize;
    let mut rig =
        rig(&layers, frames, 1, SchedulerOptions { lookahead: Lookahead::Off, ..Default::default() }).unwrap();
    for _ in 0..40 {
        rig.pass(Pass::Full, &[vec![3], vec![5]]).unwrap();
    }
    rig.scheduler.begin_pass(Pass::Full);
    rig.dense_step(0).unwrap();
    rig.scheduler.choose(StepId(1), 8, &chosen(&[3]));
    rig.experts(1).unwrap();
    rig.dense_step(2).unwrap();
    let each: Vec<Chosen> = (0..8).map(|token| Chosen { token, expert: token, weight: 1.0 }).collect();
    rig.scheduler.choose(StepId(3), 8, &each);
    assert_eq!(rig.experts(3).unwrap().len(), 8);
    let there = |page| rig.scheduler.pager().state(p_id(page)) == forebay_pager::PageState::Resident;
    assert!(choices[0].pages(3).all(there), "every token chose it");
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
