//! Phone-class flash on a virtual clock, for the very same pager that runs on real flash.
#![forbid(unsafe_code)]

pub mod budget;
pub mod case;
pub mod figures;
pub mod parallel;
pub mod settings;
pub mod shown;
pub mod size;
pub mod sweep;
pub mod target;

pub use case::{Case, EngineKind};
pub use figures::{Band, Figures, Metric};
pub use size::Size;
