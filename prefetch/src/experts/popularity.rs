//! The plain predictor: how often, with decay.

use super::usage::UsageTable;
use super::{Estimate, ExpertGrid, Predictor, Routing};

/// Expects of an expert what it did lately: the mean of its shares on a short and a long scale. Nothing is learnt, nothing is
/// known of the layers ahead. Here to show what the rest of [`super::Learned`] is worth.
#[derive(Debug)]
pub struct Popularity {
    grid: ExpertGrid,
    usage: UsageTable,
}

impl Popularity {
    /// For a model that chooses `used` experts of each layer per token.
    pub fn new(grid: ExpertGrid, used: usize) -> Self {
        Popularity { grid, usage: UsageTable::new(grid, used) }
    }
}

impl Predictor for Popularity {
    fn observe(&mut self, routing: &Routing<'_>) {
        self.usage.observe(routing);
    }

    fn estimate(&self, layer: usize, expert: usize) -> Estimate {
        debug_assert!(expert < self.grid.experts);
        let [short, _, long] = self.usage.layer(layer)[expert].shares;
        Estimate { next: (short + long) / 2.0, rate: long }
    }

    fn ahead(&mut self, _layer: usize, _probabilities: &mut [f32]) -> bool {
        false
    }
}
