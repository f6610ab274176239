//! Which bytes are in the window when a kernel asks for them.
//!
//! This crate takes decisions and does no I/O of its own. It is read in this order:
//!
//! 1. [`layout`]: tensors are cut into pages that fit the frames of the window.
//! 2. [`plan`]: the steps of one token, each with the pages that it needs.
//! 3. [`names`]: what the steps are called.
//! 4. [`residency`]: which pages stay when the plan is cyclic and the window is smaller than the plan.
//! 5. [`policy`]: who leaves when a frame is wanted: [`policy::Forecast`], and lru / lfu / clock as baselines.
//! 6. [`experts`]: the same for experts, whose use is not known in advance: [`experts::ExpertForecast`].
//! 7. [`scheduler`]: drives a [`forebay_pager::Pager`] along the plan: demand first, then hints.

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests make files and threads.
#![forbid(unsafe_code)]

pub mod experts;
mod heap;
pub mod layout;
pub mod names;
pub mod plan;
pub mod policy;
pub mod residency;
pub mod scheduler;

pub use experts::{Chosen, Lookahead, Routing};
pub use layout::{Layout, PageRows, Segment, SegmentPages, TensorExtent};
pub use names::{StepKind, StepName};
pub use plan::{Choice, Pass, Plan, Step, StepId, StepShape};
pub use policy::{PolicyKind, Position};
pub use scheduler::{ExpertStats, PassExperts, Scheduler, SchedulerError, SchedulerOptions};
