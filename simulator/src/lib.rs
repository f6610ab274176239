//! Phone-class flash on a virtual clock, for the very same pager that runs on real flash.
//!
//! Empty so far: it is where device models, the virtual clock and I/O budgets go.
#![forbid(unsafe_code)]
