//! The policies by name.

use super::trace::Trace;
use super::{Belady, ExpertForecast, ExpertPolicy, Learned, ModelledLookahead, Popularity};
use crate::policy::{ClockSweep, Lfu, Lru};

/// What can be compared on a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpertPolicyKind {
    /// The offline optimum of those that read nothing ahead.
    Belady,
    /// [`ExpertForecast`] by [`Learned`]: who stays; nothing is read ahead.
    #[default]
    Forecast,
    /// The same, and experts of the coming layer are read ahead.
    Lookahead,
    /// [`ExpertForecast`] by [`Popularity`].
    Popularity,
    /// Least recently used leaves first.
    Lru,
    /// Least frequently used leaves first.
    Lfu,
    /// Second chance.
    Clock,
}

impl ExpertPolicyKind {
    /// All of them: the bound, ours, the baselines.
    pub const ALL: [ExpertPolicyKind; 7] = [
        ExpertPolicyKind::Belady,
        ExpertPolicyKind::Forecast,
        ExpertPolicyKind::Lookahead,
        ExpertPolicyKind::Popularity,
        ExpertPolicyKind::Lru,
        ExpertPolicyKind::Lfu,
        ExpertPolicyKind::Clock,
    ];

    /// The name used on command lines.
    pub fn name(self) -> &'static str {
        match self {
            ExpertPolicyKind::Belady => "belady",
            ExpertPolicyKind::Forecast => "forecast",
            ExpertPolicyKind::Lookahead => "lookahead",
            ExpertPolicyKind::Popularity => "popularity",
            ExpertPolicyKind::Lru => "lru",
            ExpertPolicyKind::Lfu => "lfu",
            ExpertPolicyKind::Clock => "clock",
        }
    }

    /// The policy, for a cache of `capacity` experts on `trace`. With `recall` the lookahead is not what can be learnt from the
    /// routing but a [`ModelledLookahead`].
    pub fn build(self, trace: &Trace, capacity: usize, recall: Option<f32>) -> Box<dyn ExpertPolicy + '_> {
        const SEED: u64 = 1;
        let (grid, used) = (trace.grid(), trace.used());
        match (self, recall) {
            (ExpertPolicyKind::Belady, _) => Box::new(Belady::new(trace)),
            (ExpertPolicyKind::Forecast, _) => Box::new(ExpertForecast::new(grid, Learned::new(grid, used))),
            (ExpertPolicyKind::Lookahead, None) => {
                Box::new(ExpertForecast::with_lookahead(grid, Learned::new(grid, used)))
            }
            (ExpertPolicyKind::Lookahead, Some(recall)) => {
                let predictor = ModelledLookahead::new(Learned::new(grid, used), trace, recall, SEED);
                Box::new(ExpertForecast::with_lookahead(grid, predictor))
            }
            (ExpertPolicyKind::Popularity, _) => Box::new(ExpertForecast::new(grid, Popularity::new(grid, used))),
            (ExpertPolicyKind::Lru, _) => Box::new(Lru::new(capacity.max(1))),
            (ExpertPolicyKind::Lfu, _) => Box::new(Lfu::new(grid.len())),
            (ExpertPolicyKind::Clock, _) => Box::new(ClockSweep::new(grid.len())),
        }
    }
}

impl std::fmt::Display for ExpertPolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for ExpertPolicyKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == s).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|k| k.name()).collect();
            format!("unknown policy '{s}'; there are {}", names.join(", "))
        })
    }
}
