//! Opening a file for reads that leave nothing behind in the page cache, as far as its file system allows.
//!
//! The window is the only cache: bytes that also lie in the page cache cost memory twice, on a machine that has too
//! little of it. Whether direct I/O works is found out by doing it once; nothing is assumed of a file system.

#![allow(clippy::disallowed_methods)] // Opening files is this module's purpose.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
use std::os::fd::AsRawFd;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::ids::ALIGN;

/// An open file, and how reads of it reach the device.
#[derive(Debug)]
pub(super) struct SourceFile {
    file: File,
    path: PathBuf,
    mode: Mode,
}

/// How reads reach the device. Each system knows only some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them are made depends on the system")]
pub(super) enum Mode {
    /// Past the page cache, in blocks of this size.
    Direct { block: u32 },
    /// Apple's `F_NOCACHE`: past the page cache, in any size.
    Uncached,
    /// Through the page cache, which is told to forget behind each read.
    Buffered(NoDirect),
}

/// Why a file is not read directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them are made depends on the system")]
pub(super) enum NoDirect {
    /// Opening or reading it so is refused.
    Refused,
    /// It wants larger blocks than ours.
    Blocks(u32),
    /// The system has no such thing.
    NoSuchThing,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Direct { block } => write!(f, "direct I/O in blocks of {block} bytes"),
            Mode::Uncached => f.write_str("uncached I/O"),
            Mode::Buffered(why) => write!(f, "through the page cache, because {why}"),
        }
    }
}

impl fmt::Display for NoDirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoDirect::Refused => f.write_str("its file system has no direct I/O"),
            NoDirect::Blocks(block) => write!(f, "its file system wants direct I/O in blocks of {block} bytes"),
            NoDirect::NoSuchThing => f.write_str("this system has no direct I/O"),
        }
    }
}

impl SourceFile {
    /// Opens a file in the best mode that works for it.
    pub(super) fn open(path: &Path) -> Result<SourceFile, OpenError> {
        let regular = |(file, mode): (File, Mode)| match file.metadata()?.is_dir() {
            true => Err(io::Error::other("it is not a file")),
            false => Ok((file, mode)),
        };
        open_best(path)
            .and_then(regular)
            .map(|(file, mode)| SourceFile { file, path: path.to_owned(), mode })
            .map_err(|source| OpenError::File { path: path.to_owned(), source })
    }

    pub(super) fn open_all(paths: &[PathBuf]) -> Result<Vec<SourceFile>, OpenError> {
        paths.iter().map(|path| SourceFile::open(path)).collect()
    }

    /// As on a file system without direct I/O.
    #[cfg(test)]
    pub(super) fn open_buffered(path: &Path) -> SourceFile {
        let file = OpenOptions::new().read(true).open(path).expect("a test's file");
        SourceFile { file, path: path.to_owned(), mode: Mode::Buffered(NoDirect::Refused) }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// What the offset of each call must be a multiple of.
    pub(super) fn call_align(&self) -> u32 {
        match self.mode {
            Mode::Direct { .. } => ALIGN as u32,
            Mode::Uncached | Mode::Buffered(_) => 1,
        }
    }

    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    /// How long the file is now.
    pub(super) fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|meta| meta.len())
    }

    /// Keeps the page cache from growing by what was just read.
    pub(super) fn read_behind(&self, offset: u64, len: u32) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if matches!(self.mode, Mode::Buffered(_)) {
            advise(self.file.as_raw_fd(), offset, len, libc::POSIX_FADV_DONTNEED);
        }
        // Elsewhere there is nothing to tell, or no cache between.
        let _ = (offset, len);
    }
}

/// The block size that suits every file.
pub(super) fn common_block(files: &[SourceFile]) -> usize {
    let block = |file: &SourceFile| match file.mode {
        Mode::Direct { block } => block as usize,
        Mode::Uncached | Mode::Buffered(_) => 1,
    };
    files.iter().map(block).max().unwrap_or(1)
}

/// The modes in words: once if they are all alike, else for each file.
pub(super) fn modes(files: &[SourceFile]) -> String {
    match files {
        [] => "no files".to_owned(),
        [first, rest @ ..] if rest.iter().all(|file| file.mode == first.mode) => first.mode.to_string(),
        _ => files.iter().map(|f| format!("{}: {}", f.path.display(), f.mode)).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_best(path: &Path) -> io::Result<(File, Mode)> {
    use std::os::unix::fs::OpenOptionsExt;

    // Opened plainly in any case: an error of this open is the file's, not that of direct I/O.
    let plain = OpenOptions::new().read(true).open(path)?;
    let why = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path) {
        Err(_) => NoDirect::Refused,
        Ok(direct) => match direct_block(&direct) {
            Ok(block) => return Ok((direct, Mode::Direct { block })),
            Err(why) => why,
        },
    };
    // Pages are read whole and in an order that readahead cannot guess.
    advise(plain.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM);
    Ok((plain, Mode::Buffered(why)))
}

#[cfg(target_vendor = "apple")]
fn open_best(path: &Path) -> io::Result<(File, Mode)> {
    let file = OpenOptions::new().read(true).open(path)?;
    // SAFETY: sets a flag of a descriptor that we own.
    let set = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_NOCACHE, 1) };
    let mode = if set == -1 { Mode::Buffered(NoDirect::Refused) } else { Mode::Uncached };
    Ok((file, mode))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn open_best(path: &Path) -> io::Result<(File, Mode)> {
    Ok((OpenOptions::new().read(true).open(path)?, Mode::Buffered(NoDirect::NoSuchThing)))
}

/// The block size that direct reads of this file need. Asked of the kernel where it can tell, and then tried: some
/// file systems take the flag and refuse the read.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn direct_block(file: &File) -> Result<u32, NoDirect> {
    let told = stated_block(file);
    match told {
        Some(0) => return Err(NoDirect::Refused),
        Some(block) if block as usize > ALIGN => return Err(NoDirect::Blocks(block)),
        _ => {}
    }
    let mut buffer = Box::new(Aligned([0; ALIGN]));
    let mut works = |block: u32| file.read_at(&mut buffer.0[..block as usize], u64::from(block)).is_ok();
    if !works(ALIGN as u32) {
        return Err(NoDirect::Refused);
    }
    Ok(told.unwrap_or_else(|| if works(512) { 512 } else { ALIGN as u32 }))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[repr(align(4096))]
struct Aligned([u8; ALIGN]);

/// What `statx` says of direct I/O: zero for "not on this file", `None` when it does not say (Linux before 6.1).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn stated_block(file: &File) -> Option<u32> {
    // SAFETY: `statx` is plain data, for which zeros are a value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, an empty C string (meaning the descriptor itself) and a struct to fill.
    let failed = unsafe {
        libc::statx(file.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN, &raw mut stat) != 0
    };
    if failed || stat.stx_mask & libc::STATX_DIOALIGN == 0 {
        return None;
    }
    Some(stat.stx_dio_offset_align.max(stat.stx_dio_mem_align))
}

/// Tells the page cache what to do with a range. Only advice: failure is no error.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(fd: RawFd, offset: u64, len: u32, advice: libc::c_int) {
    // SAFETY: touches no memory of ours.
    unsafe { libc::posix_fadvise64(fd, offset as libc::off64_t, libc::off64_t::from(len), advice) };
}
