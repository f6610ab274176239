//! Attention.

use super::*;
use crate::kernels::attention::{Attention, Scratch, attend};
use crate::kernels::{KvCache, KvShape, KvType};

#[derive(Clone)]
struct Case {
    attention: Attention<'static>,
    shape: KvShape,
    /// Positions.
    tokens: usize,
    /// The first whose output is looked at: those before are only stored.
    first: usize,
}

const PLAIN: Attention<'_> = Attention { heads: 6, scale: 0.125, softcap: None, window: None, sinks: None };
/// Small and large beside the scores, and beyond what an exponential can tell from them.
const SINKS: [f32; 8] = [0.5, -3.0, 4.0, 9.0, -200.0, 1.0, 0.0, 40.0];

fn case(heads: [usize; 2], [key_dim, value_dim]: [usize; 2], tokens: usize) -> Case {
    let [heads, kv_heads] = heads;
    let shape = KvShape { ty: KvType::F16, heads: kv_heads, key_dim, value_dim, positions: tokens };
    Case { attention: Attention { heads, ..PLAIN }, shape, tokens, first: 0 }
}

fn windowed(mut case: Case, window: usize, positions: usize) -> Case {
    case.attention.window = Some(window);
    case.shape.positions = positions;
    case
}

fn with_sinks(mut case: Case) -> Case {
    case.attention.sinks = Some(&SINKS[..case.attention.heads]);
    case
}

fn cases() -> Vec<Case> {
    let softcap = Attention { softcap: Some(3.0), ..PLAIN };
    let cases = [
        case([6, 2], [64, 64], 70),
        Case { attention: softcap, ..case([6, 2], [32, 32], 40) },
        // Other lengths than whole vectors, and other values than keys.
        case([2, 1], [41, 75], 37),
        case([1, 1], [8, 100], 33),
        // Groups of every size that a kernel takes at a time, and of more.
        case([4, 4], [16, 32], 40),
        case([5, 1], [32, 32], 35),
        case([7, 1], [32, 32], 35),
        case([24, 2], [32, 33], 12),
        // More heads than a task has rows, as with latents.
        case([100, 1], [40, 32], 7),
        Case { first: 255, ..case([67, 1], [33, 32], 258) },
        // Windows in a cache that goes round: window + batch - 1 positions, or more.
        windowed(case([2, 2], [32, 128], 200), 11, 17),
        windowed(case([4, 1], [32, 32], 110), 40, 64),
        windowed(case([3, 3], [40, 40], 90), 1, 7),
        // Several segments; the last tokens are enough to look at.
        Case { first: 690, ..case([6, 2], [64, 40], 700) },
        Case { first: 505, ..case([2, 2], [32, 32], 520) },
        Case { first: 1000, ..windowed(case([8, 2], [32, 32], 1014), 300, 310) },
        // Sinks: after one segment, after several, and with a window and a soft cap.
        with_sinks(case([6, 2], [40, 33], 40)),
        with_sinks(Case { first: 690, ..case([8, 1], [64, 40], 700) }),
        with_sinks(Case { first: 600, ..windowed(case([6, 3], [32, 32], 607), 300, 306) }),
        with_sinks(Case { attention: softcap, ..case([6, 2], [32, 32], 40) }),
    ];
    let types = |case: Case| KvType::ALL.map(|ty| Case { shape: KvShape { ty, ..case.shape }, ..case.clone() });
    cases.into_iter().flat_map(types).collect()
}

/// The inputs of all tokens: queries, keys and values.
fn inputs(case: &Case) -> [Vec<f32>; 3] {
    let mut random = Random(case.tokens as u64);
    let Case { attention, shape, tokens, .. } = case;
    [attention.heads * shape.key_dim, shape.heads * shape.key_dim, shape.heads * shape.value_dim]
        .map(|row| random.floats(row * tokens))
}

