//! What is wrong with a budget file, and where.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A budget or baseline file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a budget file has to be.
    #[error("{}:{line}:{column}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Characters, counted from 1.
        column: usize,
        /// Begins with the field, where there is one.
        message: String,
    },
}

/// A mistake at some bytes of a text.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

impl Mistake {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Mistake { span, message: message.into() }
    }

    /// With the name of a field before it.
    pub(super) fn of(field: &str, span: Range<usize>, message: impl std::fmt::Display) -> Self {
        Mistake::new(span, format!("{field}: {message}"))
    }

    pub(super) fn within(self, path: &Path, text: &str) -> BudgetError {
        let (line, column) = place(text, self.span.start);
        BudgetError::File { path: path.to_owned(), line, column, message: self.message }
    }
}

/// The parser of TOML says what it expected on a line of its own.
impl From<toml::de::Error> for Mistake {
    fn from(error: toml::de::Error) -> Self {
        Mistake::new(error.span().unwrap_or(0..0), error.message().replace('\n', "; "))
    }
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(super) fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}
