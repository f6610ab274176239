//! Attention.

use super::*;
use crate::kernels::attention::{Attention, Scratch, attend};
use crate::kernels::{KvCache, KvShape};

struct Case {
    attention: Attention,
    shape: KvShape,
    tokens: usize,
}

fn cases() -> Vec<Case> {
    let plain = Attention { heads: 6, scale: 0.125, softcap: None, window: None };
    let shape = KvShape { heads: 2, key_dim: 64, value_dim: 64, positions: 90 };
    vec![
        Case { attention: plain, shape, tokens: 90 },
        Case { attention: Attention { softcap: Some(3.0), ..plain }, shape, tokens: 40 },
        Case {
            // Other lengths than whole vectors, and other values than keys.
            attention: Attention { heads: 2, ..plain },
            shape: KvShape { heads: 1, key_dim: 41, value_dim: 75, positions: 33 },
            tokens: 33,
        },
        Case {
            // A window in a cache that goes round: window + batch - 1 positions.
            attention: Attention { heads: 2, window: Some(11), ..plain },
            shape: KvShape { heads: 2, key_dim: 32, value_dim: 128, positions: 17 },
            tokens: 80,
        },
    ]
}

/// The inputs of all tokens: queries, keys and values.
fn inputs(case: &Case) -> [Vec<f32>; 3] {
    let mut random = Random(case.tokens as u64);
    let Case { attention, shape, tokens } = case;
    [attention.heads * shape.key_dim, shape.heads * shape.key_dim, shape.heads * shape.value_dim]
        .map(|row| random.floats(row * tokens))
}

/// All tokens, `batch` at a time.
fn run(case: &Case, isa: Isa, threads: usize, batch: usize) -> Vec<f32> {
    let Case { attention, shape, tokens } = case;
    let [queries, keys, values] = inputs(case);
    let pool = pool(threads);
    let mut cache = KvCache::new([KvShape { heads: 1, key_dim: 1, value_dim: 1, positions: 1 }, *shape]);
    let mut scratch = Scratch::new(threads, attention.window.unwrap_or(*tokens), shape.value_dim);
    let mut out = Vec::new();
    for first in (0..*tokens).step_by(batch) {
        let some = first..(first + batch).min(*tokens);
        for t in some.clone() {
            let (key, value) = (shape.heads * shape.key_dim, shape.heads * shape.value_dim);
            cache.store(isa, 1, t, &keys[t * key..][..key], &values[t * value..][..value]);
        }
        let row = attention.heads * shape.key_dim;
        let mut part = vec![9.0; some.len() * attention.heads * shape.value_dim];
        let queries = &queries[some.start * row..some.end * row];
        attend(&pool, isa, attention, &cache, 1, first, queries, &mut scratch, &mut part);
        out.extend(part);
    }
    out
}

#[test]
fn levels_threads_and_batches_give_the_same_bits() {
    for case in cases() {
        let expected = bits(&run(&case, Isa::Portable, 1, 1));
        for isa in Isa::available() {
            for threads in 1..=3 {
                for batch in [1, 2, 7] {
                    assert_eq!(
                        bits(&run(&case, isa, threads, batch)),
                        expected,
                        "{isa}, {threads} threads, by {batch}"
                    );
                }
            }
        }
    }
}

#[test]
fn agrees_with_naive_arithmetic() {
    for case in cases() {
        let Case { attention, shape, tokens } = &case;
        let [queries, keys, values] = inputs(&case);
        let half = |x: &f32| f64::from(half::f16::from_f32(*x).to_f32());
        let out = run(&case, Isa::Portable, 1, 1);
        for t in 0..*tokens {
            for head in 0..attention.heads {
                let kv = head / (attention.heads / shape.heads);
                let begin = attention.window.map_or(0, |window| (t + 1).saturating_sub(window));
                let query = &queries[(t * attention.heads + head) * shape.key_dim..][..shape.key_dim];
                let weights: Vec<f64> = (begin..=t)
                    .map(|p| {
                        let key = &keys[(p * shape.heads + kv) * shape.key_dim..][..shape.key_dim];
                        let dot: f64 = query.iter().zip(key).map(|(&q, k)| f64::from(q) * half(k)).sum();
                        let score = dot * f64::from(attention.scale);
                        attention.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                    })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..shape.value_dim {
                    let value = |p: usize| half(&values[(p * shape.heads + kv) * shape.value_dim + i]);
                    let exact: f64 =
                        weights.iter().enumerate().map(|(w, weight)| weight / sum * value(begin + w)).sum();
                    let got = f64::from(out[(t * attention.heads + head) * shape.value_dim + i]);
                    assert!(
                        (got - exact).abs() <= 2e-5 * exact.abs().max(1.0),
                        "token {t} head {head}: {got} and {exact}"
                    );
                }
            }
        }
    }
}

#[test]
fn values_that_are_no_numbers_come_through_as_such() {
    let shape = KvShape { heads: 1, key_dim: 8, value_dim: 8, positions: 3 };
    let attention = Attention { heads: 1, scale: 1.0, softcap: None, window: None };
    for isa in Isa::available() {
        for bad in [f32::NAN, f32::INFINITY, 1e30] {
            let mut cache = KvCache::new([shape]);
            (0..3).for_each(|p| cache.store(isa, 0, p, &[bad; 8], &[1.0; 8]));
            let mut out = [0.0; 8];
            let (pool, mut scratch) = (pool(1), Scratch::new(1, 3, 8));
            attend(&pool, isa, &attention, &cache, 0, 2, &[1.0; 8], &mut scratch, &mut out);
            assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
        }
    }
}
