//! The keys and values of past positions.
//!
//! Everything lies in rows of [`LANES`], which is what the kernels of attention take at a time:
//!
//! - keys, `[head][tile][element][32 positions]`: the lanes are positions, so that 32 scores grow side by side and none
//!   needs a sum across lanes;
//! - values, `[head][stripe][position][32 elements]`: the lanes are elements, and a last stripe is padded with zeros.
//!
//! Both are read in the order in which they lie. Position `p` has slot `p mod slots`, where the slots are the positions
//! rounded up to whole tiles: so position `p` is in lane `p mod 32` of its tile, however long the context is.
//!
//! [`KvType::F32`] keeps every bit. [`KvType::F16`] rounds to nearest, ties to even. In [`KvType::Q8_0`] 32 elements of a position share a scale: with `amax` their largest magnitude the quants are
//! `round(x * (127 / amax))`, to nearest, ties to even, and the scale is `amax / 127`, rounded to half precision, like
//! the activations of the [specification](super). A last, incomplete block is as if zeros followed. An infinity or a
//! NaN makes the scale NaN.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};
use forebay_pager::prefer_huge_pages;

use super::Isa;
use super::blocks::F16;
use super::level::with_level;
use super::quantize;
use super::simd::{Simd, Work};

mod pieces;

pub use pieces::KvPiece;

/// Positions of a tile of keys, elements of a stripe of values, elements that share a scale.
pub(super) const LANES: usize = 32;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// Single precision: as they were computed.
    F32,
    /// Half precision.
    #[default]
    F16,
    /// 8-bit integers, with a scale in half precision for every 32: 8.5 bits per element.
    Q8_0,
}

impl KvType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// The type's name, as it is parsed from.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of 32 elements, without their scale.
    const fn element_bytes(self) -> usize {
        LANES
            * match self {
                Self::F32 => size_of::<f32>(),
                Self::F16 => size_of::<F16>(),
                Self::Q8_0 => size_of::<i8>(),
            }
    }

    /// Bytes of the scale of 32 elements.
    const fn scale_bytes(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 0,
            Self::Q8_0 => size_of::<F16>(),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|ty| ty.name() == name);
        found.ok_or_else(|| format!("no type of the KV cache is called '{name}'; there are: f32, f16, q8_0"))
    }
}

/// The shape of a layer's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// How keys and values are stored.
    pub ty: KvType,
    /// Heads of keys and values.
    pub heads: usize,
    /// Elements of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Positions that are kept, at least; where they are exceeded new ones take the place of the oldest.
    ///
    /// A layer whose attention has a window needs no more than `window + batch - 1`, where `batch` is the number of
    /// tokens that are stored before any of them attends.
    pub positions: usize,
}

impl KvShape {
    /// The bytes of a layer of this shape; `usize::MAX` where they are more than a `usize` counts.
    pub const fn bytes(&self) -> usize {
        let (elements, scale) = (self.ty.element_bytes(), self.ty.scale_bytes());
        let key_scales = self.key_blocks().saturating_mul(LANES * scale);
        let keys = self.key_dim.saturating_mul(elements).saturating_add(key_scales);
        let values = self.stripes().saturating_mul(LANES * (elements + scale));
        self.heads.saturating_mul(self.tiles()).saturating_mul(keys.saturating_add(values))
    }

    /// Tiles of positions.
    pub(super) const fn tiles(&self) -> usize {
        self.positions.div_ceil(LANES)
    }

    /// Blocks of elements of a key; the last may be incomplete.
    pub(super) const fn key_blocks(&self) -> usize {
        self.key_dim.div_ceil(LANES)
    }

    /// Stripes of elements of a value; the last may be padded.
    pub(super) const fn stripes(&self) -> usize {
        self.value_dim.div_ceil(LANES)
    }
}

/// The keys and values of all layers.
#[derive(Debug)]
pub struct KvCache {
    layers: Box<[Layer]>,
}

struct Layer {
    shape: KvShape,
    rows: Rows,
}

enum Rows {
    F32(Parts<f32>),
    F16(Parts<F16>),
    Q8(Parts<i8>),
}

