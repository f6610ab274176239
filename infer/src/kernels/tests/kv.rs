//! The cache of keys and values.

use super::*;
use crate::kernels::kv::{KvLayer, LANES};
use crate::kernels::{KvCache, KvShape, KvType};

const POSITIONS: usize = 70;

fn shape(ty: KvType) -> KvShape {
    KvShape { ty, heads: 2, key_dim: 41, value_dim: 75, positions: POSITIONS }
}

/// A cache in which each element of each position is `element(position, index among the heads)`.
fn filled(isa: Isa, ty: KvType, element: impl Fn(usize, usize) -> f32) -> KvCache {
    let mut cache = KvCache::new([shape(ty)]);
    for p in 0..POSITIONS {
        let row = |len: usize| (0..2 * len).map(|i| element(p, i)).collect::<Vec<_>>();
        cache.store(isa, 0, p, &row(41), &row(75));
    }
    cache
}

/// The quants and the scale of element `i` of the key of head `head` at `position`, and of the value.
fn quant(cache: &KvCache, head: usize, position: usize, i: usize) -> [(i8, f32); 2] {
    let KvLayer::Q8(view) = cache.layer(0) else { unreachable!() };
    let (tile, lane) = (position / LANES, position % LANES);
    let wide = |half: crate::kernels::blocks::F16| half::f16::from_le_bytes(half.bytes).to_f32();
    let (keys, scales) = view.keys(head, tile);
    let (values, value_scales) = view.values(head, i / LANES, tile);
    [
        keys.get(i).map_or((0, 0.0), |row| (row[lane], wide(scales[i / LANES][lane]))),
        (values[lane][i % LANES], wide(value_scales.unwrap()[lane])),
    ]
}

#[test]
fn every_level_stores_the_same_bytes() {
    let wild = |p: usize, i: usize| {
        let x = ((p * 131 + i * 7) as f32).sin() * 10f32.powi((i % 11) as i32 - 5);
        [x, x, x, f32::NAN, f32::INFINITY, 0.0][if p.is_multiple_of(9) { i % 6 } else { 0 }]
    };
    for ty in KvType::ALL {
        let bytes = |isa| {
            let cache = filled(isa, ty, wild);
            let mut bytes = Vec::new();
            for head in 0..2 {
                for tile in 0..POSITIONS.div_ceil(LANES) {
                    macro_rules! take {
                        ($view:expr) => {{
                            let (keys, scales) = $view.keys(head, tile);
                            bytes.extend_from_slice(bytemuck::cast_slice(keys));
                            bytes.extend_from_slice(bytemuck::cast_slice(scales));
                            for stripe in 0..3 {
                                let (values, scales) = $view.values(head, stripe, tile);
                                bytes.extend_from_slice(bytemuck::cast_slice(values));
                                bytes.extend_from_slice(bytemuck::cast_slice(scales.map_or(&[], |x| &x[..])));
                            }
                        }};
                    }
                    match cache.layer(0) {
                        KvLayer::F32(view) => take!(view),
                        KvLayer::F16(view) => take!(view),
                        KvLayer::Q8(view) => take!(view),
                    }
                }
            }
            // As half-precision NaNs differ in what they carry, they are all one here.
            let nan = |pair: [u8; 2]| if half::f16::from_le_bytes(pair).is_nan() { [0xff; 2] } else { pair };
            match ty {
                KvType::F16 => bytes.as_chunks().0.iter().flat_map(|&pair| nan(pair)).collect(),
                KvType::F32 | KvType::Q8_0 => bytes,
            }
        };
        let expected = bytes(Isa::Portable);
        for isa in vector_levels() {
            assert!(bytes(isa) == expected, "{isa}, {ty}");
        }
    }
}

#[test]
fn single_precision_keeps_every_bit() {
    // Signed zeros, subnormals, the largest, NaNs with something in them, and what lies between two halves.
    let bits =
        [0x8000_0000, 0, 1, 0x807f_ffff, 0x7f7f_ffff, 0x7fc0_1234, 0xff80_0000, 0x3f80_0001, 0x3333_3333, 0x4780_0001];
    let element = |p: usize, i: usize| f32::from_bits(bits[(p * 3 + i) % bits.len()]);
    for isa in Isa::available() {
        let cache = filled(isa, KvType::F32, element);
        let KvLayer::F32(view) = cache.layer(0) else { unreachable!() };
        for (p, head) in (0..POSITIONS).flat_map(|p| [(p, 0), (p, 1)]) {
            let (tile, lane) = (p / LANES, p % LANES);
            let (keys, _) = view.keys(head, tile);
            for (i, key) in keys.iter().enumerate() {
                assert_eq!(key[lane].to_bits(), element(p, head * 41 + i).to_bits(), "{isa}, key {i} at {p}");
            }
            for i in 0..75 {
                let value = view.values(head, i / LANES, tile).0[lane][i % LANES];
                assert_eq!(value.to_bits(), element(p, head * 75 + i).to_bits(), "{isa}, value {i} at {p}");
            }
        }
    }
}

