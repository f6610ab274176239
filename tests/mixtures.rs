//! Models with experts: the logits of a plain computation in double precision, the same bits in every way of running, and no
//! expert read more often than it must be.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::path::PathBuf;

use common::mixture::{LAYERS, Spec};
use forebay_infer::gguf::TensorType;
use forebay_infer::open::{Options, divide};
use forebay_prefetch::{ExpertStats, Lookahead, PassExperts, PolicyKind, SchedulerOptions};

/// Largest difference to the oracle, as a part of the range of the logits; keys and values in half precision are most of it.
const TOLERANCE: f64 = 1e-3;
/// The same where weights, and activations with them, have 8 bits.
const QUANTIZED_TOLERANCE: f64 = 2e-2;
const CONTEXT: usize = 64;
/// More than the tokens from which on products are made with panels, in one chunk.
const TOKENS: usize = 40;

struct Model {
    spec: Spec,
    path: PathBuf,
    expected: Vec<Vec<f64>>,
    tokens: Vec<u32>,
    _directory: tempfile::TempDir,
}

impl Model {
    fn new(spec: Spec) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        let weights = spec.write(&path, 7);
        let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| (i * 29 + i * i * 5 + 3) % 48).collect();
        let expected = spec.oracle(&weights, &tokens);
        Model { spec, path, expected, tokens, _directory: directory }
    }

    /// The logits of the last token, in bits, when all are given at once; then of each of three more.
    fn run(&self, options: &Options) -> Vec<Vec<u32>> {
        let (_, mut engine, _) = common::open(&self.path, options);
        let prompt = TOKENS - 3;
        let mut rows: Vec<Vec<u32>> = Vec::new();
        for tokens in std::iter::once(&self.tokens[..prompt]).chain(self.tokens[prompt..].chunks(1)) {
            rows.push(engine.forward(tokens, |_| ()).unwrap().iter().map(|x| x.to_bits()).collect());
        }
        rows
    }

    fn difference(&self, rows: &[Vec<u32>]) -> f64 {
        let expected = &self.expected[TOKENS - rows.len()..];
        let mut worst: f64 = 0.0;
        for (row, expected) in rows.iter().zip(expected) {
            let (least, most) = expected.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            for (bits, expected) in row.iter().zip(expected) {
                let difference = (f64::from(f32::from_bits(*bits)) - expected).abs() / (most - least);
                worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
            }
        }
        worst
    }

    fn check(&self, tolerance: f64) {
        let base = common::options(CONTEXT);
        let reference = self.run(&base);
        let difference = self.difference(&reference);
        eprintln!("{:?}: {difference:.1e} of the range", self.spec);
        assert!(difference <= tolerance, "{:?}: {difference:.1e} of the range", self.spec);
        let mut ways = common::ways(&self.path, &base);
        // Between the smallest window and all of it.
        for share in [2, 4, 8] {
            let window = std::fs::metadata(&self.path).unwrap().len() / share;
            let short = Options { page_len: Some(1), ..base };
            let loaded = forebay_infer::open::Loaded::open(&self.path).unwrap();
            let ram = forebay::measure::ceiling_for_window(&loaded.map, &short, window).unwrap();
            for policy in PolicyKind::ALL {
                let scheduler = SchedulerOptions { policy, ..Default::default() };
                ways.push((format!("{policy}, a window of 1/{share}"), Options { ram, scheduler, ..short }));
            }
            for lookahead in Lookahead::ALL {
                let scheduler = SchedulerOptions { lookahead, ..Default::default() };
                for chunk in [None, Some(1)] {
                    let how = format!("lookahead {lookahead}, chunk {chunk:?}, a window of 1/{share}");
                    ways.push((how, Options { ram, scheduler, chunk, ..short }));
                }
            }
        }
        for (how, options) in ways {
            assert!(self.run(&options) == reference, "{:?}: other bits with {how}", self.spec);
        }
    }
}

macro_rules! specs {
    ($($test:ident: $spec:expr;)*) => {$(
        #[test]
        fn $test() {
            let spec: Spec = $spec;
            let tolerance = if spec.ty == TensorType::F32 { TOLERANCE } else { QUANTIZED_TOLERANCE };
            Model::new(spec).check(tolerance);
        }
    )*};
}

specs! {
    mixtral: Spec::new("llama");
    qwen3moe: Spec::new("qwen3moe");
    olmoe: Spec::new("olmoe");
    qwen2moe: Spec::new("qwen2moe");
    granitemoe: Spec::new("granitemoe");
    granitemoe_without_a_shared_expert: Spec { shared: None, tied: true, ..Spec::new("granitemoe") };
    one_expert: Spec { experts: 1, chosen: 1, ..Spec::new("qwen3moe") };
    every_expert: Spec { experts: 5, chosen: 5, ..Spec::new("qwen2moe") };
    one_of_many: Spec { experts: 33, chosen: 1, width: 32, ..Spec::new("llama") };
    odd_heads: Spec { heads: 3, kv_heads: 1, head_dim: 24, ..Spec::new("qwen3moe") };
    experts_in_8_bits: Spec { ty: TensorType::Q8_0, ..Spec::new("qwen3moe") };
    shared_beside_8_bits: Spec { ty: TensorType::Q8_0, ..Spec::new("qwen2moe") };
}

