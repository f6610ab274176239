//! Numbers as blocks of a tensor type: with one scale for all, so that quants can be drawn without numbers at all.

use half::f16;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::RngCore;

use crate::gguf::TensorType;

/// How numbers of one size are stored.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    ty: TensorType,
    /// What one step of the quants, or the whole range of floats, stands for.
    step: f32,
}

/// The types that weights can be synthesised in.
pub const TYPES: [TensorType; 6] =
    [TensorType::Q4_K, TensorType::Q4_0, TensorType::MXFP4, TensorType::Q8_0, TensorType::F16, TensorType::F32];

/// The root of the mean square of quants drawn evenly: of 16 levels, of 256, and of the 16 values of E2M1 (OCP MX, in halves).
const SPREAD_4: f32 = 4.609_772;
const SPREAD_8: f32 = 73.9;
const SPREAD_MXFP4: f32 = 5.852_35;

impl Blocks {
    /// For numbers whose root mean square is `size`.
    ///
    /// # Panics
    /// When `ty` is not among [`TYPES`].
    pub fn new(ty: TensorType, size: f32) -> Self {
        let spread = match ty {
            TensorType::Q4_0 | TensorType::Q4_K => SPREAD_4,
            TensorType::Q8_0 => SPREAD_8,
            TensorType::MXFP4 => SPREAD_MXFP4,
            TensorType::F16 | TensorType::F32 => 1.0,
            _ => panic!("{ty} is not among the types of synthesised weights"),
        };
        Blocks { ty, step: size / spread }
    }

    /// Fills `out`, whole blocks, with weights drawn at random.
    pub fn draw(&self, random: &mut Xoshiro256PlusPlus, out: &mut [u8]) {
        match self.ty {
            TensorType::F32 => {
                for x in out.chunks_exact_mut(4) {
                    x.copy_from_slice(&(self.step * normal(random)).to_le_bytes());
                }
            }
            TensorType::F16 => {
                for x in out.chunks_exact_mut(2) {
                    x.copy_from_slice(&f16::from_f32(self.step * normal(random)).to_le_bytes());
                }
            }
            _ => {
                random.fill_bytes(out);
                out.chunks_exact_mut(self.ty.block_bytes()).for_each(|block| self.put_scale(block));
            }
        }
    }

    /// Overwrites the scale of a block.
    fn put_scale(&self, block: &mut [u8]) {
        let half = |x: f32| f16::from_f32(x).to_le_bytes();
        match self.ty {
            TensorType::Q4_0 | TensorType::Q8_0 => block[..2].copy_from_slice(&half(self.step)),
            TensorType::Q4_K => {
                block[..2].copy_from_slice(&half(self.step));
                // All scales and all minima are 1, so that a weight is step * (quant - 7.5).
                block[2..4].copy_from_slice(&half(7.5 * self.step));
                block[4..12].fill(1);
                block[12..16].fill(0x11);
            }
            // Values count in halves, and the scale is a power of two with an offset of 127.
            TensorType::MXFP4 => block[0] = (127.0 + (2.0 * self.step).log2().round()).clamp(0.0, 254.0) as u8,
            _ => {}
        }
    }

    /// Appends `numbers`, whole blocks, rounded to the nearest that there is.
    pub fn put(&self, numbers: &[f32], out: &mut Vec<u8>) {
        let quant = |x: f32, middle: f32, most: f32| (x / self.step + middle).round().clamp(0.0, most) as u8;
        let low = |x: f32| quant(x, 8.0, 15.0);
        let k = |x: f32| quant(x, 7.5, 15.0);
        match self.ty {
            TensorType::F32 => numbers.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
            TensorType::F16 => numbers.iter().for_each(|x| out.extend_from_slice(&f16::from_f32(*x).to_le_bytes())),
            _ => {
                for block in numbers.chunks_exact(self.ty.block_len()) {
                    let start = out.len();
                    out.resize(start + self.ty.block_bytes(), 0);
                    let bytes = &mut out[start..];
                    self.put_scale(bytes);
                    match self.ty {
                        TensorType::Q4_0 => pair_up(block, &mut bytes[2..], 16, low),
                        TensorType::Q4_K => pair_up(block, &mut bytes[16..], 32, k),
                        TensorType::Q8_0 => {
                            let quants = block.iter().map(|x| (x / self.step).round().clamp(-127.0, 127.0) as i8);
                            bytes[2..].iter_mut().zip(quants).for_each(|(byte, quant)| *byte = quant as u8);
                        }
                        _ => unreachable!("numbers are not rounded to {}", self.ty),
                    }
                }
            }
        }
    }
}

/// Two quants to a byte: the low halves are a run of so many elements, the high halves the run behind it.
fn pair_up(block: &[f32], bytes: &mut [u8], run: usize, quant: impl Fn(f32) -> u8) {
    for (pair, bytes) in block.chunks_exact(2 * run).zip(bytes.chunks_exact_mut(run)) {
        let (low, high) = pair.split_at(run);
        for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
            *byte = quant(*low) | quant(*high) << 4;
        }
    }
}

/// A number drawn from about the normal distribution, of mean 0 and variance 1: the sum of four that are drawn evenly.
pub fn normal(random: &mut Xoshiro256PlusPlus) -> f32 {
    const SPREAD: f32 = 37_837.227; // Of four evenly drawn 16-bit numbers.
    let bits = random.next_u64();
    let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
    (sum as f32 - 131_070.0) / SPREAD
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::SeedableRng;

    use super::*;
    use crate::kernels::dequantize_row;

    fn size(numbers: &[f32]) -> f32 {
        (numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32).sqrt()
    }

    #[test]
    fn weights_have_the_size_that_was_asked_for() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for ty in TYPES {
            let len = 1 << 14;
            let mut bytes = vec![0; ty.row_bytes(len).unwrap()];
            let blocks = Blocks::new(ty, 0.3);
            blocks.draw(&mut random, &mut bytes);
            let mut numbers = vec![0.0; len];
            dequantize_row(ty, &bytes, &mut numbers);
            // A scale that is a power of two is as near as a factor of the root of two.
            let near = if ty == TensorType::MXFP4 { 0.43 } else { 0.02 };
            assert!((size(&numbers) / 0.3 - 1.0).abs() < near, "{ty}: {}", size(&numbers));
            // The levels of Q4_0 lie half a step to one side of zero.
            let mean = numbers.iter().sum::<f32>() / len as f32;
            assert!(mean.abs() < if ty == TensorType::Q4_0 { 0.6 * blocks.step } else { 0.01 }, "{ty}: {mean}");
        }
    }

    #[test]
    fn numbers_come_back() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        let numbers: Vec<f32> = (0..512).map(|_| normal(&mut random)).collect();
        for ty in [TensorType::Q4_0, TensorType::Q4_K, TensorType::Q8_0, TensorType::F16] {
            let blocks = Blocks::new(ty, 1.6);
            // Half a step, and what half precision rounds of the step.
            let near = if ty == TensorType::F16 { 1e-3 } else { 0.503 * blocks.step };
            let mut bytes = Vec::new();
            blocks.put(&numbers, &mut bytes);
            let mut back = vec![0.0; numbers.len()];
            dequantize_row(ty, &bytes, &mut back);
            let inner = numbers.iter().zip(&back).filter(|(x, _)| x.abs() < 2.0);
            let worst = inner.fold(0.0f32, |worst, (x, y)| worst.max((x - y).abs()));
            assert!(worst < near, "{ty}: {worst}");
        }
    }
}
