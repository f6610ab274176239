//! Which backend: the best that works here, and why each better one does not.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use super::mmap::MmapStorage;
use super::pread::PreadStorage;
#[cfg(target_os = "linux")]
use super::uring::UringStorage;
use super::{Done, Read, Storage, Wait};
use crate::window::Window;

/// A way to read, or the wish for the best one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Backend {
    /// The best that works.
    #[default]
    Auto,
    /// io_uring, on Linux where it is allowed.
    Uring,
    /// A pool of threads.
    Pread,
    /// Mapped files: the baseline to compare with.
    Mmap,
}

/// Best first. The baseline is not among them.
const BY_MERIT: [Backend; 2] = [Backend::Uring, Backend::Pread];

impl Backend {
    const NAMES: [(&str, Backend); 4] =
        [("auto", Backend::Auto), ("io_uring", Backend::Uring), ("pread", Backend::Pread), ("mmap", Backend::Mmap)];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Backend::NAMES.iter().find(|(_, backend)| backend == self).expect("every backend has a name").0;
        f.pad(name)
    }
}

/// A backend's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no storage backend; there are auto, io_uring, pread and mmap")]
pub struct UnknownBackend(pub String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Backend, UnknownBackend> {
        let wanted = if name == "uring" { "io_uring" } else { name };
        let found = Backend::NAMES.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, backend)| *backend).ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// Why files could not be opened, or a backend not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file cannot be opened.
    #[error("{}: cannot open: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// io_uring is not to be had.
    #[error("io_uring cannot be used: {why}")]
    Uring {
        /// What is in the way.
        why: String,
    },
    /// The threads of the pool cannot be started.
    #[error("cannot start the reading threads: {0}")]
    Threads(#[source] io::Error),
}

impl OpenError {
    /// Whether another backend may do better: a file that cannot be opened is the same for all.
    fn is_of_backend(&self) -> bool {
        !matches!(self, OpenError::File { .. })
    }
}

/// What [`open`] picked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The backend that is used; never [`Backend::Auto`].
    pub backend: Backend,
    /// How it reads, as [`Storage::describe`] says.
    pub how: String,
    /// The better ones, and what is in the way of each.
    pub passed_over: Vec<PassedOver>,
    /// What works less well than it could, and why.
    pub notes: Vec<String>,
}

