//! Architectures whose only level is the portable one.

/// What the vector kernels of this architecture ask of a block of 32: nothing.
pub(super) trait Vector32 {}
impl<B: super::blocks::Block32> Vector32 for B {}
/// What they ask of a block of 256: nothing.
pub(super) trait Vector256 {}
impl<B: super::blocks::Block256> Vector256 for B {}
/// What they ask of a float: nothing.
pub(super) trait VectorElement {}
impl<E: super::blocks::Element> VectorElement for E {}
