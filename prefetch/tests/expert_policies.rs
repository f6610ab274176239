//! Policies for experts, on made-up routing.

mod synthetic;

use forebay_prefetch::experts::replay::{Budget, Outcome, replay};
use forebay_prefetch::experts::trace::{Phase, Row, Trace, TraceBuilder};
use forebay_prefetch::experts::{ExpertPolicyKind, Routing};
use proptest::prelude::*;

/// Percent of the experts in memory.
const SIZES: [usize; 12] = [1, 2, 4, 6, 9, 12, 18, 25, 37, 50, 65, 80];

fn run(trace: &Trace, kind: ExpertPolicyKind, capacity: usize, ahead: f64) -> Outcome {
    replay(trace, &mut *kind.build(trace, capacity, None), Budget { capacity, ahead })
}

#[test]
fn the_forecast_is_never_below_lru_lfu_or_clock() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        for percent in SIZES {
            let capacity = trace.expert_count() * percent / 100;
            let forecast = run(&trace, ExpertPolicyKind::Forecast, capacity, 0.0).decode;
            let lookahead = run(&trace, ExpertPolicyKind::Lookahead, capacity, 1.0).decode;
            for kind in [ExpertPolicyKind::Lru, ExpertPolicyKind::Lfu, ExpertPolicyKind::Clock] {
                let other = run(&trace, kind, capacity, 0.0).decode;
                let what = format!("{} at {percent} %: {kind} has {} hits", recipe.name, other.hits);
                println!("{what}, forecast {}, lookahead {}", forecast.hits, lookahead.hits);
                assert!(forecast.hits >= other.hits, "{what}, the forecast {}", forecast.hits);
                assert!(lookahead.hits >= other.hits, "{what}, the lookahead {}", lookahead.hits);
            }
        }
    }
}
