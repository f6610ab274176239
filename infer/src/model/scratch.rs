//! The memory of a pass besides the weights: activations, and the shapes of the KV cache. Its size is known before it is had.

use super::ModelMap;
use super::decoder::{Channel, Decoder, DeltaNet, Latent, Mixer, Shape};
use super::routes::Routes;
use super::routing::Routing;
use super::states::States;
use super::weights::Compute;
use crate::kernels::{Activations, Formats, Isa, KvShape, KvType, Panels, Width, attention};

/// Activations of one chunk, token after token.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The residual stream.
    pub(super) x: Vec<f32>,
    /// Input or output of a block.
    pub(super) h: Vec<f32>,
    /// What the projections of a mixer give, or what latents were summed to; then the router's outputs; then gate and up.
    pub(super) wide: Vec<f32>,
    /// What a mixer gives, or queries as they meet latents; then act(gate) * up.
    pub(super) inner: Vec<f32>,
    /// The tokens that go to one expert, then what it gives for them.
    pub(super) gathered: Vec<f32>,
    /// What a mixer sets aside: gates of attention, channels of a recurrence; then what each of a token's experts gives.
    pub(super) summands: Vec<f32>,
    pub(super) routing: Routing,
    /// The input of a step as the kernels want it.
    pub(super) activations: Activations,
    pub(super) panels: Panels,
    pub(super) attention: attention::Scratch,
}

/// Widths of the buffers, in elements per token.
struct Widths {
    wide: usize,
    inner: usize,
    gathered: usize,
    summands: usize,
    /// The longest input of a product.
    input: usize,
    /// The same where each head has an input of its own.
    head_input: Width,
}

impl Widths {
    fn of(decoder: &Decoder) -> Self {
        let shape = &decoder.shape;
        // None, until a layer has some.
        let none = Width::one(0);
        let mut widths = Widths { wide: 0, inner: 0, gathered: 0, summands: 0, input: shape.dim, head_input: none };
        for layer in &decoder.layers {
            match &layer.mixer {
                Mixer::Attention(attention) => {
                    let gates = if attention.gated { shape.attended_len() } else { 0 };
                    widths.wide = widths.wide.max(shape.query_len() + gates + shape.key_len() + shape.value_len());
                    widths.summands = widths.summands.max(gates);
                    widths.inner = widths.inner.max(shape.attended_len());
                    widths.input = widths.input.max(shape.attended_len());
                }
                Mixer::DeltaNet(DeltaNet { shape, .. }) => {
                    widths.wide = widths.wide.max(shape.row_len());
                    widths.summands = widths.summands.max(shape.mixed_len());
                    widths.inner = widths.inner.max(shape.value_len());
                    widths.input = widths.input.max(shape.value_len());
                }
                Mixer::Latent(latent) => widths.add_latent(shape.heads, latent),
            }
            let feed_forward = match &layer.channel {
                Channel::Dense(feed_forward) => feed_forward.width,
                Channel::Experts(experts) => {
                    widths.wide = widths.wide.max(experts.count + 1);
                    widths.gathered = shape.dim;
                    widths.summands = widths.summands.max(experts.summands() * shape.dim);
                    experts.width.max(experts.shared.map_or(0, |shared| shared.width))
                }
            };
            widths.wide = widths.wide.max(2 * feed_forward);
            widths.inner = widths.inner.max(feed_forward);
            widths.input = widths.input.max(feed_forward);
        }
        widths
    }

    fn add_latent(&mut self, heads: usize, latent: &Latent) {
        let dims = latent.dims;
        let short = latent.query_up.map_or(0, |up| up.rank);
        let projected = short.max(heads * dims.query()) + dims.key();
        self.wide = self.wide.max(projected).max(heads * dims.rank);
        self.inner = self.inner.max(heads * dims.key().max(dims.value));
        self.input = self.input.max(short).max(dims.plain).max(dims.rank).max(heads * dims.value);
        self.head_input = Width { heads, cols: self.head_input.cols.max(dims.plain).max(dims.rank) };
    }

    /// What products have for inputs.
    fn inputs(&self) -> [Width; 2] {
        [Width::one(self.input), self.head_input]
    }
}