/// The tokens that are looked at, `batch` at a time, in a cache that held another conversation before.
fn run(case: &Case, isa: Isa, threads: usize, batch: usize) -> Vec<f32> {
    let Case { attention, shape, tokens, first } = case;
    let [queries, keys, values] = inputs(case);
    let pool = pool(threads);
    let mut cache = KvCache::new([KvShape { positions: 1, ..*shape }, *shape]);
    let mut scratch = Scratch::new(threads, attention.heads, shape);
    let (key, value) = (shape.heads * shape.key_dim, shape.heads * shape.value_dim);
    for t in 0..shape.positions {
        cache.store(isa, 1, t, &vec![f32::NAN; key], &vec![f32::INFINITY; value]);
    }
    let store = |cache: &mut KvCache, t: usize| {
        cache.store(isa, 1, t, &keys[t * key..][..key], &values[t * value..][..value]);
    };
    (0..*first).for_each(|t| store(&mut cache, t));
    let mut out = Vec::new();
    for first in (*first..*tokens).step_by(batch) {
        let some = first..(first + batch).min(*tokens);
        some.clone().for_each(|t| store(&mut cache, t));
        let row = attention.heads * shape.key_dim;
        let mut part = vec![9.0; some.len() * attention.heads * shape.value_dim];
        let queries = &queries[some.start * row..some.end * row];
        attend(&pool, isa, attention, &cache, 1, first, queries, row, &mut scratch, &mut part);
        out.extend(part);
    }
    out
}

#[test]
fn levels_threads_and_batches_give_the_same_bits() {
    for case in cases() {
        let expected = bits(&run(&case, Isa::Portable, 1, 1));
        assert!(expected.iter().all(|&x| f32::from_bits(x).is_finite()), "what was there before came through");
        for isa in Isa::available() {
            for (threads, batch) in [(1, 1), (2, 1), (3, 1), (1, 2), (1, 7), (2, 7), (3, 5)] {
                let got = bits(&run(&case, isa, threads, batch));
                let Case { attention, shape, .. } = &case;
                assert!(got == expected, "{isa}, {threads} threads, by {batch}: {attention:?} {shape:?}");
            }
        }
        // All at once, where a window does not forbid it.
        if case.attention.window.is_none() {
            let last = Isa::detect();
            assert!(bits(&run(&case, last, 2, case.tokens)) == expected, "at once: {:?}", case.shape);
        }
    }
}

/// The elements of a row as the cache keeps them.
fn kept(ty: KvType, row: &[f32]) -> Vec<f64> {
    let half = |x: f32| f64::from(half::f16::from_f32(x).to_f32());
    match ty {
        KvType::F32 => row.iter().map(|&x| x.into()).collect(),
        KvType::F16 => row.iter().map(|&x| half(x)).collect(),
        KvType::Q8_0 => row
            .chunks(32)
            .flat_map(|block| {
                let amax = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                let inverse = 127.0 / amax;
                block.iter().map(move |x| f64::from((x * inverse).round_ties_even()) * half(amax / 127.0))
            })
            .collect(),
    }
}

/// The output of head `head` of token `t` in double precision.
fn naive(case: &Case, [queries, keys, values]: &[Vec<f32>; 3], t: usize, head: usize) -> Vec<f64> {
    let Case { attention, shape, .. } = case;
    let kv = head / (attention.heads / shape.heads);
    let begin = attention.window.map_or(0, |window| (t + 1).saturating_sub(window));
    let query = &queries[(t * attention.heads + head) * shape.key_dim..][..shape.key_dim];
    let mut sums = vec![0.0; shape.value_dim];
    let mut total = attention.sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
    for p in begin..=t {
        let key = &keys[(p * shape.heads + kv) * shape.key_dim..][..shape.key_dim];
        let value = &values[(p * shape.heads + kv) * shape.value_dim..][..shape.value_dim];
        let dot: f64 = query.iter().zip(kept(shape.ty, key)).map(|(&q, k)| f64::from(q) * k).sum();
        let score = dot * f64::from(attention.scale);
        let weight = attention.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp();
        total += weight;
        sums.iter_mut().zip(kept(shape.ty, value)).for_each(|(sum, v)| *sum += weight * v);
    }
    sums.into_iter().map(|sum| sum / total).collect()
}

/// Part of the result, or of one.
const TOLERANCE: f64 = 2e-5;
/// The same for long contexts. Among so many there are elements as large as 20, whose scores are sums of terms of up to 50:
/// the roundings of these, of about 3e-6 each, are a relative error of the weights.
const LONG_TOLERANCE: f64 = 1e-4;

