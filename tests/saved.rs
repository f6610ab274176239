//! A saved context: what follows has the same bits as without, whatever model, machine and beginning; and what is no saved
//! context of this model, or damaged, is refused.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use common::fixture::Fixture;
use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::model::saved::{MAGIC, VERSION};
use forebay_infer::model::{Fingerprint, Restored, SavedError};
use forebay_infer::open::{Loaded, Options, SystemEngine, open_engine};
use forebay_prefetch::SchedulerOptions;
use sha2::{Digest as _, Sha256};

const CONTEXT: usize = 64;
/// Bytes before the tokens: magic, version, fingerprint, type of the KV cache, number of tokens.
const HEAD: usize = 8 + 4 + 32 + 4 + 8;
const DIGEST: usize = 32;

fn open(path: &Path, options: &Options) -> (SystemEngine, Fingerprint) {
    let loaded = Loaded::open(path).unwrap();
    let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, options).unwrap();
    let model = Fingerprint::of(&loaded.gguf, engine.weights_mut().scheduler_mut().pager_mut()).unwrap();
    (engine, model)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits after each of `tokens`, given one at a time.
fn one_by_one(engine: &mut SystemEngine, tokens: &[u32]) -> Vec<Vec<u32>> {
    tokens.iter().map(|&token| bits(engine.forward(&[token], |_| ()).unwrap())).collect()
}

/// The context after `tokens`.
fn saved(path: &Path, options: &Options, tokens: &[u32]) -> Vec<u8> {
    let (mut engine, model) = open(path, options);
    engine.forward(tokens, |_| ()).unwrap();
    let mut bytes = Vec::new();
    engine.save(tokens, &model, &mut bytes).unwrap();
    bytes
}

/// Another prompt after `common` tokens of this one.
fn other_after(common: usize, tokens: &[u32]) -> Vec<u32> {
    let other = |(i, &token): (usize, &u32)| if i < common { token } else { (token + 1) % 64 };
    tokens.iter().enumerate().map(other).collect()
}

struct Case {
    folder: &'static str,
    name: &'static str,
    /// The most saved tokens of which a part can be used.
    divisible: usize,
}

const CASES: [Case; 6] = [
    Case { folder: "arch", name: "llama-gqa", divisible: usize::MAX },
    Case { folder: "experts", name: "deepseek2-v2", divisible: usize::MAX },
    // The token that comes next is one of the 8, and of the 16, that a window shows.
    Case { folder: "arch", name: "gemma3", divisible: 7 },
    Case { folder: "experts", name: "gpt-oss", divisible: 15 },
    Case { folder: "experts", name: "qwen3next", divisible: 0 },
    Case { folder: "experts", name: "qwen35moe", divisible: 0 },
];

impl Case {
    fn load(&self) -> Fixture {
        let fixture = Fixture::load(self.folder, self.name, CONTEXT);
        Fixture { tokens: fixture.tokens[..40].to_vec(), ..fixture }
    }
}

/// Saves the context after `before`, and restores it for `prompt` in another way of running; checks what could be used, and that
/// the logits after the prompt and after what follows it are those without it.
#[track_caller]
fn check(fixture: &Fixture, kv: KvType, before: &[u32], prompt: &[u32], expected: Restored) {
    let here = Options { kv, chunk: Some(3), ..common::options(before.len()) };
    let there = Options {
        isa: Isa::Portable,
        threads: NonZero::<usize>::MIN,
        chunk: None,
        ..Options { kv, ..common::options(CONTEXT + 99) }
    };
    let what = format!("{}, {kv}, {} of {} tokens", fixture.name, prompt.len(), before.len());
    let bytes = saved(&fixture.path, &here, before);
    let (mut engine, model) = open(&fixture.path, &there);
    // Something else was in it.
    engine.forward(&[5, 6, 7, 8, 9, 10, 11, 12, 13], |_| ()).unwrap();
    let restored = engine.restore(prompt, &model, &bytes[..]).unwrap();
    assert_eq!(restored, expected, "{what}");
    assert_eq!(engine.position(), expected.tokens);
    if expected.tokens < prompt.len() {
        engine.forward(&prompt[expected.tokens..], |_| ()).unwrap();
    }
    let mut logits = vec![bits(engine.logits_mut())];
    let follows = &fixture.tokens[..9];
    logits.extend(one_by_one(&mut engine, follows));

    let (mut engine, _) = open(&fixture.path, &Options { kv, ..common::options(CONTEXT) });
    let mut without = vec![bits(engine.forward(prompt, |_| ()).unwrap())];
    without.extend(one_by_one(&mut engine, follows));
    assert!(logits == without, "{what}: other bits");
}

