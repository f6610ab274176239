//! The kernels: some rows of queries with one segment of the positions, and how segments come together.

use std::ops::Range;

use super::{SEGMENT, TILES};
use crate::kernels::kv::{LANES, Stored, View};
use crate::kernels::math;
use crate::kernels::order::{fold32, tree8};
use crate::kernels::simd::{Simd, Work};

/// The lanes of a tile or a stripe.
type Lanes = [f32; LANES];

/// How many bytes before their use keys and values are asked for.
const AHEAD: usize = 4096;

/// What becomes of dot products before the exponential.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub(super) scale: f32,
    pub(super) softcap: Option<f32>,
}

/// `R` rows of queries, of one head of keys and values, with the positions of one segment.
pub(super) struct Segment<'a, E, const R: usize> {
    pub(super) kv: View<'a, E>,
    pub(super) kv_head: usize,
    pub(super) scores: Scores,
    /// The queries, for each block of elements.
    pub(super) queries: &'a [[Lanes; R]],
    /// The positions of this segment that each of the `R` rows sees; neither end goes down from row to row.
    pub(super) seen: &'a [Range<usize>],
    /// Room for the weights of each tile.
    pub(super) weights: &'a mut [[Lanes; R]; TILES],
    /// Room for the results of each row.
    pub(super) results: &'a mut [f32],
}

/// The results of some positions for a row: the largest score, and the sums of the weighted values, before which the
/// weights themselves are summed. Where the row saw none of the positions the largest score is minus infinity.
pub(super) struct Results<'a> {
    pub(super) max: &'a mut f32,
    pub(super) sums: &'a mut Lanes,
    pub(super) out: &'a mut [Lanes],
}

impl<'a> Results<'a> {
    /// Where the sums begin: behind the largest score, and where a vector should.
    const SUMS: usize = 16;

    /// The length of a row whose values have `stripes` stripes, in floats.
    pub(super) const fn len(stripes: usize) -> usize {
        Self::SUMS + (1 + stripes) * LANES
    }

    /// The results that lie in `row`.
    #[inline(always)]
    pub(super) fn of(row: &'a mut [f32]) -> Self {
        let (head, sums) = row.split_at_mut(Self::SUMS);
        let (sums, out) = sums.as_chunks_mut().0.split_first_mut().expect("room for the sums of the weights");
        Self { max: &mut head[0], sums, out }
    }

    /// Of no positions.
    pub(super) fn clear(self) {
        *self.max = f32::NEG_INFINITY;
        self.sums.fill(0.0);
        self.out.fill([0.0; LANES]);
    }
}

impl<E: Stored, const R: usize> Work for Segment<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let tiles = self.seen[0].start / LANES..self.seen[R - 1].end.div_ceil(LANES);
        let max = self.scores(simd, tiles.clone());
        let row = self.results.len() / R;
        for (r, results) in self.results.chunks_exact_mut(row).enumerate() {
            let results = Results::of(results);
            *results.max = if self.seen[r].is_empty() { f32::NEG_INFINITY } else { max[r] };
            exponentials(simd, self.weights, tiles.clone(), r, max[r], results.sums);
        }
        for stripe in 0..self.kv.stripes() {
            let mut sums = [[0.0; LANES]; R];
            for tile in tiles.clone() {
                self.add_values(simd, stripe, tile, &mut sums);
            }
            for (results, sums) in self.results.chunks_exact_mut(row).zip(sums) {
                Results::of(results).out[stripe] = sums;
            }
        }
    }
}

