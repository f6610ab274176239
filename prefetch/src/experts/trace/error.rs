//! What can be wrong with a trace.

/// Why a trace cannot be read. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be read, or is no text.
    #[error("line {line}: {source}")]
    Io {
        /// The line.
        line: usize,
        /// What the reader said.
        source: std::io::Error,
    },
    /// The first line is not the format's.
    #[error("line 1: this is no routing trace: it does not begin with '# route_trace v1'")]
    NotATrace,
    /// Something that the header must say is not there.
    #[error("line {line}: the header ends without {what}")]
    Incomplete {
        /// The line by which it should have been said.
        line: usize,
        /// What is missing.
        what: &'static str,
    },
    /// A row has too many or too few fields.
    #[error("line {line}: {found} fields, where a row has 9")]
    Fields {
        /// The line.
        line: usize,
        /// Fields found.
        found: usize,
    },
    /// A field has a value that it cannot have.
    #[error("line {line}: {bad}")]
    Bad {
        /// The line.
        line: usize,
        /// The field and what is wrong with it.
        bad: BadField,
    },
    /// There are no rows.
    #[error("the trace has no rows")]
    Empty,
}

/// A value that a field cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field '{field}' is '{value}': {why}")]
pub struct BadField {
    /// The field.
    pub field: &'static str,
    /// Its value, cut to a length fit for a message.
    pub value: String,
    /// What it should be.
    pub why: String,
}

impl BadField {
    pub(super) fn new(field: &'static str, value: impl std::fmt::Display, why: impl Into<String>) -> Self {
        let value = value.to_string().chars().take(40).collect();
        BadField { field, value, why: why.into() }
    }

    pub(super) fn at(self, line: usize) -> TraceError {
        TraceError::Bad { line, bad: self }
    }
}
