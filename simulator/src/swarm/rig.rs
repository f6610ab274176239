//! A scenario that runs: the scheduler, driven as engines drive it and less kindly, and what watches it.

mod pass;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use forebay_pager::{Clock as _, Error, Journal, Lease, Nanos, Pager, Window};
use forebay_prefetch::{Chosen, Lookahead, Pass, Scheduler, SchedulerError};

use super::audit::{Audit, ensure};
use super::bytes::Places;
use super::dice::Dice;
use super::scenario::{Routing, Scenario};
use super::witness::{Ledger, Passing, Witness};
use super::{Outcome, Violation};
use crate::clock::VirtualClock;
use crate::compute::{Costs, Machine, Rates};
use crate::flash::Flash;
use crate::routing::{AnyRouter, Draw, Drawn};
use crate::storage::{DeviceStorage, TRIES};

/// Events of a run at most: far more than any scenario has.
const EVENTS: usize = 1 << 18;
/// Tries of one pass at most, where reads fail by chance.
const PASS_TRIES: usize = 300;

/// How often a caller gives the same pass up, at most: then it wants to see the end.
const GIVEN_UP_MOST: usize = 3;

type Storage = Witness<DeviceStorage<Places, Passing>>;

/// Why a pass has not ended.
enum Stop {
    /// The caller did not want to go on.
    GivenUp,
    /// The scheduler could not.
    Error(SchedulerError),
    /// Something does not hold.
    Violation(Violation),
}

impl From<SchedulerError> for Stop {
    fn from(error: SchedulerError) -> Self {
        Stop::Error(error)
    }
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Stop::Violation(violation)
    }
}

/// See the [module documentation](self).
pub(super) struct Rig<'a> {
    scenario: &'a Scenario,
    scheduler: Scheduler<Storage, VirtualClock>,
    ledger: Rc<RefCell<Ledger>>,
    audit: Audit,
    dice: Dice,
    router: AnyRouter,
    position: usize,
    batch: Vec<Lease>,
    chosen: Vec<Chosen>,
    scores: Vec<f32>,
    /// How often the caller has given up the present pass.
    given_up: usize,
    outcome: Outcome,
}

