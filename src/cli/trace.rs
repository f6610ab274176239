//! `--trace-out`
#![allow(clippy::disallowed_methods)] // It makes the file that it is told to.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use forebay::infer::model::RouteRecorder;
use forebay::infer::open::Loaded;

use super::Failure;

/// A routing trace at `path` of a run whose prompt has so many tokens.
pub(crate) fn create(path: &Path, loaded: &Loaded, prompt: usize) -> Result<RouteRecorder, Failure> {
    if loaded.map.decoder.experts().next().is_none() {
        return Err(Failure::Usage("--trace-out: this model has no experts, and so no routing to record".into()));
    }
    let model = loaded.gguf.files.first().and_then(|file| file.file_name());
    let model = model.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let out = File::create(path).map_err(|source| failure(path, source))?;
    RouteRecorder::new(&loaded.map, &model, prompt, Box::new(BufWriter::new(out)))
        .map_err(|source| failure(path, source))
}

/// An error that names the file.
pub(crate) fn failure(path: &Path, source: io::Error) -> Failure {
    Failure::Io { what: path.display().to_string(), source }
}