#[test]
fn agrees_with_naive_arithmetic() {
    for case in cases() {
        let Case { attention, shape, tokens, first } = &case;
        let inputs = inputs(&case);
        let tolerance = if *tokens > 500 { LONG_TOLERANCE } else { TOLERANCE };
        let out = run(&case, Isa::detect(), 1, 1);
        for t in *first..*tokens {
            for head in 0..attention.heads {
                let exact = naive(&case, &inputs, t, head);
                let row = ((t - first) * attention.heads + head) * shape.value_dim;
                for (exact, &got) in exact.iter().zip(&out[row..]) {
                    let error = (f64::from(got) - exact).abs();
                    assert!(error <= tolerance * exact.abs().max(1.0), "{shape:?} {t} {head}: {got} and {exact}");
                }
            }
        }
    }
}

#[test]
fn values_that_are_no_numbers_come_through_as_such() {
    for ty in KvType::ALL {
        let shape = KvShape { ty, heads: 1, key_dim: 8, value_dim: 8, positions: 300 };
        let attention = Attention { heads: 1, scale: 1.0, ..PLAIN };
        for isa in Isa::available() {
            // What is beyond half precision is an infinity there, and so are scales.
            let beyond = (ty != KvType::F32).then_some(1e30);
            for bad in [f32::NAN, f32::INFINITY].into_iter().chain(beyond) {
                for (bad_key, at) in [(true, 2), (false, 2), (true, 299), (false, 298)] {
                    let mut cache = KvCache::new([shape]);
                    let [key, value] = if bad_key { [bad, 1.0] } else { [1.0, bad] };
                    (0..300).for_each(|p| cache.store(isa, 0, p, &[1.0; 8], &[1.0; 8]));
                    cache.store(isa, 0, at, &[key; 8], &[value; 8]);
                    let mut out = [0.0; 16];
                    let (pool, mut scratch) = (pool(1), Scratch::new(1, 1, &shape));
                    attend(&pool, isa, &attention, &cache, 0, 298, &[1.0; 16], 8, &mut scratch, &mut out);
                    assert!(out[8..].iter().all(|x| !x.is_finite()), "{out:?}");
                    // What a token does not see does not touch it.
                    assert!(out[..8].iter().all(|x| x.is_finite() == (at == 299)), "{out:?}");
                }
            }
        }
    }
}

#[test]
fn single_precision_holds_what_halves_do_not() {
    let shape = KvShape { ty: KvType::F32, heads: 1, key_dim: 1, value_dim: 1, positions: 2 };
    let attention = Attention { heads: 1, scale: 1.0, ..PLAIN };
    // Beyond the largest half and below the least, and a neighbour of one.
    for value in [1e30, -1e-30, 1.0 + f32::EPSILON] {
        for isa in Isa::available() {
            let mut cache = KvCache::new([shape]);
            // The second key decides: a half would be an infinity, and the weight no number.
            cache.store(isa, 0, 0, &[1.0], &[7.0]);
            cache.store(isa, 0, 1, &[1e5], &[value]);
            let (mut out, mut scratch) = ([0.0], Scratch::new(1, 1, &shape));
            attend(&pool(1), isa, &attention, &cache, 0, 1, &[1.0], 1, &mut scratch, &mut out);
            assert_eq!(out[0].to_bits(), value.to_bits(), "{isa}");
        }
    }
}

