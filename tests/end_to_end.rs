//! Simulated runs against published ones: the tokens per second of a whole engine on a phone, from what is known of the phone and
//! of the model alone.
#![allow(clippy::disallowed_methods)] // Tests read files.

use std::fmt::Write as _;
use std::path::Path;

use forebay::simulate::figures;
use forebay_simulator::{Case, EngineKind, Metric, Size};

/// The mean error that is allowed, as a share.
const MEAN: f64 = 0.10;
/// The prompt and the tokens of the recorded routing that was published with these runs.
const PROMPT: u32 = 28;
const TOKENS: u32 = 128;

#[test]
fn tokens_per_second_are_those_that_were_published() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let rows = std::fs::read_to_string(directory.join("end-to-end.csv")).unwrap();
    let (mut errors, mut table) = (Vec::new(), String::new());
    for row in rows.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let [model, quant, cache, lanes, mib, _, _, published] = fields[..] else { panic!("{row}") };
        let cache: u64 = cache.parse().unwrap();
        let mut case = Case::new("oneplus-15r", directory.join(format!("{model}.json")).display().to_string());
        case.quant = Some(quant.to_owned());
        case.engine = EngineKind::Serial;
        case.cache = (cache > 0).then_some(Size(cache << 20));
        case.depth = lanes.parse().unwrap();
        (case.prompt, case.tokens) = (PROMPT, TOKENS);
        let figures = figures(&case).unwrap();
        let nominal = |metric| figures.band(metric).nominal;
        let published: f64 = published.parse().unwrap();
        let error = nominal(Metric::TokensPerSecond) / published - 1.0;
        writeln!(
            table,
            "{model:16} cache {cache:4} MiB, {lanes} lanes: {:.2} tokens/s for {published:.2} ({:+.1} %), {:4.0} MiB for {mib}",
            nominal(Metric::TokensPerSecond),
            100.0 * error,
            nominal(Metric::GigabytesPerToken) * 1e9 / f64::from(1 << 20),
        )
        .unwrap();
        errors.push(error.abs());
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    eprintln!("{table}mean error {:.1} %", 100.0 * mean);
    assert!(mean <= MEAN, "{table}mean error {:.1} %", 100.0 * mean);
}
