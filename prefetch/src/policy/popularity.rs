//! What an expert is worth: how often it was chosen, where a choice counts half as much after some tokens.
//!
//! This is LRFU (Lee et al. 2001): between "least recently" and "least frequently used", by one number, the half-life. A
//! choice `t` tokens ago counts `2^(-t / half-life)`. All counts fade at the same rate, so their order stays as it is
//! until the next choice: it is enough to keep the logarithm of the count as it was at token 0 of the run.

use super::Chosen;
use super::experts::{ExpertOrder, Worth};
use crate::plan::{Choice, ExpertId, Plan};

/// Tokens after which a choice counts half.
const HALF_LIFE: f64 = 64.0;

/// Decayed popularity: see the module's source.
#[derive(Debug)]
pub struct Popularity {
    /// For each expert, the logarithm to base 2 of its count; below 0 when it was never chosen.
    counts: Vec<f64>,
    /// For each choice, the tokens that have passed it.
    tokens: Vec<f64>,
}

impl Popularity {
    /// For the experts of `plan`, of which none was chosen yet.
    pub fn new(plan: &Plan) -> Self {
        Popularity { counts: vec![-1.0; plan.expert_count() as usize], tokens: vec![0.0; plan.choices().len()] }
    }
}

impl ExpertOrder for Popularity {
    fn observe(&mut self, choice: &Choice, chosen: &[Chosen], changed: &mut dyn FnMut(ExpertId, Worth)) {
        let uses: u32 = chosen.iter().map(|c| c.tokens).sum();
        let tokens = &mut self.tokens[choice.index as usize];
        *tokens += f64::from(uses) / f64::from(choice.chosen.max(1));
        let now = *tokens / HALF_LIFE;
        for c in chosen {
            let id = choice.id(c.expert);
            let count = &mut self.counts[id.0 as usize];
            *count = log2_of_sum(*count, now + f64::from(c.tokens).log2());
            changed(id, self.worth(id));
        }
    }

    fn worth(&self, expert: ExpertId) -> Worth {
        // The bits of numbers from 0 on are in the order of the numbers.
        (self.counts[expert.0 as usize].max(-1.0) + 1.0).to_bits()
    }
}

/// `log2(2^a + 2^b)`, where an `a` below 0 stands for the logarithm of nothing.
fn log2_of_sum(a: f64, b: f64) -> f64 {
    if a < 0.0 { b } else { a.max(b) + (-(a - b).abs()).exp2().ln_1p() * std::f64::consts::LOG2_E }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepShape;

    #[test]
    fn what_is_chosen_more_often_or_more_lately_is_worth_more() {
        let plan = Plan::new([StepShape::Choice { experts: 4, pages_per_expert: 1, chosen: 1 }], 0);
        let choice = plan.choices()[0].1;
        let mut order = Popularity::new(&plan);
        let mut choose = |experts: &[u32]| {
            for &expert in experts {
                order.observe(&choice, &[Chosen { expert, tokens: 1 }], &mut |_, _| ());
            }
            [0, 1, 2, 3].map(|e| order.worth(ExpertId(e)))
        };
        let [a, b, c, never] = choose(&[0, 0, 0, 1, 2]);
        assert!(a > b && a > c, "three choices against one");
        assert!(c > b, "the later of two");
        assert!(b > never && never == 0);
        // Long after, one choice counts more than three then.
        let long: Vec<u32> = std::iter::repeat_n(1, 1000).chain([2]).collect();
        let [a, _, c, _] = choose(&long);
        assert!(c > a);
    }
}
