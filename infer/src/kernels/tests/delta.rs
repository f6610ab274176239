//! Gated DeltaNet against plain arithmetic in double precision, and its bits in every way of running.

use super::*;
use crate::kernels::delta::{DeltaNet, DeltaShape, HeadOrder, gate};

/// Sizes that fill stripes and such that do not, as many value heads as key heads and several times as many.
fn shapes() -> Vec<DeltaShape> {
    let shape = |key_heads, value_heads, key_dim, value_dim, taps| {
        [HeadOrder::Grouped, HeadOrder::Tiled].map(|order| DeltaShape {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
            taps,
            order,
        })
    };
    let all = [
        shape(1, 1, 1, 1, 1),
        shape(2, 4, 8, 8, 4),
        shape(3, 3, 6, 17, 3),
        shape(2, 6, 35, 40, 2),
        shape(2, 4, 128, 128, 4),
    ];
    all.concat()
}

/// The weights of a layer.
struct Layer {
    shape: DeltaShape,
    taps: Vec<f32>,
    rate: Vec<f32>,
    bias: Vec<f32>,
    norm: Vec<f32>,
}

const EPS: f32 = 1e-4;

impl Layer {
    fn new(shape: DeltaShape, random: &mut Random) -> Self {
        Layer {
            shape,
            taps: random.floats(shape.taps * shape.mixed_len()),
            rate: random.floats(shape.value_heads).iter().map(|x| -x.abs()).collect(),
            bias: random.floats(shape.value_heads),
            norm: random.floats(shape.value_dim),
        }
    }

    /// The outputs of all rows, in chunks of `chunk` tokens, and the state after them.
    fn run(&self, pool: &Pool, isa: Isa, rows: &[f32], chunk: usize) -> (Vec<f32>, Vec<f32>) {
        let Self { shape, taps, rate, bias, norm } = self;
        let net = DeltaNet { shape: *shape, taps, rate, bias, norm, eps: EPS };
        let mut states = [vec![0.0; shape.state_len()], vec![f32::NAN; shape.state_len()]];
        let mut all = Vec::new();
        for rows in rows.chunks(chunk * shape.row_len()) {
            let tokens = rows.len() / shape.row_len();
            let mut mixed = vec![f32::NAN; tokens * shape.mixed_len()];
            let mut out = vec![f32::NAN; tokens * shape.value_len()];
            let [before, after] = &mut states;
            net.run(pool, isa, &mut rows.to_vec(), (before, after), &mut mixed, &mut out);
            states.swap(0, 1);
            all.extend(out);
        }
        let [state, _] = states;
        (all, state)
    }

    /// The same, as plainly as possible.
    fn oracle(&self, rows: &[f32]) -> Vec<f64> {
        let shape = &self.shape;
        let DeltaShape { key_heads, value_heads, key_dim, value_dim, .. } = *shape;
        let rows: Vec<Vec<f64>> =
            rows.chunks_exact(shape.row_len()).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
        let mut states = vec![vec![vec![0.0; value_dim]; key_dim]; value_heads];
        let mut all = Vec::new();
        for (token, row) in rows.iter().enumerate() {
            let channels: Vec<f64> = (0..shape.mixed_len()).map(|j| silu(self.convolved(&rows, token, j))).collect();
            let gates = &row[shape.mixed_len()..];
            let rates = &gates[shape.value_len()..];
            for (head, state) in states.iter_mut().enumerate() {
                let shared = value_heads / key_heads;
                let (key_head, b, a) = match shape.order {
                    HeadOrder::Grouped => {
                        let (group, i) = (head / shared, head % shared);
                        (group, rates[2 * shared * group + i], rates[2 * shared * group + shared + i])
                    }
                    HeadOrder::Tiled => (head % key_heads, rates[head], rates[value_heads + head]),
                };
                let query = unit(&channels[key_head * key_dim..][..key_dim]);
                let key = unit(&channels[(key_heads + key_head) * key_dim..][..key_dim]);
                let value = &channels[2 * key_heads * key_dim + head * value_dim..][..value_dim];
                let beta = 1.0 / (1.0 + (-b).exp());
                let decay = (f64::from(self.rate[head]) * (a + f64::from(self.bias[head])).exp().ln_1p()).exp();
                let out = step(state, &query, &key, value, beta, decay);
                let mean = out.iter().map(|x| x * x).sum::<f64>() / value_dim as f64;
                let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
                let gated =
                    |(i, x): (usize, f64)| x * scale * f64::from(self.norm[i]) * silu(gates[head * value_dim + i]);
                all.extend(out.into_iter().enumerate().map(gated));
            }
        }
        all
    }

