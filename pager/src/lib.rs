//! The memory layer of forebay: bytes, no models.
//!
//! A [`Pager`] keeps *pages* of files in a bounded [`Window`] of memory. Asked for a page, it submits one read to a
//! [`Storage`], whose completion makes the page resident; a [`Lease`] keeps it so while somebody computes on it. What
//! to load and what to evict is decided above ([`load`](Pager::load), [`evict`](Pager::evict)); the pager is only the
//! mechanism, and the ledger of what it cost ([`Stats`]).
//!
//! The modules in reading order:
//!
//! | module | what |
//! |---|---|
//! | `ids` | pages, files, frames, and the aligned span around a page |
//! | `clock` | time as a value |
//! | `window` | the arena, its frames, and who may write to one |
//! | `storage` | the seam to flash, and the backends behind it |
//! | `pager` | the page table: absent, loading, resident |
//! | `gather` | one-off reads beside it |
//! | `meter`, `stats` | what was read, how long it took, who waited |
//! | `probe` | how fast flash is at a given request size and depth |
//!
//! `unsafe` is confined to `window` (one owner a frame), `storage::uring`, `storage::mmap` and `storage::file` (system
//! calls).

mod clock;
mod error;
mod gather;
mod ids;
mod meter;
mod pager;
mod probe;
mod stats;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod window;

pub use clock::{Clock, Nanos, SystemClock};
pub use error::{Error, PageDefect};
pub use ids::{ALIGN, FileId, FrameId, PageId, PageSpec, Span};
pub use pager::{Class, Lease, Load, PageState, Pager};
pub use probe::{Probe, ProbeError, ReadRate, measure_read_rate};
pub use stats::{Histogram, Stats};
pub use storage::{AnyStorage, Backend, Choice, Done, OpenError, Read, ReadFault, Storage, Wait, open};
pub use window::{Arena, Frame, Scratch, View, Window, WindowError};
