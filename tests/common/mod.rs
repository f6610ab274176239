//! What the integration tests share: finding models, opening engines.
#![allow(dead_code, clippy::disallowed_methods)] // Each test uses a part; tests may open files.

pub(crate) mod fixture;
pub(crate) mod mixture;
pub(crate) mod standin;

use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use forebay::catalogue;
use forebay_infer::budget::Budget;
use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::open::{Loaded, Options, SystemEngine, divide, open_engine};
use forebay_pager::Backend;
use forebay_prefetch::{PolicyKind, SchedulerOptions};

/// The file of a model of the catalogue. Where it is not there the test is skipped, loudly, unless
/// `FOREBAY_REQUIRE_MODELS` (names separated by commas) says that it must be.
pub(crate) fn model(name: &str) -> Option<PathBuf> {
    let entry = catalogue::find(name).unwrap();
    if let Some(path) = entry.cached() {
        return Some(path);
    }
    let required = std::env::var("FOREBAY_REQUIRE_MODELS").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == name), "{name} is required and not there: run `forebay fetch {name}`");
    // Not `eprintln`, which the test harness keeps to itself when the test passes.
    let note = format!("\nSKIPPED, nothing checked: `cargo run --release -- fetch {name}` gets the model {name}\n");
    std::io::stderr().write_all(note.as_bytes()).unwrap();
    None
}

/// Everything resident, all defaults.
pub(crate) fn options(context: usize) -> Options {
    Options {
        ram: 64 << 30,
        process: 0,
        context,
        kv: KvType::F16,
        threads: NonZero::new(2).unwrap(),
        isa: Isa::detect(),
        backend: Backend::Auto,
        depth: 8,
        page_len: None,
        chunk: None,
        scheduler: SchedulerOptions::default(),
    }
}

pub(crate) fn open(path: &Path, options: &Options) -> (Loaded, SystemEngine, Budget) {
    let loaded = Loaded::open(path).unwrap();
    let (engine, budget, _) = open_engine(&loaded.gguf, &loaded.map, options).unwrap();
    (loaded, engine, budget)
}

/// A file of `tests/golden`.
pub(crate) fn golden(name: &str) -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The ways of running that must make no difference.
pub(crate) fn ways(path: &Path, base: &Options) -> Vec<(String, Options)> {
    let threads = |n| NonZero::new(n).unwrap();
    let floor = floor(path, base);
    let mut ways = vec![
        ("one token at a time".to_owned(), Options { chunk: Some(1), ..*base }),
        ("chunks of 3".to_owned(), Options { chunk: Some(3), ..*base }),
        ("one token at a time in the smallest window".to_owned(), Options { chunk: Some(1), ..floor }),
        ("the portable kernels".to_owned(), Options { isa: Isa::Portable, ..*base }),
        ("the portable kernels in the smallest window".to_owned(), Options { isa: Isa::Portable, ..floor }),
    ];
    for n in [1, 3] {
        ways.push((format!("{n} threads"), Options { threads: threads(n), ..*base }));
    }
    for policy in PolicyKind::ALL {
        for prefetch in [true, false] {
            let how = format!("{} in the smallest window, prefetch {prefetch}", policy.name());
            ways.push((
                how,
                Options { scheduler: SchedulerOptions { policy, prefetch, ..Default::default() }, ..floor },
            ));
        }
    }
    for backend in [Backend::Pread, Backend::Mmap] {
        ways.push((format!("{backend} in the smallest window"), Options { backend, ..floor }));
    }
    if uring_works(path, &floor) {
        let backend = Backend::Uring;
        ways.push((format!("{backend} in the smallest window"), Options { backend, depth: 2, ..floor }));
    }
    ways
}

/// The least memory, and pages so short that it does not hold the model.
pub(crate) fn floor(path: &Path, base: &Options) -> Options {
    let loaded = Loaded::open(path).unwrap();
    let short = Options { page_len: Some(1), ram: 0, ..*base };
    let floor = Options { ram: divide(&loaded.map, &short).unwrap_err().floor, ..short };
    let budget = divide(&loaded.map, &floor).unwrap();
    assert_eq!(budget.frames, budget.least_frames);
    assert!(budget.frames < budget.frames_for_all, "{}: the window holds everything", path.display());
    floor
}

/// io_uring is not allowed everywhere; where it is not, the other backends are what there is to compare.
fn uring_works(path: &Path, options: &Options) -> bool {
    let loaded = Loaded::open(path).unwrap();
    let options = Options { backend: Backend::Uring, ..*options };
    match open_engine(&loaded.gguf, &loaded.map, &options) {
        Ok(_) => true,
        Err(error) => {
            eprintln!("SKIPPED: io_uring: {error}");
            false
        }
    }
}