#[test]
fn scores_of_minus_infinity_weigh_nothing_beside_others_and_infinite_ones_are_no_numbers() {
    let shape = KvShape { ty: KvType::F16, heads: 1, key_dim: 1, value_dim: 1, positions: 600 };
    let attention = Attention { heads: 1, scale: 1.0, ..PLAIN };
    for isa in Isa::available() {
        let run = |low: &dyn Fn(usize) -> bool| {
            let mut cache = KvCache::new([shape]);
            for p in 0..600 {
                let [key, value] = if low(p) { [f32::NEG_INFINITY, 5.0] } else { [0.5, 2.0] };
                cache.store(isa, 0, p, &[key], &[value]);
            }
            let (mut out, mut scratch) = ([0.0], Scratch::new(1, 1, &shape));
            attend(&pool(1), isa, &attention, &cache, 0, 599, &[1.0], 1, &mut scratch, &mut out);
            out[0]
        };
        assert_eq!(run(&|p| p % 3 == 0), 2.0);
        assert_eq!(run(&|p| p < 256), 2.0, "a whole segment");
        assert_eq!(run(&|p| p >= 256), 2.0, "the others");
        assert!(run(&|_| true).is_nan());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let shape = KvShape { ty: KvType::F16, heads: 2, key_dim: 4, value_dim: 4, positions: 32 };
    let refused = |attention: Attention<'_>, position: usize, queries: usize, out: usize, scratch: usize| {
        let cache = KvCache::new([shape]);
        let (pool, isa) = (pool(1), Isa::Portable);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut scratch = Scratch::new(1, 4, &KvShape { positions: scratch, ..shape });
            let (queries, mut out) = (vec![0.0; queries], vec![0.0; out]);
            attend(&pool, isa, &attention, &cache, 0, position, &queries, 16, &mut scratch, &mut out);
        }))
        .is_err()
    };
    let fits = Attention { heads: 4, ..PLAIN };
    assert!(!refused(fits, 30, 32, 32, 32));
    assert!(refused(Attention { heads: 3, ..fits }, 30, 32, 32, 32), "heads that are no multiple");
    assert!(refused(fits, 31, 32, 32, 32), "more positions than are kept");
    assert!(!refused(Attention { window: Some(31), ..fits }, 100, 32, 32, 32));
    assert!(refused(Attention { window: Some(32), ..fits }, 100, 32, 32, 32), "a window that is not kept");
    assert!(refused(fits, 30, 31, 32, 32), "too few queries");
    assert!(refused(fits, 30, 32, 31, 32), "half a row of outputs");
    assert!(refused(fits, 30, 32, 32, 0), "too small a scratch");
    assert!(!refused(Attention { sinks: Some(&SINKS[..4]), ..fits }, 30, 32, 32, 32));
    assert!(refused(Attention { sinks: Some(&SINKS[..3]), ..fits }, 30, 32, 32, 32), "too few sinks");
}

#[test]
fn a_sink_takes_its_share_of_what_is_seen() {
    let shape = KvShape { ty: KvType::F16, heads: 1, key_dim: 1, value_dim: 1, positions: 600 };
    for isa in Isa::available() {
        let run = |threads: usize, key: f32, sink: Option<f32>| {
            let mut cache = KvCache::new([shape]);
            (0..600).for_each(|p| cache.store(isa, 0, p, &[key], &[2.0 + (p % 7) as f32]));
            let sinks = sink.map(|sink| [sink]);
            let attention = Attention { heads: 1, scale: 1.0, sinks: sinks.as_ref().map(|s| &s[..]), ..PLAIN };
            let (mut out, mut scratch) = ([0.0], Scratch::new(threads, 1, &shape));
            attend(&pool(threads), isa, &attention, &cache, 0, 599, &[1.0], 1, &mut scratch, &mut out);
            out[0]
        };
        for threads in [1, 2] {
            // One that weighs nothing changes no bit; one as heavy as all positions together halves.
            let alone = run(threads, 0.5, None);
            assert_eq!(run(threads, 0.5, Some(f32::NEG_INFINITY)).to_bits(), alone.to_bits());
            assert_eq!(run(threads, 0.5, Some(-150.0)).to_bits(), alone.to_bits());
            let half = run(threads, 0.5, Some(0.5 + 600f32.ln()));
            assert!((half - alone / 2.0).abs() < 1e-5 * alone, "{half} and {alone}");
            // All to the sink.
            assert_eq!(run(threads, 0.5, Some(200.0)), 0.0);
            assert_eq!(run(threads, f32::NEG_INFINITY, Some(0.0)), 0.0);
            assert!(run(threads, 0.5, Some(f32::NAN)).is_nan() && run(threads, 0.5, Some(f32::INFINITY)).is_nan());
        }
    }
}
