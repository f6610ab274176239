//! The baseline: files mapped into memory, and a copy out of the mapping for each read.
//!
//! It is here to be compared with. The page cache holds everything twice, each read is a train of page faults, and a
//! file that is truncated *during* a copy kills the process with `SIGBUS`: between the checks before and after it, no
//! user program can prevent that. `auto` never picks it.

#![allow(clippy::disallowed_methods)] // Opening files is this module's purpose.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::{Done, OpenError, Read, ReadFault, Storage, Wait};

/// Mapped files; each read is done when it is submitted.
#[derive(Debug)]
pub struct MmapStorage {
    files: Vec<(File, Mmap)>,
    ended: Vec<Done>,
    depth: usize,
}

impl MmapStorage {
    /// Opens and maps the files.
    pub fn open(files: &[PathBuf], depth: usize) -> Result<MmapStorage, OpenError> {
        let files = files.iter().map(|path| map(path)).collect::<Result<_, _>>()?;
        Ok(MmapStorage { files, ended: Vec::with_capacity(depth), depth: depth.max(1) })
    }
}

fn map(path: &Path) -> Result<(File, Mmap), OpenError> {
    let map = |file: File| {
        // SAFETY: the mapping is only ever copied out of, by `copy`, between two checks that the file is as long as
        // it was mapped. That nobody shortens it in between we cannot check; see the module's comment.
        unsafe { MmapOptions::new().map(&file) }.map(|map| (file, map))
    };
    let file = OpenOptions::new().read(true).open(path);
    file.and_then(map).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Copies what the read needs. Bytes beyond the end of the file read as zeros from its last page, so the length is
/// checked after the copy as well.
fn copy(file: &File, map: &Mmap, read: &mut Read) -> Result<(), ReadFault> {
    let wanted = read.offset + u64::from(read.need);
    let check = || match file.metadata()?.len().min(map.len() as u64) {
        end if end < wanted => Err(ReadFault::Shrunk { end, wanted }),
        _ => Ok(()),
    };
    check()?;
    // Within the mapping, which is in memory, so both fit a `usize`.
    let start = read.offset as usize;
    let need = read.need as usize;
    read.frame.bytes_mut()[..need].copy_from_slice(&map[start..start + need]);
    check()
}

impl Storage for MmapStorage {
    fn depth(&self) -> usize {
        self.depth
    }

    fn alignment(&self) -> usize {
        1
    }

    fn submit(&mut self, mut read: Read) {
        super::check(&read, self.ended.len(), self.depth, self.files.len());
        let (file, map) = &self.files[read.file.index()];
        let result = copy(file, map, &mut read);
        self.ended.push(Done { tag: read.tag, frame: read.frame, result });
    }

    fn reap(&mut self, _wait: Wait, done: &mut Vec<Done>) {
        done.append(&mut self.ended);
    }

    fn in_flight(&self) -> usize {
        self.ended.len()
    }

    fn describe(&self) -> String {
        "mmap, copied through the page cache".to_owned()
    }
}