fn all_formats(map: &ModelMap) -> Formats {
    // The weight of a shared expert is the product with a vector, which stays f32.
    let vectors = map.decoder.experts().any(|e| e.shared.is_some_and(|shared| shared.weight.is_some()));
    let float = if vectors { Formats::FLOAT } else { Formats::NONE };
    map.matrices.iter().map(|m| m.ty).collect::<Formats>() | float
}

impl Scratch {
    /// For chunks of up to `chunk` tokens in a context of `context`.
    pub(super) fn new(map: &ModelMap, compute: &Compute, context: usize, chunk: usize) -> Self {
        let decoder = &map.decoder;
        let (shape, widths) = (&decoder.shape, Widths::of(decoder));
        let threads = compute.pool.threads();
        let floats = |width: usize| vec![0.0; chunk * width];
        Scratch {
            x: floats(shape.dim),
            h: floats(shape.dim),
            wide: floats(widths.wide),
            inner: floats(widths.inner),
            gathered: floats(widths.gathered),
            summands: floats(widths.summands),
            routing: Routing::new(decoder, chunk),
            activations: Activations::new(chunk, &widths.inputs(), all_formats(map)),
            panels: Panels::new(compute.isa, threads, widths.input),
            attention: attention::Scratch::new(threads, shape.heads, &largest_kv_shape(decoder, context)),
        }
    }
}

/// Bytes of the activations: those for each token of a chunk, and those that do not depend on it.
pub fn activation_bytes(map: &ModelMap, context: usize, threads: usize, isa: Isa) -> (u64, u64) {
    const SAMPLE: usize = 64; // Rounding to whole cache lines evens out over some tokens.
    let (shape, widths) = (&map.decoder.shape, Widths::of(&map.decoder));
    let rope: usize = map.decoder.ropes.iter().map(|rope| rope.dims).sum();
    let forms = Activations::bytes(SAMPLE, &widths.inputs(), all_formats(map)).div_ceil(SAMPLE);
    let Widths { wide, inner, gathered, summands, input, .. } = widths;
    let floats = (2 * shape.dim + wide + inner + gathered + summands + rope) * 4;
    let (choices, routing) = Routing::bytes(&map.decoder);
    let largest = largest_kv_shape(&map.decoder, context);
    let scratch = attention::Scratch::bytes(threads, shape.heads, &largest) + Panels::bytes(isa, threads, input);
    ((floats + forms + choices) as u64, (scratch + routing + Routes::bytes(&map.decoder)) as u64)
}

/// The caches of the layers. A layer with a window keeps what the window and the chunk under way can see.
pub(super) fn kv_shapes(decoder: &Decoder, ty: KvType, context: usize, chunk: usize) -> impl Iterator<Item = KvShape> {
    let Shape { kv_heads, head_dim, value_dim, .. } = decoder.shape;
    decoder.layers.iter().map(move |layer| {
        let positions = match layer.mixer {
            Mixer::Attention(attention) => attention.window.map_or(context, |window| context.min(window + chunk - 1)),
            Mixer::Latent(_) => context,
            Mixer::DeltaNet(_) => 0,
        };
        KvShape { ty, heads: kv_heads, key_dim: head_dim, value_dim, positions }
    })
}

/// Bytes of the KV cache.
pub fn kv_bytes(map: &ModelMap, ty: KvType, context: usize, chunk: usize) -> u64 {
    kv_shapes(&map.decoder, ty, context, chunk).fold(0, |sum: u64, shape| sum.saturating_add(shape.bytes() as u64))
}

/// Bytes of what recurrent layers keep of the context, however long it is.
pub fn state_bytes(map: &ModelMap) -> u64 {
    States::bytes(&map.decoder)
}

/// A cache that none of the layers exceeds.
fn largest_kv_shape(decoder: &Decoder, context: usize) -> KvShape {
    let Shape { kv_heads, head_dim, value_dim, .. } = decoder.shape;
    KvShape { ty: KvType::F16, heads: kv_heads, key_dim: head_dim, value_dim, positions: context }
}
