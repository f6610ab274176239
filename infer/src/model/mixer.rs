//! The forward pass of what brings tokens together: attention, and the recurrence that takes its place.

use forebay_pager::{Clock, Storage};
use forebay_prefetch::SchedulerError;

use super::decoder::{Attention, DeltaNet, Mixer, Shape};
use super::engine::{Engine, Source, Steps, Target, vector};
use super::scratch::Scratch;
use crate::kernels::steps::Heads;
use crate::kernels::{attention, delta, ops};

impl<S: Storage, C: Clock> Engine<S, C> {
    /// x += mixer(norm(x)).
    pub(super) fn mixer(&mut self, layer: usize, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        match self.decoder.layers[layer].mixer {
            Mixer::Attention(attention) => self.attention(layer, &attention, n, steps),
            Mixer::Latent(latent) => self.latent(layer, &latent, n, steps),
            Mixer::DeltaNet(delta) => self.delta_net(layer, &delta, n, steps),
        }
    }

    /// x += output(attend(rope(norm(query(h))), rope(norm(key(h))), value(h))), with h = norm(x); where there are gates, what
    /// is attended is multiplied with their sigmoids before the output projection.
    fn attention(&mut self, layer: usize, rule: &Attention, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        let shape = self.decoder.shape;
        let out_len = shape.attended_len();
        let stride = shape.query_len() + shape.key_len() + shape.value_len();
        let gates_len = if rule.gated { out_len } else { 0 };
        self.norm_x(rule.norm, n);
        let qkv = [rule.query, rule.key, rule.value].map(|linear| linear.weight);
        self.multiply(steps.next(), &qkv, Source::H, n, Target::Wide, stride + gates_len)?;
        if rule.gated {
            let Self { scratch: Scratch { wide, summands, .. }, vectors, .. } = self;
            let (rows, bias) = (&mut wide[..n * (stride + gates_len)], vector(vectors, rule.query.bias));
            take_gates(rows, bias, &shape, &mut summands[..n * gates_len]);
        }
        self.attend(layer, rule, n, stride);
        if rule.gated {
            let Self { scratch: Scratch { inner, summands, .. }, compute, .. } = self;
            delta::gate(&compute.pool, compute.isa, &summands[..n * gates_len], &mut inner[..n * out_len]);
        }
        self.multiply(steps.next(), &[rule.output.weight], Source::Inner(out_len), n, Target::H, shape.dim)?;
        self.add_h(rule.output.bias, rule.post_norm, n);
        Ok(())
    }

    /// inner = attend(rope(norm(q)), rope(norm(k)), v), of rows of q, k and v. Keys and values go to the cache.
    fn attend(&mut self, layer: usize, rule: &Attention, n: usize, stride: usize) {
        let shape = self.decoder.shape;
        let (q_len, k_len) = (shape.query_len(), shape.key_len());
        let Self { scratch, vectors, ropes, cache, compute, .. } = self;
        let Scratch { wide, inner, attention: attention_scratch, .. } = scratch;
        // Those of gated queries have been added.
        let query_bias = if rule.gated { None } else { rule.query.bias };
        let heads = Heads {
            lens: [q_len, k_len, shape.value_len()],
            biases: [query_bias, rule.key.bias, rule.value.bias].map(|bias| vector(vectors, bias)),
            norms: [rule.query_norm, rule.key_norm].map(|norm| vector(vectors, norm)),
            eps: shape.eps,
            head_dim: shape.head_dim,
            rope: &ropes[rule.rope],
        };
        let rows = &mut wide[..n * stride];
        heads.prepare(&compute.pool, compute.isa, rows);
        for (t, row) in rows.chunks_exact(stride).enumerate() {
            let (k, v) = row[q_len..].split_at(k_len);
            cache.store(compute.isa, layer, self.position + t, k, v);
        }
        let rule = attention::Attention {
            heads: shape.heads,
            scale: self.decoder.attention_scale,
            softcap: self.decoder.attention_softcap,
            window: rule.window,
            sinks: vector(vectors, rule.sinks),
        };
        attention::attend(
            &compute.pool,
            compute.isa,
            &rule,
            cache,
            layer,
            self.position,
            rows,
            stride,
            attention_scratch,
            &mut inner[..n * shape.attended_len()],
        );
    }

