//! The plain predictor: how often, with decay.

use super::regression::LANES;
use super::usage::UsageTable;
use super::{Estimate, ExpertGrid, Predictor, Routing};

/// Expects of an expert what it did lately: the mean of its shares on a short and a long scale. Nothing is learnt, nothing is
/// known of the layers ahead. Here to show what the rest of [`super::Learned`] is worth.
#[derive(Debug)]
pub struct Popularity {
    grid: ExpertGrid,
    usage: UsageTable,
    estimates: Vec<Estimate>,
}

impl Popularity {
    /// For a model that chooses `used` experts of each layer per token.
    pub fn new(grid: ExpertGrid, used: usize) -> Self {
        let usage = UsageTable::new(grid, used);
        let uniform = usage.uniform();
        Popularity { grid, usage, estimates: vec![Estimate { next: uniform, rate: uniform }; grid.len()] }
    }
}

impl Predictor for Popularity {
    fn observe(&mut self, routing: &Routing<'_>) {
        self.usage.observe(routing);
        let estimates = self.estimates[self.grid.pages(routing.layer)].chunks_mut(LANES);
        for (usage, estimates) in self.usage.layer(routing.layer).iter().zip(estimates) {
            let [short, _, long] = usage.shares;
            for (estimate, (short, long)) in estimates.iter_mut().zip(short.into_iter().zip(long)) {
                *estimate = Estimate { next: (short + long) / 2.0, rate: long };
            }
        }
    }

    fn estimates(&self, layer: usize) -> &[Estimate] {
        &self.estimates[self.grid.pages(layer)]
    }

    fn ahead(&mut self, _layer: usize, _probabilities: &mut [f32]) -> bool {
        false
    }
}
