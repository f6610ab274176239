//! Random scenarios, each drawn from one number, in which nothing that must hold may break.
//!
//! A scenario is a model (dense, with experts, or both; sizes odd and even), a window from the least that works up to everything, a
//! queue, a policy, a device whose figures are drawn over wide ranges, and what goes wrong: delays, short reads, errors that
//! pass and errors that stay, damaged bytes, a caller who gives up in the middle of a pass and begins again, an adversary who
//! chooses experts. The pager, the scheduler, the policies and the storage at a device's pace are those of simulated runs, and the
//! first three those of real ones. Bytes are delivered, and tell their place.
//!
//! Three kinds of properties are checked (`audit.rs` has those of decisions in full):
//!
//! * **safety**: bytes are right whenever they are leased, and damage by the device shows; the window's frames and the queue's depth
//!   are never passed; each frame is in one place; demand goes before hints; hints do no harm; each step is handed all it needs, once;
//! * **liveness**: every pass ends, within a bound of reads and of virtual time; where it ends with an error, a read has failed for good,
//!   and the error names its place; when that is mended the same pass succeeds;
//! * **determinism**: the same seed gives the same events at the same times.
//!
//! What breaks is told with the scenario and the command that runs it again.

mod audit;
mod bytes;
mod dice;
mod rig;
mod scenario;
#[cfg(test)]
mod tests;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_pager::Nanos;

pub use self::scenario::{Broken, Routing, Scenario};

use self::rig::Rig;

/// What a run of a scenario came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of all events and all reads, with their times.
    pub hash: u64,
    /// Passes, those included that did not end.
    pub passes: u64,
    /// Of these, the ones that ended with an error.
    pub errors: u64,
    /// Of these, the ones that the caller gave up.
    pub given_up: u64,
    /// Events of the journal.
    pub events: u64,
    /// Reads that ended well.
    pub reads: u64,
    /// Reads that failed.
    pub failed: u64,
    /// Reads that came with wrong bytes.
    pub damaged: u64,
    /// Pages that left.
    pub evictions: u64,
    /// Leases whose bytes were looked at.
    pub leases: u64,
    /// Of these, the ones with bytes that the device had damaged.
    pub noticed: u64,
    /// Virtual time in all.
    pub time: Nanos,
}

/// Something that must hold and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// A scenario in which something broke.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {}: {what}\n{scenario}\nrun it again: {}", scenario.seed, self.command())]
pub struct Failure {
    /// What broke.
    pub what: String,
    /// In which scenario.
    pub scenario: Box<Scenario>,
}

impl Failure {
    /// The command that runs the scenario again.
    pub fn command(&self) -> String {
        format!("forebay swarm --seed {}", self.scenario.seed)
    }
}

/// Runs the scenario of a seed.
///
/// # Errors
/// When a property does not hold, or anything panics.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    let scenario = Scenario::draw(seed);
    let ran = catch_unwind(AssertUnwindSafe(|| Rig::new(&scenario)?.run()));
    let what = match ran {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(Violation(what))) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("without words"))
        }
    };
    Err(Failure { what, scenario: Box::new(scenario) })
}

/// The same, twice: a run that differs from itself is a failure.
///
/// # Errors
/// As of [`run`].
pub fn run_twice(seed: u64) -> Result<Outcome, Failure> {
    let [first, second] = [run(seed)?, run(seed)?];
    if first == second {
        return Ok(first);
    }
    let what = format!("the same seed came to {first:?}, and then to {second:?}");
    Err(Failure { what, scenario: Box::new(Scenario::draw(seed)) })
}
