//! The forecast for experts: whose next use is expected furthest leaves first.

use forebay_pager::{Class, PageId};

use super::{ExpertGrid, ExpertPolicy, Predictor, Routing};
use crate::heap::PageHeap;
use crate::policy::{Policy, Position, Use};

/// Parts of a visit that next uses are told apart by.
const TICKS: f32 = 1024.0;
/// A hint that is less likely than this to be used is not worth the energy of a read.
const WORTH_A_READ: f32 = 0.05;

/// Keeps the experts whose next use is expected soonest, by what a [`Predictor`] says.
///
/// The next use of an expert cannot be before its layer comes round again: that much is exact, and puts all layers into one
/// order, in visits of layers. An expert that is expected later than everything kept is not kept at all: so a window below the
/// needs of one token keeps the popular experts instead of replacing everything before it is used again.
///
/// A visit costs one estimate for each expert of its layer and one heap operation for each that is resident; a victim costs
/// one heap operation. Nothing depends on the number of layers but the logarithm.
#[derive(Debug)]
pub struct ExpertForecast<P> {
    grid: ExpertGrid,
    predictor: P,
    /// The resident experts by their next use.
    resident: PageHeap,
    /// For every expert, when it is expected to be used next, in ticks.
    next_use: Vec<u64>,
    /// Visits so far.
    visits: u64,
    /// The layer that follows each, as seen so far: some layers have no experts.
    following: Vec<usize>,
    last_layer: Option<usize>,
    lookahead: bool,
    probabilities: Vec<f32>,
    /// Experts worth reading for the coming layer, the likeliest last.
    hints: Vec<(f32, PageId)>,
}

impl<P: Predictor> ExpertForecast<P> {
    /// Decides who stays; asks for nothing ahead.
    pub fn new(grid: ExpertGrid, predictor: P) -> Self {
        ExpertForecast {
            grid,
            predictor,
            resident: PageHeap::new(grid.len()),
            next_use: vec![0; grid.len()],
            visits: 0,
            following: (1..=grid.layers).map(|next| next % grid.layers.max(1)).collect(),
            last_layer: None,
            lookahead: false,
            probabilities: vec![0.0; grid.experts],
            hints: Vec::with_capacity(grid.experts),
        }
    }

    /// The same, and hints for the coming layer.
    pub fn with_lookahead(grid: ExpertGrid, predictor: P) -> Self {
        ExpertForecast { lookahead: true, ..Self::new(grid, predictor) }
    }

    /// When an expert is expected to be used next, in visits of layers since the start.
    pub fn next_use(&self, page: PageId) -> f64 {
        self.next_use[page.index()] as f64 / f64::from(TICKS)
    }

    fn expect(&mut self, page: usize, visits_from_now: f32) {
        let key = (self.visits * TICKS as u64).saturating_add((visits_from_now * TICKS) as u64);
        self.next_use[page] = key;
        if self.resident.contains(page as u32) {
            self.resident.set(page as u32, key);
        }
    }

    fn look_ahead(&mut self, layer: usize) {
        let known = self.predictor.ahead(layer, &mut self.probabilities);
        let first = self.grid.pages(layer).start;
        let round = self.grid.layers as f32;
        self.hints.clear();
        for expert in 0..self.grid.experts {
            let later = self.predictor.estimate(layer, expert);
            let next = if known { self.probabilities[expert] } else { later.next };
            if known {
                self.expect(first + expert, 1.0 + (1.0 - next) * round * later.tokens_to_use());
            }
            if next >= WORTH_A_READ {
                self.hints.push((next, PageId((first + expert) as u32)));
            }
        }
        self.hints.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    }
}

impl<P: Predictor> ExpertPolicy for ExpertForecast<P> {
    fn observe(&mut self, routing: &Routing<'_>) {
        let layer = routing.layer;
        if let Some(last) = self.last_layer.replace(layer) {
            self.following[last] = layer;
        }
        self.predictor.observe(routing);
        self.visits += 1;
        let round = self.grid.layers as f32;
        for (expert, page) in self.grid.pages(layer).enumerate() {
            let tokens = self.predictor.estimate(layer, expert).tokens_to_use();
            self.expect(page, round * tokens);
        }
        if self.lookahead && routing.tokens == 1 {
            self.look_ahead(self.following[layer]);
        } else {
            self.hints.clear();
        }
    }

    fn hint(&mut self, resident: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        std::iter::from_fn(|| self.hints.pop()).map(|(_, page)| page).find(|&page| !resident(page))
    }
}

impl<P: Predictor> Policy for ExpertForecast<P> {
    fn touch(&mut self, page: PageId, _at: Position, _use: Use) {
        self.resident.set(page.0, self.next_use[page.index()]);
    }

    fn victim(
        &mut self,
        incoming: PageId,
        _at: Position,
        _class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        let furthest = self.resident.greatest(|p| evictable(PageId(p)))?;
        (self.resident.key(furthest) > self.next_use[incoming.index()]).then_some(PageId(furthest))
    }

    fn forget(&mut self, page: PageId) {
        self.resident.remove(page.0);
    }
}
