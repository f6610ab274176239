//! Instructions whose intrinsics are not stable in the oldest compiler that this builds with.
//!
//! An instruction beyond the target's baseline takes the token of its level, which makes calling it safe. It names its
//! extension to the assembler itself, so the function around it need not be compiled for the extension, and the
//! kernels can be generic over levels and still be inlined whole.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::kernels::isa::{Dotprod, I8mm};

/// Adds to lane `i` of `acc` the products of bytes `4 i` to `4 i + 3`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sdot(_: Dotprod, mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the token proves that the CPU has the instruction, which touches nothing but its operands.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Adds to lane `i` of `acc` the products of bytes `4 i` to `4 i + 3` of `a` with the four bytes in lane `LANE` of `b`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sdot_lane<const LANE: usize>(_: Dotprod, mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the token proves that the CPU has the instruction, which touches nothing but its operands.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Adds to lane `2 i + j` of `acc` the products of half `i` of `a` with half `j` of `b`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn smmla(_: I8mm, mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the token proves that the CPU has the instruction, which touches nothing but its operands.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Widens four half-precision numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fcvtl(halves: uint16x4_t) -> float32x4_t {
    let out;
    // SAFETY: an instruction of the baseline, which touches nothing but its operands.
    unsafe {
        asm!(
            "fcvtl {out:v}.4s, {halves:v}.4h",
            out = lateout(vreg) out, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// The same with their bits in a general register. The compiler would rather load them into vector lanes one by one,
/// and the vector units have enough to do.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fcvtl_bits(halves: u64) -> float32x4_t {
    let out;
    // SAFETY: instructions of the baseline, which touch nothing but their operands.
    unsafe {
        asm!(
            "fmov {out:d}, {halves:x}",
            "fcvtl {out:v}.4s, {out:v}.4h",
            out = lateout(vreg) out, halves = in(reg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// Widens the last four of eight half-precision numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fcvtl2(halves: uint16x8_t) -> float32x4_t {
    let out;
    // SAFETY: an instruction of the baseline, which touches nothing but its operands.
    unsafe {
        asm!(
            "fcvtl2 {out:v}.4s, {halves:v}.8h",
            out = lateout(vreg) out, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// Rounds four numbers to half precision, to nearest, ties to even.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fcvtn(singles: float32x4_t) -> uint16x4_t {
    let out;
    // SAFETY: an instruction of the baseline, which touches nothing but its operands.
    unsafe {
        asm!(
            "fcvtn {out:v}.4h, {singles:v}.4s",
            out = lateout(vreg) out, singles = in(vreg) singles,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// Asks for the cache line at an address. A hint: it accesses nothing, whatever the address.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn prfm<T>(at: *const T) {
    // SAFETY: an instruction of the baseline without effect on memory or registers.
    unsafe { asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly)) }
}