impl<'a> Rig<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Result<Self, Violation> {
        let Scenario { workload, layout, .. } = scenario;
        let plan = workload.plan(layout);
        let clock = VirtualClock::new(costs(scenario));
        let ledger = Rc::new(RefCell::new(Ledger::new(layout.page_count(), scenario.depth)));
        let flash = Flash::new(&scenario.profile, scenario.flash.clone());
        let passing = Passing::new(clock.clone());
        let device =
            DeviceStorage::new(flash, passing, Places::default(), scenario.depth, scenario.request, "a drawn device");
        let storage = Witness::new(device, clock.clone(), ledger.clone());
        let broken = |why: &dyn std::fmt::Display| Violation(format!("the scenario cannot be set up: {why}"));
        let window =
            Window::with_scratch(layout.frame_len, scenario.frames, scenario.scratch).map_err(|e| broken(&e))?;
        let pager =
            Pager::new(storage, clock, window, files(scenario), layout.specs.clone()).map_err(|e| broken(&e))?;
        let audit = Audit::new(plan.clone(), scenario.scheduler.policy, scenario.frames);
        let mut scheduler = Scheduler::new(pager, plan, layout, scenario.scheduler).map_err(|e| broken(&e))?;
        scheduler.pager_mut().keep_journal(Some(Journal::new(EVENTS)));
        Ok(Rig {
            scheduler,
            ledger,
            audit,
            // Not those that the scenario was drawn with.
            dice: Dice::new(!scenario.seed),
            router: router(scenario),
            position: 0,
            batch: Vec::new(),
            chosen: Vec::new(),
            scores: Vec::new(),
            given_up: 0,
            outcome: Outcome::default(),
            scenario,
        })
    }

    /// The prompt, the tokens behind it, and one more pass when everything is mended.
    pub(super) fn run(mut self) -> Result<Outcome, Violation> {
        let rows = self.scenario.workload.embedding.extent.rows as usize;
        let token = |i: usize| (i * 31 + i * i * 7) as u32 % rows as u32;
        let prompt: Vec<u32> = (0..self.scenario.prompt).map(token).collect();
        let chunks = prompt.chunks(self.scenario.chunk);
        let last = chunks.len() - 1;
        let mut number = 0;
        for (i, chunk) in chunks.enumerate() {
            self.tries(number, chunk, i == last)?;
            number += 1;
        }
        for i in 0..self.scenario.decoded {
            self.tries(number, &[token(prompt.len() + i)], true)?;
            number += 1;
        }
        self.ledger.borrow_mut().broken = None;
        self.tries(usize::MAX, &[token(0)], true)?;
        let pager = self.scheduler.pager();
        let journal = pager.journal().expect("one is kept");
        ensure!(journal.lost() == 0, "a run of more than {EVENTS} events");
        let mut digest = forebay_pager::Digest::default();
        [journal.digest(), self.ledger.borrow().digest()].into_iter().for_each(|word| digest.add(word));
        let ledger = self.ledger.borrow();
        Ok(Outcome {
            hash: digest.value(),
            events: journal.entries().len() as u64,
            time: pager.clock().now(),
            reads: pager.stats().reads,
            evictions: pager.stats().evictions,
            failed: ledger.failed as u64,
            damaged: ledger.damaged as u64,
            ..self.outcome
        })
    }

    /// One pass, until it ends well.
    fn tries(&mut self, number: usize, tokens: &[u32], with_logits: bool) -> Result<(), Violation> {
        if let Some(broken) = self.scenario.broken.as_ref().filter(|broken| number == broken.from_pass) {
            self.ledger.borrow_mut().broken = Some(broken.clone());
        }
        self.given_up = 0;
        for _ in 0..PASS_TRIES {
            self.scheduler.announce(tokens.len() as u32, self.position as u32);
            let begun = self.begin_accounts();
            let pass = if with_logits { Pass::Full } else { Pass::WithoutTail };
            self.scheduler.begin_pass(pass);
            self.audit.begin_pass(pass);
            let ended = self.pass(tokens, with_logits);
            if let Err(Stop::Violation(violation)) = ended {
                return Err(violation);
            }
            // Whoever gives up lets go of what it has.
            self.batch.clear();
            self.follow()?;
            self.audit.compare(&self.scheduler)?;
            self.outcome.passes += 1;
            match ended {
                Ok(()) => {
                    self.check_pass(begun)?;
                    self.position += tokens.len();
                    return Ok(());
                }
                Err(Stop::Violation(_)) => unreachable!("told at once"),
                Err(Stop::GivenUp) => self.outcome.given_up += 1,
                Err(Stop::Error(error)) => {
                    self.outcome.errors += 1;
                    self.judge(&error)?;
                    self.ledger.borrow_mut().pass_failed();
                }
            }
        }
        Err(Violation(format!("a pass has not succeeded in {PASS_TRIES} tries")))
    }

    /// Sets the bound of the pass, and returns when it began and how many reads had failed.
    fn begin_accounts(&mut self) -> (Nanos, usize) {
        let mut ledger = self.ledger.borrow_mut();
        // A page may be read for nothing, and again; but not for ever.
        ledger.begin_pass(100 + 50 * self.scenario.layout.page_count());
        (self.scheduler.pager().clock().now(), ledger.failed)
    }

    fn check_pass(&mut self, (began, failed): (Nanos, usize)) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        let experts = self.scheduler.pass_experts();
        if self.scenario.scheduler.lookahead == Lookahead::Off && self.audit.sacrificed == 0 && ledger.failed == failed
        {
            ensure!(experts.most_reads <= 1, "an expert was read {} times in one pass", experts.most_reads);
        }
        let clock = self.scheduler.pager().clock();
        let took = (clock.now() - began).as_secs_f64();
        // What is in flight when the pass begins has to end, too.
        let most =
            longest_read(self.scenario) * (ledger.reads + self.scenario.depth) as f64 + clock.computed().as_secs_f64();
        ensure!(took <= most, "a pass of {} reads took {took} s, and should take {most} s at most", ledger.reads);
        Ok(())
    }

    /// An error must name a place that really could not be read.
    fn judge(&mut self, error: &SchedulerError) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        let text = error.to_string();
        let named = |file: &PathBuf, offset: u64| {
            text.contains(&format!("{}: cannot read ", file.display()))
                && text.contains(&format!(" at byte {offset}: "))
        };
        let (source, expert) = match error {
            SchedulerError::Pager(source) => (source, None),
            SchedulerError::Expert { choice, expert, source } => (source, Some((*choice, *expert))),
            SchedulerError::WindowTooSmall { .. } => {
                return Err(Violation(format!("the window was large enough: {text}")));
            }
        };
        match source {
            Error::Read { file, offset, page, .. } => {
                let spec = self.scheduler.pager().spec(*page);
                // What an earlier pass had asked for is nothing to this one.
                ensure!(ledger.failed_pages.contains(page), "{page} did not fail in this pass: {text}");
                ensure!(self.audit.wants(*page), "{page} is nothing that the step needs: {text}");
                ensure!(
                    files(self.scenario)[spec.file.index()] == *file && spec.offset == *offset && named(file, *offset),
                    "{page} lies in file {} at {}: {text}",
                    spec.file.0,
                    spec.offset
                );
                let of = self.scheduler.plan().expert_of(*page).map(|(_, choice, expert)| (choice.index, expert));
                ensure!(of == expert, "{page} is one of {of:?}: {text}");
            }
            Error::Gather { file, offset, .. } => {
                let at = |&&(of, start): &&(forebay_pager::FileId, u64)| {
                    files(self.scenario)[of.index()] == *file && start == offset / ALIGN * ALIGN
                };
                ensure!(
                    ledger.failed_rows.iter().find(at).is_some() && named(file, *offset),
                    "no such row failed: {text}"
                );
            }
            Error::BadGather { .. } | Error::Page { .. } => return Err(Violation(format!("a wrong error: {text}"))),
        }
        Ok(())
    }

    fn follow(&mut self) -> Result<(), Violation> {
        let journal = self.scheduler.pager().journal().expect("one is kept");
        self.audit.follow(journal.entries())
    }

    /// To be said after each call of the scheduler.
    fn went(&mut self) -> Result<(), Stop> {
        self.follow()?;
        if self.given_up < GIVEN_UP_MOST && self.dice.happens(self.scenario.abandon) {
            self.given_up += 1;
            return Err(Stop::GivenUp);
        }
        Ok(())
    }
}

