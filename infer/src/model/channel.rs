//! The forward pass of what each token does by itself: feed-forward blocks and mixtures of experts.

use forebay_pager::{Clock, Storage};
use forebay_prefetch::SchedulerError;

use super::decoder::{Channel, Experts, FeedForward, Gating, Linear, Router, SharedExpert};
use super::engine::{Engine, EngineError, Source, Steps, Target, vector};
use super::routing::SharedWeight;
use super::scratch::Scratch;
use super::vectors::Vectors;
use super::weights::Compute;
use crate::gguf::TensorType;
use crate::kernels::experts::{ClampedGate, Rule, combine};
use crate::kernels::steps::Gate;
use crate::kernels::{Formats, Part, matmul, ops};

impl<S: Storage, C: Clock> Engine<S, C> {
    /// x += channel(norm(x)).
    pub(super) fn channel(&mut self, layer: usize, n: usize, steps: &mut Steps) -> Result<(), EngineError> {
        match self.decoder.layers[layer].channel {
            Channel::Dense(feed_forward) => Ok(self.feed_forward(&feed_forward, n, steps)?),
            Channel::Experts(experts) => self.experts(layer, &experts, n, steps).map_err(|error| match error {
                SchedulerError::Expert { expert, source, .. } => EngineError::Expert { layer, expert, source },
                other => other.into(),
            }),
        }
    }

    /// x += down(act(gate(h)) * up(h)), with h = norm(x).
    fn feed_forward(&mut self, rule: &FeedForward, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        let FeedForward { norm, gate, up, down, width, activation, post_norm } = *rule;
        self.norm_x(norm, n);
        self.gated([gate, up, down], width, Gating::Product(activation), n, steps)?;
        self.multiply_prepared(steps.next(), n, Target::H, self.decoder.shape.dim)?;
        self.add_h(down.bias, post_norm, n);
        Ok(())
    }

    /// Prepares gating(gate(h), up(h)) as the input of `down`.
    fn gated(
        &mut self,
        [gate, up, down]: [Linear; 3],
        width: usize,
        gating: Gating,
        n: usize,
        steps: &mut Steps,
    ) -> Result<(), SchedulerError> {
        self.multiply(steps.next(), &[gate.weight, up.weight], Source::H, n, Target::Wide, 2 * width)?;
        let formats = self.formats(&[down.weight]);
        let Self { scratch, vectors, compute, .. } = self;
        let biases = [gate, up].map(|linear| vector(vectors, linear.bias));
        gate_up(compute, gating, biases, width, n, scratch, formats);
        Ok(())
    }

    /// x += sum of weight x expert(h) over the chosen, with h = norm(x).
    ///
    /// Each expert meets all tokens that chose it at once, and what it gives for each goes to a place of its own. The sum is
    /// taken when all are there: the order in which they came changes nothing.
    fn experts(&mut self, layer: usize, rule: &Experts, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        self.norm_x(rule.norm, n);
        self.route(rule, n, steps)?;
        let choice = steps.after(if rule.shared.is_some() { 2 } else { 0 });
        self.weights.choose(choice, n, self.scratch.routing.choices());
        self.record(layer, n);
        self.look_ahead(layer);
        if let Some(shared) = rule.shared {
            // While the chosen experts are read.
            self.shared(rule, &shared, n, steps)?;
        }
        self.weights.begin_choice(steps.next());
        while let Some(expert) = self.weights.next_expert()? {
            self.expert(rule, expert)?;
            self.weights.finish_expert();
        }
        let dim = self.decoder.shape.dim;
        let Scratch { h, summands, routing, .. } = &mut self.scratch;
        let (summands, weights) = (&summands[..n * rule.summands() * dim], routing.weights());
        combine(&self.compute.pool, self.compute.isa, summands, weights, dim, &mut h[..n * dim]);
        self.add_h(None, rule.post_norm, n);
        Ok(())
    }

    /// Which experts each token goes to.
    fn route(&mut self, rule: &Experts, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        let router = &rule.router;
        let (weight, shared) = match rule.shared {
            None => (None, SharedWeight::Absent),
            Some(SharedExpert { weight: None, .. }) => (None, SharedWeight::One),
            Some(SharedExpert { weight, .. }) => (weight, SharedWeight::Sigmoid),
        };
        let (stride, float) = match weight {
            Some(_) => (rule.count + 1, Formats::FLOAT),
            None => (rule.count, Formats::NONE),
        };
        self.prepare(Source::H, n, self.formats(&[router.linear.weight]) | float);
        self.multiply_prepared(steps.next(), n, Target::Wide, stride)?;
        let Self { scratch, vectors, compute: Compute { pool, isa }, decoder, .. } = self;
        let Scratch { wide, activations, panels, routing, .. } = scratch;
        let outputs = &mut wide[..n * stride];
        if let Some(weight) = weight {
            // One more row of the product, which need not be streamed.
            let bytes = bytemuck::cast_slice(&vectors[weight]);
            let part = Part { ty: TensorType::F32, cols: decoder.shape.dim, bytes, head: 0, first_out: rule.count };
            matmul(pool, *isa, &[part], activations, panels, outputs, stride);
        }
        routing.choose(*isa, &rule_of(router, vectors), [router.chosen, rule.count], outputs, stride, shared);
        Ok(())
    }

