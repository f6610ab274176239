//! What a model asks of a device: which bytes, in which order, and what is computed with them.

use forebay_prefetch::{Layout, Plan, Segment, StepId, StepShape, TensorExtent};

use crate::compute::Beside;
use crate::profile::WeightType;

/// A model, as far as reading and computing it takes time. Where weights lie is as in a file; none need be there.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The matrices, in the order of the plan.
    pub segments: Vec<Segment>,
    /// The types of weights that occur.
    pub types: Vec<WeightType>,
    /// For each tensor of the segments, which of the types it is.
    pub tensors: Vec<u16>,
    /// The steps, in the order of the plan.
    pub steps: Vec<StepWork>,
    /// The rows of the embedding.
    pub embedding: Embedding,
}

/// A step of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// Its weights.
    pub need: StepNeed,
    /// What it does besides.
    pub beside: Beside,
}

/// The weights of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepNeed {
    /// All of some segments.
    All {
        /// How many.
        segments: u32,
        /// The choice that is made when the step is done; `None` where it is no router.
        opens: Option<StepId>,
    },
    /// Some experts of a segment.
    Choice {
        /// How many a token chooses.
        chosen: u32,
        /// How many of an expert's tensors come before its gate is applied; the others come after.
        before_gate: u32,
    },
}

/// Rows that are read one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding {
    /// Where they lie.
    pub extent: TensorExtent,
    /// The tensor of the segments that has the same bytes, if there is one: rows of it that are in the window are not read.
    pub tied: Option<u32>,
}

impl Workload {
    /// The plan of one token, with pages as `layout` has them; the last step is the tail.
    pub fn plan(&self, layout: &Layout) -> Plan {
        let mut segments = layout.segments.iter();
        let shapes = self.steps.iter().map(|step| match step.need {
            StepNeed::All { segments: count, .. } => {
                StepShape::All { pages: segments.by_ref().take(count as usize).map(|s| s.pages.len() as u32).sum() }
            }
            StepNeed::Choice { chosen, .. } => {
                let segment = segments.next().expect("a segment for each choice");
                let experts = segment.experts.expect("a choice is among experts");
                StepShape::Choice { experts, pages_per_expert: segment.pages.len() as u32 / experts, chosen }
            }
        });
        Plan::new(shapes, 1)
    }

    /// Of a model with experts: the layers that have some, the most experts of a layer, and how many a token chooses.
    pub fn experts(&self) -> Option<(usize, usize, usize)> {
        let chosen = self.steps.iter().filter_map(|step| match step.need {
            StepNeed::Choice { chosen, .. } => Some(chosen as usize),
            StepNeed::All { .. } => None,
        });
        let counts = self.segments.iter().filter_map(|segment| match segment {
            Segment::Experts { count, .. } => Some(*count as usize),
            Segment::Dense(_) => None,
        });
        Some((counts.clone().count(), counts.max()?, chosen.max()?))
    }

    /// For each page of `layout`, its bytes and its type.
    pub fn pages(&self, layout: &Layout) -> Vec<(u32, u16)> {
        let of = |(spec, rows): (&forebay_pager::PageSpec, &forebay_prefetch::PageRows)| {
            (spec.len, self.tensors[rows.tensor as usize])
        };
        layout.specs.iter().zip(&layout.rows).map(of).collect()
    }

    /// What each step does besides its pages.
    pub fn beside(&self) -> Vec<Beside> {
        self.steps.iter().map(|step| step.beside).collect()
    }
}
