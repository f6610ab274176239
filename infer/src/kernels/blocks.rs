//! The block formats of GGUF weights, and their meaning in plain Rust.
//!
//! A block is a plain struct of bytes: alignment one and no padding, so that rows can be read in place from wherever in a
//! frame they begin. [`Block32`] and [`Block256`] say what a block means; the portable kernels and dequantization are
//! written on nothing else, and the vector kernels must agree with them. Layouts: `ggml-common.h`.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};

/// A row element that is a float by itself.
pub(super) trait Element: Pod {
    /// Its value, exactly.
    fn widen(self) -> f32;
}

/// 32 weights: `scale * q`, plus `min` in the formats that have one.
pub(super) trait Block32: Pod {
    /// Whether there is a `min`.
    const HAS_MIN: bool = false;
    fn scale(&self) -> f32;
    fn min(&self) -> f32 {
        0.0
    }
    /// The quants in element order.
    fn quants(&self) -> [i8; 32];
}

/// 256 weights in 16 sub-blocks of 16: `(scale * sub_scale) * q`, minus `min * sub_min` in the formats that have one.
///
/// Formats with 8 sub-blocks of 32 are seen as 16 whose pairs agree.
pub(super) trait Block256: Pod {
    /// Whether there is a `min`.
    const HAS_MIN: bool = false;
    fn scale(&self) -> f32;
    fn min(&self) -> f32 {
        0.0
    }
    fn sub_scales(&self) -> [i8; 16];
    fn sub_mins(&self) -> [u8; 16] {
        [0; 16]
    }
    /// The quants in element order.
    fn quants(&self) -> [i8; 256];
}

macro_rules! blocks {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: [u8; $len:literal]),+ })+) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types)] // The names are the format's own.
        #[derive(Clone, Copy, Pod, Zeroable)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: [u8; $len]),+ }
        const _: () = assert!(
            size_of::<$name>() == crate::gguf::types::TensorType::$name.block_bytes() && align_of::<$name>() == 1
        );
    )+};
}

blocks! {
    F32 { bytes: [u8; 4] }
    F16 { bytes: [u8; 2] }
    BF16 { bytes: [u8; 2] }
    /// Nibbles minus 8. Byte `i` holds elements `i` and `i + 16`, as in all formats of 32.
    Q4_0 { d: [u8; 2], qs: [u8; 16] }
    Q4_1 { d: [u8; 2], m: [u8; 2], qs: [u8; 16] }
    /// Bit `i` of `qh` is the fifth bit of element `i`; minus 16.
    Q5_0 { d: [u8; 2], qh: [u8; 4], qs: [u8; 16] }
    Q5_1 { d: [u8; 2], m: [u8; 2], qh: [u8; 4], qs: [u8; 16] }
    Q8_0 { d: [u8; 2], qs: [u8; 32] }
    /// Nibbles are indexes into [`IQ4_VALUES`].
    IQ4_NL { d: [u8; 2], qs: [u8; 16] }
    /// Nibbles are indexes into [`FP4_VALUES`]; `e` is the exponent of the scale.
    MXFP4 { e: [u8; 1], qs: [u8; 16] }
    /// `scales` holds a scale (low) and a min (high) per 16; byte `i` of a half of `qs` holds elements `i`, `i + 32`,
    /// `i + 64` and `i + 96` of that half.
    Q2_K { scales: [u8; 16], qs: [u8; 64], d: [u8; 2], dmin: [u8; 2] }
    /// `qs` as in `Q2_K`; bit `i / 32` of `hmask[i % 32]` is the third bit of element `i`; minus 4.
    Q3_K { hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: [u8; 2] }
    /// Byte `i` of a quarter of `qs` holds elements `i` and `i + 32` of that quarter.
    Q4_K { d: [u8; 2], dmin: [u8; 2], scales: [u8; 12], qs: [u8; 128] }
    /// `qs` as in `Q4_K`; bit `i / 32` of `qh[i % 32]` is the fifth bit of element `i`.
    Q5_K { d: [u8; 2], dmin: [u8; 2], scales: [u8; 12], qh: [u8; 32], qs: [u8; 128] }
    /// Byte `i` of a half of `ql` holds the low nibbles of elements `i` and `i + 64` of that half; byte `i` of a half of `qh`
    /// holds the upper two bits of elements `i`, `i + 32`, `i + 64` and `i + 96`; minus 32.
    Q6_K { ql: [u8; 128], qh: [u8; 64], scales: [u8; 16], d: [u8; 2] }
    /// Eight sub-blocks of 32, each like the quants of `IQ4_NL`; sub-scales of 6 bits, minus 32.
    IQ4_XS { d: [u8; 2], scales_h: [u8; 2], scales_l: [u8; 4], qs: [u8; 128] }
}

/// The values of the non-linear 4-bit formats.
pub(super) const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of a 4-bit float with two exponent bits.
pub(super) const FP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[inline]
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Half of two to the power of `e - 127`, which undoes the doubling of [`FP4_VALUES`]. `e` of 255 is not special here.
#[inline]
pub(super) fn half_of_power(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (u32::from(e) - 1) << 23 })
}

impl Element for F32 {
    #[inline]
    fn widen(self) -> f32 {
        f32::from_le_bytes(self.bytes)
    }
}

impl Element for F16 {
    #[inline]
    fn widen(self) -> f32 {
        half(self.bytes)
    }
}

impl Element for BF16 {
    #[inline]
    fn widen(self) -> f32 {
        bf16::from_le_bytes(self.bytes).to_f32()
    }
}

/// Both nibbles of each byte, the low ones first.
#[inline]
fn nibbles(qs: [u8; 16]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 })
}

