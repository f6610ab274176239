//! Architectures with experts against the library that they come from, on tiny random models.
//!
//! `tests/golden/make_moe_fixtures.py` makes the models of `tests/golden/experts` and says what is in them.
#![allow(clippy::disallowed_methods)] // Tests read files.

mod common;

use common::fixture::{Fixture, names};
use forebay_infer::kernels::KvShape;
use forebay_infer::kernels::ops::argmax;

/// Largest difference to the expected logits, as a part of their range, where the weights are floats: f32 throughout, and we
/// keep keys and values in half precision.
const TOLERANCE: f64 = 1e-3;
/// The same with keys and values in f32, which leaves the order of sums.
const EXACT_TOLERANCE: f64 = 1e-5;
/// The same where weights, and activations with them, are quantized: these logits are llama.cpp's, and any other order of
/// roundings lies as far away.
const QUANTIZED_TOLERANCE: f64 = 2e-2;
const CONTEXT: usize = 137;

fn check(name: &str, tolerance: f64) {
    let fixture = Fixture::load("experts", name, CONTEXT);
    fixture.check(tolerance);
    greedy(&fixture);
}

/// llama.cpp's tokens after a prompt.
fn greedy(fixture: &Fixture) {
    let golden = common::golden(&format!("experts/{}.json", fixture.name));
    let tokens = |key: &str| -> Vec<u32> {
        golden["greedy"][key].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect()
    };
    let (_, mut engine, _) = common::open(&fixture.path, &common::options(CONTEXT));
    let mut next = argmax(engine.forward(&tokens("prompt"), |_| ()).unwrap()) as u32;
    for (i, expected) in tokens("tokens").into_iter().enumerate() {
        assert_eq!(next, expected, "{}: token {i}", fixture.name);
        next = argmax(engine.forward(&[next], |_| ()).unwrap()) as u32;
    }
}

macro_rules! fixtures {
    ($tolerance:expr; $($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name, $tolerance);
            }
        )*
        pub(super) const NAMES: &[&str] = &[$($name),*];
    };
}

mod floats {
    use super::*;
    fixtures! { TOLERANCE;
        deepseek2_v2: "deepseek2-v2",
        deepseek2_v2_few_heads: "deepseek2-v2-few-heads",
        deepseek2_v2_lite: "deepseek2-v2-lite",
        deepseek2_v2_one_expert: "deepseek2-v2-one-expert",
        deepseek2_v2_yarn: "deepseek2-v2-yarn",
        deepseek2_v3: "deepseek2-v3",
        deepseek2_v3_no_groups: "deepseek2-v3-no-groups",
        deepseek2_v3_odd_heads: "deepseek2-v3-odd-heads",
        deepseek2_v3_yarn: "deepseek2-v3-yarn",
        glm4moe: "glm4moe",
        glm4moe_groups: "glm4moe-groups",
        glm4moe_mtp: "glm4moe-mtp",
        glm4moe_odd_heads: "glm4moe-odd-heads",
        glm4moe_yarn: "glm4moe-yarn",
        gpt_oss: "gpt-oss",
        gpt_oss_odd_heads: "gpt-oss-odd-heads",
        gpt_oss_one_expert: "gpt-oss-one-expert",
        granitemoe: "granitemoe",
        granitemoe_biases: "granitemoe-biases",
        granitemoe_odd_heads: "granitemoe-odd-heads",
        granitemoe_one_expert: "granitemoe-one-expert",
        granitemoe_shared: "granitemoe-shared",
        mixtral: "mixtral",
        mixtral_factors: "mixtral-factors",
        mixtral_first_expert: "mixtral-first-expert",
        mixtral_odd_heads: "mixtral-odd-heads",
        mixtral_one_expert: "mixtral-one-expert",
        mixtral_yarn: "mixtral-yarn",
        olmoe: "olmoe",
        olmoe_all_experts: "olmoe-all-experts",
        olmoe_linear: "olmoe-linear",
        olmoe_odd_heads: "olmoe-odd-heads",
        olmoe_one_expert: "olmoe-one-expert",
        qwen2moe: "qwen2moe",
        qwen2moe_no_bias: "qwen2moe-no-bias",
        qwen2moe_odd_heads: "qwen2moe-odd-heads",
        qwen2moe_one_expert: "qwen2moe-one-expert",
        qwen2moe_yarn: "qwen2moe-yarn",
        qwen35moe: "qwen35moe",
        qwen35moe_all_experts: "qwen35moe-all-experts",
        qwen35moe_fused: "qwen35moe-fused",
        qwen35moe_irregular: "qwen35moe-irregular",
        qwen35moe_mtp: "qwen35moe-mtp",
        qwen35moe_odd_heads: "qwen35moe-odd-heads",
        qwen35moe_one_expert: "qwen35moe-one-expert",
        qwen35moe_tiled: "qwen35moe-tiled",
        qwen35moe_yarn: "qwen35moe-yarn",
        qwen3moe: "qwen3moe",
        qwen3moe_all_experts: "qwen3moe-all-experts",
        qwen3moe_odd_heads: "qwen3moe-odd-heads",
        qwen3moe_one_expert: "qwen3moe-one-expert",
        qwen3moe_yarn: "qwen3moe-yarn",
        qwen3next: "qwen3next",
        qwen3next_all_experts: "qwen3next-all-experts",
        qwen3next_irregular: "qwen3next-irregular",
        qwen3next_odd_heads: "qwen3next-odd-heads",
        qwen3next_one_expert: "qwen3next-one-expert",
        qwen3next_yarn: "qwen3next-yarn",
    }
}

mod quantized {
    use super::*;
    fixtures! { QUANTIZED_TOLERANCE;
        qwen35moe_q8_0: "qwen35moe-q8-0",
        gpt_oss_mxfp4: "gpt-oss-mxfp4",
        qwen3moe_q4_0: "qwen3moe-q4-0",
        qwen3moe_q8_0: "qwen3moe-q8-0",
    }
}

#[test]
fn keys_and_values_in_f32_leave_nothing_but_the_order_of_sums() {
    for &name in floats::NAMES {
        let difference = Fixture::load("experts", name, CONTEXT).difference_in_f32();
        eprintln!("{name}: {difference:.1e} of the range with keys and values in f32");
        assert!(difference <= EXACT_TOLERANCE, "{name}: {difference:.1e} of the range with keys and values in f32");
    }
}

#[test]
fn every_fixture_is_tested() {
    let there = names("experts");
    let mut tested = [floats::NAMES, quantized::NAMES].concat();
    tested.sort_unstable();
    assert_eq!(there, tested);
}

/// Whatever the number of heads: an attention that keeps keys and values of 4 heads of 18 and 14 would need more.
#[test]
fn what_is_kept_of_a_position_is_its_latent() {
    let fixture = Fixture::load("experts", "deepseek2-v2", CONTEXT);
    let options = common::options(CONTEXT);
    let (loaded, mut engine, budget) = common::open(&fixture.path, &options);
    let layer = KvShape { ty: options.kv, heads: 1, key_dim: 20 + 8, value_dim: 20, positions: CONTEXT };
    let bytes = loaded.map.decoder.layers.len() as u64 * layer.bytes() as u64;
    assert_eq!(budget.needs.kv, bytes);
    engine.forward(&fixture.tokens, |_| ()).unwrap();
    assert_eq!(engine.kv_bytes_at(CONTEXT - 1), bytes);
}
