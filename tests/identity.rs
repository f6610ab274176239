//! Logits are the same to the last bit whatever the budget, policy, backend, prefetch, threads, instruction set or chunk.

mod common;

use std::num::NonZero;

use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::open::{Loaded, OpenError, Options, divide, open_engine};
use forebay_pager::Backend;
use forebay_prefetch::{PolicyKind, SchedulerOptions};

const PROMPT: &str = "The forebay is the small pool right in front of a turbine:";
const STEPS: usize = 3;

/// The bits of all logits after the prompt and after each of some greedy tokens.
fn logits(loaded: &Loaded, options: &Options) -> Vec<Vec<u32>> {
    let tokens = loaded.tokenizer.encode(PROMPT, Default::default());
    let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, options).unwrap();
    let bits = |logits: &[f32]| logits.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
    let mut all = vec![bits(engine.forward(&tokens, |_| ()).unwrap())];
    for step in 0..STEPS {
        let next = [17, 4242, 9][step]; // Any tokens will do: the same for all.
        all.push(bits(engine.forward(&[next], |_| ()).unwrap()));
    }
    all
}

/// The least ceiling that opens.
fn floor(loaded: &Loaded, options: &Options) -> u64 {
    divide(&loaded.map, &Options { ram: 1, ..*options }).unwrap_err().floor
}

/// The ceiling whose window is this share of the streamed bytes.
fn share(loaded: &Loaded, options: &Options, percent: u64) -> u64 {
    let window = loaded.map.streamed_bytes() * percent / 100;
    forebay::measure::ceiling_for_window(&loaded.map, options, window).unwrap()
}

fn check(model: &str) {
    let Some(path) = common::model(model) else { return };
    let loaded = Loaded::open(&path).unwrap();
    let base = common::options(64);
    let expected = logits(&loaded, &Options { threads: NonZero::<usize>::MIN, ..base });
    let same = |what: &str, options: Options| {
        assert!(logits(&loaded, &options) == expected, "{model}: other logits with {what}");
    };
    let [small, third, most] = [floor(&loaded, &base), share(&loaded, &base, 30), share(&loaded, &base, 60)]
        .map(|ram| Options { ram, ..base });

    same("everything resident, 2 threads", base);
    same("the floor", small);
    same("a window of 30 %", third);
    same("a window of 60 %", most);
    same("3 threads", Options { threads: NonZero::new(3).unwrap(), ..third });
    for policy in PolicyKind::ALL {
        for prefetch in [true, false] {
            let scheduler = SchedulerOptions { policy, prefetch, ..Default::default() };
            same(&format!("{policy}, prefetch {prefetch}"), Options { scheduler, ..third });
        }
    }
    for backend in [Backend::Pread, Backend::Mmap] {
        same(&format!("{backend}"), Options { backend, ..third });
    }
    same("one read at a time", Options { depth: 1, ..third });
    same("long pages", Options { page_len: Some(1 << 20), ..third });
    same("a prompt token by token", Options { chunk: Some(1), ..third });
    same("a prompt in chunks of 5", Options { chunk: Some(5), ..third });
    same("the portable kernels", Options { isa: Isa::Portable, ..base });

    for kv in [KvType::F32, KvType::Q8_0] {
        let kept_so = Options { kv, ..base };
        let others = logits(&loaded, &kept_so);
        assert!(others != expected, "{model}: a cache in {kv} does not round as one in f16");
        for (what, options) in [
            ("1 thread", Options { threads: NonZero::<usize>::MIN, ..kept_so }),
            ("a prompt in chunks of 5", Options { chunk: Some(5), ..kept_so }),
            ("the portable kernels", Options { isa: Isa::Portable, ..kept_so }),
        ] {
            assert!(logits(&loaded, &options) == others, "{model}: other logits in {kv} with {what}");
        }
    }
}

#[test]
fn smollm2_has_the_same_bits_everywhere() {
    check("smollm2-135m-instruct");
}

#[test]
fn gemma3_has_the_same_bits_everywhere() {
    check("gemma-3-270m");
}

#[test]
fn below_the_floor_the_error_says_the_floor() {
    let Some(path) = common::model("smollm2-135m-instruct") else { return };
    let loaded = Loaded::open(&path).unwrap();
    let options = common::options(64);
    let least = floor(&loaded, &options);
    let error = open_engine(&loaded.gguf, &loaded.map, &Options { ram: least - 1, ..options }).unwrap_err();
    assert!(matches!(&error, OpenError::BelowFloor(e) if e.floor == least), "{error}");
}
