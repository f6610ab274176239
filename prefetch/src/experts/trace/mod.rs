//! Recorded routing: what the routers of a model chose, token by token.
//!
//! The format is `route_trace v1`, a text file:
//!
//! ```text
//! # route_trace v1
//! # model=NAME arch=NAME n_layer=48 n_expert=128 n_expert_used=6
//! # layer=0 expert_bytes=3059712 dense_bytes=11953152
//! turn,phase,step,layer,slot,expert,weight,residency,expert_bytes
//! 0,0,0,0,0,49,0.221297,0,3059712
//! ```
//!
//! One row per choice. `phase` is 0 for the prompt, which goes layer by layer through a chunk of tokens, and 1 for decoding, which
//! goes token by token through the layers; `step` is the token. `slot` counts the choices of one token in one layer; `residency`
//! is 1 where the recorded run had the expert in memory, and `expert_bytes` what it read for it: both describe that run's cache
//! and do not matter to a replay.

mod build;
mod error;
mod read;
mod write;

pub use build::TraceBuilder;
pub use error::{BadField, TraceError};
pub use write::{TraceWriter, rows};

use super::{Chosen, ExpertGrid, Routing};

pub(super) const MAGIC: &str = "# route_trace v1";
pub(super) const COLUMNS: [&str; 9] =
    ["turn", "phase", "step", "layer", "slot", "expert", "weight", "residency", "expert_bytes"];
/// Layers, and experts of all layers, that a trace may name: several times what models have, and a bound on what a damaged
/// header can ask for.
const MOST_LAYERS: usize = 1 << 12;
const MOST_EXPERTS: usize = 1 << 18;

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name of the model or its file.
    pub model: String,
    /// Its architecture.
    pub arch: String,
    /// Experts there are.
    pub grid: ExpertGrid,
    /// Experts that a router chooses for a token, at most.
    pub used: usize,
    /// Bytes of each layer; `None` where the trace does not say, which is an error only where the layer has choices.
    pub sizes: Vec<Option<LayerBytes>>,
}

/// How large a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerBytes {
    /// Bytes of one expert.
    pub expert: u64,
    /// Bytes of everything that every token needs.
    pub dense: u64,
}

/// Whether a pass belongs to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Tokens that were given.
    Prompt,
    /// Tokens that the model wrote.
    Decode,
}

/// One row: one expert chosen by one token in one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Turn of the conversation.
    pub turn: u32,
    /// Prompt or decoding.
    pub phase: Phase,
    /// The token.
    pub step: u32,
    /// The layer.
    pub layer: u32,
    /// Number of this choice among those of the token in the layer.
    pub slot: u32,
    /// The expert chosen.
    pub expert: u32,
    /// Its router weight.
    pub weight: f32,
    /// Whether the recorded run had it in memory.
    pub resident: bool,
    /// Bytes that the recorded run read for it.
    pub read: u64,
}

/// A recorded run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    header: Header,
    visits: Vec<Visit>,
    choices: Vec<Chosen>,
}

#[derive(Debug, Clone, PartialEq)]
struct Visit {
    phase: Phase,
    layer: usize,
    tokens: usize,
    choices: std::ops::Range<usize>,
}

impl Trace {
    /// What was recorded.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Experts there are.
    pub fn grid(&self) -> ExpertGrid {
        self.header.grid
    }

    /// Experts that a router chooses for a token, at most.
    pub fn used(&self) -> usize {
        self.header.used
    }

    /// Bytes of one expert of a layer; 0 for a layer without experts.
    pub fn expert_bytes(&self, layer: usize) -> u64 {
        self.header.sizes[layer].map_or(0, |sizes| sizes.expert)
    }

    /// Bytes of the largest expert. A cache has slots of this length.
    pub fn largest_expert(&self) -> u64 {
        (0..self.grid().layers).map(|layer| self.expert_bytes(layer)).max().unwrap_or(0)
    }

    /// Experts of the layers that have some.
    pub fn expert_count(&self) -> usize {
        self.header.sizes.iter().flatten().count() * self.grid().experts
    }

    /// Visits of layers, in order: in the prompt with the choices of all tokens of a chunk.
    pub fn visits(&self) -> impl DoubleEndedIterator<Item = Routing<'_>> + ExactSizeIterator {
        self.visits.iter().map(|visit| self.routing(visit))
    }

    /// One visit.
    pub fn visit(&self, number: usize) -> Option<Routing<'_>> {
        self.visits.get(number).map(|visit| self.routing(visit))
    }

    /// What a visit belongs to.
    ///
    /// # Panics
    /// When there is no such visit.
    pub fn phase(&self, visit: usize) -> Phase {
        self.visits[visit].phase
    }

    /// Tokens of a phase.
    pub fn tokens(&self, phase: Phase) -> usize {
        let mut last_layer = None;
        let mut tokens = 0;
        for visit in &self.visits {
            let new_pass = last_layer.is_none_or(|(p, layer)| p != visit.phase || visit.layer <= layer);
            if new_pass && visit.phase == phase {
                tokens += visit.tokens;
            }
            last_layer = Some((visit.phase, visit.layer));
        }
        tokens
    }

    fn routing(&self, visit: &Visit) -> Routing<'_> {
        Routing { layer: visit.layer, tokens: visit.tokens, choices: &self.choices[visit.choices.clone()] }
    }
}
