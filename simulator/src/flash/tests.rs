//! The model against what it says of itself.
