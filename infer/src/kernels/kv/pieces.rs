//! Keys and values as bytes, for who keeps them elsewhere: the same for every length of a cache.

use std::ops::Range;

use super::{KvCache, KvShape, LANES, Layer, Parts, Rows, Stored};

/// Some neighbouring positions of a head, all of one tile: what is copied at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPiece {
    layer: usize,
    head: usize,
    positions: Range<usize>,
}

impl KvCache {
    /// `positions` of a layer in pieces, in their order.
    pub fn pieces(&self, layer: usize, positions: Range<usize>) -> impl Iterator<Item = KvPiece> + use<> {
        let heads = self.shape(layer).heads;
        let end = if positions.is_empty() { 0 } else { positions.end.div_ceil(LANES) };
        let tiles = positions.start / LANES..end;
        tiles.flat_map(move |tile| {
            let (start, end) = (positions.start.max(tile * LANES), positions.end.min((tile + 1) * LANES));
            (0..heads).map(move |head| KvPiece { layer, head, positions: start..end })
        })
    }

    /// Bytes of a piece.
    pub fn piece_bytes(&self, piece: &KvPiece) -> usize {
        let shape = KvShape { heads: 1, positions: LANES, ..self.shape(piece.layer) };
        shape.bytes() / LANES * piece.positions.len()
    }

    /// Appends the bytes of a piece to `out`.
    ///
    /// # Panics
    ///
    /// The layer has no such head or no positions.
    pub fn copy_out(&self, piece: &KvPiece, out: &mut Vec<u8>) {
        let Layer { shape, rows } = &self.layers[piece.layer];
        match rows {
            Rows::F32(parts) => copy_out(parts, shape, piece, out),
            Rows::F16(parts) => copy_out(parts, shape, piece, out),
            Rows::Q8(parts) => copy_out(parts, shape, piece, out),
        }
    }

    /// Stores a piece of the bytes that [`copy_out`](Self::copy_out) gave; of its positions only those below `end`.
    ///
    /// # Panics
    ///
    /// They are not as many bytes as the piece has, or the layer has no such head or no positions.
    pub fn copy_in(&mut self, piece: &KvPiece, end: usize, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.piece_bytes(piece), "bytes of {piece:?}");
        let Layer { shape, rows } = &mut self.layers[piece.layer];
        match rows {
            Rows::F32(parts) => copy_in(parts, shape, piece, end, bytes),
            Rows::F16(parts) => copy_in(parts, shape, piece, end, bytes),
            Rows::Q8(parts) => copy_in(parts, shape, piece, end, bytes),
        }
    }
}

fn copy_out<E: Stored>(parts: &Parts<E>, shape: &KvShape, piece: &KvPiece, out: &mut Vec<u8>) {
    let vectors: [&[u8]; 4] = [
        bytemuck::cast_slice(&parts.keys),
        bytemuck::cast_slice(&parts.key_scales),
        bytemuck::cast_slice(&parts.values),
        bytemuck::cast_slice(&parts.value_scales),
    ];
    let first = piece.positions.start % LANES;
    each_block::<E>(shape, piece, |vector, block| {
        let lane = block.len() / LANES;
        let begin = block.start + first * lane;
        out.extend_from_slice(&vectors[vector as usize][begin..][..piece.positions.len() * lane]);
    });
}

fn copy_in<E: Stored>(parts: &mut Parts<E>, shape: &KvShape, piece: &KvPiece, end: usize, mut bytes: &[u8]) {
    let mut vectors: [&mut [u8]; 4] = [
        bytemuck::cast_slice_mut(&mut parts.keys),
        bytemuck::cast_slice_mut(&mut parts.key_scales),
        bytemuck::cast_slice_mut(&mut parts.values),
        bytemuck::cast_slice_mut(&mut parts.value_scales),
    ];
    let first = piece.positions.start % LANES;
    let taken = end.min(piece.positions.end).saturating_sub(piece.positions.start);
    each_block::<E>(shape, piece, |vector, block| {
        let lane = block.len() / LANES;
        let (here, rest) = bytes.split_at(piece.positions.len() * lane);
        let begin = block.start + first * lane;
        vectors[vector as usize][begin..][..taken * lane].copy_from_slice(&here[..taken * lane]);
        bytes = rest;
    });
}

/// The vectors of [`Parts`].
#[derive(Clone, Copy)]
enum Vector {
    Keys,
    KeyScales,
    Values,
    ValueScales,
}

/// Tells which bytes of which vector belong to the tile and the head of `piece`, in blocks that have an equal share for each
/// of the tile's positions, in their order.
fn each_block<E: Stored>(shape: &KvShape, piece: &KvPiece, mut tell: impl FnMut(Vector, Range<usize>)) {
    const SCALES: usize = LANES * size_of::<super::F16>();
    let elements = LANES * size_of::<E>();
    let slot = piece.positions.start / LANES % shape.tiles();
    let tile = piece.head * shape.tiles() + slot;
    for row in tile * shape.key_dim..(tile + 1) * shape.key_dim {
        tell(Vector::Keys, row * elements..(row + 1) * elements);
    }
    if E::SCALED {
        for row in tile * shape.key_blocks()..(tile + 1) * shape.key_blocks() {
            tell(Vector::KeyScales, row * SCALES..(row + 1) * SCALES);
        }
    }
    for stripe in 0..shape.stripes() {
        let tile = (piece.head * shape.stripes() + stripe) * shape.tiles() + slot;
        tell(Vector::Values, tile * LANES * elements..(tile + 1) * LANES * elements);
        if E::SCALED {
            tell(Vector::ValueScales, tile * SCALES..(tile + 1) * SCALES);
        }
    }
}
