//! What runs came to, as figures.

use forebay_pager::Nanos;
use forebay_simulator::Metric;
use forebay_simulator::profile::Device;
use forebay_simulator::run::{Run, joules};
use forebay_simulator::serial::SerialRun;

/// A figure for each metric, by its number.
pub type Row = [f64; Metric::ALL.len()];

/// Of a run of `tokens` decoded tokens in `peak` bytes.
pub(super) fn of_run(device: &Device, run: &Run, tokens: u32, peak: u64) -> Row {
    let hit_rate = match run.experts.used {
        0 => {
            let needed = run.dense_pages as f64 * f64::from(tokens);
            1.0 - (run.stats.reads - run.stats.gathered) as f64 / needed.max(1.0)
        }
        _ => run.experts.hit_rate(),
    };
    let totals = Totals {
        tokens,
        prompt: run.prompt,
        time: run.decode,
        computed: run.computed,
        stalled: run.stats.stall,
        busy: run.stats.busy,
        bytes: run.stats.bytes_read,
        hit_rate,
        peak,
    };
    totals.row(device)
}

/// The same of a serial engine: what is not reading is computing.
pub(super) fn of_serial(device: &Device, prompt: Nanos, run: &SerialRun, peak: u64) -> Row {
    let totals = Totals {
        tokens: run.tokens as u32,
        prompt,
        time: run.time,
        computed: run.time - run.reading,
        stalled: run.reading,
        busy: run.reading,
        bytes: run.bytes,
        hit_rate: run.hits as f64 / (run.needed as f64).max(1.0),
        peak,
    };
    totals.row(device)
}

struct Totals {
    tokens: u32,
    prompt: Nanos,
    time: Nanos,
    computed: Nanos,
    stalled: Nanos,
    busy: Nanos,
    bytes: u64,
    hit_rate: f64,
    peak: u64,
}

impl Totals {
    fn row(&self, device: &Device) -> Row {
        let (tokens, time) = (f64::from(self.tokens), self.time.max(Nanos(1)).as_secs_f64());
        let joules = joules(device, self.time, self.computed, self.bytes);
        Metric::ALL.map(|metric| match metric {
            Metric::TokensPerSecond => tokens / time,
            Metric::TimeToFirstToken => self.prompt.as_secs_f64(),
            Metric::GigabytesPerToken => self.bytes as f64 / 1e9 / tokens,
            Metric::Stall => self.stalled.as_secs_f64() / time,
            Metric::Compute => self.computed.as_secs_f64() / time,
            Metric::FlashBusy => self.busy.as_secs_f64() / time,
            Metric::HitRate => self.hit_rate,
            Metric::PeakRam => self.peak as f64,
            Metric::JoulesPerToken => joules / tokens,
            Metric::TimeToThrottle => device.heat.heat.seconds_to_warm(joules / time),
        })
    }
}
