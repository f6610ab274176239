//! `forebay simulate`

use forebay::simulate::{Simulation, simulate as run};
use forebay::simulator::{Band, Case, Figures, Metric};
use forebay::timeline::MOST_EVENTS;
use serde::Serialize;

use super::args::{CaseArgs, SimulateArgs};
use super::timeline::write_simulated;
use super::{Failure, show};

impl CaseArgs {
    /// The case that the words are for.
    pub(crate) fn case(self) -> Case {
        Case {
            capacity: self.capacity,
            core: self.core,
            quant: self.quant,
            ram: self.ram,
            window: self.window,
            tokens: self.tokens,
            prompt: self.prompt,
            context: self.ctx,
            kv_type: self.kv_type,
            depth: self.depth,
            page: self.page,
            experts_chosen: self.experts_chosen,
            routing: self.routing,
            recall: self.recall,
            policy: self.policy,
            lookahead: self.lookahead,
            seed: self.seed,
            engine: self.engine,
            cache: self.cache,
            ..Case::new(self.device, self.model)
        }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    case: &'a Case,
    figures: &'a Figures,
    window: u64,
    frame_bytes: usize,
    frames: usize,
    pages: usize,
    prompt_chunk: usize,
    /// Of the nominal run.
    event_hash: Option<String>,
}

pub(crate) fn simulate(args: SimulateArgs) -> Result<(), Failure> {
    let case = args.case.case();
    let spinner = show::spinner("simulating");
    let simulation = run(&case, if args.timeline.is_some() { MOST_EVENTS } else { 0 });
    spinner.finish_and_clear();
    let simulation = simulation?;
    if let Some(path) = &args.timeline {
        write_simulated(path, &case, &simulation)?;
    }
    if !args.json {
        return table(&case, &simulation);
    }
    let budget = &simulation.budget;
    show::json(&Report {
        case: &case,
        figures: &simulation.figures,
        window: budget.window(),
        frame_bytes: budget.frame_len,
        frames: budget.frames,
        pages: budget.frames_for_all,
        prompt_chunk: budget.chunk,
        event_hash: simulation.nominal.as_ref().map(|run| format!("{:016x}", run.event_hash)),
    })
}

fn table(case: &Case, simulation: &Simulation) -> Result<(), Failure> {
    let budget = &simulation.budget;
    show::line(&format!("{} ({}) on {}", case.model, simulation.weights(), simulation.profile.title))?;
    if simulation.nominal.is_none() {
        return figures(simulation);
    }
    show::line(&format!(
        "ceiling {}: window {}, {} of {} pages of {}",
        show::size(budget.ceiling),
        show::size(budget.window()),
        budget.frames,
        budget.frames_for_all,
        show::size(budget.frame_len as u64)
    ))?;
    figures(simulation)
}

fn figures(simulation: &Simulation) -> Result<(), Failure> {
    show::line("")?;
    show::line(&format!("{:32}{:>12}{:>12}{:>12}", "", "worst", "nominal", "best"))?;
    for metric in Metric::ALL {
        let Band { worst, nominal, best } = simulation.figures.band(metric);
        let [worst, nominal, best] = [worst, nominal, best].map(|x| shown(metric, x));
        show::line(&format!("{:32}{worst:>12}{nominal:>12}{best:>12}", words(metric)))?;
    }
    Ok(())
}

fn words(metric: Metric) -> &'static str {
    match metric {
        Metric::TokensPerSecond => "tokens/s",
        Metric::TimeToFirstToken => "time to first token, s",
        Metric::GigabytesPerToken => "read per token, GB",
        Metric::Stall => "stalled",
        Metric::Compute => "computing",
        Metric::FlashBusy => "flash busy",
        Metric::HitRate => "hits",
        Metric::PeakRam => "peak memory",
        Metric::JoulesPerToken => "energy per token, J",
        Metric::TimeToThrottle => "until it slows down, s",
    }
}

fn shown(metric: Metric, x: f64) -> String {
    match metric {
        Metric::PeakRam => show::size(x as u64),
        Metric::Stall | Metric::Compute | Metric::FlashBusy | Metric::HitRate => format!("{:.1} %", 100.0 * x),
        Metric::TimeToThrottle if x.is_infinite() => "never".to_owned(),
        Metric::TimeToThrottle | Metric::TimeToFirstToken => format!("{x:.1}"),
        _ => format!("{x:.2}"),
    }
}
