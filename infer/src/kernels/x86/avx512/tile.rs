//! Interleaving the quants of tokens, sixteen rows of a matrix of four-byte groups at a time.

use std::arch::x86_64::*;

use super::transpose::transposed;
use super::vector::*;
use crate::kernels::activations::WEAVE;
use crate::kernels::gemm::Gemm;
use crate::kernels::isa::Avx512Vnni;
use crate::kernels::tile::{TILE, Tile32, Tile256, Woven32};

/// See [`tile::interleave_32`](crate::kernels::tile::interleave_32).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn interleave_32(tokens: &[Woven32; TILE], tiles: &mut [Tile32]) {
    let vectors: &[[[i8; 64]; 8]; TILE] = bytemuck::cast_ref(tokens);
    for k in (0..8).step_by(2) {
        // The same group of each block; of all tokens, then the next group of all tokens.
        let rows: [__m512i; WEAVE] = std::array::from_fn(|i| load(&vectors[i % TILE][k + i / TILE]));
        for (tile, column) in tiles.iter_mut().zip(transposed(rows)) {
            let quants: &mut [[u8; 64]; 4] = bytemuck::cast_mut(&mut tile.quants);
            store(&mut quants[k / 2], with_offset(column));
        }
    }
}

/// See [`tile::interleave_256`](crate::kernels::tile::interleave_256); and sums up the squares.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn interleave_256(tokens: &[[i8; 256]; TILE], tile: &mut Tile256) {
    let vectors: &[[[i8; 64]; 4]; TILE] = bytemuck::cast_ref(tokens);
    let mut largest = [_mm512_setzero_si512(); 2];
    for (half, to) in tile.quants.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let rows: [__m512i; 16] = std::array::from_fn(|i| load(&vectors[i % TILE][2 * half + i / TILE]));
        let columns = transposed(rows);
        let (first, second) = to.split_at_mut(16);
        for ((first, second), column) in first.iter_mut().zip(second).zip(columns) {
            let column = with_offset(column);
            crate::kernels::x86::avx2::vector::store(first, _mm512_castsi512_si256(column));
            crate::kernels::x86::avx2::vector::store(second, _mm512_extracti64x4_epi64::<1>(column));
        }
        // Four columns are 16 quants of each token.
        for pair in columns.as_chunks::<8>().0 {
            let mut of_16 = [_mm512_setzero_si512(); 2];
            for (sum, columns) in of_16.iter_mut().zip(pair.as_chunks::<4>().0) {
                for column in columns {
                    *sum = add_squares(*sum, *column);
                }
                largest[0] = _mm512_max_epi32(largest[0], *sum);
            }
            largest[1] = _mm512_max_epi32(largest[1], _mm512_add_epi32(of_16[0], of_16[1]));
        }
    }
    tile.squares = largest.map(|largest| _mm512_reduce_max_epi32(largest) as u32);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn with_offset(quants: __m512i) -> __m512i {
    _mm512_add_epi8(quants, _mm512_set1_epi8(Avx512Vnni::ORDER.offset as i8))
}
