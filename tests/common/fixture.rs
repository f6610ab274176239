//! Models with expected logits: they must come out within a part of their range, and as the same bits however the model is run.

use std::path::{Path, PathBuf};

use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::open::Options;

/// A model and what is expected of it.
pub(crate) struct Fixture {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) tokens: Vec<u32>,
    /// Positions that the context is to have: more than there are tokens, so that nothing ends at a round number.
    pub(crate) context: usize,
    /// Positions, in ascending order, and the logits expected there.
    pub(crate) expected: Vec<(usize, Vec<f64>)>,
}

impl Fixture {
    /// The fixture of that name in a folder of `tests/golden`.
    pub(crate) fn load(folder: &str, name: &str, context: usize) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
        let golden = super::golden(&format!("{folder}/{name}.json"));
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
        };
        let expected = golden["logits"].as_array().unwrap();
        Fixture {
            name: name.to_owned(),
            context,
            path: directory.join(format!("{name}.gguf")),
            tokens: numbers(&golden["tokens"]).into_iter().map(|t| t as u32).collect(),
            expected: expected
                .iter()
                .map(|row| (row["position"].as_u64().unwrap() as usize, numbers(&row["logits"])))
                .collect(),
        }
    }

    /// The logits at the expected positions, in bits, when the tokens up to each of them are given at once.
    pub(crate) fn run(&self, options: &Options) -> Vec<Vec<u32>> {
        let (_, mut engine, _) = super::open(&self.path, options);
        let mut done = 0;
        let mut rows = Vec::new();
        for (position, _) in &self.expected {
            let logits = engine.forward(&self.tokens[done..=*position], |_| ()).unwrap();
            rows.push(logits.iter().map(|x| x.to_bits()).collect());
            done = position + 1;
        }
        rows
    }

    /// The logits after the last token, in bits, when all tokens are given at once.
    fn run_at_once(&self, options: &Options) -> Vec<u32> {
        let (_, mut engine, _) = super::open(&self.path, options);
        let logits = engine.forward(&self.tokens, |_| ()).unwrap();
        logits.iter().map(|x| x.to_bits()).collect()
    }

    /// The largest difference of `rows` to the expected logits, as a part of their range.
    fn difference(&self, rows: &[Vec<u32>]) -> f64 {
        let mut worst: f64 = 0.0;
        for ((position, expected), row) in self.expected.iter().zip(rows) {
            assert_eq!(expected.len(), row.len(), "{}: logits at {position}", self.name);
            let (least, most) = expected.iter().fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            for (expected, bits) in expected.iter().zip(row) {
                let difference = (f64::from(f32::from_bits(*bits)) - expected).abs() / (most - least);
                // A NaN must not pass as small.
                worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
            }
        }
        worst
    }

    /// Agrees with llama.cpp, and gives the same bits in every way of running.
    pub(crate) fn check(&self, tolerance: f64) {
        let base = super::options(self.context);
        let reference = self.run(&base);
        let difference = self.difference(&reference);
        eprintln!("{}: {difference:.1e} of the range", self.name);
        assert!(difference <= tolerance, "{}: {difference:.1e} of the range away from what is expected", self.name);
        for (how, options) in super::ways(&self.path, &base) {
            assert!(self.run(&options) == reference, "{}: other bits with {how}", self.name);
        }
        let floor = super::floor(&self.path, &base);
        for chunk in [1, 7, self.context] {
            let options = Options { chunk: Some(chunk), ..base };
            let last = self.run_at_once(&options);
            assert!(reference.last() == Some(&last), "{}: other bits in chunks of {chunk}", self.name);
        }
        assert!(reference.last() == Some(&self.run_at_once(&floor)), "{}: other bits at once at the floor", self.name);
    }

    /// How far from what is expected it is with keys and values in f32; with the same bits in the ways of running that
    /// have most to do with these.
    pub(crate) fn difference_in_f32(&self) -> f64 {
        let base = Options { kv: KvType::F32, ..super::options(self.context) };
        let reference = self.run(&base);
        let floor = super::floor(&self.path, &base);
        for (how, options) in [
            ("in chunks of 3", Options { chunk: Some(3), ..base }),
            ("with the portable kernels at the floor", Options { isa: Isa::Portable, ..floor }),
            ("one token at a time at the floor", Options { chunk: Some(1), ..floor }),
        ] {
            assert!(self.run(&options) == reference, "{}: other bits in f32 {how}", self.name);
        }
        self.difference(&reference)
    }
}

/// The names of the fixtures in a folder of `tests/golden`, in order.
pub(crate) fn names(folder: &str) -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files.filter(|path| path.extension().unwrap() == "json").map(stem).collect();
    names.sort_unstable();
    names
}
