//! Blocks of every type mean what llama.cpp's own `gguf` package says they mean, to the last bit.
//!
//! `tests/golden/make_dequant_golden.py` makes the blocks.
#![allow(clippy::disallowed_methods)] // Tests make files.

use forebay_infer::gguf::TensorType;
use forebay_infer::kernels::dequantize_row;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(rename = "type")]
    ty: String,
    blocks: String,
    values: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: &u8| char::from(*c).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/dequant.json")).unwrap()
}

#[test]
fn every_type_to_the_last_bit() {
    for case in golden().cases {
        let ty = TensorType::ALL.into_iter().find(|ty| ty.to_string() == case.ty).unwrap();
        let blocks = bytes(&case.blocks);
        let expected: Vec<u32> =
            bytes(&case.values).as_chunks().0.iter().map(|&value| u32::from_le_bytes(value)).collect();
        let mut found = vec![0.0; expected.len()];
        dequantize_row(ty, &blocks, &mut found);
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let (block, at) = (i / ty.block_len(), i % ty.block_len());
            assert_eq!(
                found.to_bits(),
                expected,
                "{ty}: element {at} of block {block} is {found:e}, expected {:e}",
                f32::from_bits(expected)
            );
        }
    }
}

#[test]
fn every_type_with_a_kernel_is_among_them() {
    let cases = golden().cases;
    for ty in TensorType::ALL {
        // Nothing is to be said about F32, which is what it is.
        let expected = ty.has_kernel() && ty != TensorType::F32;
        assert_eq!(cases.iter().any(|case| case.ty == ty.to_string()), expected, "{ty}");
    }
}
