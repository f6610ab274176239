//! What can be wrong with a model file, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be read: the file, the field and the byte where reading it stopped.
#[derive(Debug)]
pub struct Error {
    file: Option<PathBuf>,
    offset: Option<u64>,
    kind: Box<ErrorKind>,
}

/// The kinds of [`Error`]. Names from the file are already escaped and shortened: they may be hostile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system failed to open or read the file.
    #[error("cannot read the file: {0}")]
    Io(#[source] io::Error),
    /// A directory, a pipe or a device: its length is no property of a model.
    #[error("not a regular file")]
    NotAFile,
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with \"{}\" instead of \"GGUF\"", .0.escape_ascii())]
    Magic([u8; 4]),
    /// A version this reader does not know.
    #[error("GGUF version {0} is not supported (versions 2 and 3 are)")]
    Version(u32),
    /// The version number makes sense only with its bytes swapped.
    #[error("a big-endian GGUF file (version {0}): only little-endian files are supported")]
    BigEndian(u32),
    /// The file is shorter than its header says.
    #[error("{field}: needs the file to have {needed} bytes, but it has {file_len}")]
    Truncated {
        /// What would lie behind the end.
        field: String,
        /// The length that the field needs the file to have; `u64::MAX` where it overflows.
        needed: u64,
        /// The length the file has.
        file_len: u64,
    },
    /// Only from [`parse`](super::parse): the file is long enough, the bytes passed are not. Pass at least `needed`.
    #[error("{field}: needs the first {needed} bytes of the file")]
    Incomplete {
        /// What is not in the bytes passed.
        field: String,
        /// How many bytes it takes to get past this field.
        needed: u64,
    },
    /// The header is larger than any real one: reading it would only use up memory.
    #[error("{field}: makes the header {needed} bytes long, more than the limit of {limit}")]
    TooLong {
        /// The field that passes the limit.
        field: String,
        /// The length of the header up to the end of this field.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// More of something than the rest of the file has room for.
    #[error("{field} is {count}, but the file has room for {limit} at most")]
    Count {
        /// The name of the count.
        field: String,
        /// Its value.
        count: u64,
        /// The largest value that could be right.
        limit: u64,
    },
    /// A field that breaks a rule of the format.
    #[error("{field}: {problem}")]
    Field {
        /// The key, tensor or count.
        field: String,
        /// The rule it breaks.
        problem: String,
    },
    /// A key that was asked for and is not there.
    #[error("key {key} is missing")]
    Missing {
        /// The key.
        key: String,
    },
    /// A key with a value of another type than was asked for.
    #[error("key {key}: expected {expected}, found {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// An array that [`Metadata::drop_arrays_over`](super::Metadata::drop_arrays_over) has freed.
    #[error("key {key}: the array was already dropped from memory")]
    Dropped {
        /// The key.
        key: String,
    },
    /// A sibling of a split model that is not where the first one is.
    #[error("missing: part {part} of the {count} parts of the model {opened}")]
    MissingPart {
        /// The part's number, from 1.
        part: u32,
        /// How many parts there are.
        count: u32,
        /// The part that was opened.
        opened: String,
    },
}

impl Error {
    pub(super) fn new(kind: ErrorKind) -> Self {
        Error { file: None, offset: None, kind: Box::new(kind) }
    }

    /// A broken rule of the format.
    pub(super) fn field(field: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Field { field: field.to_string(), problem: problem.to_string() })
    }

    pub(super) fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset as u64);
        self
    }

    pub(super) fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// The file that is wrong, unless only bytes were parsed.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The byte of the file where the wrong field starts, where one can be named.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Whether the error is only that a key is not there.
    pub fn is_missing_key(&self) -> bool {
        matches!(*self.kind, ErrorKind::Missing { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        self.kind.fmt(f)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.kind {
            ErrorKind::Io(e) => Some(e),
            _ => None,
        }
    }
}

/// A name out of a file as it may stand in a message: quoted, without control characters, of bounded length.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

/// Longest part of a name that a message repeats; every name in real files is shorter.
const SHOWN: usize = 80;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN)];
        f.write_str("\"")?;
        for chunk in shown.utf8_chunks() {
            write!(f, "{}", chunk.valid().escape_debug())?;
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        match self.0.len() - shown.len() {
            0 => f.write_str("\""),
            more => write!(f, "…\" ({more} bytes more)"),
        }
    }
}
