//! Phone-class flash on a virtual clock, for the very same pager that runs on real flash.
//!
//! The modules in reading order:
//!
//! | module | what |
//! |---|---|
//! | [`flash`] | a discrete-event model of flash: when does a read end, and how |
//! | [`profile`] | what is known of devices: figures with bands, grades and sources |
#![forbid(unsafe_code)]

pub mod fit;
pub mod flash;
pub mod profile;
