//! Matrix products: rows of weights with the activations of one token or many.

use bytemuck::cast_slice;

use super::activations::{Activations, Formats, Q8, Q8K};
use super::blocks;
use super::formats::{Float, Format32, Format256};
use super::level::{Level, with_level};
use super::shared::SharedOut;
use super::{Isa, Pool};
use crate::gguf::types::TensorType;

/// How many tokens a row of weights meets at a time. Their activations stay in the first-level cache while the rows of a
/// piece go by.
pub(super) const TILE: usize = 8;

/// The bytes of weights that make a task worth claiming, and the most that a piece should have, so that it stays in the
/// second-level cache for the next tile of tokens.
const PIECE: std::ops::Range<usize> = 16 << 10..128 << 10;
/// Pieces per thread when there is enough to share: what the slowest thread is behind at the end is a part of one.
const PIECES_PER_THREAD: usize = 8;

/// Some whole rows of a matrix, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The type of the weights.
    pub ty: TensorType,
    /// The weights of a row.
    pub cols: usize,
    /// The rows, one after the other; any alignment.
    pub bytes: &'a [u8],
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

/// Multiplies: `out[t * stride + part.first_out + r]` becomes the dot product of row `r` of the part with token `t`.
///
/// Parts may be of different types and matrices and come in any order. Each output is computed from its own row alone, in
/// the order that the [specification](super) gives, so no bit depends on how a matrix is cut into parts or on the threads.
/// Other elements of `out` are not touched.
///
/// # Panics
///
/// A part is of a type without a kernel or of a form that `acts` was not prepared for, has other columns than `acts`, is
/// not whole rows, or its outputs exceed `stride` or `out`.
pub fn matmul(pool: &Pool, isa: Isa, parts: &[Part<'_>], acts: &Activations, out: &mut [f32], stride: usize) {
    let tokens = acts.tokens();
    let mut total = 0;
    for part in parts {
        let Part { ty, cols, bytes, first_out } = *part;
        let row = part.row_bytes();
        assert!(ty.has_kernel(), "no kernel for weights of type {ty}");
        assert!(cols == acts.cols(), "rows of {cols} weights, tokens of {} activations", acts.cols());
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
        total += bytes.len();
    }
    if tokens == 0 || total == 0 {
        return;
    }
    // The same number of pieces of each part, so that a task number says at once which piece of which part it is.
    let piece = (total / (pool.threads() * PIECES_PER_THREAD)).clamp(PIECE.start, PIECE.end);
    let pieces = total.div_ceil(piece).div_ceil(parts.len());
    let out = SharedOut::new(out);
    pool.run(parts.len() * pieces, &|task| {
        let (part, piece) = (&parts[task / pieces], task % pieces);
        let rows = part.rows();
        let (begin, end) = (rows * piece / pieces, rows * (piece + 1) / pieces);
        if begin == end {
            return;
        }
        let bytes = &part.bytes[begin * part.row_bytes()..end * part.row_bytes()];
        for first in (0..tokens).step_by(TILE) {
            let tile = Tile { acts, first, len: TILE.min(tokens - first) };
            let sink = Sink { out, stride, first: first * stride + part.first_out + begin };
            tile.rows(isa, part.ty, bytes, sink);
        }
    });
}

/// Where the results of some rows and tokens go.
#[derive(Clone, Copy)]
pub(super) struct Sink<'a> {
    out: SharedOut<'a>,
    stride: usize,
    first: usize,
}

impl Sink<'_> {
    /// Writes the result of a row and a token, both counted from the first that this sink is for.
    #[inline(always)]
    pub(super) fn put(&self, row: usize, token: usize, value: f32) {
        self.out.set(self.first + token * self.stride + row, value);
    }
}

/// Some tokens of the activations.
struct Tile<'a> {
    acts: &'a Activations,
    first: usize,
    len: usize,
}

impl Tile<'_> {
    fn rows(&self, isa: Isa, ty: TensorType, bytes: &[u8], sink: Sink<'_>) {
        match ty {
            TensorType::F32 => self.floats::<blocks::F32>(isa, bytes, sink),
            TensorType::F16 => self.floats::<blocks::F16>(isa, bytes, sink),
            TensorType::BF16 => self.floats::<blocks::BF16>(isa, bytes, sink),
            TensorType::Q4_0 => self.blocks32::<blocks::Q4_0>(isa, bytes, sink),
            TensorType::Q4_1 => self.blocks32::<blocks::Q4_1>(isa, bytes, sink),
            TensorType::Q5_0 => self.blocks32::<blocks::Q5_0>(isa, bytes, sink),
            TensorType::Q5_1 => self.blocks32::<blocks::Q5_1>(isa, bytes, sink),
            TensorType::Q8_0 => self.blocks32::<blocks::Q8_0>(isa, bytes, sink),
            TensorType::IQ4_NL => self.blocks32::<blocks::IQ4_NL>(isa, bytes, sink),
            TensorType::MXFP4 => self.blocks32::<blocks::MXFP4>(isa, bytes, sink),
            TensorType::Q2_K => self.blocks256::<blocks::Q2_K>(isa, bytes, sink),
            TensorType::Q3_K => self.blocks256::<blocks::Q3_K>(isa, bytes, sink),
            TensorType::Q4_K => self.blocks256::<blocks::Q4_K>(isa, bytes, sink),
            TensorType::Q5_K => self.blocks256::<blocks::Q5_K>(isa, bytes, sink),
            TensorType::Q6_K => self.blocks256::<blocks::Q6_K>(isa, bytes, sink),
            TensorType::IQ4_XS => self.blocks256::<blocks::IQ4_XS>(isa, bytes, sink),
            _ => unreachable!("matmul has checked that there is a kernel for type {ty}"),
        }
    }

    /// The views of the tile's tokens; beyond its length the last one again.
    fn views<V>(&self, view: impl Fn(usize) -> V) -> [V; TILE] {
        std::array::from_fn(|t| view(self.first + t.min(self.len - 1)))
    }

    fn blocks32<B: Format32>(&self, isa: Isa, bytes: &[u8], sink: Sink<'_>) {
        let (rows, per_row) = (cast_slice::<u8, B>(bytes), self.acts.cols() / 32);
        let tokens: [Q8<'_>; TILE] = self.views(|t| self.acts.q8(t));
        let tokens = &tokens[..self.len];
        with_level!(isa, level => level.rows32(rows, per_row, tokens, sink));
    }

    fn blocks256<B: Format256>(&self, isa: Isa, bytes: &[u8], sink: Sink<'_>) {
        let (rows, per_row) = (cast_slice::<u8, B>(bytes), self.acts.cols() / 256);
        let tokens: [Q8K<'_>; TILE] = self.views(|t| self.acts.q8k(t));
        let tokens = &tokens[..self.len];
        with_level!(isa, level => level.rows256(rows, per_row, tokens, sink));
    }

    fn floats<E: Float>(&self, isa: Isa, bytes: &[u8], sink: Sink<'_>) {
        let (rows, cols) = (cast_slice::<u8, E>(bytes), self.acts.cols());
        let tokens: [&[f32]; TILE] = self.views(|t| self.acts.float(t));
        let tokens = &tokens[..self.len];
        with_level!(isa, level => level.rows_of_floats(rows, cols, tokens, sink));
    }
}
