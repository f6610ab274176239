//! What the integration tests share: finding models, opening engines.
#![allow(dead_code, clippy::disallowed_methods)] // Each test uses a part; tests may open files.

use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use forebay::catalogue;
use forebay_infer::budget::Budget;
use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::open::{Loaded, Options, SystemEngine, open_engine};
use forebay_pager::Backend;
use forebay_prefetch::SchedulerOptions;

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
