//! Models split into several files: `NAME-00001-of-00003.gguf` and so on, each a GGUF file with a part of the tensors.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Error, ErrorKind};
use super::metadata::Metadata;
use super::model::Part;

/// Most parts of a model; the largest in circulation have dozens.
pub(super) const MAX_PARTS: u32 = 4096;

const NO: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// The parts of a split model.
pub(super) struct Set {
    /// How many parts there are, at least 2.
    pub(super) count: u32,
    /// The number, from 0, of the part that was opened.
    pub(super) opened: u32,
    path: PathBuf,
    /// The file name without `-00001-of-00003.gguf`.
    prefix: String,
}

impl Set {
    /// The set that the file at `path` is a part of, or `None` for a model in one file.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Result<Option<Set>, Error> {
        let named = path.file_name().and_then(|n| n.to_str()).and_then(parse_name);
        let stated = metadata.optional(metadata.u64(COUNT))?;
        let wrong = |problem: String| Err(key_error(path, COUNT, problem));
        match (stated, named) {
            // Merging tools leave a count of 0.
            (None | Some(0 | 1), None | Some((_, _, 1))) => Ok(None),
            (None, Some((_, no, count))) => wrong(format!("missing, but the file name says part {no} of {count}")),
            (Some(n), _) if n > u64::from(MAX_PARTS) => wrong(format!("{n} parts, more than the limit of {MAX_PARTS}")),
            (Some(n), None) => wrong(format!("{n} parts, but the file name does not end in -00001-of-{n:05}.gguf")),
            (Some(n), Some((_, no, count))) if n != u64::from(count) => {
                wrong(format!("{n} parts, but the file name says part {no} of {count}"))
            }
            (Some(_), Some((prefix, no, count))) => {
                Ok(Some(Set { count, opened: no - 1, path: path.to_owned(), prefix: prefix.to_owned() }))
            }
        }
    }

    /// Reads part `no`, counted from 0, which lies beside the opened one.
    pub(super) fn read(&self, no: u32) -> Result<(PathBuf, Part), Error> {
        let file = self.path.with_file_name(format!("{}-{:05}-of-{:05}.gguf", self.prefix, no + 1, self.count));
        match Part::read(&file) {
            Ok(part) => Ok((file, part)),
            Err(e) => match e.kind() {
                ErrorKind::Io(io) if io.kind() == io::ErrorKind::NotFound => {
                    let opened = self.path.display().to_string();
                    Err(Error::new(ErrorKind::MissingPart { part: no + 1, count: self.count, opened }).in_file(&file))
                }
                _ => Err(e),
            },
        }
    }

    /// Checks that `part` says of itself what its name says: a copy or a link of another part does not.
    pub(super) fn check(&self, no: u32, file: &Path, part: &Part) -> Result<(), Error> {
        let stated = part.metadata.u64(COUNT)?;
        if stated != u64::from(self.count) {
            return Err(key_error(file, COUNT, format!("{stated} parts, but the file name says {}", self.count)));
        }
        let stated = part.metadata.u64(NO)?;
        if stated != u64::from(no) {
            let problem =
                format!("{stated} (counted from 0), but the file name says part {} of {}", no + 1, self.count);
            return Err(key_error(file, NO, problem));
        }
        Ok(())
    }

    /// Checks the number of tensors that parts state for the whole model.
    pub(super) fn check_total(&self, parts: &[(PathBuf, Part)]) -> Result<(), Error> {
        let total: u64 = parts.iter().map(|(_, p)| p.tensors.len() as u64).sum();
        for (file, part) in parts {
            match part.metadata.optional(part.metadata.u64(TENSORS))? {
                Some(stated) if stated != total => {
                    let problem = format!("{stated} tensors, but the {} parts have {total}", self.count);
                    return Err(key_error(file, TENSORS, problem));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn key_error(file: &Path, key: &str, problem: String) -> Error {
    Error::field(format_args!("key \"{key}\""), problem).in_file(file)
}

/// Prefix, part from 1, and count of a name like `NAME-00001-of-00003.gguf`.
fn parse_name(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let number = |s: &str| (s.len() == 5 && s.bytes().all(|b| b.is_ascii_digit())).then(|| s.parse().ok())?;
    let (no, count) = (number(no)?, number(count)?);
    (1..=count).contains(&no).then_some((prefix, no, count))
}
