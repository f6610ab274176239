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
//! | `table` | the page table: absent, loading, resident |
//! | `pager` | loads, leases, evictions; the table joined to a storage |
//! | `gather` | one-off reads beside it |
//! | `meter`, `stats` | what was read, how long it took, who waited |
//! | `journal` | what happened, event by event, where that is asked for |
//! | `probe` | how fast flash is at a given request size and depth |
//!
//! ```
//! use forebay_pager::{Backend, Class, FileId, Load, PageId, PageSpec, Pager, SystemClock, Window, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("weights");
//! # std::fs::write(&path, vec![7; 3 << 20])?;
//! let window = Window::new(1 << 20, 2)?; // two frames of 1 MiB: the budget
//! let (storage, choice) = open(&[path.clone()], &window, 8, Backend::Auto)?;
//! eprintln!("{choice}");
//! let page = PageSpec { file: FileId(0), offset: 12_345, len: 1_000_000 };
//! let mut pager = Pager::new(storage, SystemClock::new(), window, vec![path], vec![page])?;
//!
//! assert_eq!(pager.load(PageId(0), Class::Demand), Load::Started);
//! pager.wait()?;
//! let lease = pager.lease(PageId(0)).expect("it has arrived");
//! assert_eq!(lease.bytes().len(), 1_000_000);
//! assert!(!pager.evict(PageId(0)), "it is leased");
//! pager.release(lease);
//! assert!(pager.evict(PageId(0)));
//! # Ok(())
//! # }
//! ```
//!
//! `unsafe` is denied but for `window` (one owner a frame) and three modules of `storage` that make system calls.

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests make files and threads.
#![deny(unsafe_code)]

mod clock;
mod error;
mod gather;
mod ids;
mod journal;
mod meter;
mod pager;
mod probe;
mod stats;
pub mod storage;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
#[allow(unsafe_code, reason = "one arena, many owners of its parts")]
mod window;

pub use clock::{Clock, Nanos, SystemClock, Work};
pub use error::{Error, PageDefect};
pub use ids::{ALIGN, FileId, FrameId, PageId, PageSpec, Span};
pub use journal::{Digest, Entry, Event, Journal};
pub use pager::{Class, Lease, Load, PageState, Pager};
pub use probe::{Pattern, Probe, ProbeError, ReadRate, measure_read_rate};
pub use stats::{Histogram, Stats};
pub use storage::{AnyStorage, Backend, Choice, Done, OpenError, Read, ReadFault, Storage, Wait, open};
pub use window::{Arena, Frame, Scratch, View, Window, WindowError, prefer_huge_pages};
