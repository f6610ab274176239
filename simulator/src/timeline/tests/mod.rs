//! Timelines of runs that never were.

mod errors;
mod file;
mod page;
mod sums;

use std::borrow::Cow;

use forebay_pager::{Class, Entry, Event, FileId, Nanos, PageId, PageSpec};
use forebay_prefetch::{Plan, StepKind, StepName, StepShape};
use proptest::prelude::*;

use super::{ClockKind, Facts, Timeline, steps_of};

/// Two layers and a head: attention of 2 pages and 3 experts of 2 pages each in the first, a feed-forward of 1 page in the
/// second, 1 page for the head. Ten pages of 4096 bytes.
fn timeline(model: &str, events: Vec<Entry>) -> Timeline<'static> {
    let all = |pages| StepShape::All { pages };
    let experts = StepShape::Choice { experts: 3, pages_per_expert: 2, chosen: 1 };
    let plan = Plan::new([all(2), experts, all(1), all(1)], 1);
    let name = |layer, kind, part: &'static str| StepName { layer, kind, part: part.into() };
    let names = vec![
        name(Some(0), StepKind::Attention, "qkv"),
        name(Some(0), StepKind::Experts, ""),
        name(Some(1), StepKind::FeedForward, "down"),
        name(None, StepKind::Head, ""),
    ];
    let page = |i: u64| PageSpec { file: FileId(0), offset: 4096 * i, len: 4096 };
    let end = events.last().map_or(Nanos(5), |last| last.at + Nanos(5));
    Timeline {
        facts: Facts {
            model: model.into(),
            flash: "a disk".into(),
            clock: ClockKind::Virtual,
            ceiling: 1 << 20,
            frames: 5,
            frame_len: 4096,
            depth: 3,
            layers: 2,
            prompt_tokens: 2,
        },
        steps: steps_of(&plan, names),
        pages: Cow::Owned((0..10).map(page).collect()),
        events: Cow::Owned(events),
        lost: 0,
        begin: Nanos::ZERO,
        end,
    }
}

fn at(at: u64, event: Event) -> Entry {
    Entry { at: Nanos(at), event }
}

fn read(page: u32, class: Class) -> Event {
    Event::Read { page: PageId(page), class }
}

fn arrived(page: u32, since: u64) -> Event {
    Event::Arrived { page: PageId(page), since: Nanos(since) }
}

fn leased(page: u32) -> Event {
    Event::Leased(PageId(page))
}

/// A prompt of two tokens, of which nothing was there; and one token behind it, for which some was kept and some read ahead.
fn small() -> Timeline<'static> {
    let (demand, hint) = (Class::Demand, Class::Hint);
    let stalled = |since| Event::Stalled { since: Nanos(since) };
    let evicted = |page, wasted| Event::Evicted { page: PageId(page), wasted };
    let events = vec![
        at(1000, Event::Pass { tokens: 2, position: 0 }),
        at(1100, Event::Step(0)),
        at(1100, read(0, demand)),
        at(1101, read(1, demand)),
        at(1102, read(8, hint)),
        at(1500, arrived(1, 1101)),
        at(1500, stalled(1103)),
        at(1501, leased(1)),
        at(1600, arrived(0, 1100)),
        at(1601, leased(0)),
        at(1700, arrived(8, 1102)),
        at(1800, Event::Step(1)),
        at(1800, read(4, demand)),
        at(1801, read(5, demand)),
        at(2300, arrived(4, 1800)),
        at(2301, arrived(5, 1801)),
        at(2301, stalled(1802)),
        at(2302, leased(4)),
        at(2303, leased(5)),
        at(2400, Event::Step(2)),
        at(2400, leased(8)),
        at(2450, evicted(8, false)),
        at(2451, read(9, hint)),
        at(2500, Event::Step(3)),
        at(2900, arrived(9, 2451)),
        at(2900, stalled(2500)),
        at(2901, leased(9)),
        at(3000, Event::Pass { tokens: 1, position: 2 }),
        // A look at the head for the row of a token: no use.
        at(3010, leased(9)),
        at(3050, Event::Step(0)),
        at(3050, leased(0)),
        at(3050, leased(1)),
        at(3060, read(2, hint)),
        at(3400, arrived(2, 3060)),
        at(3500, Event::Step(1)),
        at(3500, leased(4)),
        at(3500, leased(5)),
        at(3510, evicted(2, true)),
        at(3511, read(8, hint)),
        at(3600, Event::Step(2)),
        at(3900, Event::Failed { page: PageId(8), since: Nanos(3511) }),
        at(3901, read(8, demand)),
        at(4300, arrived(8, 3901)),
        at(4300, stalled(3600)),
        at(4301, leased(8)),
        at(4400, Event::Step(3)),
        at(4400, leased(9)),
    ];
    Timeline { end: Nanos(5000), ..timeline("small", events) }
}

/// What may happen next to a page, or to compute.
#[derive(Debug, Clone, Copy)]
enum Next {
    Pass(u8),
    Step(u8),
    Page(u8, bool),
    Stall(u8),
}

/// Where a page of a run that never was is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Absent,
    Loading(Nanos),
    Resident,
}

/// Runs in which everything happens that can: pages come and go in any order, reads fail, compute waits anywhere.
fn any_run() -> impl Strategy<Value = Timeline<'static>> {
    let next = prop_oneof![
        1 => (1..4u8).prop_map(Next::Pass),
        3 => (0..4u8).prop_map(Next::Step),
        12 => (0..10u8, any::<bool>()).prop_map(|(page, hint)| Next::Page(page, hint)),
        2 => (1..50u8).prop_map(Next::Stall),
    ];
    let moments = prop::collection::vec((1..100u8, next), 0..300);
    (moments, 0..20u32).prop_map(|(moments, prompt_tokens)| {
        let run = timeline("any", events_of(&moments));
        Timeline { facts: Facts { prompt_tokens, ..run.facts.clone() }, ..run }
    })
}

fn events_of(moments: &[(u8, Next)]) -> Vec<Entry> {
    let mut pages = [Where::Absent; 10];
    let (mut now, mut position) = (Nanos::ZERO, 0);
    let mut events = Vec::new();
    for &(later, next) in moments {
        now += Nanos(later.into());
        let event = match next {
            Next::Pass(tokens) => {
                position += u32::from(tokens);
                Event::Pass { tokens: tokens.into(), position: position - u32::from(tokens) }
            }
            Next::Step(step) => Event::Step(step.into()),
            Next::Stall(length) => {
                let since = now;
                now += Nanos(length.into());
                Event::Stalled { since }
            }
            Next::Page(number, coin) => {
                let page = PageId(number.into());
                let place = &mut pages[usize::from(number)];
                let (then, event) = match *place {
                    // The journal puts a read down a moment after it began.
                    Where::Absent => {
                        let since = now;
                        now += Nanos(u64::from(coin));
                        let class = if coin { Class::Hint } else { Class::Demand };
                        (Where::Loading(since), Event::Read { page, class })
                    }
                    Where::Loading(since) if later == 13 => (Where::Absent, Event::Failed { page, since }),
                    Where::Loading(since) => (Where::Resident, Event::Arrived { page, since }),
                    Where::Resident if coin => (Where::Resident, Event::Leased(page)),
                    Where::Resident => (Where::Absent, Event::Evicted { page, wasted: later == 17 }),
                };
                *place = then;
                event
            }
        };
        events.push(Entry { at: now, event });
    }
    events
}
