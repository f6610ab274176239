//! The file: a trace in Chrome's JSON form, written event by event.
//!
//! ```text
//! displayTimeUnit, otherData   what viewers show of the run
//! traceEvents                  for viewers: slices (X), instants (i), counters (C), names (M); times in microseconds
//! forebay                      for `read`: facts, steps, pages and the journal, a line for each; times in nanoseconds
//! ```

use std::fmt::{self, Display};
use std::io::{self, BufWriter, Write};

use forebay_pager::{Class, Entry, Event, Nanos, PageId};
use serde::Serialize;

use super::Timeline;
use super::fates::Fates;
use super::lanes::Lanes;
use super::steps::{Step, step_of};

/// Bytes that are gathered before they are written.
pub(super) const BUFFER: usize = 64 << 10;
/// Of the form of the `forebay` part.
pub(super) const FORMAT: u32 = 1;

/// The one process of the trace, and the threads that stand for its lanes.
const PROCESS: u32 = 1;
const COMPUTE: usize = 1;
const WINDOW: usize = 2;
const FIRST_LANE: usize = 10;

/// Writes `timeline` as a trace. Nothing but a small buffer, and a byte or two for each page, is kept in memory.
///
/// # Errors
/// When `out` fails.
///
/// # Panics
/// When [`Timeline::check`] would refuse it.
pub fn write(timeline: &Timeline<'_>, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    writeln!(out, "{{\"displayTimeUnit\":\"ms\",\n\"otherData\":{},", json(&timeline.facts)?)?;
    write!(out, "\"traceEvents\":[")?;
    Trace::new(timeline, &mut out)?.write()?;
    writeln!(out, "\n],\n\"forebay\":{{\"format\":{FORMAT},\"facts\":{},", json(&timeline.facts)?)?;
    let Timeline { begin, end, lost, .. } = timeline;
    writeln!(out, "\"begin\":{},\"end\":{},\"lost\":{lost},", begin.0, end.0)?;
    list(&mut out, "steps", &timeline.steps, write_step)?;
    writeln!(out, ",")?;
    list(&mut out, "pages", &timeline.pages[..], |page, out| {
        write!(out, "[{},{},{}]", page.file.0, page.offset, page.len)
    })?;
    writeln!(out, ",")?;
    list(&mut out, "journal", &timeline.events[..], write_entry)?;
    writeln!(out, "}}}}")?;
    out.flush()
}

fn json(value: &(impl Serialize + ?Sized)) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// A JSON array with a line for each item.
fn list<T, W: Write>(
    out: &mut W,
    name: &str,
    items: &[T],
    mut item: impl FnMut(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    write!(out, "\"{name}\":[")?;
    for (i, one) in items.iter().enumerate() {
        out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        item(one, out)?;
    }
    out.write_all(b"]")
}

fn write_step(step: &Step, out: &mut impl Write) -> io::Result<()> {
    let experts = step.experts.map(|e| [e.experts, e.each, e.chosen]);
    let name = &step.name;
    let (layer, kind, part) = (json(&name.layer)?, name.kind.name(), json(&name.part)?);
    write!(out, "[{layer},\"{kind}\",{part},{},{}]", step.pages.len(), json(&experts)?)
}

fn write_entry(&Entry { at: Nanos(at), event }: &Entry, out: &mut impl Write) -> io::Result<()> {
    match event {
        Event::Pass { tokens, position } => write!(out, "[{at},\"pass\",{tokens},{position}]"),
        Event::Step(step) => write!(out, "[{at},\"step\",{step}]"),
        Event::Read { page, class } => write!(out, "[{at},\"read\",{},\"{}\"]", page.0, class_name(class)),
        Event::Arrived { page, since } => write!(out, "[{at},\"arrived\",{},{}]", page.0, since.0),
        Event::Failed { page, since } => write!(out, "[{at},\"failed\",{},{}]", page.0, since.0),
        Event::Leased(page) => write!(out, "[{at},\"leased\",{}]", page.0),
        Event::Evicted { page, wasted } => write!(out, "[{at},\"evicted\",{},{wasted}]", page.0),
        Event::Stalled { since } => write!(out, "[{at},\"stalled\",{}]", since.0),
    }
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Demand => "demand",
        Class::Hint => "hint",
    }
}