    /// The last summand of each token = shared(h).
    fn shared(
        &mut self,
        rule: &Experts,
        shared: &SharedExpert,
        n: usize,
        steps: &mut Steps,
    ) -> Result<(), SchedulerError> {
        let SharedExpert { gate, up, down, width, .. } = *shared;
        let dim = self.decoder.shape.dim;
        self.gated([gate, up, down], width, rule.gating, n, steps)?;
        let (first, stride) = (rule.router.chosen * dim, rule.summands() * dim);
        self.multiply_prepared(steps.next(), n, Target::Summands(first), stride)?;
        let Self { scratch, vectors, .. } = self;
        if let Some(bias) = vector(vectors, down.bias) {
            let rows = scratch.summands[first..].chunks_mut(stride).take(n);
            rows.for_each(|row| ops::add(&mut row[..dim], bias));
        }
        Ok(())
    }

    /// The summands of one expert = expert(h), for the tokens that chose it.
    fn expert(&mut self, rule: &Experts, expert: u32) -> Result<(), SchedulerError> {
        let Experts { gate, up, down, width, gating, .. } = *rule;
        let dim = self.decoder.shape.dim;
        let n = self.gather(rule, expert);

        let down_formats = self.formats(&[down.weight]);
        self.prepare(Source::Gathered, n, self.formats(&[gate.weight, up.weight]));
        let Self { scratch, vectors, compute, weights, .. } = self;
        let Scratch { wide, activations, panels, .. } = scratch;
        let wide = &mut wide[..n * 2 * width];
        weights.multiply_expert(&[gate.weight, up.weight], compute, activations, panels, wide, 2 * width)?;
        let of_expert =
            |linear: Linear, len: usize| vector(vectors, linear.bias).map(|b| &b[expert as usize * len..][..len]);
        let biases = [gate, up].map(|linear| of_expert(linear, width));
        gate_up(compute, gating, biases, width, n, scratch, down_formats);

        let Self { scratch, vectors, compute, weights, .. } = self;
        let Scratch { gathered, summands, routing, activations, panels, .. } = scratch;
        let gathered = &mut gathered[..n * dim];
        weights.multiply_expert(&[down.weight], compute, activations, panels, gathered, dim)?;
        let bias = vector(vectors, down.bias).map(|b| &b[expert as usize * dim..][..dim]);
        for (row, &summand) in gathered.chunks_exact_mut(dim).zip(routing.summands_of(expert)) {
            if let Some(bias) = bias {
                ops::add(row, bias);
            }
            summands[summand as usize * dim..][..dim].copy_from_slice(row);
        }
        Ok(())
    }

    /// gathered = h of the tokens that chose `expert`. Returns how many there are.
    fn gather(&mut self, rule: &Experts, expert: u32) -> usize {
        let dim = self.decoder.shape.dim;
        let Scratch { h, gathered, routing, .. } = &mut self.scratch;
        let users = routing.summands_of(expert);
        for (row, &summand) in gathered.chunks_exact_mut(dim).zip(users) {
            row.copy_from_slice(&h[summand as usize / rule.summands() * dim..][..dim]);
        }
        users.len()
    }
}

/// How a router's outputs become a choice.
pub(super) fn rule_of<'a>(router: &Router, vectors: &'a Vectors) -> Rule<'a> {
    Rule {
        scoring: router.scoring,
        bias: vector(vectors, router.linear.bias),
        correction: vector(vectors, router.correction),
        groups: router.groups,
        normalise: router.normalise,
        scale: router.scale,
    }
}

/// Prepares gating(gate + bias, up + bias) as an input, where each of the `n` rows of `wide` is a row of gates and then one
/// of ups.
fn gate_up(
    compute: &Compute,
    gating: Gating,
    biases: [Option<&[f32]>; 2],
    row: usize,
    n: usize,
    scratch: &mut Scratch,
    formats: Formats,
) {
    let (&Compute { ref pool, isa }, [gate_bias, up_bias]) = (compute, biases);
    let Scratch { wide, inner, activations, .. } = scratch;
    let (wide, inner) = (&wide[..n * 2 * row], &mut inner[..n * row]);
    match gating {
        Gating::Product(activation) => {
            let gate = Gate { activation, gate_bias, up_bias, row };
            activations.prepare_gated(pool, isa, &gate, wide, inner, formats);
        }
        Gating::Clamped { alpha, limit } => {
            ClampedGate { alpha, limit, biases, row }.apply(pool, isa, wide, inner);
            activations.prepare(pool, isa, inner, row, formats);
        }
    }
}
