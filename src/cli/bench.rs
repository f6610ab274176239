//! `forebay bench`

use forebay::infer::model::ModelMap;
use forebay::infer::open::{OpenError, Options, divide};
use forebay::measure::{Decoding, bound, ceiling_for_window, context, decode, flash_rate, median};
use forebay::pager::SystemClock;
use serde::Serialize;

use super::args::BenchArgs;
use super::engine::check_at_hand;
use super::{Failure, resident, show};

/// One window against its bound: medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    window_percent: f64,
    window_bytes: u64,
    page_bytes: usize,
    tokens_per_s: f64,
    bound_tokens_per_s: f64,
    efficiency: f64,
    efficiency_min: f64,
    efficiency_max: f64,
    bytes_per_token: u64,
    flash_busy: f64,
    stall: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    streamed_bytes: u64,
    threads: usize,
    depth: usize,
    isa: String,
    flash: String,
    flash_bytes_per_s: f64,
    resident_tokens_per_s: f64,
    rounds: u32,
    tokens: u32,
    windows: Vec<Row>,
}

/// What one round showed of one window.
struct Sample {
    decoding: Decoding,
    rate: f64,
    resident: f64,
}

pub(crate) fn bench(args: BenchArgs) -> Result<(), Failure> {
    if args.resident {
        return resident::bench(&args);
    }
    let loaded = args.engine.load()?;
    let (prompt, tokens) = (args.prompt_tokens.unwrap_or(8) as usize, args.n as usize);
    let options = args.engine.options(context(prompt, tokens), Some(prompt))?;
    let streamed = loaded.map.streamed_bytes();
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let rams = match args.engine.ram {
        Some(ram) => vec![ram],
        None => args
            .windows
            .unwrap_or(vec![30, 50, 70])
            .into_iter()
            .map(|percent| ceiling_for_window(&loaded, &options, (dense + experts) * u64::from(percent) / 100))
            .collect::<Result<_, _>>()?,
    };
    let unlimited = Options { ram: u64::MAX / 4, ..options };
    check_at_hand(&divide(&loaded.map, &unlimited).map_err(OpenError::from)?)?;
    let bar = show::count_bar("measuring", u64::from(args.rounds) * (rams.len() as u64 + 1));
    let mut samples: Vec<Vec<Sample>> = rams.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        let resident = decode(&loaded, &unlimited, prompt, tokens)?.per_token.as_secs_f64();
        bar.inc(1);
        for (&ram, samples) in rams.iter().zip(&mut samples) {
            let at = Options { ram, ..options };
            // The flash is measured right before and after, as its rate wanders.
            let frame_len = divide(&loaded.map, &at).map_err(OpenError::from)?.frame_len;
            let rate = || flash_rate(&loaded.gguf.files, &at, frame_len, streamed, &SystemClock::new());
            let before = rate()?;
            let decoding = decode(&loaded, &at, prompt, tokens)?;
            samples.push(Sample { decoding, rate: (before + rate()?) / 2.0, resident });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let all = || samples.iter().flatten();
    let report = Report {
        model: loaded.gguf.files[0].file_name().unwrap_or_default().to_string_lossy().into_owned(),
        streamed_bytes: streamed,
        threads: options.threads.get(),
        depth: options.depth,
        isa: options.isa.to_string(),
        flash: all().next().map(|s| s.decoding.backend.clone()).unwrap_or_default(),
        flash_bytes_per_s: median(all().map(|s| s.rate).collect()),
        resident_tokens_per_s: 1.0 / median(all().map(|s| s.resident).collect()),
        rounds: args.rounds,
        tokens: args.n,
        windows: samples.iter().map(|samples| row(samples, &loaded.map)).collect(),
    };
    if args.json { show::json(&report) } else { table(&report) }
}

fn row(samples: &[Sample], map: &ModelMap) -> Row {
    let (dense, experts) = map.dense_and_expert_bytes();
    let of = |f: &dyn Fn(&Sample) -> f64| -> Vec<f64> { samples.iter().map(f).collect() };
    let rate = |s: &Sample| 1.0 / s.decoding.per_token.as_secs_f64();
    let limit = |s: &Sample| bound(map.read_per_token(s.decoding.window), 0, s.rate, s.resident);
    let share = |s: &Sample, time: forebay::pager::Nanos| {
        time.as_secs_f64() / (s.decoding.per_token.as_secs_f64() * s.decoding.tokens as f64)
    };
    let efficiency = of(&|s| rate(s) / limit(s));
    let Decoding { window, frame_len, .. } = samples[0].decoding;
    Row {
        window_percent: window as f64 / (dense + experts) as f64 * 100.0,
        window_bytes: window,
        page_bytes: frame_len,
        tokens_per_s: median(of(&rate)),
        bound_tokens_per_s: median(of(&limit)),
        efficiency: median(efficiency.clone()),
        efficiency_min: efficiency.iter().copied().fold(f64::INFINITY, f64::min),
        efficiency_max: efficiency.iter().copied().fold(0.0, f64::max),
        bytes_per_token: median(of(&|s| s.decoding.stats.bytes_read as f64 / s.decoding.tokens as f64)) as u64,
        flash_busy: median(of(&|s| share(s, s.decoding.stats.busy))),
        stall: median(of(&|s| share(s, s.decoding.stats.stall))),
    }
}

fn table(report: &Report) -> Result<(), Failure> {
    show::line(&format!(
        "{}: {} streamed per token; {} threads, {}; flash {:.0} MB/s by {}, depth {}; resident {:.2} tokens/s",
        report.model,
        show::size(report.streamed_bytes),
        report.threads,
        report.isa,
        report.flash_bytes_per_s / 1e6,
        report.flash,
        report.depth,
        report.resident_tokens_per_s,
    ))?;
    show::line(
        "window                 page      tokens/s   bound  efficiency (min-max)     read/token  flash busy  stalled",
    )?;
    for row in &report.windows {
        show::line(&format!(
            "{:4.1} % {:>12} {:>9} {:>11.2} {:>7.2}  {:>6.1} % ({:.1}-{:.1} %) {:>12} {:>9.1} % {:>6.1} %",
            row.window_percent,
            show::size(row.window_bytes),
            show::size(row.page_bytes as u64),
            row.tokens_per_s,
            row.bound_tokens_per_s,
            row.efficiency * 100.0,
            row.efficiency_min * 100.0,
            row.efficiency_max * 100.0,
            show::size(row.bytes_per_token),
            row.flash_busy * 100.0,
            row.stall * 100.0,
        ))?;
    }
    show::line(&format!(
        "medians of {} rounds of {} tokens; bound: 1 / max(flash, compute)",
        report.rounds, report.tokens
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_slower_of_flash_and_compute() {
        assert_eq!(bound(1000, 500, 1000.0, 0.1), 2.0);
        assert_eq!(bound(1000, 500, 1000.0, 1.0), 1.0);
        assert_eq!(bound(1000, 2000, 1000.0, 0.25), 4.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
