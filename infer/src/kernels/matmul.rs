//! Matrix products: rows of weights with the activations of one token or many.

use std::ops::Range;

use bytemuck::{AnyBitPattern, Pod, cast_slice};

use super::activations::{Activations, Arrangement, Formats};
use super::blocks;
use super::formats::{Float, Format32, Format256};
use super::gemm::{self, with_gemm};
use super::level::{Level, with_level};
use super::panel::{Line, PANEL};
use super::pool::Turn;
use super::shared::{SharedOut, each_with_scratch};
use super::{Isa, Panels, Pool};
use crate::gguf::types::TensorType;

/// How many tokens a row of weights that is read in place meets at a time. Their activations stay in the first-level
/// cache while the rows of a piece go by.
pub(super) use super::tile::TILE;

/// The bytes of weights that make a task worth claiming, and the most that a piece should have, so that it stays in the
/// second-level cache for the next tile of tokens.
const PIECE: std::ops::Range<usize> = 16 << 10..128 << 10;
/// The bytes of weights that make a task for one token. There is nothing to stay for, and tasks that follow one another are
/// done by one thread, which asks for weights in advance across their borders: so tasks are small, and in the end nobody waits
/// for long.
const ONE_TOKEN_TASK: std::ops::Range<usize> = 16 << 10..128 << 10;
/// Rows of such a task are a multiple of this: as many as a kernel takes at a time, at most.
const ONE_TOKEN_ROWS: usize = PANEL;
/// Pieces per thread when there is enough to share: what the slowest thread is behind at the end is a part of one.
const PIECES_PER_THREAD: usize = 8;
/// A piece begins at a multiple of this many rows: whole pairs of panels.
const ROWS: usize = gemm::PAIR;

/// Some whole rows of a matrix, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The type of the weights.
    pub ty: TensorType,
    /// The weights of a row.
    pub cols: usize,
    /// The rows, one after the other; any alignment.
    pub bytes: &'a [u8],
    /// The head of the tokens that the rows meet; 0 where a token has but one.
    pub head: usize,
    /// The column of the output that the first row makes; the others follow.
    pub first_out: usize,
}

impl Part<'_> {
    fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols).unwrap_or(0)
    }

    fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }
}

/// Multiplies: `out[t * stride + part.first_out + r]` becomes the dot product of row `r` of the part with token `t`, of which it meets the
/// part's head.
///
/// Parts may be of different types and matrices and come in any order. Each output is computed from its own row alone, in
/// the order that the [specification](super) gives, so no bit depends on how a matrix is cut into parts or on the threads.
/// Other elements of `out` are not touched.
///
/// # Panics
///
/// A part is of a type without a kernel or of a form that `acts` was not prepared for, has other columns than `acts` or a
/// head that they have not, is not whole rows, or its outputs exceed `stride` or `out` or are another part's; `acts` were prepared for another level, or `panels` made for
/// fewer threads or columns.
pub fn matmul(
    pool: &Pool,
    isa: Isa,
    parts: &[Part<'_>],
    acts: &Activations,
    panels: &mut Panels,
    out: &mut [f32],
    stride: usize,
) {
    let tokens = acts.tokens();
    assert!(acts.suit(isa), "{acts:?} are not for {isa}");
    let mut total = 0;
    for (i, part) in parts.iter().enumerate() {
        let Part { ty, cols, bytes, head, first_out } = *part;
        let row = part.row_bytes();
        assert!(ty.has_kernel(), "no kernel for weights of type {ty}");
        assert!(cols == acts.cols(), "rows of {cols} weights, tokens of {} activations", acts.cols());
        assert!(head < acts.heads(), "head {head} of {}", acts.heads());
        assert!(
            row > 0 && bytes.len().is_multiple_of(row),
            "{} bytes in rows of {cols} weights of type {ty}",
            bytes.len()
        );
        assert!(acts.formats().contains(Formats::of(ty)), "activations are not prepared for type {ty}");
        assert!(
            first_out <= stride && part.rows() <= stride - first_out,
            "{} rows to {first_out} of {stride}",
            part.rows()
        );
        let last = tokens.saturating_sub(1) * stride + first_out + part.rows();
        assert!(tokens == 0 || last <= out.len(), "outputs up to {last} of {}", out.len());
        let apart = |other: &Part<'_>| {
            first_out + part.rows() <= other.first_out || other.first_out + other.rows() <= first_out
        };
        assert!(parts[..i].iter().all(apart), "{} rows to {first_out}, where those of another part are", part.rows());
        total += bytes.len();
    }
    if tokens == 0 || total == 0 {
        return;
    }
    if tokens == 1 {
        let out = SharedOut::new(out);
        let task = match pool.threads() {
            1 => total,
            threads => (total / (threads * PIECES_PER_THREAD)).clamp(ONE_TOKEN_TASK.start, ONE_TOKEN_TASK.end),
        };
        let sink = Sink { out, stride, first: 0, rows: 0 };
        return pool.run_shares(total.div_ceil(task), &|turn| one_token(isa, parts, acts, sink, task, turn));
    }
    // The same number of pieces of each run, so that a task number says at once which piece of which run it is.
    let piece = (total / (pool.threads() * PIECES_PER_THREAD)).clamp(PIECE.start, PIECE.end);
    let runs = runs(parts).count();
    let pieces = total.div_ceil(piece).div_ceil(runs);
    let out = SharedOut::new(out);
    let (scratch, per_thread) = panels.parts();
    each_with_scratch(pool, runs * pieces, scratch, per_thread, &|task, scratch| {
        let (run, piece) = (self::runs(parts).nth(task / pieces).expect("one of the runs"), task % pieces);
        let rows: usize = run.iter().map(Part::rows).sum();
        let at = |piece: usize| rows.min((rows * piece / pieces).next_multiple_of(ROWS));
        let (begin, end) = (at(piece), at(piece + 1));
        if begin < end {
            // No other task has these rows: the pieces of a run are disjoint, and so are the parts.
            let sink = Sink { out, stride, first: run[0].first_out + begin, rows: end - begin };
            Piece { isa, run, rows: begin..end, following: 0, then: &[], acts, scratch, sink }.multiply(run[0].ty);
        }
    });
}

