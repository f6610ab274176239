//! forebay-pager
