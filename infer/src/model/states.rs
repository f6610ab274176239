//! What recurrent layers keep of the context, beside the keys and values of the others.

use super::decoder::{Decoder, Layer, Mixer};

/// The states of all layers, twice: a pass reads one and writes the other, and only when it has come to its end are they
/// exchanged. So a pass that fails leaves the context as it was, whichever layer it came to.
#[derive(Debug)]
pub(super) struct States {
    before: Vec<f32>,
    after: Vec<f32>,
    /// Where the state of each layer begins, and where the last one's ends.
    starts: Box<[usize]>,
}

/// Elements of the state of a layer.
fn len(layer: &Layer) -> usize {
    match &layer.mixer {
        Mixer::DeltaNet(delta) => delta.shape.state_len(),
        Mixer::Attention(_) | Mixer::Latent(_) => 0,
    }
}

impl States {
    /// An empty context.
    pub(super) fn new(decoder: &Decoder) -> Self {
        let mut all = 0;
        let mut starts = vec![0];
        starts.extend(decoder.layers.iter().map(|layer| {
            all += len(layer);
            all
        }));
        States { before: vec![0.0; all], after: vec![0.0; all], starts: starts.into() }
    }

    /// Bytes that [`States::new`] takes.
    pub(super) fn bytes(decoder: &Decoder) -> u64 {
        let all = decoder.layers.iter().fold(0, |all: usize, layer| all.saturating_add(len(layer)));
        (all as u64).saturating_mul(2 * size_of::<f32>() as u64)
    }

    /// What the last pass left in a layer, and where the one under way puts its own.
    pub(super) fn layer(&mut self, layer: usize) -> (&[f32], &mut [f32]) {
        let place = self.starts[layer]..self.starts[layer + 1];
        (&self.before[place.clone()], &mut self.after[place])
    }

    /// The pass under way is done.
    pub(super) fn commit(&mut self) {
        std::mem::swap(&mut self.before, &mut self.after);
    }

    /// What the last pass left in all layers.
    pub(super) fn kept(&self) -> &[f32] {
        &self.before
    }

    /// The same, to be replaced by what another pass left.
    pub(super) fn kept_mut(&mut self) -> &mut [f32] {
        &mut self.before
    }

    /// Forgets the context.
    pub(super) fn clear(&mut self) {
        self.before.fill(0.0);
    }
}
