//! Run language models bigger than memory: the weights are streamed from flash through a bounded window.
//!
//! This crate is the front of four: it re-exports them and adds the command line.
//!
//! | crate | what it is for |
//! |---|---|
//! | [`pager`] | embed: bytes of files in a bounded window of memory, read asynchronously |
//! | [`prefetch`] | what to keep, what to read next |
//! | [`infer`] | run a whole model under a hard ceiling of memory |
//! | [`simulator`] | the same pager on a virtual clock |

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod device;
pub mod machine;
pub mod measure;
pub mod plot;
#[allow(clippy::disallowed_methods)] // It makes the files that it measures with.
pub mod probe;
pub mod simulate;
pub mod timeline;

pub use forebay_infer as infer;
pub use forebay_pager as pager;
pub use forebay_prefetch as prefetch;
pub use forebay_simulator as simulator;
