//! Weights as the format's definition has them.

use super::*;
use crate::kernels::dequantize_row;

/// FNV-1a of the bits of what the `gguf` package (PyPI, 0.19.0) makes of the blocks that the test below paints.
const GOLDENS: [(TensorType, usize, u64); 15] = [
    (TensorType::Q4_0, 8, 0x35f9_7afc_d57f_0c82),
    (TensorType::Q4_1, 8, 0xb21d_13bd_70b3_8efe),
    (TensorType::Q5_0, 8, 0x6ca6_7556_63a8_36f4),
    (TensorType::Q5_1, 8, 0xda05_37cb_5e4d_4401),
    (TensorType::Q8_0, 8, 0x3743_3b76_735a_cc3a),
    (TensorType::IQ4_NL, 8, 0x7269_b182_cc5b_690f),
    (TensorType::MXFP4, 8, 0x9628_3666_2b7e_6978),
    (TensorType::Q2_K, 8, 0xb989_0d49_df60_dc15),
    (TensorType::Q3_K, 8, 0x1d8f_5b4c_c0fe_24d0),
    (TensorType::Q4_K, 8, 0xa867_7e4a_9859_dcff),
    (TensorType::Q5_K, 8, 0x2eea_7cd0_dfb6_8c4d),
    (TensorType::Q6_K, 8, 0x24d9_9ba8_dd45_37d3),
    (TensorType::IQ4_XS, 8, 0xc8b5_f905_70e9_84d3),
    (TensorType::F16, 2048, 0xd3a7_4d64_9e56_0c0b),
    (TensorType::BF16, 2048, 0x34c9_29cd_c01f_3fb9),
];

#[test]
fn agrees_with_the_reference_implementation() {
    for (ty, blocks, golden) in GOLDENS {
        let mut random = Random(ty as u64);
        let mut bytes = Vec::new();
        for b in 0..blocks {
            let begin = bytes.len();
            bytes.extend((0..ty.block_bytes()).map(|_| random.byte()));
            let block = &mut bytes[begin..];
            for &at in halves_of(ty) {
                let half = u16::from_le_bytes([block[at], block[at + 1]]) & 0x83ff | 0x2000;
                block[at..at + 2].copy_from_slice(&half.to_le_bytes());
            }
            match ty {
                TensorType::BF16 => block[1] &= 0xbf,
                TensorType::MXFP4 => block[0] = if b < 2 { b as u8 } else { 100 + block[0] % 40 },
                _ => {}
            }
        }
        let mut out = vec![0.0; blocks * ty.block_len()];
        dequantize_row(ty, &bytes, &mut out);
        let hash = bytemuck::cast_slice::<f32, u8>(&out)
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        assert_eq!(hash, golden, "{ty}: {:?}", &out[..8]);
    }
}

#[test]
fn floats_pass_through() {
    let values = [0.0f32, -0.0, 1.5, f32::MIN_POSITIVE / 2.0, f32::MAX, f32::INFINITY];
    let mut out = [1.0; 6];
    dequantize_row(TensorType::F32, bytemuck::cast_slice(&values), &mut out);
    assert_eq!(bits(&out), bits(&values));
}

#[test]
#[should_panic(expected = "bytes of 33 weights")]
fn part_of_a_block_is_refused() {
    dequantize_row(TensorType::Q4_0, &[0; 18], &mut [0.0; 33]);
}
