//! The weights that are resident for good: norms and biases, widened to f32, in one allocation.

use std::ops::{Index, Range};

use forebay_pager::{Clock, FileId, PageSpec, Pager, Storage};

use super::decoder::VectorId;
use super::tensors::Vector;
use crate::kernels::dequantize_row;

/// All vectors of a model.
#[derive(Debug, Clone)]
pub struct Vectors {
    values: Vec<f32>,
    places: Vec<Range<usize>>,
}

impl Vectors {
    /// Reads `vectors` through the scratch frames of `pager`.
    ///
    /// # Errors
    /// When a read fails.
    pub fn read<S: Storage, C: Clock>(
        vectors: &[Vector],
        pager: &mut Pager<S, C>,
    ) -> Result<Self, forebay_pager::Error> {
        let mut pieces = Vec::new(); // Where each request's elements go.
        let mut requests = Vec::new();
        let mut places = Vec::new();
        let mut len = 0;
        for vector in vectors {
            let (block_len, block_bytes) = (vector.ty.block_len(), vector.ty.block_bytes());
            let blocks_per_read = (pager.max_gather() / block_bytes).max(1);
            let blocks = vector.len / block_len;
            places.push(len..len + vector.len);
            for first in (0..blocks).step_by(blocks_per_read) {
                let count = blocks_per_read.min(blocks - first);
                let at = len + first * block_len;
                pieces.push((vector.ty, at..at + count * block_len));
                requests.push(PageSpec {
                    file: FileId(vector.file),
                    offset: vector.offset + (first * block_bytes) as u64,
                    len: (count * block_bytes) as u32,
                });
            }
            len += vector.len;
        }
        let mut values = vec![0.0; len];
        pager.gather(&requests, |i, bytes| {
            let (ty, place) = pieces[i].clone();
            dequantize_row(ty, bytes, &mut values[place]);
        })?;
        Ok(Vectors { values, places })
    }

    /// Lays a vector of rows of `row` elements down column by column.
    pub(super) fn transpose(&mut self, id: VectorId, row: usize) {
        let values = &mut self.values[self.places[id.0 as usize].clone()];
        let (rows, old) = (values.len() / row, values.to_vec());
        for (i, value) in values.iter_mut().enumerate() {
            *value = old[i % rows * row + i / rows];
        }
    }
}

impl Index<VectorId> for Vectors {
    type Output = [f32];

    fn index(&self, id: VectorId) -> &[f32] {
        &self.values[self.places[id.0 as usize].clone()]
    }
}
