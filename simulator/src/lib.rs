//! Phone-class flash on a virtual clock, for the very same pager that runs on real flash.
//!
//! The modules in reading order:
//!
//! | module | what |
//! |---|---|
//! | [`flash`] | a discrete-event model of flash: when does a read end, and how |
//! | [`profile`], [`fit`] | what is known of devices: figures with bands, grades and sources; figures out of measured sweeps |
//! | [`compute`] | what pages and steps take |
//! | [`clock`], [`storage`] | virtual time, and the pager's seam to the device |
//! | [`workload`], [`routing`] | what a model asks for: bytes, work, and which experts |
//! | [`drive`], [`run`] | the scheduler, driven as an engine drives it; a whole run |
//! | [`serial`] | engines of another kind, to compare with |
//! | [`case`], [`figures`], [`size`] | what is to be simulated, and what is told of it |
//! | [`timeline`] | what happened in a run, real or simulated, event by event: a file for viewers, and a report |
//! | [`swarm`] | random scenarios, and what must hold in all of them |
#![forbid(unsafe_code)]

pub mod budget;
pub mod case;
mod chance;
pub mod clock;
pub mod compute;
pub mod drive;
pub mod figures;
pub mod fit;
pub mod flash;
pub mod parallel;
pub mod profile;
pub mod routing;
pub mod run;
pub mod serial;
pub mod settings;
pub mod shown;
pub mod size;
pub mod storage;
pub mod swarm;
pub mod sweep;
pub mod target;
pub mod timeline;
pub mod workload;

pub use case::{Case, EngineKind};
pub use clock::VirtualClock;
pub use figures::{Band, Figures, Metric};
pub use size::Size;
pub use workload::Workload;