#[test]
fn eight_bits_are_rounded_to_nearest_with_ties_to_even() {
    // The largest of each block is 127, so the quants are the numbers themselves, rounded.
    let numbers = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49, 0.51, -126.5, 126.5, -127.0];
    let quants = [127, 0, 2, 2, 0, -2, -2, 0, 1, -126, 126, -127];
    for isa in Isa::available() {
        let cache = filled(isa, KvType::Q8_0, |p, i| numbers[(p + i) % 12]);
        for p in 0..POSITIONS {
            for head in 0..2 {
                // Blocks of 32, of which the last has but 9 or 11 elements: those hold no 127 everywhere.
                for i in 0..32 {
                    let [key, value] = quant(&cache, head, p, i);
                    assert_eq!(key, (quants[(p + head * 41 + i) % 12], 1.0), "{isa}");
                    assert_eq!(value, (quants[(p + head * 75 + i) % 12], 1.0), "{isa}");
                }
            }
        }
    }
}

#[test]
fn scales_of_blocks_that_are_zero_tiny_or_no_numbers() {
    for isa in Isa::available() {
        for (x, expected) in [
            (0.0, (0, 0.0)),
            (-0.0, (0, 0.0)),
            (1e-40, (0, 0.0)),
            (1e-20, (127, 0.0)),
            (-127.0, (-127, 1.0)),
            (127.0 * 65504.0, (127, 65504.0)),
        ] {
            let cache = filled(isa, KvType::Q8_0, |_, _| x);
            assert_eq!([quant(&cache, 1, 69, 40), quant(&cache, 0, 0, 31)].map(|x| x[0]), [expected; 2], "{isa} {x}");
            assert_eq!(quant(&cache, 1, 33, 74)[1], expected, "{isa} {x}");
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let cache = filled(isa, KvType::Q8_0, |_, i| if i % 41 == 5 { x } else { 1.0 });
            assert!(quant(&cache, 0, 50, 4)[0].1.is_nan(), "{isa} {x}");
            assert!(!quant(&cache, 0, 50, 32)[0].1.is_nan(), "another block");
        }
    }
}

#[test]
fn bytes_are_what_is_taken() {
    for ty in KvType::ALL {
        let shape = KvShape { ty, heads: 2, key_dim: 128, value_dim: 128, positions: 8192 };
        let per_position = match ty {
            KvType::F32 => 2 * 256 * 4,
            KvType::F16 => 2 * 256 * 2,
            KvType::Q8_0 => 2 * 256 * 34 / 32,
        };
        assert_eq!(shape.bytes(), 8192 * per_position);
        let odd = super::kv::shape(ty);
        let [elements, scales] = [41 + 3 * 32, 2 + 3].map(|x| 2 * 3 * 32 * x);
        let expected = match ty {
            KvType::F32 => 4 * elements,
            KvType::F16 => 2 * elements,
            KvType::Q8_0 => elements + 2 * scales,
        };
        assert_eq!(odd.bytes(), expected);
    }
    for ty in KvType::ALL {
        let impossible = KvShape { positions: usize::MAX, ..shape(ty) };
        assert_eq!(impossible.bytes(), usize::MAX);
    }
}

#[test]
fn pieces_go_from_one_cache_to_another_of_any_length() {
    for ty in KvType::ALL {
        let cache = filled(Isa::Portable, ty, |p, i| (p * 131 + i * 7) as f32 / 17.0);
        for (first, end, taken) in [(0, POSITIONS, POSITIONS), (0, 69, 33), (31, 65, 65), (37, 70, 70), (64, 65, 65)] {
            // As short as a ring can be that has them, and longer.
            for positions in [end - first, 500] {
                let mut other = KvCache::new([KvShape { positions, ..shape(ty) }]);
                let mut bytes = Vec::new();
                for piece in cache.pieces(0, first..end) {
                    bytes.clear();
                    cache.copy_out(&piece, &mut bytes);
                    assert_eq!(bytes.len(), cache.piece_bytes(&piece));
                    other.copy_in(&piece, taken, &bytes);
                }
                let mut again = Vec::new();
                for piece in cache.pieces(0, first..taken) {
                    bytes.clear();
                    cache.copy_out(&piece, &mut bytes);
                    again.clear();
                    other.copy_out(&piece, &mut again);
                    assert!(bytes == again, "{ty}, {piece:?} of {positions}");
                }
            }
        }
        assert_eq!(cache.pieces(0, 40..40).count(), 0);
    }
}

#[test]
fn names_round_trip() {
    for ty in KvType::ALL {
        assert_eq!(ty.to_string().parse(), Ok(ty));
    }
    assert_eq!(KvType::default(), KvType::F16);
    let error = "bf16".parse::<KvType>().unwrap_err();
    assert_eq!(error, "no type of the KV cache is called 'bf16'; there are: f32, f16, q8_0");
}