#[test]
fn all_of_a_saved_context_is_used_by_any_model() {
    for case in &CASES {
        let fixture = case.load();
        for kv in KvType::ALL {
            // Within a tile, at its end, and where windows have gone round.
            for len in [1, 7, 8, 31, 32, 33, 40] {
                let before = &fixture.tokens[..len];
                check(&fixture, kv, before, before, Restored { tokens: len, complete: true });
                if len < 40 {
                    check(&fixture, kv, before, &fixture.tokens, Restored { tokens: len, complete: false });
                }
            }
        }
    }
}

#[test]
fn a_common_beginning_is_used_where_the_model_can() {
    for case in &CASES {
        let fixture = case.load();
        for kv in KvType::ALL {
            for (len, common) in [(6, 4), (7, 1), (8, 7), (15, 9), (16, 12), (40, 33), (40, 32)] {
                let before = &fixture.tokens[..len];
                let usable = |tokens| if len <= case.divisible { tokens } else { 0 };
                let tokens = usable(common);
                let other = other_after(common, &fixture.tokens);
                check(&fixture, kv, before, &other, Restored { tokens, complete: false });
                // The last token is computed again, for its logits.
                let tokens = usable(common - 1);
                let complete = len <= case.divisible || common == 1;
                check(&fixture, kv, before, &before[..common], Restored { tokens, complete });
            }
            let other = other_after(0, &fixture.tokens);
            check(&fixture, kv, &fixture.tokens[..6], &other, Restored { tokens: 0, complete: false });
        }
    }
}

/// An engine, a saved context and its prompt, to be spoilt.
struct Victim {
    engine: SystemEngine,
    model: Fingerprint,
    prompt: Vec<u32>,
    bytes: Vec<u8>,
}

impl Victim {
    fn new(kv: KvType) -> Self {
        let fixture = CASES[0].load();
        let options = Options { kv, ..common::options(CONTEXT) };
        let (engine, model) = open(&fixture.path, &options);
        let prompt = fixture.tokens[..3].to_vec();
        let bytes = saved(&fixture.path, &options, &prompt);
        Victim { engine, model, prompt, bytes }
    }

    fn refuses(&mut self, from: impl Read) -> SavedError {
        let error = self.engine.restore(&self.prompt, &self.model, from).unwrap_err();
        assert_eq!(self.engine.position(), 0, "{error}: the context is empty");
        error
    }
}

/// With the digests that belong to it.
fn signed(mut bytes: Vec<u8>, tokens: usize) -> Vec<u8> {
    let head = HEAD + 4 * tokens;
    let digest = Sha256::digest(&bytes[..head]);
    bytes[head..head + DIGEST].copy_from_slice(&digest);
    let end = bytes.len() - DIGEST;
    let digest = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&digest);
    bytes
}

#[test]
fn wherever_it_is_cut_off_or_spoilt_it_is_refused() {
    for kv in KvType::ALL {
        let mut victim = Victim::new(kv);
        let whole = victim.bytes.clone();
        for len in 0..whole.len() {
            let error = victim.refuses(&whole[..len]);
            assert!(matches!(error, SavedError::CutOff), "{len} of {} bytes: {error}", whole.len());
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let error = victim.refuses(&bytes[..]);
                let fits = match at {
                    0..8 => matches!(error, SavedError::Magic),
                    8..12 => matches!(error, SavedError::Version { .. }),
                    // A number of tokens.
                    48..56 => matches!(error, SavedError::Damaged | SavedError::CutOff),
                    _ => matches!(error, SavedError::Damaged),
                };
                assert!(fits, "byte {at} of {}: {error}", whole.len());
            }
        }
        let prompt = victim.prompt.clone();
        let restored = victim.engine.restore(&prompt, &victim.model, &whole[..]).unwrap();
        assert_eq!(restored, Restored { tokens: 3, complete: true }, "after all that");
    }
}

