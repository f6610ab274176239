//! Every level against the portable one, to the bit; and the portable one against naive arithmetic.

mod attention;
mod delta;
mod dequant;
mod guard;
mod kv;
mod matmul;
mod ops;
mod quantize;
mod steps;

use std::num::NonZero;

use super::{Isa, Pool};
use crate::gguf::types::TensorType;

/// The types that there are kernels for.
fn types() -> impl Iterator<Item = TensorType> {
    TensorType::ALL.into_iter().filter(|ty| ty.has_kernel())
}

/// The levels beyond the portable one.
fn vector_levels() -> impl Iterator<Item = Isa> {
    Isa::available().filter(|isa| *isa != Isa::Portable)
}

fn pool(threads: usize) -> Pool {
    Pool::new(NonZero::new(threads).unwrap())
}

/// The numbers as they must be compared: all NaNs are one.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect()
}

/// A generator whose numbers the goldens depend on.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % n
    }

    /// Even in -1..1, but for a few that are larger.
    fn float(&mut self) -> f32 {
        let x = f32::from(i16::from_le_bytes([self.byte(), self.byte()])) / 32768.0;
        if self.byte() < 4 { x * 20.0 } else { x }
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// Where in a block its half-precision scales and mins are.
fn halves_of(ty: TensorType) -> &'static [usize] {
    use TensorType::*;
    match ty {
        Q4_0 | Q5_0 | Q8_0 | IQ4_NL | IQ4_XS | F16 => &[0],
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        Q2_K => &[80, 82],
        Q3_K => &[108],
        Q6_K => &[208],
        _ => &[],
    }
}

/// How weights are painted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Paint {
    /// Random quants, scales of moderate size.
    Plain,
    /// All quant and sub-scale bytes are this, scales are of moderate size.
    Flat(u8),
    /// Random quants, scales zero, subnormal, the largest, or of either sign.
    Edge,
    /// Random bytes throughout: scales may be infinite or NaN.
    Wild,
}

const PAINTS: [Paint; 9] = [
    Paint::Plain,
    Paint::Flat(0x00),
    Paint::Flat(0xff),
    Paint::Flat(0x88),
    Paint::Flat(0x80),
    Paint::Flat(0x7f),
    Paint::Flat(0x0f),
    Paint::Edge,
    Paint::Wild,
];

/// Bytes of `blocks` blocks.
fn paint(ty: TensorType, blocks: usize, paint: Paint, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..blocks {
        let begin = bytes.len();
        bytes.extend((0..ty.block_bytes()).map(|_| match paint {
            Paint::Flat(byte) => byte,
            _ => random.byte(),
        }));
        let block = &mut bytes[begin..];
        if paint == Paint::Wild {
            continue;
        }
        for &at in halves_of(ty) {
            let edges = [0x0000u16, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfbff, 0x3c00, 0x1400];
            let half = match paint {
                Paint::Edge => edges[random.below(edges.len())],
                _ => u16::from_le_bytes([random.byte(), random.byte()]) & 0x83ff | 0x2000,
            };
            block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        match ty {
            TensorType::MXFP4 if paint == Paint::Edge => block[0] = [0, 1, 2, 254, 127, 100][random.below(6)],
            TensorType::MXFP4 => block[0] = 100 + block[0] % 40,
            TensorType::F32 => block.copy_from_slice(&random.float().to_le_bytes()),
            TensorType::BF16 => block.copy_from_slice(&half::bf16::from_f32(random.float()).to_le_bytes()),
            _ => {}
        }
    }
    bytes
}

/// Row lengths that give every tail: of groups of 8 blocks, and for floats of 32 lanes.
fn lengths(ty: TensorType) -> Vec<usize> {
    match ty.block_len() {
        1 => (1..=70).chain([127, 128, 576]).collect(),
        len => (1..=17).map(|blocks| blocks * len).chain([24 * len]).collect(),
    }
}
