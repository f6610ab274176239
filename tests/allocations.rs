//! After warm-up a token allocates nothing, on any thread: forward pass, streaming, sampling and text together.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use common::mixture::Spec;
use forebay_infer::open::{Loaded, Options, open_engine};
use forebay_infer::sampler::{Sampler, SamplerParams};
use forebay_infer::stream::TextStream;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator as it is; counting changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test only, in a process of its own: others would be counted too.
#[test]
fn a_token_allocates_nothing() {
    with_experts();
    with_recurrence();
    with_text();
}

/// Tokens that go to other experts each time.
fn with_experts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    Spec::new("qwen2moe").write(&path, 3);
    let loaded = Loaded::open(&path).unwrap();
    let base = Options { page_len: Some(1), ..common::options(256) };
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let ceiling = |window| forebay::measure::ceiling_for_window(&loaded.map, &base, window).unwrap();
    for (what, ram) in [
        ("resident", base.ram),
        ("half of the experts streamed", ceiling(dense + experts / 2)),
        ("nearly everything streamed", ceiling((dense + experts) / 6)),
    ] {
        let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, &Options { ram, ..base }).unwrap();
        let mut turn = |i: u32| {
            engine.forward(&[(i * 31 + i * i) % 48], |_| ()).unwrap();
        };
        (0..80).for_each(&mut turn);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (80..110).for_each(&mut turn);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "allocations of 30 tokens, {what}");
        let stats = engine.weights().scheduler().expert_stats();
        assert_eq!(stats.loads > 100, what != "resident", "{what}: {stats:?}");
    }
}

/// Tokens of a model most of whose layers are recurrent.
fn with_recurrence() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/experts/qwen35moe.gguf");
    let base = common::options(256);
    for (what, options) in [("resident", base), ("the smallest window", common::floor(&path, &base))] {
        let (_, mut engine, _) = common::open(&path, &options);
        let mut turn = |i: u32| {
            engine.forward(&[(i * 31 + i * i) % 64], |_| ()).unwrap();
        };
        (0..80).for_each(&mut turn);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (80..110).for_each(&mut turn);
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "allocations of 30 tokens, recurrent layers, {what}");
    }
}

fn with_text() {
    let Some(path) = common::model("smollm2-135m-instruct") else { return };
    let loaded = Loaded::open(&path).unwrap();
    let base = common::options(256);
    let streamed = loaded.map.streamed_bytes();
    let half = forebay::measure::ceiling_for_window(&loaded.map, &base, streamed / 2).unwrap();
    for (what, ram) in [("resident", base.ram), ("half of it streamed", half)] {
        let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, &Options { ram, ..base }).unwrap();
        let params = SamplerParams { repeat_penalty: 1.1, seed: 1, ..SamplerParams::default() };
        let mut sampler = Sampler::new(params, loaded.tokenizer.vocab_len()).unwrap();
        let mut stream = TextStream::new(["a stop string that never comes"]).unwrap();
        let mut piece = Vec::with_capacity(256);
        let mut letters = 0;
        let mut token = 17;
        let mut turn = || {
            engine.forward(&[token], |_| ()).unwrap();
            token = sampler.sample(engine.logits_mut()).unwrap();
            sampler.accept(token);
            piece.clear();
            loaded.tokenizer.decode_piece(token, true, &mut piece);
            stream.feed(&piece, &mut |text| letters += text.len());
        };
        (0..80).for_each(|_| turn()); // Longer than the penalties look back.
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..16).for_each(|_| turn());
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "allocations of 16 tokens, {what}");
        assert!(letters > 0);
    }
}
