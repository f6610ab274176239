//! Real inference on the flash of a device that is not there: the same logits, whatever the device and whichever the time.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use forebay::device::{AnyEngine, On, open};
use forebay_infer::gguf::TensorType;
use forebay_infer::open::{Loaded, Options};
use forebay_infer::synth::{Config, Synthesis};
use forebay_pager::Nanos;
use forebay_simulator::profile::{Edge, Profile};

const CONFIG: &str = r#"{ "model_type": "qwen3_moe", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "vocab_size": 600, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096, "num_key_value_heads": 2, "head_dim": 64,
    "num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 256 }"#;

/// The bits of the logits after each of some tokens, the time when all is done, and what the flash is.
fn walk(loaded: &Loaded, options: &Options, on: &On) -> (Vec<Vec<u32>>, Nanos, String) {
    let (mut engine, _, choice): (AnyEngine, _, _) = open(loaded, options, on).unwrap();
    let logits = |token: &u32| engine.forward(&[*token], |_| ()).unwrap().iter().map(|l| l.to_bits()).collect();
    let all = [300, 301, 17, 599].iter().map(logits).collect();
    (all, engine.now(), choice.how)
}

#[test]
fn logits_are_the_same_on_every_device_and_virtual_time_repeats_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let config = Config::from_json(CONFIG).unwrap();
    let synthesis = Synthesis::new(&config, TensorType::Q4_K, 1 << 30, 0, "small").unwrap();
    synthesis.write(std::fs::File::create(&path).unwrap(), |_| ()).unwrap();
    let floor = common::floor(&path, &common::options(64));
    let options = Options { depth: 4, ..floor };
    let loaded = Loaded::open(&path).unwrap();
    let (expected, ..) = walk(&loaded, &options, &On::This);
    for name in ["oneplus-15r", "sd-card"] {
        let device = Box::new(Profile::named(name).unwrap().at(Edge::Nominal));
        let (paced, _, how) = walk(&loaded, &options, &On::Paced(device.clone()));
        assert!(paced == expected, "other logits at the pace of {name}");
        assert!(how.starts_with(&format!("at the pace of {name}, over ")), "{how}");
        let [first, second] = [(); 2].map(|()| walk(&loaded, &options, &On::Virtual(device.clone())));
        assert!(first.0 == expected, "other logits in virtual time on {name}");
        assert_eq!(first.1, second.1, "virtual time on {name}");
        assert!(first.1 > Nanos::ZERO);
    }
}
