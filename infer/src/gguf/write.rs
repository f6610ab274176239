//! Writing GGUF files: version 3, little-endian.
