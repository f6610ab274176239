//! The steps between matrix products, against the operations that they are made of.

use super::*;
use crate::kernels::steps::{self, Activation, Columns, Gate, Heads, Residual};
use crate::kernels::{RopeParams, RopeStyle, RopeTable, ops};

/// Calls with every level and with 1 to 3 threads.
fn everywhere(check: impl Fn(&Pool, Isa)) {
    for isa in Isa::available() {
        for threads in 1..=3 {
            check(&pool(threads), isa);
        }
    }
}

/// Rows of tokens, of lengths that share out evenly and such that do not.
const SIZES: [(usize, usize); 5] = [(1, 7), (1, 4999), (3, 64), (20, 577), (9, 2049)];

#[test]
fn norms_and_residuals() {
    for (tokens, row) in SIZES {
        let mut random = Random(row as u64);
        let (x, y, weight, bias) =
            (random.floats(tokens * row), random.floats(tokens * row), random.floats(row), random.floats(row));
        let mut expected = vec![0.0; tokens * row];
        ops::rms_norm(&x, &weight, 1e-5, &mut expected);
        everywhere(|pool, isa| {
            let mut out = vec![9.0; tokens * row];
            steps::norm(pool, isa, &x, &weight, 1e-5, &mut out);
            assert!(bits(&out) == bits(&expected), "{isa} {pool:?} {tokens} {row}");
        });
        for (bias, norm) in [(None, None), (Some(&bias), None), (None, Some(&weight)), (Some(&bias), Some(&weight))] {
            let (mut expected, mut block) = (x.clone(), y.clone());
            if let Some(bias) = bias {
                block.chunks_exact_mut(row).for_each(|row| ops::add(row, bias));
            }
            if let Some(weight) = norm {
                ops::rms_norm_in_place(&mut block, weight, 1e-6);
            }
            ops::add(&mut expected, &block);
            let norm = norm.map(|weight| (&weight[..], 1e-6));
            let residual = Residual { bias: bias.map(|bias| &bias[..]), norm, row };
            everywhere(|pool, isa| {
                let (mut x, mut y) = (x.clone(), y.clone());
                residual.add(pool, isa, &mut x, &mut y);
                assert!(bits(&x) == bits(&expected), "{isa} {pool:?} {tokens} {row}");
            });
        }
    }
}

#[test]
fn gates() {
    for (tokens, row) in SIZES {
        let mut random = Random(row as u64);
        let (from, biases) = (random.floats(2 * tokens * row), [random.floats(row), random.floats(row)]);
        for activation in [Activation::Silu, Activation::GeluTanh] {
            for which in 0..4 {
                let bias = |i: usize| (which >> i & 1 == 1).then_some(&biases[i][..]);
                let gate = Gate { activation, gate_bias: bias(0), up_bias: bias(1), row };
                let element = |i: usize| {
                    let gates = &from[i / row * 2 * row..];
                    let with = |which: usize| {
                        let x = gates[which * row + i % row];
                        bias(which).map_or(x, |bias| x + bias[i % row])
                    };
                    let act = if activation == Activation::Silu { ops::silu } else { ops::gelu_tanh };
                    act(with(0)) * with(1)
                };
                let expected: Vec<f32> = (0..tokens * row).map(element).collect();
                everywhere(|pool, isa| {
                    let mut out = vec![9.0; tokens * row];
                    gate.apply(pool, isa, &from, &mut out);
                    assert!(bits(&out) == bits(&expected), "{isa} {pool:?} {tokens} {row} {gate:?}");
                });
            }
        }
    }
}

#[test]
fn heads() {
    let (head_dim, lens) = (40, [120, 80, 33]);
    let row: usize = lens.iter().sum();
    for tokens in [1, 5, 70] {
        let mut random = Random(tokens as u64);
        let rows = random.floats(tokens * row);
        let biases = lens.map(|len| random.floats(len));
        let norms = [random.floats(head_dim), random.floats(head_dim)];
        for style in [RopeStyle::Norm, RopeStyle::Neox] {
            let mut rope = RopeTable::new(RopeParams::new(style, 34, 10_000.0), None, tokens);
            rope.set_positions(11, tokens);
            for all in [false, true] {
                let heads = Heads {
                    lens,
                    biases: biases.each_ref().map(|bias| all.then_some(&bias[..])),
                    norms: norms.each_ref().map(|norm| all.then_some(&norm[..])),
                    eps: 1e-6,
                    head_dim,
                    rope: &rope,
                };
                let mut expected = rows.clone();
                for (token, row) in expected.chunks_exact_mut(row).enumerate() {
                    let mut first = 0;
                    for (i, len) in lens.into_iter().enumerate() {
                        let part = &mut row[first..first + len];
                        first += len;
                        if all {
                            ops::add(part, &biases[i]);
                        }
                        if i < 2 {
                            if all {
                                ops::rms_norm_in_place(part, &norms[i], 1e-6);
                            }
                            rope.apply(token, part, head_dim);
                        }
                    }
                }
                everywhere(|pool, isa| {
                    let mut rows = rows.clone();
                    heads.prepare(pool, isa, &mut rows);
                    assert!(bits(&rows) == bits(&expected), "{isa} {pool:?} {tokens} {style:?}");
                });
            }
        }
    }
}

#[test]
fn columns_of_heads() {
    for tokens in [1, 5, 700] {
        // Three heads of 10: the first 6 are normed, the last 4 turned. Around them other columns.
        let (row, columns, head) = (37, 2..32, 10);
        let mut random = Random(tokens as u64);
        let (x, bias, weight) = (random.floats(tokens * row), random.floats(30), random.floats(6));
        let mut rope = RopeTable::new(RopeParams::new(RopeStyle::Norm, 4, 100.0), None, tokens);
        rope.set_positions(3, tokens);
        let mut expected = x.clone();
        for (token, row) in expected.chunks_exact_mut(row).enumerate() {
            ops::add(&mut row[columns.clone()], &bias);
            for head in row[columns.clone()].chunks_exact_mut(head) {
                ops::rms_norm_in_place(&mut head[..6], &weight, 1e-5);
                rope.apply(token, &mut head[6..], 4);
            }
        }
        let (norm, bias, rope) = (Some((&weight[..], 1e-5)), Some(&bias[..]), Some(&rope));
        let prepare = Columns { row, columns, head, bias, norm, rope };
        everywhere(|pool, isa| {
            let mut rows = x.clone();
            prepare.prepare(pool, isa, &mut rows);
            assert!(bits(&rows) == bits(&expected), "{isa} {pool:?} {tokens}");
            let nothing = Columns { bias: None, norm: None, rope: None, ..prepare.clone() };
            let mut rows = x.clone();
            nothing.prepare(pool, isa, &mut rows);
            assert!(bits(&rows) == bits(&x));
        });
    }
}
