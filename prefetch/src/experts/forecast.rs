//! The forecast for experts: whose next use is expected furthest leaves first.

use forebay_pager::{Class, PageId};

use super::{ExpertGrid, ExpertPolicy, Predictor, Routing};
use crate::heap::PageHeap;
use crate::policy::{Policy, Position, Use};

/// Parts of a visit that next uses are told apart by.
const TICKS: f32 = 1024.0;
/// A hint that is less likely than this to be used is not worth the energy of a read.
const WORTH_ENERGY: f32 = 0.05;
/// The same where a read under way makes those wait that the router asks for. One in vain costs them a read, and one of use saves
/// what is left of it by then, which is little where the flash is the bottleneck.
const WORTH_WAITING: f32 = 0.7;

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
    /// The same in tokens from the last visit of its layer on.
    tokens_to_use: Vec<f32>,
    /// Visits so far.
    visits: u64,
    /// The layer that follows each, as seen so far: some layers have no experts.
    following: Vec<usize>,
    last_layer: Option<usize>,
    /// How likely to be used a hint must be; `None` when there are to be none.
    worth_a_read: Option<f32>,
    probabilities: Vec<f32>,
    /// Experts worth reading for the coming layer, the likeliest last.
    hints: Vec<(f32, PageId)>,
}

impl<P: Predictor> ExpertForecast<P> {
    /// Decides who stays; asks for nothing ahead.
    pub fn new(grid: ExpertGrid, predictor: P) -> Self {
        let estimates = (0..grid.layers).flat_map(|layer| predictor.estimates(layer));
        ExpertForecast {
            tokens_to_use: estimates.map(|estimate| estimate.tokens_to_use()).collect(),
            grid,
            predictor,
            resident: PageHeap::new(grid.len()),
            next_use: vec![0; grid.len()],
            visits: 0,
            following: (1..=grid.layers).map(|next| next % grid.layers.max(1)).collect(),
            last_layer: None,
            worth_a_read: None,
            probabilities: vec![0.0; grid.experts],
            hints: Vec::with_capacity(grid.experts),
        }
    }

    /// The same, and hints for the coming layer, which there is time to read before its router speaks.
    pub fn with_lookahead(grid: ExpertGrid, predictor: P) -> Self {
        ExpertForecast { worth_a_read: Some(WORTH_ENERGY), ..Self::new(grid, predictor) }
    }

    /// The same, with hints that may come in the way of what the router asks for.
    pub fn with_live_lookahead(grid: ExpertGrid, predictor: P) -> Self {
        ExpertForecast { worth_a_read: Some(WORTH_WAITING), ..Self::new(grid, predictor) }
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

    /// Takes what is estimated for the experts of the layer that was just visited.
    fn expect_layer(&mut self, layer: usize) {
        let estimates = self.predictor.estimates(layer);
        let tokens = self.tokens_to_use[self.grid.pages(layer)].iter_mut();
        tokens.zip(estimates).for_each(|(tokens, estimate)| *tokens = estimate.tokens_to_use());
        let round = self.grid.layers as f32;
        for page in self.grid.pages(layer) {
            self.expect(page, round * self.tokens_to_use[page]);
        }
    }

    /// Takes `probabilities` for what the present token will choose in `layer`, if they are `known`; else the estimates.
    fn look_ahead(&mut self, layer: usize, known: bool, worth_a_read: f32) {
        self.hints.clear();
        let hint = |(next, page): (f32, usize)| (next >= worth_a_read).then_some((next, PageId(page as u32)));
        if known {
            let round = self.grid.layers as f32;
            for (page, expert) in self.grid.pages(layer).zip(0..) {
                let next: f32 = self.probabilities[expert];
                self.expect(page, 1.0 + (1.0 - next) * round * self.tokens_to_use[page]);
            }
            let next = self.probabilities.iter().copied();
            self.hints.extend(next.zip(self.grid.pages(layer)).filter_map(hint));
        } else {
            let next = self.predictor.estimates(layer).iter().map(|estimate| estimate.next);
            self.hints.extend(next.zip(self.grid.pages(layer)).filter_map(hint));
        }
        self.hints.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
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
        self.expect_layer(layer);
        self.hints.clear();
        if let Some(worth_a_read) = self.worth_a_read.filter(|_| routing.tokens == 1) {
            let next = self.following[layer];
            let known = self.predictor.ahead(next, &mut self.probabilities);
            self.look_ahead(next, known, worth_a_read);
        }
    }

    fn foresee(&mut self, layer: usize, scores: &[f32]) {
        if let Some(worth_a_read) = self.worth_a_read
            && self.predictor.foresee(layer, scores, &mut self.probabilities)
        {
            self.look_ahead(layer, true, worth_a_read);
        }
    }

    fn hint(&mut self, resident: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        std::iter::from_fn(|| self.hints.pop()).map(|(_, page)| page).find(|&page| !resident(page))
    }

    fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        self.resident.greatest(|p| evictable(PageId(p))).map(PageId)
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
        let furthest = self.least(evictable)?;
        (self.resident.key(furthest.0) > self.next_use[incoming.index()]).then_some(furthest)
    }

    fn forget(&mut self, page: PageId) {
        self.resident.remove(page.0);
    }
}
