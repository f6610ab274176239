//! The keys and values of past positions, in half precision.

use bytemuck::Zeroable;

use super::Isa;
use super::blocks::F16;
use super::level::{Level, with_level};

/// The shape of a layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Positions that are kept; position `p` takes the place of position `p - positions`.
    ///
    /// A layer whose attention has a window needs no more than `window + batch - 1`, where `batch` is the number of
    /// tokens that are stored before any of them attends.
    pub positions: usize,
}

impl KvShape {
    /// The bytes of a layer of this shape; `usize::MAX` where they are more than a `usize` counts.
    pub const fn bytes(&self) -> usize {
        let row = self.key_dim.saturating_add(self.value_dim).saturating_mul(size_of::<F16>());
        self.heads.saturating_mul(self.positions).saturating_mul(row)
    }
}

/// The keys and values of all layers: `[head][position][element]`, so that attention reads a head in one stream.
#[derive(Debug)]
pub struct KvCache {
    layers: Box<[Layer]>,
}

struct Layer {
    shape: KvShape,
    keys: Vec<F16>,
    values: Vec<F16>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Layer").field(&self.shape).finish()
    }
}

/// A layer of a [`KvCache`], to read.
#[derive(Clone, Copy)]
pub(super) struct KvLayer<'a> {
    pub(super) shape: KvShape,
    pub(super) keys: &'a [F16],
    pub(super) values: &'a [F16],
}

impl KvCache {
    /// Room for layers of these shapes.
    pub fn new(layers: impl IntoIterator<Item = KvShape>) -> Self {
        let layer = |shape: KvShape| Layer {
            shape,
            keys: vec![F16::zeroed(); shape.heads * shape.positions * shape.key_dim],
            values: vec![F16::zeroed(); shape.heads * shape.positions * shape.value_dim],
        };
        Self { layers: layers.into_iter().map(layer).collect() }
    }

    /// The shape of layer `layer`.
    pub fn shape(&self, layer: usize) -> KvShape {
        self.layers[layer].shape
    }

    /// Stores the key and the value of each head at `position`, rounded to nearest, ties to even.
    ///
    /// # Panics
    ///
    /// The lengths are not those of a position of this layer, or the layer has no positions.
    pub fn store(&mut self, isa: Isa, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let Layer { shape, keys: key_cache, values: value_cache } = &mut self.layers[layer];
        let slot = position % shape.positions;
        for (cache, rows, dim) in [(key_cache, keys, shape.key_dim), (value_cache, values, shape.value_dim)] {
            assert_eq!(rows.len(), shape.heads * dim, "elements of {} heads of {dim}", shape.heads);
            for (head, row) in rows.chunks_exact(dim.max(1)).enumerate() {
                let to = &mut cache[(head * shape.positions + slot) * dim..][..dim];
                with_level!(isa, level => level.narrow(row, to));
            }
        }
    }

    pub(super) fn layer(&self, layer: usize) -> KvLayer<'_> {
        let Layer { shape, keys, values } = &self.layers[layer];
        KvLayer { shape: *shape, keys, values }
    }
}
