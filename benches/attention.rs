//! Attention: decoding one token in a context of some length, and a prompt, in the shape of Qwen2.5-Coder-1.5B.
//!
//! `cargo bench --bench attention`. Each round goes through 28 layers, so at long contexts keys and values come from memory;
//! `read` is a pass over as many bytes, which does nothing but read them.

use std::num::NonZero;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay::infer::kernels::attention::{Attention, Scratch, attend};
use forebay::infer::kernels::steps::{Activation, Gate};
use forebay::infer::kernels::{Isa, KvCache, KvShape, KvType, Pool};

const LAYERS: usize = 28;
const HEADS: usize = 12;
const KV_HEADS: usize = 2;
const DIM: usize = 128;
const FFN: usize = 8960;
const PROMPT: usize = 512;

const ATTENTION: Attention<'_> = Attention { heads: HEADS, scale: 0.088_388, softcap: None, window: None, sinks: None };

fn floats(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin()).collect()
}

fn shape(ty: KvType, positions: usize) -> KvShape {
    KvShape { ty, heads: KV_HEADS, key_dim: DIM, value_dim: DIM, positions }
}

/// Caches in which all positions are taken.
fn cache(shape: KvShape) -> KvCache {
    let mut cache = KvCache::new([shape; LAYERS]);
    let row = floats(2 * KV_HEADS * DIM + shape.positions);
    for layer in 0..LAYERS {
        for position in 0..shape.positions {
            let row = &row[position..][..2 * KV_HEADS * DIM];
            let (keys, values) = row.split_at(KV_HEADS * DIM);
            cache.store(Isa::detect(), layer, position, keys, values);
        }
    }
    cache
}

/// Reads `words` once.
fn read(pool: &Pool, words: &[u64]) {
    const PART: usize = 8192;
    pool.run(words.len().div_ceil(PART), &|part| {
        let part = &words[part * PART..words.len().min((part + 1) * PART)];
        std::hint::black_box(part.iter().fold(0u64, |a, b| a ^ b));
    });
}

fn pools() -> [Pool; 2] {
    [1, 2].map(|threads| Pool::new(NonZero::new(threads).expect("not zero")))
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    group.sample_size(20);
    for positions in [512, 2048, 8192] {
        for ty in KvType::ALL {
            let shape = shape(ty, positions);
            let cache = cache(shape);
            let words = vec![1u64; LAYERS * shape.bytes() / 8];
            let (queries, mut out) = (floats(HEADS * DIM), vec![0.0; HEADS * DIM]);
            group.throughput(Throughput::Bytes((LAYERS * shape.bytes()) as u64));
            for pool in pools() {
                let name = format!("{ty}/{positions}");
                let mut scratch = Scratch::new(pool.threads(), HEADS, &shape);
                group.bench_function(BenchmarkId::new(&name, pool.threads()), |bencher| {
                    bencher.iter(|| {
                        for layer in 0..LAYERS {
                            let (isa, last, row) = (Isa::detect(), positions - 1, HEADS * DIM);
                            attend(&pool, isa, &ATTENTION, &cache, layer, last, &queries, row, &mut scratch, &mut out);
                        }
                    });
                });
                group.bench_function(BenchmarkId::new(format!("{name}/read"), pool.threads()), |bencher| {
                    bencher.iter(|| read(&pool, &words));
                });
            }
        }
    }
    group.finish();
}

fn prompt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prompt");
    group.sample_size(10);
    for pool in pools() {
        for ty in KvType::ALL {
            let shape = shape(ty, PROMPT);
            let cache = cache(shape);
            let (queries, mut out) = (floats(PROMPT * HEADS * DIM), vec![0.0; PROMPT * HEADS * DIM]);
            let mut scratch = Scratch::new(pool.threads(), HEADS, &shape);
            group.bench_function(BenchmarkId::new(format!("attention/{ty}"), pool.threads()), |bencher| {
                bencher.iter(|| {
                    for layer in 0..LAYERS {
                        let (isa, row) = (Isa::detect(), HEADS * DIM);
                        attend(&pool, isa, &ATTENTION, &cache, layer, 0, &queries, row, &mut scratch, &mut out);
                    }
                });
            });
        }
        let (from, mut out) = (floats(PROMPT * 2 * FFN), vec![0.0; PROMPT * FFN]);
        let gate = Gate { activation: Activation::Silu, gate_bias: None, up_bias: None, row: FFN };
        group.bench_function(BenchmarkId::new("gate", pool.threads()), |bencher| {
            bencher.iter(|| (0..LAYERS).for_each(|_| gate.apply(&pool, Isa::detect(), &from, &mut out)));
        });
    }
    group.finish();
}

criterion_group!(benches, decode, prompt);
criterion_main!(benches);