/// A task of the product with one token: `bytes` bytes of the parts, one after the other.
fn one_token(isa: Isa, parts: &[Part<'_>], acts: &Activations, sink: Sink<'_>, bytes: usize, turn: Turn) {
    let [from, to, share] = [turn.task, turn.task + 1, turn.end].map(|task| task * bytes);
    // Where the part at hand begins, in bytes.
    let mut start = 0;
    for (i, part) in parts.iter().enumerate() {
        let (begin, end) = (start, start + part.bytes.len());
        start = end;
        if begin >= to {
            break;
        }
        if end <= from {
            continue;
        }
        let (rows, row_bytes) = (part.rows(), part.row_bytes());
        let at = |byte: usize| rows.min((byte.saturating_sub(begin) / row_bytes).next_multiple_of(ONE_TOKEN_ROWS));
        let (first, last) = (at(from), at(to));
        if first == last {
            continue;
        }
        if !turn.follows && begin <= from {
            expect(isa, part, first);
        }
        // Of the part behind this one what is of the same share.
        let then =
            parts.get(i + 1).map_or(&[][..], |next| &next.bytes[..next.bytes.len().min(share.saturating_sub(end))]);
        // No other task has these rows.
        let sink = Sink { first: part.first_out + first, rows: last - first, ..sink };
        let (run, following) = (std::slice::from_ref(part), at(share) - last);
        Piece { isa, run, rows: first..last, following, then, acts, scratch: &mut [], sink }.multiply(part.ty);
    }
}

/// Asks for the beginning of some rows that one token will meet next.
fn expect(isa: Isa, part: &Part<'_>, row: usize) {
    let row_bytes = part.row_bytes();
    with_level!(isa, level => level.expect_rows(&part.bytes[row * row_bytes..], row_bytes));
}

/// Neighbouring parts whose rows follow one another, as pages of one matrix do: they are multiplied as if they were one.
fn runs<'a, 'b>(parts: &'a [Part<'b>]) -> impl Iterator<Item = &'a [Part<'b>]> {
    let same = |a: &Part<'_>, b: &Part<'_>| a.ty == b.ty && a.cols == b.cols && a.head == b.head;
    parts.chunk_by(move |a, b| same(a, b) && a.first_out + a.rows() == b.first_out)
}

/// Where the results of some rows go, which no other task has.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a> {
    out: SharedOut<'a>,
    stride: usize,
    first: usize,
    rows: usize,
}

