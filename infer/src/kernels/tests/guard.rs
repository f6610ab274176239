//! Slices that end, or begin, where memory may not be touched: a kernel that reads or writes one byte beside them ends the
//! test with a signal.
#![allow(unsafe_code)] // Protects pages.

use std::ptr::NonNull;

use super::*;
use crate::kernels::blocks::F16;
use crate::kernels::kv::{LANES, Stored};
use crate::kernels::level::with_level;
use crate::kernels::simd::{Simd, Work};
use crate::kernels::{Activations, Formats, Panels, Part, Width, matmul};

/// Which side of a slice is guarded.
#[derive(Debug, Clone, Copy)]
enum Side {
    Before,
    After,
}

/// Memory between two pages that may not be touched.
struct Guarded {
    start: NonNull<u8>,
    inner: usize,
}

const PAGE: usize = 64 << 10; // A multiple of the pages of every system.

impl Guarded {
    fn new(len: usize) -> Self {
        let inner = len.next_multiple_of(PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping anywhere, and then rights of its own inside.
        let start = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), inner + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(start.byte_add(PAGE), inner, rights), 0);
            start.cast()
        };
        Self { start: NonNull::new(start).unwrap(), inner }
    }

    /// The first or the last `len` elements of the memory between.
    fn slice<T: bytemuck::Pod>(&mut self, len: usize, side: Side) -> &mut [T] {
        let bytes = len * size_of::<T>();
        assert!(bytes <= self.inner);
        let skip = match side {
            Side::Before => 0,
            Side::After => self.inner - bytes,
        };
        // SAFETY: these bytes can be read and written, were zero at first, and are borrowed with `self`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(PAGE + skip), bytes) };
        bytemuck::cast_slice_mut(bytes)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, to which no slice is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.inner + 2 * PAGE) };
    }
}

#[test]
fn products_stay_within_their_slices() {
    let mut random = Random(8);
    for ty in types() {
        for cols in lengths(ty).into_iter().chain([2304]).filter(|cols| cols % ty.block_len() == 0) {
            let rows = 1 + random.below(40);
            let tokens = [1, 3, 8, 17][random.below(4)];
            let bytes = paint(ty, rows * cols / ty.block_len(), Paint::Plain, &mut random);
            let x = random.floats(tokens * cols);
            let (mut weights, mut inputs) = (Guarded::new(bytes.len()), Guarded::new(x.len() * 4));
            let mut outputs = Guarded::new(tokens * rows * 4);
            let mut expected = Vec::new();
            for isa in Isa::available() {
                for side in [Side::Before, Side::After] {
                    let (weights, inputs) = (weights.slice(bytes.len(), side), inputs.slice(x.len(), side));
                    weights.copy_from_slice(&bytes);
                    inputs.copy_from_slice(&x);
                    let out = outputs.slice::<f32>(tokens * rows, side);
                    let mut acts = Activations::new(tokens, &[Width::one(cols)], Formats::of(ty));
                    acts.prepare(&pool(1), isa, inputs, cols, Formats::of(ty));
                    let part = Part { ty, cols, bytes: weights, head: 0, first_out: 0 };
                    let mut panels = Panels::new(isa, 1, cols);
                    matmul(&pool(1), isa, &[part], &acts, &mut panels, out, rows);
                    if expected.is_empty() {
                        expected = bits(out);
                    }
                    assert_eq!(bits(out), expected, "{isa} {ty} {rows} x {cols}, {tokens} tokens, {side:?}");
                }
            }
        }
    }
}

/// Encodes 32 elements, and widens those that come out from where `kept` is.
struct ThereAndBack<'a, E> {
    x: &'a [f32; LANES],
    kept: &'a mut [E; LANES],
}

impl<E: Stored> Work for ThereAndBack<'_, E> {
    type Output = [[f32; 16]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[f32; 16]; 2] {
        *self.kept = E::encode(simd, self.x).0;
        let (halves, mut out) = (self.kept.as_chunks().0, [[0.0; 16]; 2]);
        for (half, out) in halves.iter().zip(&mut out) {
            simd.store(E::widen(simd, half), out);
        }
        out
    }
}

#[test]
fn keys_and_values_are_stored_and_read_within_their_slices() {
    fn check<E: Stored>() {
        let (mut inputs, mut cache) = (Guarded::new(LANES * 4), Guarded::new(LANES * size_of::<E>()));
        let integers: [f32; LANES] = std::array::from_fn(|i| i as f32 * 8.0 - 121.0);
        for isa in Isa::available() {
            for side in [Side::Before, Side::After] {
                let x: &mut [f32; LANES] = inputs.slice(LANES, side).first_chunk_mut().unwrap();
                let kept: &mut [E; LANES] = cache.slice(LANES, side).first_chunk_mut().unwrap();
                *x = integers;
                let got = with_level!(isa, level => level.run(ThereAndBack { x, kept }));
                // The largest of them is 127: all types hold these exactly, scale or not.
                assert_eq!(got.as_flattened(), integers, "{isa}, {side:?}");
            }
        }
    }
    check::<f32>();
    check::<F16>();
    check::<i8>();
}
