//! `forebay bench`

use std::ops::RangeInclusive;
use std::path::Path;

use forebay::infer::open::{Loaded, OpenError, Options, divide};
use forebay::infer::tokenizer::EncodeOptions;
use forebay::measure::{Course, Decoding, Least, bound, ceiling_for_window, context, decode, flash_rate, median};
use forebay::pager::{Nanos, SystemClock};
use forebay::prefetch::ExpertStats;
use serde::Serialize;

use super::args::BenchArgs;
use super::engine::check_at_hand;
use super::run::read;
use super::{Failure, resident, show};

/// Bytes of flash read to measure it, after half as many to run it in: as many as a token streams, but enough that a throttle's
/// credit is spent.
const PROBE: RangeInclusive<u64> = 1 << 30..=4 << 30;

/// One window against its bound: medians over the rounds. Shares are of the time of decoding.
#[derive(Debug, Serialize)]
struct Row {
    window_percent: f64,
    window_bytes: u64,
    page_bytes: usize,
    tokens_per_s: f64,
    /// `None`, as what is held against it, where nothing has to be read and nobody knows the time of the kernels.
    bound_tokens_per_s: Option<f64>,
    efficiency: Option<f64>,
    efficiency_min: Option<f64>,
    efficiency_max: Option<f64>,
    bytes_per_token: u64,
    /// What the bound reads.
    least_bytes_per_token: u64,
    /// What was read and used.
    missed_bytes_per_token: u64,
    read_bytes_per_s: f64,
    flash_busy: f64,
    stall: f64,
    /// What the flash takes, at the rate measured, for what was missed.
    flash_time_of_misses: f64,
    experts: Option<ExpertRow>,
}

/// Of the experts of one window.
#[derive(Debug, Serialize)]
struct ExpertRow {
    used_per_token: f64,
    loads_per_token: f64,
    hit_rate: f64,
    stalls_per_token: f64,
    used_bytes_per_token: u64,
    bytes_per_token: u64,
    /// Belady's.
    least_bytes_per_token: u64,
    hints: u64,
    hints_used: u64,
    hints_late: u64,
    hints_wasted: u64,
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
    /// `None` where memory does not hold the model: the bound is that of the flash alone then.
    resident_tokens_per_s: Option<f64>,
    prompt_tokens: usize,
    rounds: u32,
    tokens: u32,
    windows: Vec<Row>,
}

/// What one round showed of one window.
struct Sample {
    decoding: Decoding,
    least: Least,
    /// Bytes per second of the flash.
    rate: f64,
    /// Seconds per token when all is resident, if it can be.
    resident: Option<f64>,
}

