//! Kernels for NEON.

mod simd;

use super::isa::{Dotprod, I8mm, Neon};
use super::level::Level;

pub(super) trait Vector32 {}
impl<B> Vector32 for B {}
pub(super) trait Vector256 {}
impl<B> Vector256 for B {}
pub(super) trait VectorElement {}
impl<B> VectorElement for B {}

impl Level for Neon {}
impl Level for Dotprod {}
impl Level for I8mm {}
