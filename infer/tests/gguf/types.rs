//! The block geometry against ggml's own figures, as sums of their parts.

use forebay_infer::gguf::TensorType::{self, *};

/// Number, elements per block, bytes per block: scales and minima, then quants (`gguf-py`'s `GGML_QUANT_SIZES`).
const GGML: [(TensorType, u32, usize, usize); 35] = [
    (F32, 0, 1, 4),
    (F16, 1, 1, 2),
    (Q4_0, 2, 32, 2 + 16),
    (Q4_1, 3, 32, 2 + 2 + 16),
    (Q5_0, 6, 32, 2 + 4 + 16),
    (Q5_1, 7, 32, 2 + 2 + 4 + 16),
    (Q8_0, 8, 32, 2 + 32),
    (Q8_1, 9, 32, 2 + 2 + 32),
    (Q2_K, 10, 256, 2 + 2 + 256 / 16 + 256 / 4),
    (Q3_K, 11, 256, 2 + 256 / 4 + 256 / 8 + 12),
    (Q4_K, 12, 256, 2 + 2 + 256 / 2 + 12),
    (Q5_K, 13, 256, 2 + 2 + 256 / 2 + 256 / 8 + 12),
    (Q6_K, 14, 256, 2 + 256 / 2 + 256 / 4 + 256 / 16),
    (Q8_K, 15, 256, 4 + 256 + 256 / 8),
    (IQ2_XXS, 16, 256, 2 + 256 / 4),
    (IQ2_XS, 17, 256, 2 + 256 / 4 + 256 / 32),
    (IQ3_XXS, 18, 256, 2 + 256 / 4 + 256 / 8),
    (IQ1_S, 19, 256, 2 + 256 / 8 + 256 / 16),
    (IQ4_NL, 20, 32, 2 + 16),
    (IQ3_S, 21, 256, 2 + 256 / 4 + 256 / 8 + 256 / 32 + 4),
    (IQ2_S, 22, 256, 2 + 256 / 4 + 256 / 16),
    (IQ4_XS, 23, 256, 2 + 2 + 256 / 2 + 256 / 64),
    (I8, 24, 1, 1),
    (I16, 25, 1, 2),
    (I32, 26, 1, 4),
    (I64, 27, 1, 8),
    (F64, 28, 1, 8),
    (IQ1_M, 29, 256, 256 / 8 + 256 / 16 + 256 / 32),
    (BF16, 30, 1, 2),
    (TQ1_0, 34, 256, 2 + 4 * 13),
    (TQ2_0, 35, 256, 2 + 64),
    (MXFP4, 39, 32, 1 + 16),
    (NVFP4, 40, 64, 4 + 32),
    (Q1_0, 41, 128, 2 + 16),
    (Q2_0, 42, 64, 2 + 16),
];

#[test]
fn geometry_is_ggmls() {
    assert_eq!(GGML.map(|g| g.0), TensorType::ALL);
    for (ty, number, elements, bytes) in GGML {
        assert_eq!(TensorType::from_number(number), Some(ty));
        assert_eq!((ty as u32, ty.block_len(), ty.block_bytes()), (number, elements, bytes), "{ty}");
        assert_eq!(ty.row_bytes(3 * elements), Some(3 * bytes), "{ty}");
        assert_eq!(ty.row_bytes(3 * elements + 1), (elements == 1).then(|| 4 * bytes), "{ty}");
    }
}

#[test]
fn numbers_without_a_type() {
    for number in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
        assert_eq!(TensorType::from_number(number), None);
    }
}
