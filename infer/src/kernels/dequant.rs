//! Weights as `f32`: for embedding rows, and as the reference that the kernels are tested against.

use bytemuck::cast_slice;

use super::blocks::{self, Block32, Block256, Element};
use crate::gguf::types::TensorType;

/// Writes the weights of `bytes`, whole blocks of type `ty`, to `out`, with the roundings of the format's definition:
/// `d * q`, `d * q + m` or `(d * scale) * q - dmin * min`, each operation rounded by itself.
///
/// # Panics
///
/// There is no kernel for `ty` ([`TensorType::has_kernel`]), or `bytes` is not `out.len()` weights long.
pub fn dequantize_row(ty: TensorType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(ty.row_bytes(out.len()), Some(bytes.len()), "bytes of {} weights of type {ty}", out.len());
    match ty {
        TensorType::F32 => elements::<blocks::F32>(bytes, out),
        TensorType::F16 => elements::<blocks::F16>(bytes, out),
        TensorType::BF16 => elements::<blocks::BF16>(bytes, out),
        TensorType::Q4_0 => blocks_of_32::<blocks::Q4_0>(bytes, out),
        TensorType::Q4_1 => blocks_of_32::<blocks::Q4_1>(bytes, out),
        TensorType::Q5_0 => blocks_of_32::<blocks::Q5_0>(bytes, out),
        TensorType::Q5_1 => blocks_of_32::<blocks::Q5_1>(bytes, out),
        TensorType::Q8_0 => blocks_of_32::<blocks::Q8_0>(bytes, out),
        TensorType::IQ4_NL => blocks_of_32::<blocks::IQ4_NL>(bytes, out),
        TensorType::MXFP4 => blocks_of_32::<blocks::MXFP4>(bytes, out),
        TensorType::Q2_K => blocks_of_256::<blocks::Q2_K>(bytes, out),
        TensorType::Q3_K => blocks_of_256::<blocks::Q3_K>(bytes, out),
        TensorType::Q4_K => blocks_of_256::<blocks::Q4_K>(bytes, out),
        TensorType::Q5_K => blocks_of_256::<blocks::Q5_K>(bytes, out),
        TensorType::Q6_K => blocks_of_256::<blocks::Q6_K>(bytes, out),
        TensorType::IQ4_XS => blocks_of_256::<blocks::IQ4_XS>(bytes, out),
        _ => panic!("no kernel for weights of type {ty}"),
    }
}

fn elements<E: Element>(bytes: &[u8], out: &mut [f32]) {
    for (out, element) in out.iter_mut().zip(cast_slice::<u8, E>(bytes)) {
        *out = element.widen();
    }
}

fn blocks_of_32<B: Block32>(bytes: &[u8], out: &mut [f32]) {
    for (out, block) in out.chunks_exact_mut(32).zip(cast_slice::<u8, B>(bytes)) {
        let (scale, min) = (block.scale(), block.min());
        for (out, q) in out.iter_mut().zip(block.quants()) {
            let value = f32::from(q) * scale;
            *out = if B::HAS_MIN { value + min } else { value };
        }
    }
}

fn blocks_of_256<B: Block256>(bytes: &[u8], out: &mut [f32]) {
    for (out, block) in out.chunks_exact_mut(256).zip(cast_slice::<u8, B>(bytes)) {
        let (scale, min) = (block.scale(), block.min());
        let (sub_scales, sub_mins, quants) = (block.sub_scales(), block.sub_mins(), block.quants());
        for (j, (out, quants)) in out.chunks_exact_mut(16).zip(quants.chunks_exact(16)).enumerate() {
            let (scale, min) = (scale * f32::from(sub_scales[j]), min * f32::from(sub_mins[j]));
            for (out, &q) in out.iter_mut().zip(quants) {
                let value = scale * f32::from(q);
                *out = if B::HAS_MIN { value - min } else { value };
            }
        }
    }
}
