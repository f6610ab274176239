//! What the steps of a plan are called: for people, and for sums over steps of one kind.

use std::borrow::Cow;
use std::fmt;

/// What a step does in a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepKind {
    /// Projections of attention.
    Attention,
    /// Projections of a recurrence, in layers that have one in place of attention.
    Recurrence,
    /// The choice of experts.
    Router,
    /// The expert that every token goes to.
    Shared,
    /// The experts that were chosen.
    Experts,
    /// A feed-forward block.
    FeedForward,
    /// From the last layer to the logits.
    Head,
}

impl StepKind {
    /// All of them, in the order in which a pass comes to them.
    pub const ALL: [StepKind; 7] = [
        StepKind::Attention,
        StepKind::Recurrence,
        StepKind::Router,
        StepKind::Shared,
        StepKind::Experts,
        StepKind::FeedForward,
        StepKind::Head,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            StepKind::Attention => "attention",
            StepKind::Recurrence => "recurrence",
            StepKind::Router => "router",
            StepKind::Shared => "shared",
            StepKind::Experts => "experts",
            StepKind::FeedForward => "feed-forward",
            StepKind::Head => "head",
        }
    }

    /// The kind that goes by this word.
    pub fn from_name(name: &str) -> Option<StepKind> {
        StepKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The name of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepName {
    /// Its layer, counted from 0; the head is in none.
    pub layer: Option<u32>,
    /// What it does.
    pub kind: StepKind,
    /// Which part of that, where there are several; else empty.
    pub part: Cow<'static, str>,
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(f, "layer {layer} ")?;
        }
        f.write_str(self.kind.name())?;
        if self.part.is_empty() { Ok(()) } else { write!(f, " {}", self.part) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_told() {
        assert!(StepKind::ALL.iter().all(|&kind| StepKind::from_name(kind.name()) == Some(kind)));
        assert_eq!(StepKind::from_name("Head"), None);
        let name = |layer, kind, part: &'static str| StepName { layer, kind, part: part.into() }.to_string();
        assert_eq!(name(Some(3), StepKind::Attention, "qkv"), "layer 3 attention qkv");
        assert_eq!(name(None, StepKind::Head, ""), "head");
    }
}
