//! Kernels for x86-64.

mod avx2;
mod avx512;

pub(super) use self::avx2::{Vector32, Vector256, VectorElement};