/// Nibbles with a fifth bit each.
#[inline]
fn five_bits(qs: [u8; 16], qh: [u8; 4]) -> [u8; 32] {
    let (low, high) = (nibbles(qs), u32::from_le_bytes(qh));
    std::array::from_fn(|i| low[i] | ((high >> i & 1) as u8) << 4)
}

macro_rules! block32 {
    ($name:ident, $self:ident, quants: $quants:expr, scale: $scale:expr $(, min: $min:expr)?) => {
        impl Block32 for $name {
            #[inline]
            fn scale(&$self) -> f32 {
                $scale
            }
            #[inline]
            fn quants(&$self) -> [i8; 32] {
                $quants
            }
            $(
                const HAS_MIN: bool = true;
                #[inline]
                fn min(&$self) -> f32 {
                    $min
                }
            )?
        }
    };
}

block32!(Q4_0, self, quants: nibbles(self.qs).map(|q| q as i8 - 8), scale: half(self.d));
block32!(Q4_1, self, quants: nibbles(self.qs).map(|q| q as i8), scale: half(self.d), min: half(self.m));
block32!(Q5_0, self, quants: five_bits(self.qs, self.qh).map(|q| q as i8 - 16), scale: half(self.d));
block32!(Q5_1, self, quants: five_bits(self.qs, self.qh).map(|q| q as i8), scale: half(self.d), min: half(self.m));
block32!(Q8_0, self, quants: self.qs.map(|q| q as i8), scale: half(self.d));
block32!(IQ4_NL, self, quants: nibbles(self.qs).map(|q| IQ4_VALUES[usize::from(q)]), scale: half(self.d));
block32!(MXFP4, self, quants: nibbles(self.qs).map(|q| FP4_VALUES[usize::from(q)]), scale: half_of_power(self.e[0]));

/// The quants of element `i` of `Q2_K` and `Q3_K`: which byte, and how far to shift it.
#[inline]
fn two_bits(qs: &[u8; 64], i: usize) -> u8 {
    qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// The nibble of element `i` of `Q4_K` and `Q5_K`.
#[inline]
fn four_bits(qs: &[u8; 128], i: usize) -> u8 {
    qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

/// The 6-bit scales and mins of `Q4_K` and `Q5_K`, eight of each. The first four of each have bytes of their own; the
/// others have the remaining four bytes and the upper two bits of the first eight.
#[inline]
pub(super) fn six_bit_pairs(packed: [u8; 12]) -> ([u8; 8], [u8; 8]) {
    let pick = |own: usize, shift: u32| {
        std::array::from_fn(|j| {
            if j < 4 { packed[own + j] & 63 } else { packed[4 + j] >> shift & 15 | packed[own + j - 4] >> 6 << 4 }
        })
    };
    (pick(0, 0), pick(4, 4))
}

/// The 6-bit sub-scales of `Q3_K`, minus 32.
#[inline]
pub(super) fn six_bit_scales(packed: [u8; 12]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = packed[j % 8] >> (j / 8 * 4) & 15;
        let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}

impl Block256 for Q2_K {
    const HAS_MIN: bool = true;
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn min(&self) -> f32 {
        half(self.dmin)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        self.scales.map(|s| (s & 15) as i8)
    }
    #[inline]
    fn sub_mins(&self) -> [u8; 16] {
        self.scales.map(|s| s >> 4)
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| two_bits(&self.qs, i) as i8)
    }
}

impl Block256 for Q3_K {
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        six_bit_scales(self.scales)
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| (two_bits(&self.qs, i) | (self.hmask[i % 32] >> (i / 32) & 1) << 2) as i8 - 4)
    }
}

impl Block256 for Q4_K {
    const HAS_MIN: bool = true;
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn min(&self) -> f32 {
        half(self.dmin)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        let (scales, _) = six_bit_pairs(self.scales);
        std::array::from_fn(|j| scales[j / 2] as i8)
    }
    #[inline]
    fn sub_mins(&self) -> [u8; 16] {
        let (_, mins) = six_bit_pairs(self.scales);
        std::array::from_fn(|j| mins[j / 2])
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| four_bits(&self.qs, i) as i8)
    }
}

impl Block256 for Q5_K {
    const HAS_MIN: bool = true;
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn min(&self) -> f32 {
        half(self.dmin)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        let (scales, _) = six_bit_pairs(self.scales);
        std::array::from_fn(|j| scales[j / 2] as i8)
    }
    #[inline]
    fn sub_mins(&self) -> [u8; 16] {
        let (_, mins) = six_bit_pairs(self.scales);
        std::array::from_fn(|j| mins[j / 2])
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| (four_bits(&self.qs, i) | (self.qh[i % 32] >> (i / 32) & 1) << 4) as i8)
    }
}

impl Block256 for Q6_K {
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        self.scales.map(|s| s as i8)
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| {
            let low = self.ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
            let high = self.qh[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            (low | high << 4) as i8 - 32
        })
    }
}

impl Block256 for IQ4_XS {
    #[inline]
    fn scale(&self) -> f32 {
        half(self.d)
    }
    #[inline]
    fn sub_scales(&self) -> [i8; 16] {
        let high = u16::from_le_bytes(self.scales_h);
        std::array::from_fn(|j| {
            let low = self.scales_l[j / 4] >> (j / 2 % 2 * 4) & 15;
            (low | ((high >> (j / 2 * 2) & 3) as u8) << 4) as i8 - 32
        })
    }
    #[inline]
    fn quants(&self) -> [i8; 256] {
        std::array::from_fn(|i| IQ4_VALUES[usize::from(self.qs[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15)])
    }
}
