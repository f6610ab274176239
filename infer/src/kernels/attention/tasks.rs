//! How the work is cut into tasks.

use std::ops::Range;

use super::segment::{Finish, Merge, Results, Scores, Segment};
use super::{MOST_ROWS, SEGMENT, Scratch, Sizes, TASK_ROWS};
use crate::kernels::kv::{KvShape, LANES, Stored, View, padded};
use crate::kernels::level::with_level;
use crate::kernels::shared::{SharedOut, each_row_with_scratch, each_with_scratch};
use crate::kernels::simd::Simd;
use crate::kernels::{Isa, Pool};

/// Tasks per thread when there is enough to share.
const TASKS_PER_THREAD: usize = 4;

/// One call of [`attend`](super::attend), whose arguments fit each other.
pub(super) struct Call<'a> {
    pub(super) isa: Isa,
    pub(super) window: Option<usize>,
    pub(super) scores: Scores,
    pub(super) sinks: Option<&'a [f32]>,
    pub(super) shape: KvShape,
    /// Heads of queries for each head of keys and values.
    pub(super) group: usize,
    /// Of the first token.
    pub(super) position: usize,
    pub(super) tokens: usize,
    pub(super) queries: &'a [f32],
    pub(super) stride: usize,
    pub(super) out: SharedOut<'a>,
    pub(super) sizes: Sizes,
}

/// The rows that a kernel takes at a time: all heads of a group for several tokens, or a part of them for one.
#[derive(Debug, Clone)]
struct Rows {
    tokens: Range<usize>,
    /// Of those that share a head of keys and values.
    heads: Range<usize>,
}

impl Rows {
    fn len(&self) -> usize {
        self.tokens.len() * self.heads.len()
    }

    /// The token and the head of each row.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.tokens.clone().flat_map(|token| self.heads.clone().map(move |head| (token, head)))
    }
}

/// The parts of a thread's scratch memory.
struct Memory<'a> {
    queries: &'a mut [f32],
    weights: &'a mut [f32],
    partial: &'a mut [f32],
    results: &'a mut [f32],
}

impl<'a> Memory<'a> {
    fn of(sizes: &Sizes, thread: &'a mut [f32]) -> Self {
        let (queries, rest) = thread.split_at_mut(sizes.queries);
        let (weights, rest) = rest.split_at_mut(sizes.weights);
        let (partial, results) = rest.split_at_mut(sizes.partial);
        Self { queries, weights, partial, results }
    }
}