    /// Channel `j` of a token, before the non-linearity.
    fn convolved(&self, rows: &[Vec<f64>], token: usize, j: usize) -> f64 {
        let DeltaShape { taps, .. } = self.shape;
        let weight = |tap: usize| f64::from(self.taps[tap * self.shape.mixed_len() + j]);
        let seen = (0..taps).filter(|tap| token + tap + 1 >= taps);
        seen.map(|tap| weight(tap) * rows[token + tap + 1 - taps][j]).sum()
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn unit(x: &[f64]) -> Vec<f64> {
    let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
    x.iter().map(|x| x * scale).collect()
}

/// One step of the recurrence: its output.
fn step(state: &mut [Vec<f64>], query: &[f64], key: &[f64], value: &[f64], beta: f64, decay: f64) -> Vec<f64> {
    state.iter_mut().flatten().for_each(|s| *s *= decay);
    let sum = |state: &[Vec<f64>], by: &[f64], j: usize| state.iter().zip(by).map(|(row, x)| row[j] * x).sum::<f64>();
    let change: Vec<f64> = value.iter().enumerate().map(|(j, v)| (v - sum(state, key, j)) * beta).collect();
    for (row, k) in state.iter_mut().zip(key) {
        row.iter_mut().zip(&change).for_each(|(s, change)| *s += k * change);
    }
    let root = (query.len() as f64).sqrt();
    (0..value.len()).map(|j| sum(state, query, j) / root).collect()
}

#[test]
fn it_is_what_double_precision_says() {
    for shape in shapes() {
        let mut random = Random(shape.row_len() as u64);
        let layer = Layer::new(shape, &mut random);
        let rows = random.floats(40 * shape.row_len());
        let (got, _) = layer.run(&pool(2), Isa::detect(), &rows, 7);
        let exact = layer.oracle(&rows);
        let largest = exact.iter().fold(0.0f64, |max, x| max.max(x.abs()));
        for (i, (got, exact)) in got.iter().zip(&exact).enumerate() {
            let error = (f64::from(*got) - exact).abs() / largest;
            assert!(error < 2e-5, "{shape:?}: element {i} is {got}, not {exact}");
        }
    }
}

#[test]
fn the_bits_are_the_same_in_every_way_of_running() {
    for shape in shapes() {
        let mut random = Random(shape.row_len() as u64);
        let layer = Layer::new(shape, &mut random);
        let rows = random.floats(19 * shape.row_len());
        let (out, state) = layer.run(&pool(1), Isa::Portable, &rows, 19);
        for isa in Isa::available() {
            for (threads, chunk) in [(1, 1), (1, 19), (2, 4), (3, 1), (3, 2), (3, 19)] {
                let (other, other_state) = layer.run(&pool(threads), isa, &rows, chunk);
                assert!(bits(&out) == bits(&other), "{shape:?}: {isa}, {threads} threads, chunks of {chunk}");
                assert!(bits(&state) == bits(&other_state), "{shape:?}: {isa}, {threads} threads, chunks of {chunk}");
            }
        }
    }
}

#[test]
fn a_state_that_was_read_is_as_it_was() {
    let shape = shapes()[2];
    let mut random = Random(5);
    let layer = Layer::new(shape, &mut random);
    let net = DeltaNet { shape, taps: &layer.taps, rate: &layer.rate, bias: &layer.bias, norm: &layer.norm, eps: EPS };
    let (rows, before) = (random.floats(shape.row_len()), random.floats(shape.state_len()));
    let outs = [0, 1].map(|_| {
        let (mut after, mut mixed) = (vec![0.0; shape.state_len()], vec![0.0; shape.mixed_len()]);
        let mut out = vec![0.0; shape.value_len()];
        net.run(&pool(2), Isa::detect(), &mut rows.clone(), (&before, &mut after), &mut mixed, &mut out);
        bits(&out)
    });
    assert_eq!(outs[0], outs[1]);
}

#[test]
fn rates_at_their_ends() {
    // However large what the projections give, nothing overflows: a state is forgotten at once, or kept for good.
    let shape = DeltaShape { key_heads: 1, value_heads: 1, key_dim: 4, value_dim: 4, taps: 1, order: HeadOrder::Tiled };
    let mut layer = Layer::new(shape, &mut Random(9));
    layer.rate = vec![-1.0];
    for (b, a) in [(200.0, 200.0), (-200.0, -200.0), (1e30, -1e30), (-1e30, 1e30)] {
        let mut rows = Random(3).floats(3 * shape.row_len());
        for row in rows.chunks_exact_mut(shape.row_len()) {
            (row[shape.row_len() - 2], row[shape.row_len() - 1]) = (b, a);
        }
        let (out, state) = layer.run(&pool(1), Isa::detect(), &rows, 3);
        assert!(out.iter().chain(&state).all(|x| x.is_finite()), "{b} and {a}: {out:?}, {state:?}");
    }
}

#[test]
fn gates_of_attention() {
    for len in [1, 33, 5000] {
        let mut random = Random(len as u64);
        let (gates, x) = (random.floats(len), random.floats(len));
        let mut expected = x.clone();
        gate(&pool(1), Isa::Portable, &gates, &mut expected);
        for (i, got) in expected.iter().enumerate() {
            let exact = f64::from(x[i]) / (1.0 + (-f64::from(gates[i])).exp());
            assert!((f64::from(*got) - exact).abs() <= 1e-6 * exact.abs().max(1e-3), "{got} and {exact}");
        }
        for isa in Isa::available() {
            let mut out = x.clone();
            gate(&pool(3), isa, &gates, &mut out);
            assert_eq!(bits(&out), bits(&expected), "{isa}");
        }
    }
}