impl Sink<'_> {
    /// The same for the tokens from `token` on.
    fn skip_tokens(self, token: usize) -> Self {
        Self { first: self.first + token * self.stride, ..self }
    }

    /// The same for the rows from `row` on.
    pub(super) fn skip_rows(self, row: usize) -> Self {
        Self { first: self.first + row, rows: self.rows - row, ..self }
    }

    /// Where the result of a row and a token goes, if there are such.
    pub(super) fn address(&self, row: usize, token: usize) -> *const f32 {
        self.out.address(self.first + token * self.stride + row)
    }

    /// Writes the result of a row and a token, both counted from the first that this sink is for.
    #[inline(always)]
    pub(super) fn put(&self, row: usize, token: usize, value: f32) {
        self.out.set(self.first + token * self.stride + row, value);
    }

    /// Writes the results of the rows from `row` on and a token, as far as there are such rows.
    #[inline(always)]
    pub(super) fn put_rows(&self, row: usize, token: usize, values: &[f32; PANEL]) {
        let (index, rows) = (self.first + token * self.stride + row, self.rows - row);
        if rows < PANEL {
            self.out.set_all(index, &values[..rows]);
        } else {
            // SAFETY: these rows are this sink's, and what made it saw to it that no other task has them.
            unsafe { self.out.set_16(index, values) }
        }
    }
}

/// Rows of a part that lie one after the other.
struct Stretch<'a, B> {
    /// The number of the first of them in the piece.
    first: usize,
    rows: &'a [B],
    /// What the same thread is going to meet next.
    following: Following<'a, B>,
}

/// What a thread is going to meet behind some rows, as far as is known: kernels may ask for it.
#[derive(Clone, Copy)]
pub(super) struct Following<'a, B> {
    /// The rows that lie behind these.
    pub(super) rows: &'a [B],
    /// What comes after those and lies elsewhere.
    pub(super) then: &'a [u8],
}

/// Some rows of one type, to be multiplied with all tokens by one thread.
struct Piece<'a> {
    isa: Isa,
    run: &'a [Part<'a>],
    /// Counted from the first of the run.
    rows: Range<usize>,
    /// How many rows behind these the same thread is going to meet next.
    following: usize,
    /// What it is going to meet after those, which lies elsewhere.
    then: &'a [u8],
    acts: &'a Activations,
    scratch: &'a mut [Line],
    sink: Sink<'a>,
}

impl<'a> Piece<'a> {
    fn multiply(self, ty: TensorType) {
        match ty {
            TensorType::F32 => self.floats::<blocks::F32>(),
            TensorType::F16 => self.floats::<blocks::F16>(),
            TensorType::BF16 => self.floats::<blocks::BF16>(),
            TensorType::Q4_0 => self.blocks32::<blocks::Q4_0>(),
            TensorType::Q4_1 => self.blocks32::<blocks::Q4_1>(),
            TensorType::Q5_0 => self.blocks32::<blocks::Q5_0>(),
            TensorType::Q5_1 => self.blocks32::<blocks::Q5_1>(),
            TensorType::Q8_0 => self.blocks32::<blocks::Q8_0>(),
            TensorType::IQ4_NL => self.blocks32::<blocks::IQ4_NL>(),
            TensorType::MXFP4 => self.blocks32::<blocks::MXFP4>(),
            TensorType::Q2_K => self.blocks256::<blocks::Q2_K>(),
            TensorType::Q3_K => self.blocks256::<blocks::Q3_K>(),
            TensorType::Q4_K => self.blocks256::<blocks::Q4_K>(),
            TensorType::Q5_K => self.blocks256::<blocks::Q5_K>(),
            TensorType::Q6_K => self.blocks256::<blocks::Q6_K>(),
            TensorType::IQ4_XS => self.blocks256::<blocks::IQ4_XS>(),
            _ => unreachable!("matmul has checked that there is a kernel for type {ty}"),
        }
    }

    /// The head of the tokens that the run meets.
    fn head(&self) -> usize {
        self.run[0].head
    }