/// The ceiling that leaves this many frames, in the shortest pages.
fn with_frames(model: &Model, frames: impl Fn(usize) -> usize) -> Options {
    let short = Options { page_len: Some(1), ..common::options(CONTEXT) };
    let loaded = forebay_infer::open::Loaded::open(&model.path).unwrap();
    let unlimited = divide(&loaded.map, &Options { ram: u64::MAX / 4, ..short }).unwrap();
    let window = (frames(unlimited.least_frames) * unlimited.frame_len) as u64;
    let ram = forebay::measure::ceiling_for_window(&loaded.map, &short, window).unwrap();
    Options { ram, ..short }
}

#[test]
fn a_chunk_reads_each_expert_at_most_once() {
    for arch in ["qwen3moe", "qwen2moe"] {
        let model = Model::new(Spec { experts: 16, chosen: 4, ..Spec::new(arch) });
        for more in [0, 3, 10, 40] {
            for policy in PolicyKind::ALL {
                let options = Options {
                    chunk: Some(TOKENS),
                    scheduler: SchedulerOptions { policy, ..Default::default() },
                    ..with_frames(&model, |least| least + more)
                };
                let (_, mut engine, budget) = common::open(&model.path, &options);
                assert_eq!(budget.chunk, TOKENS);
                for _ in 0..2 {
                    engine.clear();
                    engine.forward(&model.tokens, |_| ()).unwrap();
                    let scheduler = engine.weights_mut().scheduler_mut();
                    let experts = scheduler.take_expert_stats();
                    // Every token chooses 4 in each layer; all of them together no more than there are.
                    assert!(experts.used <= (LAYERS * 16) as u64, "{experts:?}");
                    assert!(experts.loads <= experts.used && experts.loads > 0, "{experts:?}");
                    let pages = u64::from(scheduler.plan().choices()[0].1.pages_per_expert);
                    assert!(
                        experts.reads <= experts.loads * pages,
                        "{arch}, {policy}, {more} frames more: {experts:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_chunk_tells_how_often_it_has_read_its_experts() {
    const CHUNK: usize = 10;
    let model = Model::new(Spec { experts: 16, chosen: 4, ..Spec::new("qwen2moe") });
    let mut smaller = 0;
    for more in [0, 3, 10, 40] {
        for policy in PolicyKind::ALL {
            let options = Options {
                chunk: Some(CHUNK),
                scheduler: SchedulerOptions { policy, ..Default::default() },
                ..with_frames(&model, |least| least + more)
            };
            let (_, mut engine, budget) = common::open(&model.path, &options);
            for _ in 0..2 {
                engine.clear();
                let mut chunks = Vec::new();
                engine.forward(&model.tokens, |progress| chunks.push(progress)).unwrap();
                let ends: Vec<usize> = chunks.iter().map(|chunk| chunk.done).collect();
                assert_eq!(ends, [10, 20, 30, 40]);
                let scheduler = engine.weights_mut().scheduler_mut();
                let pages = u64::from(scheduler.plan().choices()[0].1.pages_per_expert);
                let stats = scheduler.take_expert_stats();
                let sum = |of: fn(&PassExperts) -> u64| chunks.iter().map(|chunk| of(&chunk.experts)).sum::<u64>();
                assert_eq!(sum(|e| e.needed), stats.used);
                let reads = sum(|e| e.reads);
                assert!(reads * pages >= stats.reads + stats.hint_reads, "{chunks:?}, {stats:?}");
                for PassExperts { needed, reads, most_reads } in chunks.iter().map(|chunk| chunk.experts) {
                    let what = format!("{policy}, {more} frames more: {needed} needed, {reads} read");
                    assert!(reads <= needed && most_reads <= 1, "{what}, one of them {most_reads} times");
                    assert!(needed <= (LAYERS * 16) as u64);
                    smaller += usize::from(needed * pages > (LAYERS * budget.frames) as u64);
                }
            }
        }
    }
    assert!(smaller > 0, "in some windows a layer's part of a chunk did not fit");
}

#[test]
fn a_token_reads_what_it_chose_and_no_more() {
    // Room for what is dense and the experts of one token.
    let model = Model::new(Spec { experts: 16, chosen: 2, ..Spec::new("qwen3moe") });
    let off = SchedulerOptions { lookahead: Lookahead::Off, ..Default::default() };
    let (_, engine, _) = common::open(&model.path, &with_frames(&model, |least| least));
    let plan = engine.weights().scheduler().plan().clone();
    let per_expert = plan.choices()[0].1.pages_per_expert as usize;
    let frames = plan.dense().len() + 2 * 8 + 2 * per_expert;
    let options = Options { scheduler: off, ..with_frames(&model, |_| frames) };
    let (_, mut engine, _) = common::open(&model.path, &options);
    for &token in &model.tokens[..4] {
        engine.forward(&[token], |_| ()).unwrap();
    }
    let scheduler = engine.weights_mut().scheduler_mut();
    let _ = (scheduler.take_expert_stats(), scheduler.pager_mut().take_stats());
    for &token in &model.tokens[4..24] {
        engine.forward(&[token], |_| ()).unwrap();
    }
    let scheduler = engine.weights_mut().scheduler_mut();
    let (experts, stats) = (scheduler.take_expert_stats(), scheduler.pager_mut().take_stats());
    assert_eq!(experts.used, (20 * LAYERS * 2) as u64);
    // Nothing else: all that is dense has stayed.
    assert_eq!(stats.reads - stats.gathered, experts.reads);
    assert!(experts.reads <= experts.loads * per_expert as u64, "{experts:?}");
    assert_eq!((experts.hints, experts.hint_reads), (0, 0));
}

/// One token after the other in a window that lacks some of the experts; what was counted of the last 100.
fn decode(model: &Model, lookahead: Lookahead) -> ExpertStats {
    let options = Options {
        scheduler: SchedulerOptions { lookahead, ..Default::default() },
        page_len: Some(1),
        ..common::options(256)
    };
    let loaded = forebay_infer::open::Loaded::open(&model.path).unwrap();
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let ram = forebay::measure::ceiling_for_window(&loaded.map, &options, dense + experts / 2).unwrap();
    let (_, mut engine, _) = common::open(&model.path, &Options { ram, ..options });
    for i in 0..150u32 {
        if i == 50 {
            let _ = engine.weights_mut().scheduler_mut().take_expert_stats();
        }
        engine.forward(&[(i * 31 + i * i * 3) % 48], |_| ()).unwrap();
    }
    engine.weights().scheduler().expert_stats()
}

#[test]
fn the_next_router_names_experts_that_are_then_chosen() {
    let model = Model::new(Spec { experts: 16, chosen: 2, ..Spec::new("qwen2moe") });
    let [off, learnt, router] = Lookahead::ALL.map(|lookahead| decode(&model, lookahead));
    eprintln!("off {off:?}\nlearnt {learnt:?}\nrouter {router:?}");
    assert_eq!((off.used, off.hints), (router.used, 0));
    for stats in [learnt, router] {
        assert!(stats.hints_used + stats.hints_wasted <= stats.hints + 16, "{stats:?}");
        assert!(stats.hints_late <= stats.hints_used, "{stats:?}");
    }
    // Of 16 experts 2 are chosen: a blind guess would be wrong seven times as often as right.
    assert!(router.hints_used > 0 && 2 * router.hints_used > router.hints_wasted, "{router:?}");
}

#[test]
fn what_a_plan_says_of_a_model_with_experts() {
    let model = Model::new(Spec::new("llama"));
    let map = forebay_infer::open::Loaded::open(&model.path).unwrap().map;
    let (dense, experts) = map.dense_and_expert_bytes();
    assert_eq!(experts, (LAYERS * 9 * 3 * 96 * 64 * 4) as u64);
    assert_eq!(map.streamed_bytes(), dense + experts / 3);
    assert_eq!(map.read_per_token(0), map.streamed_bytes());
    assert_eq!(map.read_per_token(dense), experts / 3);
    assert_eq!(map.read_per_token(dense + experts / 2), experts / 6);
    assert_eq!(map.read_per_token(dense + experts), 0);
}

#[test]
fn a_failed_read_names_layer_and_expert_and_a_retry_works() {
    let model = Model::new(Spec::new("llama"));
    let options = with_frames(&model, |least| least);
    let expected = model.run(&options);
    let whole = std::fs::read(&model.path).unwrap();
    let (loaded, mut engine, _) = common::open(&model.path, &options);
    let last = format!("blk.{}.ffn_down_exps.weight", LAYERS - 1);
    let tensor = loaded.gguf.tensor(&last).unwrap();
    // The file loses its last experts while the model is open.
    let file = std::fs::OpenOptions::new().write(true).open(&model.path).unwrap();
    file.set_len(tensor.offset + tensor.bytes / 9 * 4).unwrap();
    for _ in 0..2 {
        let error = engine.forward(&model.tokens[..TOKENS - 3], |_| ()).unwrap_err().to_string();
        let place = error.strip_prefix(&format!("layer {}, expert ", LAYERS - 1)).unwrap_or_else(|| panic!("{error}"));
        let expert = place.split(':').next().unwrap().parse::<usize>().unwrap();
        assert!((4..9).contains(&expert), "{error}");
        assert!(error.contains(&format!("{}: cannot read page ", model.path.display())), "{error}");
        assert_eq!(engine.position(), 0);
    }
    std::fs::write(&model.path, &whole).unwrap();
    let logits = engine.forward(&model.tokens[..TOKENS - 3], |_| ()).unwrap();
    assert_eq!(logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected[0]);
}