#[test]
fn what_is_undamaged_and_does_not_fit_is_named() {
    let mut victim = Victim::new(KvType::F16);
    let whole = victim.bytes.clone();
    let spoilt = |at: usize, with: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        signed(bytes, 3)
    };
    assert_eq!((&whole[..8], &whole[8..12]), (&MAGIC[..], &VERSION.to_le_bytes()[..]));
    let mut says = |bytes: &[u8], message: &str| assert_eq!(victim.refuses(bytes).to_string(), message);
    says(&spoilt(0, b"GGUF"), "this is no saved context of forebay");
    says(&spoilt(8, &[2]), "the context was saved in version 2 of the format, and this is for version 1");
    says(&spoilt(12, &[1, 2, 3]), "the context was saved with another model");
    says(&spoilt(44, &[1]), "the context was saved with a KV cache in q8_0, and this one is in f16");
    says(&spoilt(44, &[2]), "the context was saved with a KV cache in f32, and this one is in f16");
    says(&spoilt(44, &[3]), "the saved context is damaged: its digest does not fit");
    let mut longer = whole.clone();
    longer.push(0);
    says(&longer, "the saved context goes on after its end");
    // More tokens than there is memory for.
    says(&spoilt(48, &[0xff; 8]), "the saved context is cut off");
    says(&spoilt(48, &(1u64 << 40).to_le_bytes()), "the saved context is cut off");

    // Many tokens, all of them there and none of the keys: an engine of a long context must not believe in them.
    let mut many = whole[..HEAD].to_vec();
    many[48..56].copy_from_slice(&100_000u64.to_le_bytes());
    many.extend(victim.prompt.iter().copied().chain(std::iter::repeat_n(0, 99_997)).flat_map(u32::to_le_bytes));
    many.extend_from_slice(&Sha256::digest(&many));
    assert_eq!(victim.refuses(&many[..]).to_string(), "the saved context is cut off");
}

#[test]
fn a_prompt_that_the_context_does_not_hold_takes_nothing() {
    let fixture = CASES[0].load();
    let bytes = saved(&fixture.path, &common::options(CONTEXT), &fixture.tokens);
    let (mut engine, model) = open(&fixture.path, &common::options(20));
    let restored = engine.restore(&fixture.tokens, &model, &bytes[..]).unwrap();
    assert_eq!(restored, Restored { tokens: 0, complete: false });
    // One that fits takes what it has in common with the longer one.
    let restored = engine.restore(&fixture.tokens[..20], &model, &bytes[..]).unwrap();
    assert_eq!(restored, Restored { tokens: 19, complete: true });
}

#[test]
fn models_with_the_same_header_are_told_apart() {
    let fixture = CASES[0].load();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trained.gguf");
    let mut bytes = std::fs::read(&fixture.path).unwrap();
    let tensor = Loaded::open(&fixture.path).unwrap().gguf.tensor("blk.1.attn_q.weight").unwrap().clone();
    bytes[(tensor.offset + tensor.bytes / 2) as usize] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let [before, after] = [&fixture.path, &path].map(|path| open(path, &common::options(8)).1);
    assert_ne!(before, after);
    assert_eq!(before, open(&fixture.path, &common::floor(&fixture.path, &common::options(9))).1);
}

/// What is said to who wants to save the context, which is that of `tokens`; or what is saved.
fn try_to_save(engine: &SystemEngine, tokens: &[u32], model: &Fingerprint) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::new();
    match catch_unwind(AssertUnwindSafe(|| engine.save(tokens, model, &mut bytes).unwrap())) {
        Ok(()) => Ok(bytes),
        Err(panic) => Err(panic.downcast_ref::<&'static str>().copied().unwrap()),
    }
}

const STALE: &str = "logits after the last of them";