impl<E: Stored, const R: usize> Segment<'_, E, R> {
    /// The scores of the tiles, with minus infinity where a row does not look; returns the largest of each row.
    #[inline(always)]
    fn scores<S: Simd>(&mut self, simd: S, tiles: Range<usize>) -> [f32; R] {
        // Of no less than the least number: were it minus infinity the differences to it would be no numbers.
        let mut max = [simd.splat(f32::MIN); R];
        for tile in tiles {
            let dots = self.dots(simd, tile);
            let rows = &mut self.weights[tile % TILES];
            for r in 0..R {
                let scale = simd.splat(self.scores.scale);
                store(simd, [simd.mul(dots[r][0], scale), simd.mul(dots[r][1], scale)], &mut rows[r]);
                if let Some(cap) = self.scores.softcap {
                    let inverse = 1.0 / cap;
                    for score in &mut rows[r] {
                        *score = cap * math::tanh(*score * inverse);
                    }
                }
                let seen = within(&self.seen[r], tile);
                if seen != (0..LANES) {
                    for (lane, score) in rows[r].iter_mut().enumerate() {
                        *score = if seen.contains(&lane) { *score } else { f32::NEG_INFINITY };
                    }
                }
                for half in load(simd, &rows[r]) {
                    max[r] = simd.max(half, max[r]);
                }
            }
        }
        let mut largest = [0.0; R];
        for r in 0..R {
            largest[r] = simd.largest(max[r]);
        }
        largest
    }

    /// The dot products of the rows with the keys of a tile.
    #[inline(always)]
    fn dots<S: Simd>(&self, simd: S, tile: usize) -> [[S::V; 2]; R] {
        let mut sums = [[simd.splat(0.0); 2]; R];
        let (keys, scales) = self.kv.keys(self.kv_head, tile);
        for (block, (keys, queries)) in keys.chunks(LANES).zip(self.queries).enumerate() {
            if E::SCALED {
                let mut of_block = [[simd.splat(0.0); 2]; R];
                accumulate(simd, &mut of_block, queries, keys, 0..LANES);
                let (low, high) = halves(&scales[block]);
                let scale = [simd.widen(low), simd.widen(high)];
                for r in 0..R {
                    for i in 0..2 {
                        sums[r][i] = simd.mul_add(of_block[r][i], scale[i], sums[r][i]);
                    }
                }
            } else {
                accumulate(simd, &mut sums, queries, keys, 0..LANES);
            }
        }
        sums
    }

    /// Adds the values of a tile, each with the weights of the rows that see it.
    #[inline(always)]
    fn add_values<S: Simd>(&self, simd: S, stripe: usize, tile: usize, sums: &mut [Lanes; R]) {
        let (values, scales) = self.kv.values(self.kv_head, stripe, tile);
        let mut scaled;
        let mut weights = &self.weights[tile % TILES];
        if let Some(scales) = scales {
            scaled = *weights;
            let (low, high) = halves(scales);
            let scale = [simd.widen(low), simd.widen(high)];
            for row in &mut scaled {
                let weights = load(simd, row);
                store(simd, [simd.mul(weights[0], scale[0]), simd.mul(weights[1], scale[1])], row);
            }
            weights = &scaled;
        }
        // What a row does not see must not touch it, not even with a weight of zero: it may be no number. So the rows go
        // together where all of them look, and one by one at the edges.
        let first = within(&self.seen[0], tile);
        let last = within(&self.seen[R - 1], tile);
        let common = last.start..first.end.max(last.start);
        for (r, seen) in self.seen.iter().enumerate() {
            let seen = within(seen, tile);
            add_row(simd, &mut sums[r], &weights[r], values, seen.start..seen.end.min(common.start));
        }
        if !common.is_empty() {
            let mut lanes = [[simd.splat(0.0); 2]; R];
            for (row, lanes) in sums.iter().zip(&mut lanes) {
                *lanes = load(simd, row);
            }
            accumulate(simd, &mut lanes, weights, values, common.clone());
            for (row, lanes) in sums.iter_mut().zip(lanes) {
                store(simd, lanes, row);
            }
        }
        for (r, seen) in self.seen.iter().enumerate() {
            let seen = within(seen, tile);
            add_row(simd, &mut sums[r], &weights[r], values, seen.start.max(common.end)..seen.end);
        }
    }
}

/// Makes weights of the scores of row `r`, and sums them in the lanes of their positions.
#[inline(always)]
fn exponentials<S: Simd, const R: usize>(
    simd: S,
    weights: &mut [[Lanes; R]; TILES],
    tiles: Range<usize>,
    r: usize,
    max: f32,
    sums: &mut Lanes,
) {
    let mut lanes = [simd.splat(0.0); 2];
    for tile in tiles {
        let row = &mut weights[tile % TILES][r];
        for weight in row.iter_mut() {
            *weight = math::exp(*weight - max);
        }
        let weights = load(simd, row);
        lanes = [simd.add(lanes[0], weights[0]), simd.add(lanes[1], weights[1])];
    }
    store(simd, lanes, sums);
}

/// The lanes of tile `tile` that are in `positions`.
#[inline(always)]
fn within(positions: &Range<usize>, tile: usize) -> Range<usize> {
    let first = tile * LANES;
    let end = positions.end.saturating_sub(first).min(LANES);
    positions.start.saturating_sub(first).min(end)..end
}

/// [`accumulate`] for one row.
#[inline(always)]
fn add_row<S: Simd, E: Stored>(simd: S, sums: &mut Lanes, a: &Lanes, b: &[[E; LANES]], range: Range<usize>) {
    if !range.is_empty() {
        let mut lanes = [load(simd, sums)];
        accumulate(simd, &mut lanes, std::array::from_ref(a), b, range);
        store(simd, lanes[0], sums);
    }
}

