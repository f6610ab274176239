//! How the forms of a token's activations lie in memory.

use bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::{Arrangement, Formats, WEAVE};
use crate::kernels::panel::Line;
use crate::kernels::tile::{TILE, Tile32, Tile256};

/// Lines that so many elements take.
pub(super) const fn lines_of<T>(len: usize) -> usize {
    (len * size_of::<T>()).div_ceil(64)
}

/// Splits `len` elements in whole lines off the front.
pub(super) fn take<'a, T: Pod>(lines: &mut &'a [Line], len: usize) -> &'a [T] {
    let (front, rest) = lines.split_at(lines_of::<T>(len));
    *lines = rest;
    &cast_slice(front)[..len]
}

/// The same, to write to.
pub(super) fn take_mut<'a, T: Pod>(lines: &mut &'a mut [Line], len: usize) -> &'a mut [T] {
    let (front, rest) = std::mem::take(lines).split_at_mut(lines_of::<T>(len));
    *lines = rest;
    &mut cast_slice_mut(front)[..len]
}

/// The lengths of the forms of a token. They lie one after the other, each part in lines of its own: the floats; quants,
/// scales, sums and scaled sums of the blocks of 32; quants, scales, sums of 16 and sums of 32 of the blocks of 256.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) cols: usize,
    pub(super) formats: Formats,
}

impl Layout {
    /// Blocks of 256.
    pub(super) const fn blocks_k(self) -> usize {
        self.cols.div_ceil(256)
    }

    /// Groups of 8 blocks of 32, in whole weaves.
    pub(super) const fn groups(self) -> usize {
        self.blocks_k().next_multiple_of(WEAVE.div_ceil(8))
    }

    /// Blocks of 256 in whole groups of 8.
    pub(super) const fn scales_k(self) -> usize {
        self.blocks_k().next_multiple_of(8)
    }

    pub(super) const fn float_lines(self) -> usize {
        if self.formats.contains(Formats::FLOAT) { lines_of::<f32>(self.cols) } else { 0 }
    }

    pub(super) const fn q8_lines(self) -> usize {
        let groups = self.groups();
        if self.formats.contains(Formats::Q8) {
            lines_of::<i8>(groups * 256) + 3 * lines_of::<f32>(groups * 8)
        } else {
            0
        }
    }

    pub(super) const fn q8k_lines(self) -> usize {
        let blocks = self.blocks_k();
        if !self.formats.contains(Formats::Q8K) {
            return 0;
        }
        lines_of::<i8>(blocks * 256)
            + lines_of::<f32>(self.scales_k())
            + lines_of::<i16>(blocks * 16)
            + lines_of::<i16>(blocks * 8)
    }

    /// Lines of the quants of a token.
    pub(super) const fn quant_lines(self) -> usize {
        self.q8_lines() + self.q8k_lines()
    }

    /// Lines of a tile's blocks of 32.
    pub(super) const fn tile_32_lines(self) -> usize {
        if self.formats.contains(Formats::Q8) { lines_of::<Tile32>(self.cols / 32) } else { 0 }
    }

    /// Lines of a tile's blocks of 256.
    pub(super) const fn tile_256_lines(self) -> usize {
        if self.formats.contains(Formats::Q8K) { lines_of::<Tile256>(self.cols / 256) } else { 0 }
    }

    pub(super) const fn tile_lines(self) -> usize {
        self.tile_32_lines() + self.tile_256_lines()
    }

    /// Lines of the quants of up to `tokens` tokens, however they are arranged.
    pub(super) const fn most_quant_lines(self, tokens: usize) -> usize {
        // So few are never arranged in tiles.
        if tokens < Arrangement::FEWEST_TOKENS {
            return tokens * self.quant_lines();
        }
        let (rows, tiles) = (tokens * self.quant_lines(), tokens.div_ceil(TILE) * self.tile_lines());
        if rows > tiles { rows } else { tiles }
    }
}