pub(crate) fn bench(args: BenchArgs) -> Result<(), Failure> {
    if args.resident {
        return resident::bench(&args);
    }
    let loaded = args.engine.load()?;
    let (prompt, tokens) = (args.prompt_tokens.unwrap_or(8) as usize, args.n as usize);
    let positions = args.engine.ctx.map_or(context(prompt, tokens), |positions| positions as usize);
    let options = args.engine.options(positions, Some(prompt))?;
    let text = args.text.as_deref().map(|path| text(path, &loaded, context(prompt, tokens))).transpose()?;
    let course = match &text {
        Some(tokens) => Course::Text { tokens, prompt },
        None => Course::Likeliest { prompt },
    };
    let streamed = loaded.map.streamed_bytes();
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let rams = match args.engine.ram {
        Some(ram) => vec![ram],
        None => args
            .windows
            .unwrap_or(vec![30, 50, 70])
            .into_iter()
            .map(|percent| ceiling_for_window(&loaded.map, &options, (dense + experts) * u64::from(percent) / 100))
            .collect::<Result<_, _>>()?,
    };
    let unlimited = Options { ram: u64::MAX / 4, ..options };
    let holds = |options: &Options| check_at_hand(&divide(&loaded.map, options).map_err(OpenError::from)?);
    let fits = holds(&unlimited).is_ok();
    rams.iter().try_for_each(|&ram| holds(&Options { ram, ..options }))?;
    let bar = show::count_bar("measuring", u64::from(args.rounds) * (rams.len() as u64 + 1));
    let mut samples: Vec<Vec<Sample>> = rams.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.rounds {
        let resident = if fits { Some(decode(&loaded, &unlimited, &course, tokens)?) } else { None };
        let resident = resident.map(|decoding| decoding.per_token.as_secs_f64());
        bar.inc(1);
        for (&ram, samples) in rams.iter().zip(&mut samples) {
            let at = Options { ram, ..options };
            // The flash is measured right before and after, as its rate wanders.
            let frame_len = divide(&loaded.map, &at).map_err(OpenError::from)?.frame_len;
            let probe = streamed.clamp(*PROBE.start(), *PROBE.end());
            let rate = || flash_rate(&loaded.gguf.files, &at, frame_len, probe, &SystemClock::new());
            let before = rate()?;
            let decoding = decode(&loaded, &at, &course, tokens)?;
            let rate = (before + rate()?) / 2.0;
            samples.push(Sample { least: decoding.least(&loaded.map), decoding, rate, resident });
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
        resident_tokens_per_s: fits.then(|| 1.0 / median(all().filter_map(|s| s.resident).collect())),
        prompt_tokens: prompt,
        rounds: args.rounds,
        tokens: args.n,
        windows: samples.iter().map(|samples| row(samples, dense + experts)).collect(),
    };
    if args.json { show::json(&report) } else { table(&report) }
}

/// The first tokens of a file.
fn text(path: &Path, loaded: &Loaded, tokens: usize) -> Result<Vec<u32>, Failure> {
    let text = read(path)?;
    let mut all = loaded.tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: true });
    if all.len() < tokens {
        let problem = format!("--text: {} has {} tokens, and {tokens} are wanted", path.display(), all.len());
        return Err(Failure::Usage(problem));
    }
    all.truncate(tokens);
    Ok(all)
}

impl Sample {
    fn tokens_per_s(&self) -> f64 {
        1.0 / self.decoding.per_token.as_secs_f64()
    }

    fn bound(&self) -> f64 {
        bound(self.least.bytes(), self.rate, self.resident.unwrap_or(0.0))
    }

    fn efficiency(&self) -> f64 {
        self.tokens_per_s() / self.bound()
    }

    fn bytes_per_token(&self) -> f64 {
        self.decoding.stats.bytes_read as f64 / self.decoding.tokens as f64
    }

    /// A part of the time of decoding.
    fn share(&self, time: Nanos) -> f64 {
        time.as_secs_f64() / (self.decoding.per_token.as_secs_f64() * self.decoding.tokens as f64)
    }
}

fn row(samples: &[Sample], weights: u64) -> Row {
    let of = |f: &dyn Fn(&Sample) -> f64| median(samples.iter().map(f).collect());
    let efficiency = || samples.iter().map(Sample::efficiency);
    let bound = of(&Sample::bound);
    let if_bound = |value: f64| bound.is_finite().then_some(value);
    let Decoding { window, frame_len, .. } = samples[0].decoding;
    Row {
        window_percent: window as f64 / weights as f64 * 100.0,
        window_bytes: window,
        page_bytes: frame_len,
        tokens_per_s: of(&Sample::tokens_per_s),
        bound_tokens_per_s: if_bound(bound),
        efficiency: if_bound(of(&Sample::efficiency)),
        efficiency_min: if_bound(efficiency().fold(f64::INFINITY, f64::min)),
        efficiency_max: if_bound(efficiency().fold(0.0, f64::max)),
        bytes_per_token: of(&Sample::bytes_per_token) as u64,
        least_bytes_per_token: of(&|s| s.least.bytes()) as u64,
        missed_bytes_per_token: of(&|s| s.decoding.missed()) as u64,
        read_bytes_per_s: of(&|s| s.bytes_per_token() * s.tokens_per_s()),
        flash_busy: of(&|s| s.share(s.decoding.stats.busy)),
        stall: of(&|s| s.share(s.decoding.stats.stall)),
        flash_time_of_misses: of(&|s| s.decoding.missed() / s.rate * s.tokens_per_s()),
        experts: (samples[0].decoding.experts.used > 0).then(|| expert_row(samples)),
    }
}

