//! Decoding one token: how fast each weight type goes through the kernels, in bytes of weights per second.
//!
//! `cargo bench --bench decode`; the matrices are larger than the caches.

use std::num::NonZero;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay::infer::gguf::TensorType;
use forebay::infer::kernels::{Activations, Formats, Isa, Panels, Part, Pool, Width, matmul};

const COLS: usize = 2048;
const BYTES: usize = 128 << 20;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.sample_size(20);
    for ty in TensorType::ALL.into_iter().filter(|ty| ty.has_kernel()) {
        let row = ty.row_bytes(COLS).expect("a multiple of every block");
        let rows = BYTES / row;
        // Small half-precision scales and any quants: 0x10 is a tiny normal in the high byte of each.
        let bytes: Vec<u8> = (0..rows * row).map(|i| if i % 2 == 1 { 0x10 } else { i as u8 }).collect();
        let x: Vec<f32> = (0..COLS).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut out = vec![0.0; rows];
        for threads in [1, 2] {
            let pool = Pool::new(NonZero::new(threads).expect("not zero"));
            let isa = Isa::detect();
            let mut activations = Activations::new(1, &[Width::one(COLS)], Formats::of(ty));
            activations.prepare(&pool, isa, &x, COLS, Formats::of(ty));
            let mut panels = Panels::new(isa, threads, COLS);
            group.throughput(Throughput::Bytes((rows * row) as u64));
            group.bench_function(BenchmarkId::new(ty.to_string(), threads), |bencher| {
                let part = Part { ty, cols: COLS, bytes: &bytes, head: 0, first_out: 0 };
                bencher.iter(|| matmul(&pool, isa, &[part], &activations, &mut panels, &mut out, rows));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
