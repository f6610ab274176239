//! forebay-prefetch
