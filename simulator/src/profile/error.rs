//! What is wrong with a file, and where.

use std::ops::Range;
use thiserror::Error;

/// A profile or a sweep that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {}{what}", .field.as_deref().map(|f| format!("{f}: ")).unwrap_or_default())]
pub struct ProfileError {
    /// As the caller named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// With the tables that it is in, as `flash.link_mb_s`; `None` where the file is not even TOML.
    pub field: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl ProfileError {
    /// At the bytes `span` of `text`.
    pub(super) fn at(file: &str, text: &str, span: Range<usize>, field: Option<String>, what: String) -> ProfileError {
        let before = text.get(..span.start).unwrap_or(text);
        ProfileError { file: file.into(), line: 1 + before.matches('\n').count(), field, what }
    }
}
