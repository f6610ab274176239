//! Architectures with experts against the library that they come from, on tiny random models.
//!
//! `tests/golden/make_moe_fixtures.py` makes the models of `tests/golden/experts` and says what is in them.
#![allow(clippy::disallowed_methods)] // Tests read files.

mod common;

use common::fixture::{Fixture, names};
use forebay_infer::kernels::ops::argmax;

/// Largest difference to the expected logits, as a part of their range, where the weights are floats: f32 throughout, and we
/// keep keys and values in half precision.
const TOLERANCE: f64 = 1e-3;
/// The same where weights, and activations with them, are quantized: these logits are llama.cpp's, and any other order of
/// roundings lies as far away.
const QUANTIZED_TOLERANCE: f64 = 2e-2;
const CONTEXT: usize = 137;

/// Architectures that are not described yet.
const TO_COME: [&str; 3] = ["qwen3next", "qwen35moe", "deepseek2"];

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
        qwen3moe: "qwen3moe",
        qwen3moe_all_experts: "qwen3moe-all-experts",
        qwen3moe_odd_heads: "qwen3moe-odd-heads",
        qwen3moe_one_expert: "qwen3moe-one-expert",
        qwen3moe_yarn: "qwen3moe-yarn",
    }
}

mod quantized {
    use super::*;
    fixtures! { QUANTIZED_TOLERANCE;
        gpt_oss_mxfp4: "gpt-oss-mxfp4",
        qwen3moe_q4_0: "qwen3moe-q4-0",
        qwen3moe_q8_0: "qwen3moe-q8-0",
    }
}

#[test]
fn every_fixture_is_tested() {
    let to_come = |name: &String| TO_COME.iter().any(|arch| name.starts_with(arch));
    let there: Vec<String> = names("experts").into_iter().filter(|name| !to_come(name)).collect();
    let mut tested = [floats::NAMES, quantized::NAMES].concat();
    tested.sort_unstable();
    assert_eq!(there, tested);
}
