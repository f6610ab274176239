//! Every backend over real files, on tmpfs and on disk. Where io_uring is not permitted, its tests say so and pass.

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "system calls")]
mod denied;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::file::SourceFile;
use super::*;
use crate::testing::ManualClock;
use crate::{Class, Load, Nanos, PageId, PageSpec, Pager, Pattern, Probe, SystemClock, Window};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::Pread, Backend::Mmap];
const FRAME: usize = 16 * ALIGN;
/// Ends within a block, as files do.
const FILE_LEN: usize = (1 << 20) + 1234;

fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A fresh folder in memory and one on disk, with two files each.
fn on_each_file_system(test: impl Fn(&[PathBuf], &[u8])) {
    let contents = bytes(FILE_LEN);
    for root in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        if !root.exists() {
            eprintln!("SKIPPED on {}: there is none", root.display());
            continue;
        }
        let folder = tempfile::tempdir_in(root).unwrap();
        let paths = [folder.path().join("a.gguf"), folder.path().join("b.gguf")];
        paths.iter().for_each(|path| std::fs::write(path, &contents).unwrap());
        test(&paths, &contents);
    }
}

/// Opens a backend, or says loudly that it cannot be tested here.
fn open_or_skip(paths: &[PathBuf], window: &Window, depth: usize, backend: Backend) -> Option<AnyStorage> {
    match open(paths, window, depth, backend) {
        Ok((storage, choice)) => {
            eprintln!("{backend} on {}: {choice}", paths[0].display());
            Some(storage)
        }
        Err(error @ OpenError::Uring { .. }) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Pages at odd places and of odd lengths, among them the file's first and last bytes.
fn odd_pages() -> Vec<PageSpec> {
    let end = FILE_LEN as u64;
    let mut pages = vec![(0, 1), (0, 60_000), (end - 1, 1), (end - 50_000, 50_000), (end - 1234, 1234)];
    pages.extend((0..100u64).map(|i| (i * 9973 % (end - 55_000), 1 + (i * 7919 % 55_000) as u32)));
    let spec = |(i, (offset, len))| PageSpec { file: FileId(i as u16 % 2), offset, len };
    pages.into_iter().enumerate().map(spec).collect()
}

/// Streams all pages through a small window, twice, and compares every byte.
fn stream_all<S: Storage>(storage: S, window: Window, contents: &[u8]) {
    let specs = odd_pages();
    let mut pager =
        Pager::new(storage, SystemClock::new(), window, vec!["a".into(), "b".into()], specs.clone()).unwrap();
    let mut compared = 0;
    for round in 0..2 {
        for first in (0..specs.len()).step_by(pager.frames()) {
            let batch: Vec<_> = (first..specs.len().min(first + pager.frames())).map(|i| PageId(i as u32)).collect();
            for &page in &batch {
                while pager.load(page, Class::Demand) == Load::QueueFull {
                    pager.wait().unwrap();
                }
            }
            while pager.in_flight() > 0 {
                pager.wait().unwrap();
            }
            for &page in &batch {
                let lease = pager.lease(page).unwrap();
                let PageSpec { offset, len, .. } = specs[page.index()];
                assert!(lease.bytes() == &contents[offset as usize..][..len as usize], "{page}, round {round}");
                compared += 1;
                pager.release(lease);
                assert!(pager.evict(page));
            }
        }
    }
    pager.validate();
    assert_eq!((compared, pager.stats().reads), (2 * specs.len(), 2 * specs.len() as u64));
}

#[test]
fn every_backend_delivers_the_right_bytes() {
    on_each_file_system(|paths, contents| {
        for backend in BACKENDS {
            for depth in [1, 7] {
                let window = Window::new(FRAME, 5).unwrap();
                if let Some(storage) = open_or_skip(paths, &window, depth, backend) {
                    stream_all(storage, window, contents);
                }
            }
        }
    });
}

#[test]
fn files_without_direct_io_are_read_through_the_page_cache() {
    on_each_file_system(|paths, contents| {
        let files = || paths.iter().map(|path| SourceFile::open_buffered(path)).collect();
        let window = Window::new(FRAME, 5).unwrap();
        let storage = PreadStorage::start(files(), 3).unwrap();
        assert_eq!(
            storage.describe(),
            "pread by 3 threads, through the page cache, because its file system has no direct I/O"
        );
        stream_all(storage, window, contents);
        #[cfg(target_os = "linux")]
        {
            let window = Window::new(FRAME, 5).unwrap();
            match UringStorage::start(files(), &window, 3) {
                Ok(storage) => stream_all(storage, window, contents),
                Err(error) => eprintln!("SKIPPED: {error}"),
            }
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn frames_that_are_not_registered_are_filled_as_well() {
    on_each_file_system(|paths, contents| {
        let (registered, other) = (Window::new(FRAME, 1).unwrap(), Window::new(FRAME, 5).unwrap());
        if let Some(storage) = open_or_skip(paths, &registered, 4, Backend::Uring) {
            stream_all(storage, other, contents);
        }
    });
}

#[test]
fn a_file_truncated_while_open_is_told_with_file_offset_and_page() {
    for backend in BACKENDS {
        on_each_file_system(|paths, contents| {
            let window = Window::new(FRAME, 2).unwrap();
            let Some(storage) = open_or_skip(paths, &window, 2, backend) else { return };
            let specs = vec![
                PageSpec { file: FileId(1), offset: 90, len: 60_000 },
                PageSpec { file: FileId(1), offset: 65_590, len: 50_000 },
                PageSpec { file: FileId(1), offset: 600_007, len: 100 },
            ];
            let mut pager = Pager::new(storage, ManualClock::new(), window, paths.to_vec(), specs).unwrap();
            OpenOptions::new().write(true).open(&paths[1]).unwrap().set_len(70_001).unwrap();
            let mut load = |page| {
                assert_eq!(pager.load(PageId(page), Class::Demand), Load::Started);
                pager.wait().map_err(|error| error.to_string())
            };
            let name = paths[1].display();
            assert_eq!(load(0), Ok(1), "what is left of the file is readable");
            let inside = format!(
                "{name}: cannot read page 1 at byte 65590: \
                 the file ends at byte 70001, but the bytes up to 115590 are needed; it was truncated"
            );
            let beyond = format!(
                "{name}: cannot read page 2 at byte 600007: \
                 the file ends at byte 70001, but the bytes up to 600107 are needed; it was truncated"
            );
            assert_eq!(load(1), Err(inside), "{backend}");
            assert_eq!(load(2), Err(beyond), "{backend}");
            assert_eq!(pager.lease(PageId(0)).unwrap().bytes(), &contents[90..60_090]);
            pager.validate();
        });
    }
}

#[test]
fn dropping_with_reads_in_flight_is_safe() {
    for backend in BACKENDS {
        on_each_file_system(|paths, contents| {
            for flush in [false, true] {
                let window = Window::new(FRAME, 8).unwrap();
                let arena = window.arena().clone();
                let Some(storage) = open_or_skip(paths, &window, 8, backend) else { return };
                let mut pager = Pager::new(storage, ManualClock::new(), window, paths.to_vec(), odd_pages()).unwrap();
                let _ = pager.load(PageId(1), Class::Demand);
                pager.wait().unwrap();
                let lease = pager.lease(PageId(1)).unwrap();
                for page in 2..9 {
                    assert_eq!(pager.load(PageId(page), Class::Hint), Load::Started);
                }
                if flush {
                    pager.flush();
                }
                drop(pager);
                // The lease is the last to hold the memory, and nothing writes to it any more.
                assert_eq!(arena.bytes(), 8 * FRAME);
                drop(arena);
                assert_eq!(lease.bytes(), &contents[..60_000]);
            }
        });
    }
}

#[test]
fn a_pager_may_move_between_threads_with_reads_in_flight() {
    for backend in BACKENDS {
        on_each_file_system(|paths, contents| {
            let window = Window::new(FRAME, 8).unwrap();
            let Some(storage) = open_or_skip(paths, &window, 8, backend) else { return };
            let mut pager = Pager::new(storage, SystemClock::new(), window, paths.to_vec(), odd_pages()).unwrap();
            let start = |pager: &mut Pager<_, _>, page| assert_eq!(pager.load(page, Class::Demand), Load::Started);
            start(&mut pager, PageId(1));
            pager.flush();
            let mut pager = std::thread::scope(|scope| {
                let there = scope.spawn(move || {
                    start(&mut pager, PageId(3));
                    pager.flush();
                    pager
                });
                there.join().unwrap()
            });
            while pager.in_flight() > 0 {
                pager.wait().unwrap();
            }
            let end = FILE_LEN - 50_000;
            assert_eq!(pager.lease(PageId(1)).unwrap().bytes(), &contents[..60_000]);
            assert_eq!(pager.lease(PageId(3)).unwrap().bytes(), &contents[end..]);
        });
    }
}

#[test]
fn a_folder_and_a_missing_file_are_errors_that_name_it() {
    let window = Window::new(FRAME, 1).unwrap();
    let missing = PathBuf::from("/no/such/model.gguf");
    let error = open(&[missing], &window, 2, Backend::Auto).unwrap_err();
    assert_eq!(error.to_string(), "/no/such/model.gguf: cannot open: No such file or directory (os error 2)");
    let folder = std::env::temp_dir();
    let error = open(std::slice::from_ref(&folder), &window, 2, Backend::Auto).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: cannot open: it is not a file", folder.display()));
}

#[test]
fn the_read_rate_is_measured_through_any_backend() {
    on_each_file_system(|paths, _| {
        for backend in BACKENDS {
            let at_most = Nanos(u64::MAX);
            for (pattern, used) in [(Pattern::Random, false), (Pattern::Random, true), (Pattern::Sequential, false)] {
                let (bytes, run_in) = (3 << 20, 1 << 20);
                let probe = Probe { pattern, read_len: 30_000, depth: 3, used, backend, bytes, run_in, at_most };
                match crate::measure_read_rate(paths, &probe, &SystemClock::new()) {
                    Ok(rate) => {
                        assert_eq!((rate.bytes, rate.latencies.count()), (96 * 32_768, 96));
                        assert!(rate.bytes_per_s > 0.0);
                    }
                    Err(crate::ProbeError::Open(error @ OpenError::Uring { .. })) => eprintln!("SKIPPED: {error}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // Without any time each part ends with what comes first.
        let (pattern, used, backend, at_most) = (Pattern::Random, true, Backend::Pread, Nanos::ZERO);
        let probe =
            Probe { pattern, read_len: 4096, depth: 1, used, backend, bytes: 3 << 20, run_in: 1 << 20, at_most };
        assert_eq!(crate::measure_read_rate(paths, &probe, &SystemClock::new()).unwrap().bytes, 4096);
        let probe = Probe { read_len: 2 << 20, depth: 3, bytes: 1, run_in: 0, ..probe };
        let error = crate::measure_read_rate(paths, &probe, &SystemClock::new()).unwrap_err();
        assert_eq!(error.to_string(), "no file is as long as one read of 2097152 bytes");
    });
}
