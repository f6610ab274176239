//! The ways in which the tasks of one [`Pool`] run write to one buffer.
//!
//! Rust's borrows cannot say "each task writes other elements", so this module says it, with the `unsafe` that takes.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Pool;

/// An output that tasks write element by element.
///
/// The elements are relaxed atomics for the time of the run: on every CPU a plain store, but two tasks that were
/// given the same element by mistake make a wrong number and not undefined behaviour. So this writer is safe to use, and
/// [`matmul`](super::matmul()) need not prove that its caller's parts are disjoint.
#[derive(Clone, Copy)]
pub(super) struct SharedOut<'a>(&'a [AtomicU32]);

impl<'a> SharedOut<'a> {
    pub(super) fn new(out: &'a mut [f32]) -> Self {
        let (start, len) = (out.as_mut_ptr().cast::<AtomicU32>(), out.len());
        // SAFETY: `AtomicU32` has the size and alignment of `f32`, any bits are valid for both, and for `'a` the
        // exclusive borrow leaves this view as the only way to the elements.
        Self(unsafe { std::slice::from_raw_parts(start, len) })
    }

    /// Where element `index` is, if there is one.
    pub(super) fn address(self, index: usize) -> *const f32 {
        self.0.as_ptr().cast::<f32>().wrapping_add(index)
    }

    /// Writes element `index`.
    #[inline(always)]
    pub(super) fn set(self, index: usize, value: f32) {
        self.0[index].store(value.to_bits(), Ordering::Relaxed);
    }