    /// x += output(delta_net(mixed(h), gate(h), rates(h))), with h = norm(x).
    fn delta_net(&mut self, layer: usize, rule: &DeltaNet, n: usize, steps: &mut Steps) -> Result<(), SchedulerError> {
        let DeltaNet { norm, mixed, gate, rates: [b, a], taps, decay, decay_bias, head_norm, output, shape } = *rule;
        self.norm_x(norm, n);
        self.multiply(steps.next(), &[mixed, gate, b, a], Source::H, n, Target::Wide, shape.row_len())?;
        let Self { scratch, vectors, states, compute, decoder, .. } = self;
        let Scratch { wide, summands, inner, .. } = scratch;
        let net = delta::DeltaNet {
            shape,
            taps: &vectors[taps],
            rate: &vectors[decay],
            bias: &vectors[decay_bias],
            norm: &vectors[head_norm],
            eps: decoder.shape.eps,
        };
        net.run(
            &compute.pool,
            compute.isa,
            &mut wide[..n * shape.row_len()],
            states.layer(layer),
            &mut summands[..n * shape.mixed_len()],
            &mut inner[..n * shape.value_len()],
        );
        let values = Source::Inner(shape.value_len());
        self.multiply(steps.next(), &[output], values, n, Target::H, self.decoder.shape.dim)?;
        self.add_h(None, None, n);
        Ok(())
    }
}

/// Adds the biases of queries and gates, takes the gates out of the rows, and moves what is left together.
///
/// Each row is, head by head, a query and its gates; then keys and values.
fn take_gates(rows: &mut [f32], bias: Option<&[f32]>, shape: &Shape, gates: &mut [f32]) {
    let (query, gate) = (shape.head_dim, shape.value_dim);
    let (q_len, gates_len) = (shape.query_len(), shape.attended_len());
    let len = q_len + shape.key_len() + shape.value_len();
    for (token, gates) in gates.chunks_exact_mut(gates_len).enumerate() {
        // What moves goes forward, over what has moved already.
        let (from, to) = (token * (len + gates_len), token * len);
        if let Some(bias) = bias {
            ops::add(&mut rows[from..from + q_len + gates_len], bias);
        }
        for (head, gates) in gates.chunks_exact_mut(gate).enumerate() {
            let (first, end) = (from + head * (query + gate), from + head * (query + gate) + query);
            gates.copy_from_slice(&rows[end..end + gate]);
            rows.copy_within(first..end, to + head * query);
        }
        rows.copy_within(from + q_len + gates_len..from + gates_len + len, to + q_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_taken_out_of_the_rows() {
        // Two heads with queries of 3 and gates of 2; a key of 3 and a value of 2.
        let shape = Shape {
            dim: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 3,
            value_dim: 2,
            vocab: 1,
            layers: 1,
            context: 1,
            eps: 0.0,
        };
        let row = |token: u8| (0..15).map(move |i| f32::from(token * 100 + i));
        let mut rows: Vec<f32> = (0..3).flat_map(row).collect();
        let bias: Vec<f32> = (0..10).map(|i| i as f32 / 16.0).collect();
        let mut gates = vec![0.0; 3 * 4];
        take_gates(&mut rows, Some(&bias), &shape, &mut gates);
        let expected = |columns: &[u8]| -> Vec<f32> {
            let of = |token: u8| columns.iter().map(move |&i| f32::from(token * 100 + i));
            let biases = |i: u8| bias.get(usize::from(i)).copied().unwrap_or(0.0);
            (0..3).flat_map(|t| of(t).zip(columns).map(|(x, &i)| x + biases(i)).collect::<Vec<_>>()).collect()
        };
        assert_eq!(gates, expected(&[3, 4, 8, 9]));
        assert_eq!(rows[..3 * 11], expected(&[0, 1, 2, 5, 6, 7, 10, 11, 12, 13, 14]));
    }
}