#[test]
fn logits_that_a_failed_pass_left_are_not_saved() {
    let fixture = CASES[0].load();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let whole = std::fs::read(&fixture.path).unwrap();
    std::fs::write(&path, &whole).unwrap();
    // One read after the other, so that the first pages of a matrix are multiplied before the last one is missed.
    let scheduler = SchedulerOptions { prefetch: false, ..Default::default() };
    let floor = common::floor(&path, &common::options(CONTEXT));
    let options = Options { chunk: Some(4), depth: 1, scheduler, ..floor };
    let tokens = &fixture.tokens[..17];
    let tensor = |name: &str| Loaded::open(&fixture.path).unwrap().gguf.tensor(name).unwrap().clone();
    let (head, layer) = (tensor("output.weight"), tensor("blk.1.attn_q.weight"));
    assert_eq!(head.end(), whole.len() as u64, "a file that is cut off there lacks nothing but the head");
    let cut = |len: u64| std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    let expected = |done: usize| saved(&fixture.path, &options, &tokens[..done]);

    // A pass that comes to the end of the head has written over some of the logits; one that fails before has not; and
    // a chunk of a prompt that is done has moved the context away from them.
    let (in_head, in_layer) = (head.end() - 1, layer.offset);
    for (what, cut_at_once, cut_later, done, left) in [
        ("in the head", in_head, in_head, 9, Err(STALE)),
        ("before the head", in_layer, in_layer, 9, Ok(expected(9))),
        ("in the second chunk", whole.len() as u64, in_layer, 13, Err(STALE)),
    ] {
        std::fs::write(&path, &whole).unwrap();
        let (mut engine, model) = open(&path, &options);
        let before = bits(engine.forward(&tokens[..9], |_| ()).unwrap());
        cut(cut_at_once);
        let until = if done == 9 { 13 } else { 17 };
        engine.forward(&tokens[9..until], |_| cut(cut_later)).unwrap_err();
        assert_eq!(engine.position(), done, "{what}");
        assert_eq!(bits(engine.logits_mut()) == before, what != "in the head", "{what}: logits that were written over");
        assert!(try_to_save(&engine, &tokens[..done], &model) == left, "{what}");
        // With the logits of the next pass it is what it would have been.
        std::fs::write(&path, &whole).unwrap();
        engine.forward(&tokens[done..], |_| ()).unwrap();
        assert!(try_to_save(&engine, tokens, &model) == Ok(expected(17)), "{what}, and then again");
    }
}

#[test]
fn logits_of_more_than_was_restored_are_not_saved() {
    let fixture = CASES[0].load();
    let (options, tokens) = (common::options(CONTEXT), &fixture.tokens[..9]);
    let bytes = saved(&fixture.path, &options, tokens);
    let (mut engine, model) = open(&fixture.path, &options);
    let restored = engine.restore(&tokens[..5], &model, &bytes[..]).unwrap();
    assert_eq!(restored, Restored { tokens: 4, complete: true });
    assert!(try_to_save(&engine, &tokens[..4], &model) == Err(STALE));
    engine.restore(tokens, &model, &bytes[..]).unwrap();
    assert!(try_to_save(&engine, tokens, &model) == Ok(bytes));
    // An empty context has none that could be wrong.
    engine.clear();
    assert!(try_to_save(&engine, &[], &model).is_ok());
}

/// Gives or takes so many bytes, and then fails.
struct Failing(usize);

impl Failing {
    fn pass(&mut self, bytes: usize) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the flash is gone"));
        }
        let n = bytes.min(self.0);
        self.0 -= n;
        Ok(n)
    }
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct FailingReader<'a>(&'a [u8], Failing);

impl Read for FailingReader<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.1.pass(to.len().min(self.0.len()))?;
        self.0.read(&mut to[..n])
    }
}

#[test]
fn failures_of_the_file_are_passed_on() {
    let mut victim = Victim::new(KvType::F16);
    let whole = victim.bytes.clone();
    for at in (0..whole.len()).step_by(97) {
        let error = victim.refuses(FailingReader(&whole, Failing(at)));
        assert!(matches!(error, SavedError::Io(_)), "{error}");
        assert_eq!(error.to_string(), "the flash is gone");
    }
    let Victim { engine, model, prompt, .. } = &mut victim;
    engine.forward(prompt, |_| ()).unwrap();
    for at in (0..whole.len()).step_by(97) {
        assert_eq!(engine.save(prompt, model, Failing(at)).unwrap_err().to_string(), "the flash is gone");
    }
}