impl Call<'_> {
    /// Does it all.
    pub(super) fn run<E: Stored>(&self, kv: View<'_, E>, pool: &Pool, scratch: &mut Scratch) {
        let alone = self.tokens == 1 && pool.threads() > 1 && self.segments(&(0..1)).len() > 1;
        with_level!(self.isa, level => {
            if alone { self.by_segments(level, kv, pool, scratch) } else { self.by_tokens(level, kv, pool, scratch) }
        });
    }

    /// Tasks of some tokens and a head of keys and values.
    fn by_tokens<S: Simd, E: Stored>(&self, simd: S, kv: View<'_, E>, pool: &Pool, scratch: &mut Scratch) {
        // Whole blocks of rows, as many as there is room for, but some tasks for every thread.
        let block = (S::ROWS / self.group).max(1);
        let room = (TASK_ROWS / self.group / block * block).max(1);
        let share = (self.tokens * self.shape.heads).div_ceil(pool.threads() * TASKS_PER_THREAD);
        let tokens = share.next_multiple_of(block).min(room);
        let tiles = self.tokens.div_ceil(tokens);
        let thread = self.sizes.thread();
        each_with_scratch(pool, self.shape.heads * tiles, &mut scratch.threads, thread, &|task, thread| {
            // The later a token, the more it sees: long tasks first.
            let (kv_head, tile) = (task / tiles, tiles - 1 - task % tiles);
            let tokens = tile * tokens..((tile + 1) * tokens).min(self.tokens);
            self.tokens(simd, kv, kv_head, tokens, Memory::of(&self.sizes, thread));
        });
    }

    /// Some tokens with a head of keys and values.
    fn tokens<S: Simd, E: Stored>(
        &self,
        simd: S,
        kv: View<'_, E>,
        kv_head: usize,
        tokens: Range<usize>,
        memory: Memory<'_>,
    ) {
        let Memory { queries, weights, partial, results } = memory;
        let (query, result) = (self.shape.key_blocks() * LANES, self.sizes.result);
        let mut first = 0;
        for rows in self.blocks::<S>(&tokens) {
            self.pack(kv_head, &rows, &mut queries[first * query..]);
            first += rows.len();
        }
        for segment in self.segments(&tokens) {
            let mut first = 0;
            for rows in self.blocks::<S>(&tokens) {
                let len = rows.len();
                let seen = self.segments(&rows.tokens);
                let results = &mut results[first * result..][..len * result];
                let queries = &queries[first * query..];
                if segment == seen.start {
                    self.segment(simd, kv, kv_head, segment, &rows, queries, weights, results);
                } else if seen.contains(&segment) {
                    let partial = &mut partial[..len * result];
                    self.segment(simd, kv, kv_head, segment, &rows, queries, weights, partial);
                    for (earlier, later) in results.chunks_exact_mut(result).zip(partial.chunks_exact(result)) {
                        simd.run(Merge { earlier, later });
                    }
                }
                first += len;
            }
        }
        let mut results = results.chunks_exact_mut(result);
        for rows in self.blocks::<S>(&tokens) {
            for ((token, head), row) in rows.iter().zip(&mut results) {
                self.put(simd, token, kv_head * self.group + head, Results::of(row));
            }
        }
    }

    /// Tasks of a segment and a head of keys and values, for one token.
    fn by_segments<S: Simd, E: Stored>(&self, simd: S, kv: View<'_, E>, pool: &Pool, scratch: &mut Scratch) {
        let segments = self.segments(&(0..1));
        let result = self.sizes.result;
        let (thread, group) = (self.sizes.thread(), self.group * result);
        let partials = &mut scratch.segments[..self.shape.heads * segments.len() * group];
        each_row_with_scratch(pool, partials, group, &mut scratch.threads, thread, &|index, partial, thread| {
            let (kv_head, segment) = (index / segments.len(), segments.start + index % segments.len());
            let Memory { queries, weights, .. } = Memory::of(&self.sizes, thread);
            for rows in self.blocks::<S>(&(0..1)) {
                let partial = &mut partial[rows.heads.start * result..rows.heads.end * result];
                self.pack(kv_head, &rows, queries);
                self.segment(simd, kv, kv_head, segment, &rows, queries, weights, partial);
            }
        });
        let partials = &scratch.segments;
        each_with_scratch(pool, self.shape.heads * self.group, &mut scratch.threads, thread, &|head, thread| {
            let (kv_head, in_group) = (head / self.group, head % self.group);
            let row = &mut Memory::of(&self.sizes, thread).results[..result];
            Results::of(row).clear();
            for segment in 0..segments.len() {
                let later = &partials[(kv_head * segments.len() + segment) * group + in_group * result..][..result];
                simd.run(Merge { earlier: row, later });
            }
            self.put(simd, 0, head, Results::of(row));
        });
    }

    /// The rows of some tokens, in the blocks that a level takes.
    fn blocks<S: Simd>(&self, tokens: &Range<usize>) -> impl Iterator<Item = Rows> + use<S> {
        let (tokens, group) = (tokens.clone(), self.group);
        let together = (S::ROWS / group).max(1);
        let heads = group.div_ceil(group.div_ceil(S::ROWS));
        tokens.clone().step_by(together).flat_map(move |token| {
            let tokens = token..(token + together).min(tokens.end);
            (0..group)
                .step_by(heads)
                .map(move |head| Rows { tokens: tokens.clone(), heads: head..(head + heads).min(group) })
        })
    }

    /// The positions that a token sees.
    fn seen(&self, token: usize) -> Range<usize> {
        let end = self.position + token + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// The segments that some tokens see anything of.
    fn segments(&self, tokens: &Range<usize>) -> Range<usize> {
        let (begin, end) = (self.seen(tokens.start).start, self.seen(tokens.end - 1).end);
        begin / SEGMENT..end.div_ceil(SEGMENT)
    }

    /// Copies queries: for each block of elements those of all rows.
    fn pack(&self, kv_head: usize, rows: &Rows, to: &mut [f32]) {
        let (dim, len) = (self.shape.key_dim, rows.len());
        for (r, (token, head)) in rows.iter().enumerate() {
            let query = &self.queries[token * self.stride + (kv_head * self.group + head) * dim..][..dim];
            let (blocks, rest) = query.as_chunks::<LANES>();
            let mut rows = to.as_chunks_mut::<LANES>().0.iter_mut().skip(r).step_by(len);
            for (block, row) in blocks.iter().zip(&mut rows) {
                *row = *block;
            }
            if let (false, Some(row)) = (rest.is_empty(), rows.next()) {
                *row = padded(rest);
            }
        }
    }

    /// One segment with some rows.
    #[expect(clippy::too_many_arguments, reason = "the inside of loops over most of them")]
    fn segment<S: Simd, E: Stored>(
        &self,
        simd: S,
        kv: View<'_, E>,
        kv_head: usize,
        segment: usize,
        rows: &Rows,
        queries: &[f32],
        weights: &mut [f32],
        results: &mut [f32],
    ) {
        const { assert!(S::ROWS <= MOST_ROWS) }
        let bounds = segment * SEGMENT..(segment + 1) * SEGMENT;
        let mut seen: [Range<usize>; MOST_ROWS] = std::array::from_fn(|_| 0..0);
        for (seen, (token, _)) in seen.iter_mut().zip(rows.iter()) {
            let all = self.seen(token);
            *seen = all.start.clamp(bounds.start, bounds.end)..all.end.clamp(bounds.start, bounds.end);
        }
        let scores = self.scores;
        macro_rules! run {
            ($rows:literal) => {
                simd.run(Segment::<E, $rows> {
                    kv,
                    kv_head,
                    scores,
                    queries: queries.as_chunks().0.as_chunks().0,
                    seen: &seen[..rows.len()],
                    weights: weights
                        .as_chunks_mut()
                        .0
                        .as_chunks_mut()
                        .0
                        .first_chunk_mut()
                        .expect("weights of a segment"),
                    results,
                })
            };
        }
        match rows.len() {
            1 => run!(1),
            2 => run!(2),
            // Where the registers hold no more, more is not compiled.
            rows if S::ROWS > 2 => match rows {
                3 => run!(3),
                4 => run!(4),
                5 => run!(5),
                6 => run!(6),
                rows if S::ROWS > 6 => match rows {
                    7 => run!(7),
                    8 => run!(8),
                    9 => run!(9),
                    10 => run!(10),
                    11 => run!(11),
                    12 => run!(12),
                    _ => unreachable!("{rows} rows"),
                },
                rows => unreachable!("{rows} rows"),
            },
            rows => unreachable!("{rows} rows"),
        }
    }

    /// Writes the output of a head.
    fn put<S: Simd>(&self, simd: S, token: usize, head: usize, results: Results<'_>) {
        let dim = self.shape.value_dim;
        let out = simd.run(Finish { results, sink: self.sinks.map(|sinks| sinks[head]) });
        self.out.set_all((token * self.group * self.shape.heads + head) * dim, &out.as_flattened()[..dim]);
    }
}
