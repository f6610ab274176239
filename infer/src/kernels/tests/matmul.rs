//! Matrix products.

use super::*;
use crate::kernels::steps::{Activation, Gate};
use crate::kernels::{Activations, Formats, Inputs, Panels, Part, Width, dequantize_row, matmul};

fn prepared(isa: Isa, x: &[f32], cols: usize, ty: TensorType) -> Activations {
    let mut acts = Activations::new(x.len() / cols, &[Width::one(cols)], Formats::of(ty));
    acts.prepare(&pool(1), isa, x, cols, Formats::of(ty));
    acts
}

/// All rows of one matrix with all tokens.
fn product(threads: usize, isa: Isa, ty: TensorType, cols: usize, bytes: &[u8], x: &[f32]) -> Vec<f32> {
    let rows = bytes.len() / ty.row_bytes(cols).unwrap();
    let mut out = vec![0.0; x.len() / cols * rows];
    let part = Part { ty, cols, bytes, head: 0, first_out: 0 };
    let mut panels = Panels::new(isa, threads, cols);
    matmul(&pool(threads), isa, &[part], &prepared(isa, x, cols, ty), &mut panels, &mut out, rows);
    out
}

#[test]
fn every_level_multiplies_to_the_same_bits() {
    let mut random = Random(1);
    for ty in types() {
        for cols in lengths(ty) {
            for painting in PAINTS {
                let rows = 1 + random.below(3);
                let bytes = paint(ty, rows * cols / ty.block_len(), painting, &mut random);
                // Nine tokens: a full tile and one more. From 16 on there are panels, where the level has them.
                let tokens = [1, 2, 4, 7, 9, 16, 21][random.below(7)];
                let mut x = random.floats(tokens * cols);
                if random.byte() < 60 {
                    x.iter_mut().for_each(|x| *x = if *x < 0.0 { -127.0 } else { 127.0 });
                }
                let portable = product(1, Isa::Portable, ty, cols, &bytes, &x);
                for isa in vector_levels() {
                    let vector = product(1, isa, ty, cols, &bytes, &x);
                    assert_eq!(
                        bits(&vector),
                        bits(&portable),
                        "{isa} {ty} {rows} x {cols}, {tokens} tokens, {painting:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn panels_of_every_height_give_the_same_bits() {
    let mut random = Random(6);
    for ty in types().filter(|ty| ty.block_len() > 1) {
        // Few blocks, some more than there are accumulators, and rows around those of one and of two panels.
        for (cols, rows) in [(256, 1), (256, 15), (512, 16), (768, 17), (2560, 33), (256, 70)] {
            for painting in PAINTS {
                let bytes = paint(ty, rows * cols / ty.block_len(), painting, &mut random);
                let tokens = 16 + random.below(10);
                let mut x = random.floats(tokens * cols);
                if random.byte() < 60 {
                    x.iter_mut().for_each(|x| *x = if *x < 0.0 { -127.0 } else { 127.0 });
                }
                let portable = product(1, Isa::Portable, ty, cols, &bytes, &x);
                for isa in vector_levels() {
                    let vector = product(2, isa, ty, cols, &bytes, &x);
                    assert_eq!(bits(&vector), bits(&portable), "{isa} {ty} {rows} x {cols}, {tokens}, {painting:?}");
                }
            }
        }
    }
}

#[test]
fn a_token_alone_and_in_a_batch_gives_the_same_bits() {
    let mut random = Random(2);
    for ty in types() {
        let cols = 3 * 256;
        let bytes = paint(ty, 5 * cols / ty.block_len(), Paint::Plain, &mut random);
        let x = random.floats(19 * cols);
        for isa in Isa::available() {
            let batch = product(2, isa, ty, cols, &bytes, &x);
            for (x, batch) in x.chunks_exact(cols).zip(batch.chunks_exact(5)) {
                assert_eq!(bits(&product(1, isa, ty, cols, &bytes, x)), bits(batch), "{isa} {ty}");
            }
        }
    }
}

#[test]
fn one_token_meets_rows_of_any_length_and_number_in_parts_that_lie_apart() {
    let mut random = Random(10);
    for ty in types().filter(|ty| ty.block_len() > 1) {
        // Around the rows and the blocks that kernels take at a time.
        for blocks in [1, 7, 8, 15, 18, 24, 31, 33] {
            for rows in [7, 8, 15, 16, 24, 33] {
                let cols = blocks * ty.block_len();
                let painting = PAINTS[random.below(PAINTS.len())];
                let bytes = paint(ty, rows * blocks, painting, &mut random);
                let mut x = random.floats(cols);
                if random.byte() < 60 {
                    x.iter_mut().for_each(|x| *x = if *x < 0.0 { -127.0 } else { 127.0 });
                }
                let portable = product(1, Isa::Portable, ty, cols, &bytes, &x);
                let (first, second) = bytes.split_at(bytes.len() / rows * (rows - rows / 3));
                for isa in vector_levels() {
                    let whole = product(1, isa, ty, cols, &bytes, &x);
                    assert_eq!(bits(&whole), bits(&portable), "{isa} {ty} {rows} x {cols}, {painting:?}");
                    // Each part in memory of its own.
                    let (second, first) = (second.to_vec(), first.to_vec());
                    let part = Part { ty, cols, bytes: &first, head: 0, first_out: 0 };
                    let then = Part { bytes: &second, first_out: rows - rows / 3, ..part };
                    let (mut out, mut panels) = (vec![7.0; rows + 1], Panels::new(isa, 2, cols));
                    let acts = prepared(isa, &x, cols, ty);
                    matmul(&pool(2), isa, &[part, then], &acts, &mut panels, &mut out, rows);
                    assert_eq!(bits(&out[..rows]), bits(&portable), "{isa} {ty} {rows} x {cols} in parts");
                    assert_eq!(out[rows], 7.0);
                }
            }
        }
    }
}

#[test]
fn each_head_meets_its_own_rows() {
    let mut random = Random(8);
    for ty in types() {
        // Heads apart from each other, in rows that have something behind them; outputs with room between them.
        let (heads, rows, cols) = (3, 5, 2 * 256);
        let (head_stride, stride, out_head) = (cols + 7, heads * (cols + 7) + 11, rows + 2);
        let bytes = paint(ty, heads * rows * cols / ty.block_len(), Paint::Plain, &mut random);
        let of_head = |head: usize| &bytes[head * bytes.len() / heads..][..bytes.len() / heads];
        for tokens in [1, 3, 9, 16, 21] {
            let x = random.floats(tokens * stride);
            let width = Width { heads, cols };
            let inputs = Inputs { x: &x, stride, head_stride, width };
            for isa in Isa::available() {
                let mut acts = Activations::new(21, &[width], Formats::of(ty));
                acts.prepare_inputs(&pool(2), isa, &inputs, Formats::of(ty));
                // Each head in two parts, all of them in some order.
                let row = ty.row_bytes(cols).unwrap();
                let mut parts = Vec::new();
                for head in 0..heads {
                    let (first, second) = of_head(head).split_at(2 * row);
                    let part = Part { ty, cols, bytes: first, head, first_out: head * out_head };
                    parts.insert(random.below(parts.len() + 1), part);
                    let part = Part { bytes: second, first_out: part.first_out + 2, ..part };
                    parts.insert(random.below(parts.len() + 1), part);
                }
                let mut out = vec![7.0; tokens * heads * out_head];
                let mut panels = Panels::new(isa, 2, cols);
                matmul(&pool(2), isa, &parts, &acts, &mut panels, &mut out, heads * out_head);
                for head in 0..heads {
                    let alone: Vec<f32> =
                        x.chunks(stride).flat_map(|x| &x[head * head_stride..][..cols]).copied().collect();
                    let expected = product(1, isa, ty, cols, of_head(head), &alone);
                    for (t, expected) in expected.chunks(rows).enumerate() {
                        let got = &out[(t * heads + head) * out_head..][..out_head];
                        assert_eq!(
                            bits(&got[..rows]),
                            bits(expected),
                            "{isa} {ty}, token {t} of {tokens}, head {head}"
                        );
                        assert_eq!(got[rows..], [7.0; 2]);
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_gate_makes_is_quantized_alike_in_one_pass_and_in_two() {
    let mut random = Random(9);
    for ty in types() {
        let (rows, cols) = (5, 3 * 256);
        let bytes = paint(ty, rows * cols / ty.block_len(), Paint::Plain, &mut random);
        let biases = [random.floats(cols), random.floats(cols)];
        for (activation, which) in [(Activation::Silu, 0), (Activation::GeluTanh, 1), (Activation::Silu, 3)] {
            let bias = |i: usize| (which >> i & 1 == 1).then_some(&biases[i][..]);
            let gate = Gate { activation, gate_bias: bias(0), up_bias: bias(1), row: cols };
            for tokens in [1, 15, 16, 21] {
                let from = random.floats(tokens * 2 * cols);
                let mut room = vec![0.0; tokens * cols];
                gate.apply(&pool(1), Isa::Portable, &from, &mut room);
                let expected = product(1, Isa::Portable, ty, cols, &bytes, &room);
                for isa in Isa::available() {
                    let mut acts = Activations::new(tokens, &[Width::one(cols)], Formats::of(ty));
                    acts.prepare_gated(&pool(2), isa, &gate, &from, &mut room, Formats::of(ty));
                    let mut out = vec![0.0; tokens * rows];
                    let part = Part { ty, cols, bytes: &bytes, head: 0, first_out: 0 };
                    matmul(&pool(2), isa, &[part], &acts, &mut Panels::new(isa, 2, cols), &mut out, rows);
                    assert_eq!(bits(&out), bits(&expected), "{isa} {ty}, {tokens} tokens, {gate:?}");
                }
            }
        }
    }
}

#[test]
fn agrees_with_naive_arithmetic() {
    let mut random = Random(3);
    for ty in types() {
        let cols = 4 * 256 + if ty.block_len() == 256 { 0 } else { 96 };
        let bytes = paint(ty, 7 * cols / ty.block_len(), Paint::Plain, &mut random);
        let x = random.floats(3 * cols);
        let mut weights = vec![0.0; 7 * cols];
        dequantize_row(ty, &bytes, &mut weights);
        let out = product(1, Isa::Portable, ty, cols, &bytes, &x);

        // The activations as the kernels see them.
        let acts = prepared(Isa::Portable, &x, cols, ty);
        let seen = |t: usize, i: usize| match Formats::of(ty) {
            Formats::FLOAT => f64::from(acts.float(t)[i]),
            Formats::Q8 => {
                let q8 = acts.q8(t);
                f64::from(q8.block(i / 32)[i % 32]) * f64::from(q8.scales.as_flattened()[i / 32])
            }
            _ => {
                let q8k = acts.q8k(t);
                f64::from(q8k.quants.as_flattened()[i]) * f64::from(q8k.scales.as_flattened()[i / 256])
            }
        };
        for (t, out) in out.chunks_exact(7).enumerate() {
            for (row, &out) in weights.chunks_exact(cols).zip(out) {
                let terms = || row.iter().enumerate().map(|(i, &w)| (f64::from(w), i));
                let exact: f64 = terms().map(|(w, i)| w * seen(t, i)).sum();
                let size: f64 = terms().map(|(w, i)| (w * seen(t, i)).abs()).sum();
                let error = (f64::from(out) - exact).abs();
                // Roundings of single precision; in Q4_1 and Q5_1 that of `s` to half precision.
                let halves = matches!(ty, TensorType::Q4_1 | TensorType::Q5_1);
                let tolerance = size * if halves { 1e-3 } else { 2e-6 };
                assert!(error <= tolerance, "{ty}: {out} and {exact}, terms of {size}");

                let unquantized: f64 = terms().map(|(w, i)| w * f64::from(x[t * cols + i])).sum();
                let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
                let norms =
                    norm(&mut terms().map(|(w, _)| w)) * norm(&mut x[t * cols..][..cols].iter().map(|&x| x.into()));
                // 8 bits of the largest of a block: one percent, and the errors of the elements are independent.
                let tolerance = norms * if Formats::of(ty) == Formats::FLOAT { 1e-6 } else { 1e-2 };
                assert!((f64::from(out) - unquantized).abs() <= tolerance, "{ty}: {out} and {unquantized}, {norms}");
            }
        }
    }
}

#[test]
fn neither_parts_nor_threads_nor_neighbours_matter() {
    let mut random = Random(4);
    // More rows than a piece, so that the pool has something to share.
    let (cols, rows, tokens, stride) = (512, 700, 3, 1500);
    let x = random.floats(tokens * cols);
    let mut acts = Activations::new(tokens, &[Width::one(cols)], Formats::Q8 | Formats::Q8K | Formats::FLOAT);
    acts.prepare(&pool(2), Isa::detect(), &x, cols, Formats::Q8 | Formats::Q8K | Formats::FLOAT);
    for (a, b) in [(TensorType::Q4_K, TensorType::Q6_K), (TensorType::Q4_0, TensorType::F16)] {
        let paint = |ty: TensorType, random: &mut Random| paint(ty, rows * cols / ty.block_len(), Paint::Plain, random);
        let (a_bytes, b_bytes) = (paint(a, &mut random), paint(b, &mut random));
        let whole = [
            Part { ty: a, cols, bytes: &a_bytes, head: 0, first_out: 10 },
            Part { ty: b, cols, bytes: &b_bytes, head: 0, first_out: 10 + rows },
        ];
        let mut expected = vec![7.0; tokens * stride];
        let none = &mut Panels::new(Isa::Portable, 1, cols);
        matmul(&pool(1), Isa::Portable, &whole, &acts, none, &mut expected, stride);
        for (t, expected) in expected.chunks_exact(stride).enumerate() {
            let untouched = expected[..10].iter().chain(&expected[10 + 2 * rows..]);
            assert!(untouched.copied().all(|x| x == 7.0), "token {t}");
        }
        for threads in 1..=3 {
            for isa in Isa::available() {
                // The rows of both in pages of some size, in some order.
                let mut parts: Vec<_> = whole
                    .iter()
                    .flat_map(|part| {
                        let row = part.ty.row_bytes(cols).unwrap();
                        let page = 1 + random.below(300);
                        part.bytes
                            .chunks(page * row)
                            .enumerate()
                            .map(move |(i, bytes)| Part { bytes, first_out: part.first_out + i * page, ..*part })
                            .collect::<Vec<_>>()
                    })
                    .collect();
                for i in (1..parts.len()).rev() {
                    parts.swap(i, random.below(i + 1));
                }
                let mut out = vec![7.0; tokens * stride];
                let mut panels = Panels::new(isa, threads, cols);
                matmul(&pool(threads), isa, &parts, &acts, &mut panels, &mut out, stride);
                assert_eq!(bits(&out), bits(&expected), "{isa} {a} {b} on {threads} threads");
            }
        }
    }
}

#[test]
fn rows_may_begin_at_any_byte() {
    let mut random = Random(5);
    for ty in types() {
        let cols = 10 * ty.block_len().max(32);
        let x = random.floats(2 * cols);
        let bytes = paint(ty, 3 * cols / ty.block_len(), Paint::Plain, &mut random);
        for isa in Isa::available() {
            let expected = product(1, isa, ty, cols, &bytes, &x);
            for shift in 1..33 {
                let mut shifted = vec![0xff; shift];
                shifted.extend(&bytes);
                let shifted = shifted.into_boxed_slice();
                assert_eq!(bits(&product(1, isa, ty, cols, &shifted[shift..], &x)), bits(&expected), "{isa} {ty}");
            }
        }
    }
}

#[test]
fn nothing_to_do_is_fine() {
    let (pool, mut acts) = (pool(2), Activations::new(2, &[Width::one(256)], Formats::Q8));
    acts.prepare(&pool, Isa::Portable, &[1.0; 512], 256, Formats::Q8);
    let none = &mut Panels::new(Isa::Portable, 2, 256);
    matmul(&pool, Isa::Portable, &[], &acts, none, &mut [], 0);
    let empty = Part { ty: TensorType::Q4_0, cols: 256, bytes: &[], head: 0, first_out: 0 };
    matmul(&pool, Isa::Portable, &[empty, empty], &acts, none, &mut [], 0);
    acts.prepare(&pool, Isa::Portable, &[], 256, Formats::Q8);
    matmul(&pool, Isa::Portable, &[Part { bytes: &[0; 144], ..empty }], &acts, none, &mut [], 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let pool = pool(1);
    let mut acts = Activations::new(2, &[Width::one(256)], Formats::Q8);
    acts.prepare(&pool, Isa::Portable, &[1.0; 512], 256, Formats::Q8);
    let part = Part { ty: TensorType::Q4_0, cols: 256, bytes: &[0; 144], head: 0, first_out: 0 };
    let refused = |part: Part<'_>, out: usize, stride: usize| {
        let attempt = || {
            let none = &mut Panels::new(Isa::Portable, 1, 256);
            matmul(&pool, Isa::Portable, &[part], &acts, none, &mut vec![0.0; out], stride);
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_err()
    };
    assert!(!refused(part, 2, 1));
    assert!(refused(part, 1, 1), "output too short");
    assert!(refused(Part { first_out: 1, ..part }, 2, 1), "beyond the stride");
    assert!(refused(Part { head: 1, ..part }, 2, 1), "a head that there is not");
    assert!(refused(Part { bytes: &[0; 143], ..part }, 2, 1), "part of a row");
    assert!(refused(Part { cols: 128, bytes: &[0; 72], ..part }, 2, 1), "other columns");
    assert!(refused(Part { ty: TensorType::Q6_K, bytes: &[0; 210], ..part }, 2, 1), "form not prepared");
    assert!(refused(Part { ty: TensorType::IQ1_S, bytes: &[0; 50], ..part }, 2, 1), "no kernel");
}
