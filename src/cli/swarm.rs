//! `forebay swarm`

use forebay::simulator::swarm::{Outcome, Scenario, run_twice};
use serde::Serialize;

use super::args::SwarmArgs;
use super::{Failure, show};

/// Everything that scenarios came to.
#[derive(Debug, Default, Serialize)]
struct Report {
    first: u64,
    scenarios: u64,
    passes: u64,
    errors: u64,
    given_up: u64,
    events: u64,
    reads: u64,
    reads_failed: u64,
    reads_damaged: u64,
    evictions: u64,
    leases: u64,
    virtual_s: f64,
    /// Of the last scenario.
    event_hash: String,
    broken: Vec<Broken>,
}

/// A seed in which something broke.
#[derive(Debug, Serialize)]
struct Broken {
    seed: u64,
    what: String,
    scenario: String,
    command: String,
}

impl Report {
    fn add(&mut self, outcome: &Outcome) {
        self.passes += outcome.passes;
        self.errors += outcome.errors;
        self.given_up += outcome.given_up;
        self.events += outcome.events;
        self.reads += outcome.reads;
        self.reads_failed += outcome.failed;
        self.reads_damaged += outcome.damaged;
        self.evictions += outcome.evictions;
        self.leases += outcome.leases;
        self.virtual_s += outcome.time.as_secs_f64();
        self.event_hash = format!("{:016x}", outcome.hash);
    }
}

/// Seeds in which something broke that are told of: after so many it is known that something is wrong.
const MOST_BROKEN: usize = 20;

pub(crate) fn swarm(args: SwarmArgs) -> Result<(), Failure> {
    let (first, count) = match args.seed {
        Some(seed) => (seed, 1),
        None => (args.first, if args.forever { u64::MAX - args.first } else { args.seeds }),
    };
    let mut report = Report { first, ..Report::default() };
    let spinner = show::spinner("scenarios");
    for seed in first..first.saturating_add(count) {
        match run_twice(seed) {
            Ok(outcome) => report.add(&outcome),
            Err(failure) => {
                spinner.suspend(|| eprintln!("forebay: {failure}\n"));
                report.broken.push(Broken {
                    seed,
                    what: failure.what.clone(),
                    scenario: failure.scenario.to_string(),
                    command: failure.command(),
                });
            }
        }
        report.scenarios += 1;
        spinner.set_message(format!("seed {seed}: {} scenarios, {} broke", report.scenarios, report.broken.len()));
        if report.broken.len() == MOST_BROKEN {
            break;
        }
    }
    spinner.finish_and_clear();
    if args.json {
        show::json(&report)?;
    } else {
        tell(&args, &report)?;
    }
    match report.broken.len() {
        0 => Ok(()),
        broken => Err(Failure::Other(format!("{broken} of {} scenarios broke", report.scenarios))),
    }
}

fn tell(args: &SwarmArgs, report: &Report) -> Result<(), Failure> {
    if args.seed.is_some() {
        show::line(&format!("seed {}\n{}", report.first, Scenario::draw(report.first)))?;
    }
    show::line(&format!("scenarios   {:>14}  from seed {} on, each run twice", report.scenarios, report.first))?;
    let counts = [
        ("passes", report.passes),
        ("errors", report.errors),
        ("given up", report.given_up),
        ("events", report.events),
        ("reads", report.reads),
        ("failed", report.reads_failed),
        ("damaged", report.reads_damaged),
        ("evictions", report.evictions),
        ("leases", report.leases),
    ];
    for (what, count) in counts {
        show::line(&format!("{what:12}{count:>14}"))?;
    }
    show::line(&format!("{:12}{:>14.1}  seconds of virtual time", "time", report.virtual_s))?;
    if args.seed.is_some() {
        show::line(&format!("event hash  {}", report.event_hash))?;
    }
    Ok(())
}
