//! What a format must bring for the kernels of this architecture: its meaning in plain Rust, and how it unpacks to vectors.

use super::blocks::{Block32, Block256, Element};
#[cfg(target_arch = "aarch64")]
use super::neon as arch;
#[cfg(target_arch = "x86_64")]
use super::x86 as arch;

/// Without vectors there is nothing to bring.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    pub(super) trait Vector32 {}
    impl<B> Vector32 for B {}
    pub(super) trait Vector256 {}
    impl<B> Vector256 for B {}
    pub(super) trait VectorElement {}
    impl<B> VectorElement for B {}
}

/// A format in blocks of 32.
pub(super) trait Format32: Block32 + arch::Vector32 {}
impl<B: Block32 + arch::Vector32> Format32 for B {}

/// A format in blocks of 256.
pub(super) trait Format256: Block256 + arch::Vector256 {}
impl<B: Block256 + arch::Vector256> Format256 for B {}

/// A float.
pub(super) trait Float: Element + arch::VectorElement {}
impl<E: Element + arch::VectorElement> Float for E {}
