//! Which instructions a kernel may use, as values that cannot be made up.
//!
//! A level that needs more than the target's baseline carries a token, and a token can only be had by asking the CPU.
//! Code that takes the token may therefore call functions compiled for those instructions: the check was made once,
//! where the token was made. A level for another architecture is one more variant with a token of its own.

use std::fmt;

/// Proof that this CPU has AVX2 and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The token, if this CPU has the instructions.
    pub fn new() -> Option<Self> {
        (std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c")).then_some(Self(()))
    }
}

/// An instruction set level. Every level computes the same bits; they differ in speed only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust for the target's baseline.
    Portable,
    /// 256-bit integer and float vectors, and the half-precision conversions.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

impl Isa {
    /// The fastest level of this CPU.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// The levels of this CPU, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let avx2 = Avx2::new().map(Self::Avx2);
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = None;
        [Some(Self::Portable), avx2].into_iter().flatten()
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

    /// The level's name, as [`Isa::from_name`] takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
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
}