/// What a layer keeps. Where elements have no scales there are none.
struct Parts<E> {
    keys: Vec<[E; LANES]>,
    /// `[head][tile][block][32 positions]`
    key_scales: Vec<[F16; LANES]>,
    values: Vec<[E; LANES]>,
    /// `[head][stripe][tile][32 positions]`
    value_scales: Vec<[F16; LANES]>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Layer").field(&self.shape).finish()
    }
}

impl KvCache {
    /// Room for layers of these shapes.
    pub fn new(layers: impl IntoIterator<Item = KvShape>) -> Self {
        let rows = |shape: &KvShape| match shape.ty {
            KvType::F32 => Rows::F32(Parts::new(shape)),
            KvType::F16 => Rows::F16(Parts::new(shape)),
            KvType::Q8_0 => Rows::Q8(Parts::new(shape)),
        };
        Self { layers: layers.into_iter().map(|shape| Layer { shape, rows: rows(&shape) }).collect() }
    }

    /// The shape of layer `layer`.
    pub fn shape(&self, layer: usize) -> KvShape {
        self.layers[layer].shape
    }

    /// Stores the key and the value of each head at `position`.
    ///
    /// # Panics
    ///
    /// The lengths are not those of a position of this layer, or the layer has no positions.
    pub fn store(&mut self, isa: Isa, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let Layer { shape, rows } = &mut self.layers[layer];
        assert_eq!(keys.len(), shape.heads * shape.key_dim, "elements of {} keys", shape.heads);
        assert_eq!(values.len(), shape.heads * shape.value_dim, "elements of {} values", shape.heads);
        match rows {
            Rows::F32(parts) => with_level!(isa, level => level.run(Store { shape, parts, position, keys, values })),
            Rows::F16(parts) => with_level!(isa, level => level.run(Store { shape, parts, position, keys, values })),
            Rows::Q8(parts) => with_level!(isa, level => level.run(Store { shape, parts, position, keys, values })),
        }
    }

    /// What lies in layer `layer`.
    pub(super) fn layer(&self, layer: usize) -> KvLayer<'_> {
        let Layer { shape, rows } = &self.layers[layer];
        match rows {
            Rows::F32(parts) => KvLayer::F32(View { shape, parts }),
            Rows::F16(parts) => KvLayer::F16(View { shape, parts }),
            Rows::Q8(parts) => KvLayer::Q8(View { shape, parts }),
        }
    }
}

impl<E: Stored> Parts<E> {
    fn new(shape: &KvShape) -> Self {
        let tiles = shape.heads * shape.tiles();
        let scales = if E::SCALED { tiles } else { 0 };
        Self {
            keys: zeros(tiles * shape.key_dim),
            key_scales: vec![[F16::zeroed(); LANES]; scales * shape.key_blocks()],
            values: zeros(tiles * shape.stripes() * LANES),
            value_scales: vec![[F16::zeroed(); LANES]; scales * shape.stripes()],
        }
    }
}

/// Memory for a long context, which is read like weights: in huge pages, where there are any.
fn zeros<E: Stored>(len: usize) -> Vec<[E; LANES]> {
    let mut rows = Vec::with_capacity(len);
    prefer_huge_pages(rows.spare_capacity_mut());
    rows.resize(len, [E::zeroed(); LANES]);
    rows
}