/// A backend that was not picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The backend.
    pub backend: Backend,
    /// What is in its way.
    pub why: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)?;
        for PassedOver { why, .. } in &self.passed_over {
            write!(f, "; {why}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// Any of the backends.
#[derive(Debug)]
pub enum AnyStorage {
    /// io_uring.
    #[cfg(target_os = "linux")]
    Uring(Box<UringStorage>),
    /// A pool of threads.
    Pread(PreadStorage),
    /// Mapped files.
    Mmap(MmapStorage),
}

/// Opens `files` with a backend, at most `depth` reads in flight, for the frames of `window`.
///
/// [`Backend::Auto`] picks the best that works; any other one is used or an error.
pub fn open(
    files: &[PathBuf],
    window: &Window,
    depth: usize,
    backend: Backend,
) -> Result<(AnyStorage, Choice), OpenError> {
    let opened = choose(backend, |backend| open_one(files, window, depth, backend))?;
    let (backend, storage, passed_over) = opened;
    let choice = Choice { backend, how: storage.describe(), passed_over, notes: storage.notes() };
    for PassedOver { backend, why } in &choice.passed_over {
        tracing::info!(%backend, why, "storage backend passed over");
    }
    tracing::debug!(how = choice.how, "storage opened");
    Ok((storage, choice))
}

/// The choice itself, apart from what it chooses: tries one backend after the other.
fn choose<T>(
    wanted: Backend,
    mut open: impl FnMut(Backend) -> Result<T, OpenError>,
) -> Result<(Backend, T, Vec<PassedOver>), OpenError> {
    if wanted != Backend::Auto {
        return open(wanted).map(|storage| (wanted, storage, Vec::new()));
    }
    let mut passed_over = Vec::new();
    let (last, better) = BY_MERIT.split_last().expect("there are backends");
    for &backend in better {
        match open(backend) {
            Ok(storage) => return Ok((backend, storage, passed_over)),
            Err(error) if error.is_of_backend() => passed_over.push(PassedOver { backend, why: error.to_string() }),
            Err(error) => return Err(error),
        }
    }
    open(*last).map(|storage| (*last, storage, passed_over))
}

fn open_one(files: &[PathBuf], window: &Window, depth: usize, backend: Backend) -> Result<AnyStorage, OpenError> {
    match backend {
        Backend::Auto => unreachable!("`choose` names a backend"),
        #[cfg(target_os = "linux")]
        Backend::Uring => UringStorage::open(files, window, depth).map(|s| AnyStorage::Uring(Box::new(s))),
        #[cfg(not(target_os = "linux"))]
        Backend::Uring => {
            let _ = window;
            Err(OpenError::Uring { why: "this system has none".to_owned() })
        }
        Backend::Pread => PreadStorage::open(files, depth).map(AnyStorage::Pread),
        Backend::Mmap => MmapStorage::open(files, depth).map(AnyStorage::Mmap),
    }
}

impl AnyStorage {
    /// What works less well than it could.
    fn notes(&self) -> Vec<String> {
        match self {
            #[cfg(target_os = "linux")]
            AnyStorage::Uring(storage) => storage.notes().to_vec(),
            AnyStorage::Pread(_) | AnyStorage::Mmap(_) => Vec::new(),
        }
    }
}

/// Runs one expression for whichever storage it is.
macro_rules! each {
    ($any:expr, $storage:ident => $do:expr) => {
        match $any {
            #[cfg(target_os = "linux")]
            AnyStorage::Uring($storage) => $do,
            AnyStorage::Pread($storage) => $do,
            AnyStorage::Mmap($storage) => $do,
        }
    };
}

impl Storage for AnyStorage {
    fn depth(&self) -> usize {
        each!(self, storage => storage.depth())
    }
    fn alignment(&self) -> usize {
        each!(self, storage => storage.alignment())
    }
    fn submit(&mut self, read: Read) {
        each!(self, storage => storage.submit(read));
    }
    fn flush(&mut self) {
        each!(self, storage => storage.flush());
    }
    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        each!(self, storage => storage.reap(wait, done));
    }
    fn in_flight(&self) -> usize {
        each!(self, storage => storage.in_flight())
    }
    fn describe(&self) -> String {
        each!(self, storage => storage.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> OpenError {
        OpenError::Uring { why: "the kernel refuses it (Operation not permitted)".to_owned() }
    }

    fn missing() -> OpenError {
        OpenError::File { path: "model.gguf".into(), source: io::Error::from_raw_os_error(libc::ENOENT) }
    }

    #[test]
    fn auto_takes_the_best_that_works() {
        let (backend, got, passed_over) = choose(Backend::Auto, Ok).unwrap();
        assert_eq!((backend, got, passed_over), (Backend::Uring, Backend::Uring, vec![]));
    }

    #[test]
    fn auto_falls_back_and_says_why() {
        let fake = |backend| if backend == Backend::Uring { Err(denied()) } else { Ok(()) };
        let (backend, (), passed_over) = choose(Backend::Auto, fake).unwrap();
        assert_eq!(backend, Backend::Pread);
        let choice = Choice { backend, how: "pread by 4 threads".to_owned(), passed_over, notes: vec![] };
        assert_eq!(
            choice.to_string(),
            "pread by 4 threads; io_uring cannot be used: the kernel refuses it (Operation not permitted)"
        );
    }

    #[test]
    fn a_backend_by_name_is_used_or_an_error() {
        assert_eq!(choose(Backend::Mmap, Ok).unwrap().0, Backend::Mmap);
        assert!(choose(Backend::Uring, |_| Err::<(), _>(denied())).is_err());
    }

    #[test]
    fn a_missing_file_is_not_blamed_on_the_backend() {
        let mut tries = 0;
        let error = choose(Backend::Auto, |_| {
            tries += 1;
            Err::<(), _>(missing())
        });
        assert_eq!(tries, 1);
        assert_eq!(error.unwrap_err().to_string(), "model.gguf: cannot open: No such file or directory (os error 2)");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (name, backend) in Backend::NAMES {
            assert_eq!(name.parse(), Ok(backend));
            assert_eq!(backend.to_string(), name);
        }
        assert_eq!("uring".parse(), Ok(Backend::Uring));
        let error = "aio".parse::<Backend>().unwrap_err();
        assert_eq!(error.to_string(), "\"aio\" is no storage backend; there are auto, io_uring, pread and mmap");
    }
}