/// Microseconds, which is what traces count in, to the nanosecond.
struct Micros(Nanos);

impl Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nanos(nanos) = self.0;
        write!(f, "{}.{:03}", nanos / 1000, nanos % 1000)
    }
}

/// Writes the events for viewers.
struct Trace<'a, W: Write> {
    timeline: &'a Timeline<'a>,
    out: &'a mut W,
    /// The names of the steps, as they stand between quotes.
    names: Vec<String>,
    fates: Fates<'a>,
    lanes: Lanes,
    /// Lanes that have a name.
    named: usize,
    first: bool,
}

impl<'a, W: Write> Trace<'a, W> {
    fn new(timeline: &'a Timeline<'a>, out: &'a mut W) -> io::Result<Self> {
        let names = timeline.steps.iter().map(|step| escaped(&step.name.to_string()));
        let (names, fates) = (names.collect::<io::Result<_>>()?, Fates::new(timeline));
        Ok(Trace { timeline, out, names, fates, lanes: Lanes::default(), named: 0, first: true })
    }

    fn write(mut self) -> io::Result<()> {
        let process = escaped(&format!("forebay: {}, {}", self.timeline.facts.model, self.timeline.facts.flash))?;
        self.event(format_args!(
            "\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{PROCESS},\"args\":{{\"name\":\"{process}\"}}"
        ))?;
        self.thread(COMPUTE, "compute")?;
        self.thread(WINDOW, "window")?;
        for i in 0..self.timeline.events.len() {
            self.entry(i)?;
        }
        self.counters(self.timeline.end)
    }

    fn entry(&mut self, i: usize) -> io::Result<()> {
        let Entry { at, event } = self.timeline.events[i];
        let class = super::page_of(event).and_then(|page| self.fates.class(page));
        let len = super::page_of(event).map_or(0, |page| self.timeline.read_len(page));
        self.fates.take(event, len);
        match event {
            Event::Pass { tokens, position } => self.pass(i, tokens, position),
            Event::Step(step) => self.step(i, step as usize),
            Event::Read { page, .. } => {
                self.lanes.start(page, at);
                self.in_flight(at)
            }
            Event::Arrived { page, since } => self.read("", page, since, at, class),
            Event::Failed { page, since } => self.read("failed: ", page, since, at, class),
            Event::Leased(_) => Ok(()),
            Event::Evicted { page, wasted } => {
                let name = if wasted { "evicted, read in vain" } else { "evicted" };
                self.event(format_args!(
                    "\"ph\":\"i\",\"name\":\"{name}\",\"pid\":{PROCESS},\"tid\":{WINDOW},\"ts\":{},\"s\":\"t\",\
                     \"args\":{{\"page\":{}}}",
                    self.time(at),
                    page.0
                ))
            }
            Event::Stalled { since } => self.slice(COMPUTE, "stall", "stall", since, at, format_args!("")),
        }
    }

    fn pass(&mut self, i: usize, tokens: u32, position: u32) -> io::Result<()> {
        let at = self.timeline.events[i].at;
        let end = self.end_of(i, |event| matches!(event, Event::Pass { .. }));
        let (name, last) = match tokens {
            1 => (format!("token {position}"), position),
            _ => (format!("tokens {position} to {}", position + (tokens - 1)), position + (tokens - 1)),
        };
        let phase = if last < self.timeline.facts.prompt_tokens { "prompt" } else { "decode" };
        let args = format_args!("\"tokens\":{tokens},\"position\":{position}");
        self.slice(COMPUTE, &name, phase, at, end, args)
    }

    fn step(&mut self, i: usize, step: usize) -> io::Result<()> {
        let at = self.timeline.events[i].at;
        let end = self.end_of(i, |event| matches!(event, Event::Pass { .. } | Event::Step(_)));
        let (name, kind) = (std::mem::take(&mut self.names[step]), self.timeline.steps[step].name.kind.name());
        self.slice(COMPUTE, &name, kind, at, end, format_args!("\"step\":{step}"))?;
        self.names[step] = name;
        self.counters(at)
    }

