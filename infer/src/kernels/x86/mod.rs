//! Kernels for x86-64.

mod avx2;
mod avx512;

pub(super) use self::avx512::{Wide32 as Vector32, Wide256 as Vector256, WideElement as VectorElement};
