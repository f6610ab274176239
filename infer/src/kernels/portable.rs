//! Dot products in plain Rust: the numeric specification, written down to be read. Also the only kernels of a CPU that
//! has no level of its own.

use super::activations::{Q8, Q8K};
use super::blocks::{Block32, Block256, Element};
use super::matmul::{Sink, TILE};
use super::order::{fold32, tree8};

/// Rows of `per_row` blocks of 32 with up to [`TILE`] tokens.
pub(super) fn rows32<B: Block32>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        let mut lanes = [[0.0f32; 8]; TILE];
        for (b, block) in blocks.iter().enumerate() {
            let (quants, scale, min) = (block.quants(), block.scale(), block.min());
            let (group, lane) = (b / 8, b % 8);
            for (lanes, token) in lanes.iter_mut().zip(tokens) {
                let sum = dot(&quants, &token.block(b));
                lanes[lane] = (sum as f32).mul_add(scale * token.scales[group][lane], lanes[lane]);
                if B::HAS_MIN {
                    lanes[lane] = min.mul_add(token.scaled_sums[group][lane], lanes[lane]);
                }
            }
        }
        for (t, lanes) in lanes.iter().enumerate().take(tokens.len()) {
            sink.put(row, t, tree8(*lanes));
        }
    }
}

/// Rows of `per_row` blocks of 256 with up to [`TILE`] tokens.
pub(super) fn rows256<B: Block256>(rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        let mut lanes = [[0.0f32; 8]; TILE];
        for (b, block) in blocks.iter().enumerate() {
            let (quants, scale, min) = (block.quants(), block.scale(), block.min());
            let (sub_scales, sub_mins) = (block.sub_scales(), block.sub_mins());
            for (lanes, token) in lanes.iter_mut().zip(tokens) {
                let (mut sum, mut min_sum) = (0, 0);
                for j in 0..16 {
                    let products = dot(&quants[j * 16..][..16], &token.quants[b][j * 16..][..16]);
                    sum += i32::from(sub_scales[j]) * products;
                    min_sum += i32::from(sub_mins[j]) * i32::from(token.sums16[b][j]);
                }
                let d = token.scales[b / 8][b % 8];
                let lane = &mut lanes[b % 8];
                *lane = (sum as f32).mul_add(scale * d, *lane);
                if B::HAS_MIN {
                    *lane = (-min_sum as f32).mul_add(min * d, *lane);
                }
            }
        }
        for (t, lanes) in lanes.iter().enumerate().take(tokens.len()) {
            sink.put(row, t, tree8(*lanes));
        }
    }
}

/// Rows of `cols` floats with up to [`TILE`] tokens.
pub(super) fn rows_of_floats<E: Element>(rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
    for (row, elements) in rows.chunks_exact(cols).enumerate() {
        for (t, token) in tokens.iter().enumerate() {
            sink.put(row, t, dot_floats(elements, token));
        }
    }
}

/// The dot product of floats.
pub(super) fn dot_floats<E: Element>(a: &[E], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 32];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..32 {
            lanes[i] = a[i].widen().mul_add(b[i], lanes[i]);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = a.widen().mul_add(*b, *lane);
    }
    tree8(fold32(&lanes))
}

/// The exact sum of products.
#[inline]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    // A product of two `i8` fits an `i16`; written like this the compiler finds the widening multiply-add.
    a.iter().zip(b).map(|(&a, &b)| i32::from(i16::from(a) * i16::from(b))).sum()
}