/// A layer of a [`KvCache`], to read.
pub(super) enum KvLayer<'a> {
    F32(View<'a, f32>),
    F16(View<'a, F16>),
    Q8(View<'a, i8>),
}

/// A layer of one type.
pub(super) struct View<'a, E> {
    shape: &'a KvShape,
    parts: &'a Parts<E>,
}

impl<E> Clone for View<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for View<'_, E> {}

impl<'a, E: Stored> View<'a, E> {
    /// Stripes of elements of a value.
    pub(super) fn stripes(self) -> usize {
        self.shape.stripes()
    }

    /// The elements of the keys of tile `tile`, counted from position zero, and the scales of their blocks.
    #[inline(always)]
    pub(super) fn keys(self, head: usize, tile: usize) -> (&'a [[E; LANES]], &'a [[F16; LANES]]) {
        let Self { shape, parts } = self;
        let tile = head * shape.tiles() + tile % shape.tiles();
        let scales = if E::SCALED { shape.key_blocks() } else { 0 };
        (&parts.keys[tile * shape.key_dim..][..shape.key_dim], &parts.key_scales[tile * scales..][..scales])
    }

    /// The elements of stripe `stripe` of the values of the positions of tile `tile`, and their scales if they have any.
    #[inline(always)]
    pub(super) fn values(
        self,
        head: usize,
        stripe: usize,
        tile: usize,
    ) -> (&'a [[E; LANES]], Option<&'a [F16; LANES]>) {
        let Self { shape, parts } = self;
        let tile = (head * shape.stripes() + stripe) * shape.tiles() + tile % shape.tiles();
        (&parts.values[tile * LANES..][..LANES], parts.value_scales.get(tile))
    }
}

/// An element of a cache.
pub(super) trait Stored: Pod + Sync {
    /// Whether 32 of them share a scale.
    const SCALED: bool;

    /// The elements that stand for `x`, and their scale.
    fn encode<S: Simd>(simd: S, x: &[f32; LANES]) -> ([Self; LANES], F16);

    /// As floats, without their scale: exact.
    fn widen<S: Simd>(simd: S, from: &[Self; 16]) -> S::V;
}

impl Stored for f32 {
    const SCALED: bool = false;

    #[inline(always)]
    fn encode<S: Simd>(_: S, x: &[f32; LANES]) -> ([Self; LANES], F16) {
        (*x, F16::zeroed())
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; 16]) -> S::V {
        simd.load(from)
    }
}

impl Stored for F16 {
    const SCALED: bool = false;

    #[inline(always)]
    fn encode<S: Simd>(simd: S, x: &[f32; LANES]) -> ([Self; LANES], F16) {
        let mut out = [F16::zeroed(); LANES];
        for (x, out) in x.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            simd.narrow(x, out);
        }
        (out, F16::zeroed())
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; 16]) -> S::V {
        simd.widen(from)
    }
}

impl Stored for i8 {
    const SCALED: bool = true;

    #[inline(always)]
    fn encode<S: Simd>(simd: S, x: &[f32; LANES]) -> ([Self; LANES], F16) {
        let (quants, scale) = quantize::block_of_32(x);
        let mut scales = [F16::zeroed(); 16];
        simd.narrow(&[scale; 16], &mut scales);
        (quants, scales[0])
    }

    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; 16]) -> S::V {
        simd.convert(from)
    }
}

/// Stores a position.
struct Store<'a, E> {
    shape: &'a KvShape,
    parts: &'a mut Parts<E>,
    position: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl<E: Stored> Work for Store<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, parts, position, keys, values } = self;
        let (slot, lane) = (position / LANES % shape.tiles(), position % LANES);
        for (head, key) in keys.chunks_exact(shape.key_dim.max(1)).enumerate() {
            let tile = head * shape.tiles() + slot;
            for (block, elements) in key.chunks(LANES).enumerate() {
                let (row, scale) = E::encode(simd, &padded(elements));
                let first = tile * shape.key_dim + block * LANES;
                for (to, from) in parts.keys[first..][..elements.len()].iter_mut().zip(row) {
                    to[lane] = from;
                }
                if E::SCALED {
                    parts.key_scales[tile * shape.key_blocks() + block][lane] = scale;
                }
            }
        }
        for (head, value) in values.chunks_exact(shape.value_dim.max(1)).enumerate() {
            for (stripe, elements) in value.chunks(LANES).enumerate() {
                let (row, scale) = E::encode(simd, &padded(elements));
                let tile = (head * shape.stripes() + stripe) * shape.tiles() + slot;
                parts.values[tile * LANES + lane] = row;
                if E::SCALED {
                    parts.value_scales[tile][lane] = scale;
                }
            }
        }
    }
}

/// Up to 32 elements, with zeros for those that are missing.
#[inline(always)]
pub(super) fn padded(elements: &[f32]) -> [f32; LANES] {
    elements.first_chunk().copied().unwrap_or_else(|| {
        let mut block = [0.0; LANES];
        block[..elements.len()].copy_from_slice(elements);
        block
    })
}