    /// The parts' rows that are this piece's.
    fn stretches<B: AnyBitPattern>(&self) -> impl Iterator<Item = Stretch<'_, B>> {
        let mut first = 0;
        self.run.iter().filter_map(move |part| {
            let (begin, end) = (first, first + part.rows());
            first = end;
            let (from, to) = (begin.max(self.rows.start), end.min(self.rows.end));
            let (bytes, ahead) = (|row: usize| (row - begin) * part.row_bytes(), end.min(to + self.following));
            (from < to).then(|| Stretch {
                first: from - self.rows.start,
                rows: cast_slice(&part.bytes[bytes(from)..bytes(to)]),
                following: Following { rows: cast_slice(&part.bytes[bytes(to)..bytes(ahead)]), then: self.then },
            })
        })
    }

    /// Calls `rows` for each stretch of rows and tile of tokens, with views of the tokens.
    fn each_tile<V, B: Pod>(&self, view: impl Fn(usize) -> V, rows: impl Fn(&Stretch<'_, B>, &[V], Sink<'_>)) {
        let (tokens, first_input) = (self.acts.tokens(), self.acts.first_input(self.head()));
        for stretch in self.stretches() {
            for first in (0..tokens).step_by(TILE) {
                let len = TILE.min(tokens - first);
                if len == 1 {
                    rows(&stretch, &[view(first_input + first)], self.sink.skip_rows(stretch.first).skip_tokens(first));
                    continue;
                }
                // Beyond the tile's length the last token again.
                let views: [V; TILE] = std::array::from_fn(|t| view(first_input + first + t.min(len - 1)));
                rows(&stretch, &views[..len], self.sink.skip_rows(stretch.first).skip_tokens(first));
            }
        }
    }

    /// Asks for what comes next and lies elsewhere, before the last rows here: for kernels that do not do so themselves.
    fn expect_then<B>(&self, stretch: &Stretch<'_, B>) {
        if stretch.following.rows.is_empty() && !self.then.is_empty() {
            with_level!(self.isa, level => level.expect_rows(self.then, self.run[0].row_bytes()));
        }
    }

    fn blocks32<B: Format32>(self) {
        let per_row = self.acts.cols() / 32;
        match self.acts.arrangement() {
            Arrangement::Rows => self.each_tile(
                |input| self.acts.q8(input),
                |stretch, tokens, sink| {
                    self.expect_then(stretch);
                    with_level!(self.isa, level => level.rows32::<B>(stretch.rows, per_row, tokens, sink));
                },
            ),
            Arrangement::Tiles => with_gemm!(
                self.isa,
                level => gemm::rows_32::<_, B>(level, &self.gathered(per_row), self.acts, self.head(), self.scratch, self.sink),
                _ => unreachable!("matmul has checked that the level has products of tiles")
            ),
        }
    }

    fn blocks256<B: Format256>(self) {
        let per_row = self.acts.cols() / 256;
        match self.acts.arrangement() {
            Arrangement::Rows => self.each_tile(
                |input| self.acts.q8k(input),
                |stretch, tokens, sink| {
                    let Stretch { rows, following, .. } = *stretch;
                    with_level!(self.isa, level => level.rows256::<B>(rows, following, per_row, tokens, sink));
                },
            ),
            Arrangement::Tiles => with_gemm!(
                self.isa,
                level => gemm::rows_256::<_, B>(level, &self.gathered(per_row), self.acts, self.head(), self.scratch, self.sink),
                _ => unreachable!("matmul has checked that the level has products of tiles")
            ),
        }
    }

    /// The rows one by one, wherever they lie.
    fn gathered(&self, per_row: usize) -> Gathered<'a> {
        Gathered { run: self.run, first: self.rows.start, rows: self.rows.len(), per_row }
    }

    fn floats<E: Float>(self) {
        let cols = self.acts.cols();
        self.each_tile(
            |input| self.acts.float(input),
            |stretch, tokens, sink| {
                self.expect_then(stretch);
                with_level!(self.isa, level => level.rows_of_floats::<E>(stretch.rows, cols, tokens, sink));
            },
        );
    }
}

/// Rows of a run: they may lie in several parts.
#[derive(Clone, Copy)]
pub(super) struct Gathered<'a> {
    run: &'a [Part<'a>],
    /// Of the run.
    first: usize,
    pub(super) rows: usize,
    /// Blocks of a row.
    pub(super) per_row: usize,
}

impl<'a> Gathered<'a> {
    /// Row `row` of these.
    ///
    /// # Panics
    ///
    /// There is no such row.
    pub(super) fn row<B: AnyBitPattern>(&self, row: usize) -> &'a [B] {
        let mut row = self.first + row;
        for part in self.run {
            if row < part.rows() {
                return cast_slice(&part.bytes[row * part.row_bytes()..][..part.row_bytes()]);
            }
            row -= part.rows();
        }
        panic!("a row beyond those of the run")
    }
}
