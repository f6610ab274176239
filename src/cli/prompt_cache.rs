//! `--prompt-cache`
#![allow(clippy::disallowed_methods)] // It reads and writes the file that it is told to.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use forebay::device::AnyEngine;
use forebay::infer::model::{Fingerprint, Restored, SavedError};
use forebay::infer::open::{Loaded, OpenError};

use super::Failure;

/// Room between the file and what is copied piece by piece.
const BUFFER: usize = 128 << 10;

/// A file with the state of a context.
pub(crate) struct PromptCache {
    path: PathBuf,
    model: Fingerprint,
}

impl PromptCache {
    /// The file at `path`, which need not be there. Where it cannot be is said now, and not after a long prompt.
    pub(crate) fn open(path: &Path, loaded: &Loaded, engine: &mut AnyEngine) -> Result<Self, Failure> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let there = fs::metadata(folder).and_then(|folder| match folder.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        there.map_err(|error| failure(folder, error))?;
        let pager = engine.weights_mut().scheduler_mut().pager_mut();
        let model = Fingerprint::of(&loaded.gguf, pager).map_err(OpenError::from)?;
        Ok(PromptCache { path: path.to_owned(), model })
    }

    /// Takes from the file what can be used of it for `prompt`: nothing where there is none.
    pub(crate) fn restore(&self, engine: &mut AnyEngine, prompt: &[u32]) -> Result<Restored, Failure> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Restored { tokens: 0, complete: false });
            }
            Err(error) => return Err(failure(&self.path, error)),
            // Asked before opening: opening a pipe would wait for a writer.
            Ok(file) if !file.is_file() => return Err(Failure::Other(format!("{}: not a file", self.path.display()))),
            Ok(_) => {}
        }
        let file = File::open(&self.path).map_err(|error| failure(&self.path, error))?;
        engine
            .restore(prompt, &self.model, BufReader::with_capacity(BUFFER, file))
            .map_err(|source| Failure::PromptCache { path: self.path.clone(), source })
    }

    /// Writes the state after `prompt`. The file that was there stays until the new one is complete.
    pub(crate) fn save(&self, engine: &AnyEngine, prompt: &[u32]) -> Result<(), Failure> {
        // Beside its destination, so that the rename at the end is atomic; per process, so that two do not meet.
        let mut partial = OsString::from(&self.path);
        partial.push(format!(".{}.partial", std::process::id()));
        let written = self.write(Path::new(&partial), engine, prompt);
        if written.is_err() {
            let _ = fs::remove_file(&partial); // What is left there is of no use to anyone.
        }
        written.map_err(|error| failure(&self.path, error))
    }

    fn write(&self, partial: &Path, engine: &AnyEngine, prompt: &[u32]) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(BUFFER, File::create(partial)?);
        engine.save(prompt, &self.model, &mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(partial, &self.path)
    }
}

fn failure(path: &Path, source: io::Error) -> Failure {
    Failure::PromptCache { path: path.to_owned(), source: SavedError::Io(source) }
}