const ALIGN: u64 = forebay_pager::ALIGN as u64;

fn files(scenario: &Scenario) -> Vec<PathBuf> {
    let embedding = scenario.workload.embedding.extent.file;
    let last = scenario.layout.specs.iter().map(|spec| spec.file).chain([embedding]).map(|file| file.index()).max();
    (0..=last.unwrap_or(0)).map(|i| PathBuf::from(format!("weights-{i}"))).collect()
}

fn router(scenario: &Scenario) -> AnyRouter {
    match (scenario.routing, scenario.workload.experts()) {
        (Routing::Drawn(recall), Some((layers, experts, chosen))) => {
            let draw = Draw { recall, seed: scenario.seed, ..Draw::default() };
            AnyRouter::Drawn(Drawn::new(draw, layers, experts, chosen))
        }
        _ => AnyRouter::None,
    }
}

fn costs(scenario: &Scenario) -> Costs {
    let machine = Machine { memory_bytes_s: 1e10, float_products_s: 1e10, step: Nanos(5_000), wake: Nanos(2_000) };
    let rate = scenario.compute_bytes_s;
    let rates = vec![Rates { stream_bytes_s: rate, batch_bytes_s: 4.0 * rate }];
    Costs::new(machine, [0.8, 0.5], rates, scenario.workload.pages(&scenario.layout), scenario.workload.beside())
}

/// Seconds that a read may take with all its tries, and with every other read in flight before it: no tight bound.
fn longest_read(scenario: &Scenario) -> f64 {
    let (device, faults) = (&scenario.profile, scenario.flash.faults);
    let slowest = device.depth.floor * device.heat.hot_share.min(device.heat.warm_share);
    let len = scenario.layout.frame_len.max(scenario.scratch.max_len + 2 * ALIGN as usize) as f64;
    let transfers = len / device.transfer_bytes as f64 + 1.0;
    let commands =
        transfers * 8.0 * device.map.miss_times / (device.commands_s * device.small_core_share * device.depth.floor);
    let others = 1.0 - device.background.burst_share;
    let work = len + transfers * device.turnaround_s * device.link_bytes_s;
    let moved = work / (device.stream_bytes_s.min(device.link_bytes_s * others / scenario.depth as f64) * slowest);
    let once = device.latency_s * device.tail.times + device.sense_s * scenario.depth as f64 + commands + moved;
    // Short reads are gone on with: a run of thirty is less likely than one in a thousand million.
    (once * scenario.depth as f64 + faults.delay_s + scenario.request.as_secs_f64()) * f64::from(30 + TRIES)
}