    /// Writes as many elements from `index` on as there are `values`.
    #[inline(always)]
    pub(super) fn set_all(self, index: usize, values: &[f32]) {
        for (to, value) in self.0[index..][..values.len()].iter().zip(values) {
            to.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// Writes 16 elements from `index` on, as a whole vector: the compiler makes none of single atomic stores.
    ///
    /// # Safety
    ///
    /// - No other task of the run writes any of these elements.
    #[inline(always)]
    pub(super) unsafe fn set_16(self, index: usize, values: &[f32; 16]) {
        let to = self.0[index..][..16].as_ptr().cast_mut().cast::<[f32; 16]>();
        // SAFETY: `to` points to 16 elements, at the alignment of `f32`; memory behind atomics may be written through
        // a shared borrow; no other thread accesses them, for others do not write them (contract) and nobody reads
        // before the run is over.
        unsafe { *to = *values }
    }
}

/// Calls `work` once for each `len` elements of `buffer`, with the index of the first and the elements; at the end there
/// may be fewer.
///
/// # Panics
///
/// `len` is zero.
pub(super) fn each_chunk<T: Send>(pool: &Pool, buffer: &mut [T], len: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let whole = buffer.len() / len;
    let (rows, rest) = buffer.split_at_mut(whole * len);
    // The rest is the smaller part of the work, and no other task is under way: the caller does it.
    each_row(pool, rows, len, &|index, row| work(index * len, row));
    if !rest.is_empty() {
        work(whole * len, rest);
    }
}

/// [`each_chunk`] of two buffers of the same length, without the index.
///
/// # Panics
///
/// `len` is zero, or the lengths differ.
pub(super) fn each_pair<T: Send>(
    pool: &Pool,
    a: &mut [T],
    b: &mut [T],
    len: usize,
    work: &(dyn Fn(&mut [T], &mut [T]) + Sync),
) {
    assert_eq!(a.len(), b.len(), "lengths of a pair");
    let rows = Rows { start: b.as_mut_ptr(), rows: b.len() / len, len, borrow: PhantomData };
    let whole = rows.rows * len;
    let (head, rest) = a.split_at_mut(whole);
    each_row(pool, head, len, &|index, a| {
        // SAFETY: this is called once for each index.
        work(a, unsafe { rows.row(index) });
    });
    if !rest.is_empty() {
        work(rest, &mut b[whole..]);
    }
}

/// Calls `work` once for each row of `row` elements of `buffer`, with the row's index and the row.
pub(super) fn each_row<T: Send>(pool: &Pool, buffer: &mut [T], row: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let rows = buffer.len().checked_div(row).unwrap_or(0);
    let rows = Rows { start: buffer.as_mut_ptr(), rows, len: row, borrow: PhantomData };
    pool.run(rows.rows, &|index| {
        // SAFETY: the pool calls this once for each index.
        work(index, unsafe { rows.row(index) });
    });
}

/// Calls `work` once for each of `0..tasks`, with scratch memory of `row` elements that no other task has at the same
/// time. What is in it is what an earlier task left there.
///
/// # Panics
///
/// `scratch` has fewer than [`Pool::threads`] rows.
pub(super) fn each_with_scratch<T: Send>(
    pool: &Pool,
    tasks: usize,
    scratch: &mut [T],
    row: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let rows = scratch.len().checked_div(row).unwrap_or(usize::MAX);
    let rows = Rows { start: scratch.as_mut_ptr(), rows, len: row, borrow: PhantomData };
    assert!(pool.threads() <= rows.rows, "scratch for {} threads of {}", rows.rows, pool.threads());
    pool.run_slots(tasks, &|slot, task| {
        // SAFETY: the pool gives no slot to two calls at the same time, and the row is dropped with the call.
        work(task, unsafe { rows.row(slot) });
    });
}

/// What a task does: its index, its row, and scratch memory.
type RowWork<'a, T> = dyn Fn(usize, &mut [T], &mut [T]) + Sync + 'a;

/// [`each_row`], with scratch memory of `scratch_row` elements as in [`each_with_scratch`].
///
/// # Panics
///
/// `scratch` has fewer than [`Pool::threads`] rows.
pub(super) fn each_row_with_scratch<T: Send>(
    pool: &Pool,
    buffer: &mut [T],
    row: usize,
    scratch: &mut [T],
    scratch_row: usize,
    work: &RowWork<'_, T>,
) {
    let rows = buffer.len().checked_div(row).unwrap_or(0);
    let rows = Rows { start: buffer.as_mut_ptr(), rows, len: row, borrow: PhantomData };
    each_with_scratch(pool, rows.rows, scratch, scratch_row, &|index, scratch| {
        // SAFETY: this is called once for each index.
        work(index, unsafe { rows.row(index) }, scratch);
    });
}

/// A buffer of equal rows that are lent to different threads.
struct Rows<'a, T> {
    start: *mut T,
    rows: usize,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Rows` lends out `&mut [T]`, one row to one thread at a time (contract of `Rows::row`), like the `&mut [T]`
// that it was made of; sending those to other threads needs `T: Send`.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

impl<T> Rows<'_, T> {
    /// Row `index`.
    ///
    /// # Safety
    ///
    /// - No two rows of the same index are alive at the same time.
    ///
    /// # Panics
    ///
    /// There is no such row.
    #[expect(clippy::mut_from_ref, reason = "the contract makes the rows exclusive")]
    unsafe fn row(&self, index: usize) -> &mut [T] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        // SAFETY: `rows * len` elements, or rows of no elements, are in the buffer that is exclusively borrowed for the
        // life of `self`; rows of different indexes do not overlap, and the contract excludes two of one index.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.len), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    #[test]
    fn rows_tile_the_buffer() {
        for threads in 1..=3 {
            let pool = Pool::new(NonZero::new(threads).unwrap());
            let mut buffer = [0; 11];
            each_row(&pool, &mut buffer, 3, &|index, row| row.fill(index + 1));
            assert_eq!(buffer, [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0]);
            each_row(&pool, &mut buffer, 0, &|_, _| unreachable!());
            each_chunk(&pool, &mut buffer, 4, &|first, chunk| chunk.fill(first));
            assert_eq!(buffer, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]);
            let mut other = [1; 11];
            each_pair(&pool, &mut buffer, &mut other, 2, &|a, b| b.swap_with_slice(a));
            assert_eq!((buffer, other), ([1; 11], [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]));
        }
    }

    #[test]
    fn scratch_is_exclusive() {
        let pool = Pool::new(NonZero::new(3).unwrap());
        let mut scratch = [0usize; 3 * 16];
        each_with_scratch(&pool, 1_000, &mut scratch, 16, &|task, scratch| {
            scratch.fill(task);
            assert!(scratch.iter().all(|&x| x == task));
        });
        each_with_scratch(&pool, 5, &mut [0u8; 0], 0, &|_, scratch| assert!(scratch.is_empty()));
        let mut rows = [0usize; 100 * 3];
        each_row_with_scratch(&pool, &mut rows, 3, &mut scratch, 16, &|index, row, scratch| {
            scratch.fill(index);
            row.copy_from_slice(&scratch[..3]);
        });
        assert!(rows.iter().enumerate().all(|(i, &x)| x == i / 3));
    }

    #[test]
    fn the_output_keeps_its_bits() {
        let mut out = [1.0f32, 2.0, 3.0];
        let shared = SharedOut::new(&mut out);
        shared.set(1, -0.0);
        shared.set_all(2, &[4.0]);
        assert_eq!(out.map(f32::to_bits), [1.0f32, -0.0, 4.0].map(f32::to_bits));
    }
}
