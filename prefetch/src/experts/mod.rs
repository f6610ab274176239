//! Which experts stay in memory, and which are read before the router asks for them.
//!
//! A mixture-of-experts layer needs few of its experts for a token, and says which only when its router has spoken. So the
//! exact forecast of a dense plan does not exist here: it is estimated.
//!
//! 1. [`Predictor`]: how likely is each expert to be chosen when its layer comes round again, and in the layers that this
//!    token has still before it? [`Learned`] is ours, [`Popularity`] the plain one.
//! 2. [`ExpertPolicy`]: who leaves, and what is worth reading ahead. [`ExpertForecast`] is ours, here and in the live
//!    [`crate::scheduler`]; lru, lfu and clock are those of [`crate::policy`]; [`Belady`] knows the future and is the bound.
//! 3. [`trace`]: recorded routing, read and written.
//! 4. [`replay`](mod@replay): any policy over a recorded trace. [`least_read`]: the least that a run can have read.
//!
//! An expert is one unit of residency here, and its [`PageId`] is the number that [`ExpertGrid::page`] gives it; the live
//! scheduler counts pages and tells of whole experts. Time, a [`crate::Position`], counts visits of layers.

mod approx;
mod belady;
mod forecast;
mod history;
mod kind;
mod learned;
mod least;
mod lookahead;
mod modelled;
mod policy;
mod popularity;
mod predictor;
pub mod ranking;
mod regression;
pub mod replay;
pub mod trace;
mod usage;

pub use belady::Belady;
pub use forecast::ExpertForecast;
pub use kind::ExpertPolicyKind;
pub use learned::Learned;
pub use least::{LeastRead, least_read};
pub use lookahead::Lookahead;
pub use modelled::ModelledLookahead;
pub use policy::ExpertPolicy;
pub use popularity::Popularity;
pub use predictor::{Estimate, Predictor};

use forebay_pager::PageId;

/// The experts of a model: as many in each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertGrid {
    /// Layers, those without experts included.
    pub layers: usize,
    /// Experts of a layer.
    pub experts: usize,
}

impl ExpertGrid {
    /// Experts of all layers.
    pub fn len(self) -> usize {
        self.layers * self.experts
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number of an expert of a layer.
    pub fn page(self, layer: usize, expert: usize) -> PageId {
        debug_assert!(layer < self.layers && expert < self.experts);
        PageId((layer * self.experts + expert) as u32)
    }

    /// The layer of an expert, and its number within it.
    pub fn place(self, page: PageId) -> (usize, usize) {
        (page.index() / self.experts, page.index() % self.experts)
    }

    /// The numbers of all experts of a layer, in order.
    pub fn pages(self, layer: usize) -> std::ops::Range<usize> {
        layer * self.experts..(layer + 1) * self.experts
    }
}

/// One expert that the router chose for one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// The token, counted from the first of the pass.
    pub token: u32,
    /// The expert, counted within its layer.
    pub expert: u32,
    /// What its result is multiplied by.
    pub weight: f32,
}

/// What the router of a layer said in one pass.
#[derive(Debug, Clone, Copy)]
pub struct Routing<'a> {
    /// The layer.
    pub layer: usize,
    /// Tokens of the pass: 1 while decoding, more in a part of a prompt. Some of them may be absent from `choices` (the last
    /// layer of a prompt is computed for its last token only).
    pub tokens: usize,
    /// In any order; one expert may occur for several tokens.
    pub choices: &'a [Chosen],
}
