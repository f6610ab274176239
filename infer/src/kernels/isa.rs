//! Which instructions a kernel may use, as values that cannot be made up.
//!
//! A level that needs more than the target's baseline carries a token, and a token can only be had by asking the CPU.
//! Code that takes the token may therefore call functions compiled for those instructions: the check was made once,
//! where the token was made.

use std::fmt;

use super::level::{Level, with_level};
use super::simd::{ReadAll, Simd};

/// Declares tokens: a type for each, whose only maker asks the CPU.
macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident if $has:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// The token, if this CPU has the instructions.
            pub fn new() -> Option<Self> {
                $has.then_some(Self(()))
            }
        }
    )+};
}

#[cfg(target_arch = "x86_64")]
tokens! {
    /// Proof that this CPU has AVX2, FMA and F16C.
    Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    /// Proof that this CPU has what [`Avx2`] proves, and AVX-512 with the F, BW, VL and VNNI extensions.
    Avx512Vnni if Avx2::new().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
}

#[cfg(target_arch = "x86_64")]
impl Avx512Vnni {
    /// The proof of the smaller set.
    pub(super) fn avx2(self) -> Avx2 {
        Avx2(())
    }
}

#[cfg(target_arch = "aarch64")]
tokens! {
    /// Proof that this CPU has NEON, which every 64-bit Arm CPU has that runs an operating system.
    Neon if std::arch::is_aarch64_feature_detected!("neon");
    /// Proof that this CPU has what [`Neon`] proves, and dot products of bytes.
    Dotprod if Neon::new().is_some() && std::arch::is_aarch64_feature_detected!("dotprod");
    /// Proof that this CPU has what [`Dotprod`] proves, and products of matrices of bytes.
    I8mm if Dotprod::new().is_some() && std::arch::is_aarch64_feature_detected!("i8mm");
}

#[cfg(target_arch = "aarch64")]
impl I8mm {
    /// The proof of the smaller set.
    pub(super) fn dotprod(self) -> Dotprod {
        Dotprod(())
    }
}

/// An instruction set level. Every level computes the same bits; they differ in speed only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust for the target's baseline.
    Portable,
    /// 256-bit integer and float vectors, fused multiply-add and the half-precision conversions.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 512-bit vectors with dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    /// 128-bit vectors.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// The same with dot products of bytes (`sdot`).
    #[cfg(target_arch = "aarch64")]
    Dotprod(Dotprod),
    /// The same with products of matrices of bytes (`smmla`).
    #[cfg(target_arch = "aarch64")]
    I8mm(I8mm),
}

impl Isa {
    /// The fastest level of this CPU.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// The levels of this CPU, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = [Avx2::new().map(Self::Avx2), Avx512Vnni::new().map(Self::Avx512Vnni)];
        #[cfg(target_arch = "aarch64")]
        let vector = [Neon::new().map(Self::Neon), Dotprod::new().map(Self::Dotprod), I8mm::new().map(Self::I8mm)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector = [];
        std::iter::once(Self::Portable).chain(vector.into_iter().flatten())
    }

    /// The level called `name`, where `auto` is [`Isa::detect`].
    ///
    /// # Errors
    ///
    /// The name is unknown, or this CPU does not have the level; the error lists what it has.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        if name == "auto" {
            return Ok(Self::detect());
        }
        Self::available().find(|isa| isa.name() == name).ok_or_else(|| IsaError { name: name.to_owned() })
    }

    /// Spends `rounds` rounds of the level's instruction that multiplies and adds up bytes, on registers alone, and tells
    /// how many products that were: over the time it took, the most that a kernel of this level could reach on this
    /// core. Nothing where the level has no such instruction, or no such loop yet.
    pub fn peak_products(self, rounds: u64) -> Option<u64> {
        with_level!(self, level => level.peak_products(rounds))
    }

    /// Reads memory with the level's vectors and does nothing else with it: over the time it took, what a kernel that
    /// reads all its weights once could reach. The result depends on all of it but what is no whole 512 bytes, aligned to 8.
    pub fn read_all(self, memory: &[u8]) -> u64 {
        let (_, words, _) = bytemuck::pod_align_to::<u8, u64>(memory);
        with_level!(self, level => level.run(ReadAll(words.as_chunks().0)))
    }

    /// The level's name, as [`Isa::from_name`] takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod(_) => "dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::I8mm(_) => "i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A level that this CPU does not have, or that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsaError {
    name: String,
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no instruction set level `{}` on this CPU; it has: auto", self.name)?;
        Isa::available().try_for_each(|isa| write!(f, ", {isa}"))
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_the_error_lists_them() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(&isa.to_string()), Ok(isa));
        }
        assert_eq!(Isa::from_name("auto"), Ok(Isa::detect()));
        let message = Isa::from_name("mmx").unwrap_err().to_string();
        assert!(message.contains("`mmx`") && message.contains("auto, portable"), "{message}");
    }

    #[test]
    fn the_peak_counts_the_products_of_all_rounds() {
        for isa in Isa::available() {
            let Some(one) = isa.peak_products(1) else { continue };
            assert!(one > 0);
            assert_eq!([0, 5].map(|rounds| isa.peak_products(rounds)), [Some(0), Some(5 * one)], "{isa}");
        }
    }
}
