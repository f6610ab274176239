//! The GGUF reader against good, damaged and hostile files.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod gguf {
    mod errors;
    mod hostile;
    mod metadata;
    mod pool;
    mod round_trip;
    mod splits;
    mod types;
}