    /// When the next event of a kind comes, or all is over.
    fn end_of(&self, i: usize, kind: impl Fn(Event) -> bool) -> Nanos {
        let next = self.timeline.events[i + 1..].iter().find(|entry| kind(entry.event));
        next.map_or(self.timeline.end, |entry| entry.at)
    }

    fn read(&mut self, how: &str, page: PageId, since: Nanos, at: Nanos, class: Option<Class>) -> io::Result<()> {
        let lane = self.lanes.end(page, since, at);
        // How many lanes there will be nobody knows yet: they get their names as they come.
        while self.named < self.lanes.count() {
            let name = format!("flash {}", self.named);
            self.thread(FIRST_LANE + self.named, &name)?;
            self.named += 1;
        }
        let step = step_of(&self.timeline.steps, page);
        let expert = self.timeline.steps[step].expert_of(page).map_or_else(String::new, |e| format!(" {e}"));
        let name = format!("{how}{}{expert}", self.names[step]);
        let spec = self.timeline.pages[page.index()];
        let args = format_args!(
            "\"page\":{},\"bytes\":{},\"file\":{},\"offset\":{}",
            page.0,
            self.timeline.read_len(page),
            spec.file.0,
            spec.offset
        );
        self.slice(FIRST_LANE + lane, &name, class.map_or("read", class_name), since, at, args)?;
        self.in_flight(at)
    }

    fn in_flight(&mut self, at: Nanos) -> io::Result<()> {
        let bytes = self.fates.bytes_in_flight;
        self.counter("bytes in flight", at, format_args!("\"bytes\":{bytes}"))
    }

    /// What is known of the window and of pages so far.
    fn counters(&mut self, at: Nanos) -> io::Result<()> {
        let Fates { uses, hints, resident, .. } = self.fates;
        self.counter("resident frames", at, format_args!("\"frames\":{resident}"))?;
        let args = format_args!(
            "\"kept\":{},\"read ahead\":{},\"late\":{},\"demanded\":{}",
            uses.kept, uses.ahead, uses.late, uses.demanded
        );
        self.counter("pages used", at, args)?;
        let args = format_args!("\"used\":{},\"late\":{},\"wasted\":{}", hints.used, hints.late, hints.wasted);
        self.counter("hints", at, args)
    }

    fn counter(&mut self, name: &str, at: Nanos, args: fmt::Arguments<'_>) -> io::Result<()> {
        let at = self.time(at);
        self.event(format_args!("\"ph\":\"C\",\"name\":\"{name}\",\"pid\":{PROCESS},\"ts\":{at},\"args\":{{{args}}}"))
    }

    fn slice(
        &mut self,
        thread: usize,
        name: &str,
        category: &str,
        since: Nanos,
        until: Nanos,
        args: fmt::Arguments<'_>,
    ) -> io::Result<()> {
        let (at, length) = (self.time(since), Micros(until - since));
        self.event(format_args!(
            "\"ph\":\"X\",\"name\":\"{name}\",\"cat\":\"{category}\",\"pid\":{PROCESS},\"tid\":{thread},\"ts\":{at},\
             \"dur\":{length},\"args\":{{{args}}}"
        ))
    }

    /// Traces begin at zero.
    fn time(&self, at: Nanos) -> Micros {
        Micros(at - self.timeline.begin)
    }

    fn thread(&mut self, thread: usize, name: &str) -> io::Result<()> {
        self.event(format_args!(
            "\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{PROCESS},\"tid\":{thread},\"args\":{{\"name\":\"{name}\"}}"
        ))?;
        self.event(format_args!(
            "\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":{PROCESS},\"tid\":{thread},\
             \"args\":{{\"sort_index\":{thread}}}"
        ))
    }

    fn event(&mut self, fields: fmt::Arguments<'_>) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.first) { "\n" } else { ",\n" };
        write!(self.out, "{separator}{{{fields}}}")
    }
}

/// `text` as it stands between the quotes of JSON.
fn escaped(text: &str) -> io::Result<String> {
    let quoted = json(text)?;
    Ok(quoted[1..quoted.len() - 1].to_owned())
}