fn expert_row(samples: &[Sample]) -> ExpertRow {
    let of = |f: &dyn Fn(&Sample) -> f64| median(samples.iter().map(f).collect());
    let count = |f: &dyn Fn(&ExpertStats) -> u64| of(&|s| f(&s.decoding.experts) as f64);
    let per_token = |f: &dyn Fn(&ExpertStats) -> u64| count(f) / samples[0].decoding.tokens as f64;
    ExpertRow {
        used_per_token: per_token(&|e| e.used),
        loads_per_token: per_token(&|e| e.loads),
        hit_rate: of(&|s| s.decoding.experts.hit_rate()),
        stalls_per_token: per_token(&|e| e.stalls),
        used_bytes_per_token: of(&|s| s.least.experts_used) as u64,
        bytes_per_token: per_token(&|e| e.bytes) as u64,
        least_bytes_per_token: of(&|s| s.least.experts) as u64,
        hints: count(&|e| e.hints) as u64,
        hints_used: count(&|e| e.hints_used) as u64,
        hints_late: count(&|e| e.hints_late) as u64,
        hints_wasted: count(&|e| e.hints_wasted) as u64,
    }
}

fn table(report: &Report) -> Result<(), Failure> {
    let resident = report.resident_tokens_per_s;
    show::line(&format!(
        "{}: {} streamed per token; {} threads, {}; flash {:.0} MB/s by {}, depth {}; {}",
        report.model,
        show::size(report.streamed_bytes),
        report.threads,
        report.isa,
        report.flash_bytes_per_s / 1e6,
        report.flash,
        report.depth,
        resident.map_or("memory does not hold it".into(), |rate| format!("resident {rate:.2} tokens/s")),
    ))?;
    show::line(
        "window                 page      tokens/s   bound  efficiency (min-max)     read/token        least       read  busy  stalled  misses",
    )?;
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1}", share * 100.0));
    for row in &report.windows {
        show::line(&format!(
            "{:4.1} % {:>12} {:>9} {:>11.2} {:>7}  {:>6} % ({}-{} %) {:>12} {:>12} {:>5.0} MB/s {:>3.0} % {:>6.1} % {:>5.1} %",
            row.window_percent,
            show::size(row.window_bytes),
            show::size(row.page_bytes as u64),
            row.tokens_per_s,
            row.bound_tokens_per_s.map_or("-".into(), |bound| format!("{bound:.2}")),
            percent(row.efficiency),
            percent(row.efficiency_min),
            percent(row.efficiency_max),
            show::size(row.bytes_per_token),
            show::size(row.least_bytes_per_token),
            row.read_bytes_per_s / 1e6,
            row.flash_busy * 100.0,
            row.stall * 100.0,
            row.flash_time_of_misses * 100.0,
        ))?;
    }
    let experts = || report.windows.iter().filter_map(|row| Some((row, row.experts.as_ref()?)));
    if experts().next().is_some() {
        show::line(
            "window  experts/token  loaded    hits   read/token       belady  stalls/token  ahead: used, late, wasted",
        )?;
    }
    for (row, e) in experts() {
        show::line(&format!(
            "{:4.1} % {:>14.1} {:>7.1} {:>5.1} % {:>12} {:>12} {:>13.1} {:>12}, {}, {}",
            row.window_percent,
            e.used_per_token,
            e.loads_per_token,
            e.hit_rate * 100.0,
            show::size(e.bytes_per_token),
            show::size(e.least_bytes_per_token),
            e.stalls_per_token,
            e.hints_used,
            e.hints_late,
            e.hints_wasted,
        ))?;
    }
    let what = if resident.is_some() { "1 / max(flash, compute)" } else { "1 / flash" };
    show::line(&format!(
        "medians of {} rounds of {} tokens after {}; bound: {what}; `forebay bench --help` says what the columns are",
        report.rounds, report.tokens, report.prompt_tokens
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_slower_of_flash_and_compute() {
        assert_eq!(bound(500.0, 1000.0, 0.1), 2.0);
        assert_eq!(bound(500.0, 1000.0, 1.0), 1.0);
        assert_eq!(bound(0.0, 1000.0, 0.25), 4.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