/// `sums[r] += a[r][i] * b[i]` for each `i` of `range` that there is, in order: the inner loop of all of attention.
#[inline(always)]
fn accumulate<S: Simd, E: Stored, const R: usize>(
    simd: S,
    sums: &mut [[S::V; 2]; R],
    a: &[Lanes; R],
    b: &[[E; LANES]],
    range: Range<usize>,
) {
    let range = range.start..range.end.min(b.len()).min(LANES);
    if S::PAIRS {
        let mut lanes = *sums;
        for i in range {
            simd.prefetch(b[i].as_ptr().cast::<u8>().wrapping_add(AHEAD));
            let (low, high) = halves(&b[i]);
            let b = [E::widen(simd, low), E::widen(simd, high)];
            for r in 0..R {
                let a = simd.splat(a[r][i]);
                lanes[r] = [simd.mul_add(a, b[0], lanes[r][0]), simd.mul_add(a, b[1], lanes[r][1])];
            }
        }
        *sums = lanes;
        return;
    }
    accumulate_half(simd, sums, a, b, range.clone(), 0);
    accumulate_half(simd, sums, a, b, range, 1);
}

/// [`accumulate`] for the lower or the upper lanes: it takes half the registers.
#[inline(always)]
fn accumulate_half<S: Simd, E: Stored, const R: usize>(
    simd: S,
    sums: &mut [[S::V; 2]; R],
    a: &[Lanes; R],
    b: &[[E; LANES]],
    range: Range<usize>,
    half: usize,
) {
    let mut lanes = [simd.splat(0.0); R];
    for r in 0..R {
        lanes[r] = sums[r][half];
    }
    for i in range {
        simd.prefetch(b[i].as_ptr().cast::<u8>().wrapping_add(AHEAD));
        let (low, high) = halves(&b[i]);
        let b = E::widen(simd, if half == 0 { low } else { high });
        for r in 0..R {
            lanes[r] = simd.mul_add(simd.splat(a[r][i]), b, lanes[r]);
        }
    }
    for r in 0..R {
        sums[r][half] = lanes[r];
    }
}

#[inline(always)]
fn halves<T>(x: &[T; LANES]) -> (&[T; 16], &[T; 16]) {
    let (low, high) = x.split_at(16);
    (low.first_chunk().expect("16 of 32"), high.first_chunk().expect("16 of 32"))
}

#[inline(always)]
fn load<S: Simd>(simd: S, from: &Lanes) -> [S::V; 2] {
    let (low, high) = halves(from);
    [simd.load(low), simd.load(high)]
}

#[inline(always)]
fn store<S: Simd>(simd: S, x: [S::V; 2], to: &mut Lanes) {
    let [low, high] = bytemuck::cast_mut::<_, [[f32; 16]; 2]>(to);
    simd.store(x[0], low);
    simd.store(x[1], high);
}

/// Adds the results of a later segment to those of the earlier ones: two rows of [`Results`].
pub(super) struct Merge<'a> {
    pub(super) earlier: &'a mut [f32],
    pub(super) later: &'a [f32],
}

impl Work for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { earlier, later } = self;
        let (earlier_max, later_max) = (earlier[0], later[0]);
        if later_max == f32::NEG_INFINITY {
            return; // Nothing was seen.
        }
        if earlier_max == f32::NEG_INFINITY {
            return earlier.copy_from_slice(later);
        }
        let max = if later_max > earlier_max { later_max } else { earlier_max };
        let (old, new) = (math::exp(earlier_max - max), math::exp(later_max - max));
        for (earlier, later) in earlier[Results::SUMS..].iter_mut().zip(&later[Results::SUMS..]) {
            *earlier = later.mul_add(new, *earlier * old);
        }
        earlier[0] = max;
    }
}

/// Makes the output of a row, when all segments are in its results: the values over the sum of the weights.
pub(super) struct Finish<'a> {
    pub(super) results: Results<'a>,
    /// The logit of the head's sink.
    pub(super) sink: Option<f32>,
}

impl<'a> Work for Finish<'a> {
    type Output = &'a [Lanes];

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> &'a [Lanes] {
        let Self { results: Results { max, sums, out }, sink } = self;
        if let Some(sink) = sink {
            let largest = if sink > *max { sink } else { *max };
            let (old, new) = (math::exp(*max - largest), math::exp(sink - largest));
            for x in sums.iter_mut().chain(out.as_flattened_mut()) {
                *x *= old;
            }
            sums[0] += new;
        }
        let inverse = 1.0 / tree8(fold32(sums));
        for x in out.as_flattened_mut() {
            *x *= inverse;
        }
        out
    }
}

const _: () = assert!(SEGMENT == TILES * LANES);
