//! What is done with routers besides choosing: the next one is asked early, and what they say is recorded.

use forebay_pager::{Clock, Storage};
use forebay_prefetch::StepId;

use super::ModelMap;
use super::channel::rule_of;
use super::decoder::{Channel, Decoder, Experts};
use super::engine::Engine;
use super::record::RouteRecorder;
use super::scratch::Scratch;
use super::weights::Compute;
use crate::kernels::steps;

/// The routers that come next, and room for what they say. All memory is had at construction.
#[derive(Debug)]
pub(super) struct Routes {
    /// For each layer, the one whose experts come next in the same pass.
    next: Vec<Option<Next>>,
    hidden: Vec<f32>,
    outputs: Vec<f32>,
    scores: Vec<f32>,
    chosen: Vec<u32>,
    weights: Vec<f32>,
    pub(super) recorder: Option<RouteRecorder>,
}

/// A router that comes later.
#[derive(Debug, Clone, Copy)]
struct Next {
    layer: usize,
    /// The step of the router.
    router: StepId,
    /// The number of its choice in the plan.
    choice: u32,
}

fn most(decoder: &Decoder, of: impl Fn(&Experts) -> usize) -> usize {
    decoder.experts().map(of).max().unwrap_or(0)
}

impl Routes {
    pub(super) fn new(map: &ModelMap) -> Self {
        let decoder = &map.decoder;
        let (experts, chosen) = (most(decoder, |e| e.count), most(decoder, |e| e.router.chosen));
        Routes {
            next: routers(map),
            hidden: vec![0.0; if experts > 0 { decoder.shape.dim } else { 0 }],
            outputs: vec![0.0; experts],
            scores: vec![0.0; experts],
            chosen: vec![0; chosen],
            weights: vec![0.0; chosen],
            recorder: None,
        }
    }

    /// Bytes that [`Routes::new`] takes.
    pub(super) fn bytes(decoder: &Decoder) -> usize {
        let floats = 2 * most(decoder, |e| e.count) + 2 * most(decoder, |e| e.router.chosen) + decoder.shape.dim;
        4 * floats + decoder.layers.len() * size_of::<Option<Next>>()
    }
}

/// For each layer, the router that comes next.
fn routers(map: &ModelMap) -> Vec<Option<Next>> {
    let mut ends = map.steps.iter().scan(0, |end, step| {
        *end += step.count;
        Some(*end)
    });
    let mut step = 0;
    let mut found = Vec::new();
    for (layer, description) in map.decoder.layers.iter().enumerate() {
        let Channel::Experts(experts) = &description.channel else { continue };
        // Matrices have the order of the plan.
        step += ends.by_ref().position(|end| end > experts.router.linear.weight.0).expect("a router is in a step");
        found.push(Next { layer, router: StepId(step as u32), choice: found.len() as u32 });
        step += 1;
    }
    let next = |layer| found.iter().find(|next| next.layer > layer).copied();
    (0..map.decoder.layers.len()).map(next).collect()
}

impl<S: Storage, C: Clock> Engine<S, C> {
    /// Records from here on what the routers say; `None` ends it. Returns what recorded so far. What a failed pass came to is
    /// recorded, too: the trace of a run in which a pass was tried again counts it twice.
    pub fn record_routes(&mut self, recorder: Option<RouteRecorder>) -> Option<RouteRecorder> {
        std::mem::replace(&mut self.routes.recorder, recorder)
    }

    /// The experts of a layer are chosen, and nothing has arrived since.
    pub(super) fn record(&mut self, layer: usize, n: usize) {
        if let Some(recorder) = &mut self.routes.recorder {
            let scheduler = self.weights.scheduler();
            recorder.visit(layer, self.position, n, self.scratch.routing.choices(), |e| scheduler.missing_bytes(e));
        }
    }

    /// Asks the next router what it would choose if the present layer's channel did nothing, and tells the scheduler: a guess,
    /// which the flash has time for now and which no result depends on.
    pub(super) fn look_ahead(&mut self, layer: usize) {
        let Some(next) = self.routes.next[layer].filter(|_| self.weights.scheduler().foresees()) else { return };
        let Channel::Experts(experts) = self.decoder.layers[next.layer].channel else { return };
        let formats = self.formats(&[experts.router.linear.weight]);
        let (dim, eps) = (self.decoder.shape.dim, self.decoder.shape.eps);
        let Self { scratch, vectors, compute, weights, routes, .. } = self;
        let Scratch { x, activations, panels, .. } = scratch;
        let Routes { hidden, outputs, scores, chosen, weights: of_chosen, .. } = routes;
        let compute: &Compute = compute;
        let Compute { pool, isa } = compute;
        let (outputs, scores) = (&mut outputs[..experts.count], &mut scores[..experts.count]);
        steps::norm(pool, *isa, &x[..dim], &vectors[experts.norm], eps, hidden);
        activations.prepare(pool, *isa, hidden, dim, formats);
        if weights.multiply_if_resident(next.router, compute, activations, panels, outputs) {
            let k = experts.router.chosen;
            let rule = rule_of(&experts.router, vectors);
            rule.choose(*isa, outputs, scores, &mut chosen[..k], &mut of_chosen[..k]);
            weights.scheduler_mut().foresee(next.choice, scores);
        }
    }
}
