//! Phone-class flash on a virtual clock, for the very same pager that runs on real flash.
//!
//! At present this crate holds the virtual clock; the device model builds on it.
#![forbid(unsafe_code)]
