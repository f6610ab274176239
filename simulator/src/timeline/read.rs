//! A timeline from its file. What viewers need is skipped.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufReader, Read};

use forebay_pager::{Class, Entry, Event, FileId, Nanos, PageId, PageSpec};
use forebay_prefetch::{StepKind, StepName};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::steps::{ExpertPages, Step};
use super::write::FORMAT;
use super::{Facts, Timeline};

/// Why a file is no timeline.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum TimelineError {
    #[error("the file cannot be read: {0}")]
    Io(std::io::Error),
    #[error("the timeline ends too early, or is not all there: {0}")]
    Truncated(serde_json::Error),
    #[error("this is no JSON: {0}")]
    Syntax(serde_json::Error),
    #[error("this is no timeline of forebay: {0}")]
    Foreign(serde_json::Error),
    #[error("the timeline contradicts itself: {0}")]
    Contradiction(String),
}

impl From<serde_json::Error> for TimelineError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Io => TimelineError::Io(error.into()),
            serde_json::error::Category::Eof => TimelineError::Truncated(error),
            serde_json::error::Category::Syntax => TimelineError::Syntax(error),
            serde_json::error::Category::Data => TimelineError::Foreign(error),
        }
    }
}

/// Reads what [`write()`](super::write()) has written.
///
/// # Errors
/// When it is something else, with the line and the column.
pub fn read(from: impl Read) -> Result<Timeline<'static>, TimelineError> {
    let File { forebay: part } = serde_json::from_reader(BufReader::with_capacity(1 << 20, from))?;
    let timeline = Timeline {
        facts: part.facts,
        steps: number(part.steps).map_err(TimelineError::Contradiction)?,
        pages: Cow::Owned(part.pages.into_iter().map(page).collect()),
        events: Cow::Owned(part.journal.into_iter().map(|RawEntry(entry)| entry).collect()),
        lost: part.lost,
        begin: Nanos(part.begin),
        end: Nanos(part.end),
    };
    timeline.check().map_err(TimelineError::Contradiction)?;
    Ok(timeline)
}

#[derive(serde::Deserialize)]
#[serde(expecting = "a trace with a part `forebay`")]
struct File {
    forebay: Part,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "the part `forebay` of a trace")]
struct Part {
    #[serde(deserialize_with = "known_format")]
    #[allow(dead_code)] // It was looked at when it was read.
    format: u32,
    facts: Facts,
    begin: u64,
    end: u64,
    lost: u64,
    steps: Vec<RawStep>,
    pages: Vec<(u16, u64, u32)>,
    journal: Vec<RawEntry>,
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        FORMAT => Ok(FORMAT),
        other => Err(de::Error::custom(format_args!("it has form {other}, and this program reads form {FORMAT}"))),
    }
}

fn page((file, offset, len): (u16, u64, u32)) -> PageSpec {
    PageSpec { file: FileId(file), offset, len }
}

/// Layer, kind, part, pages; experts, pages of each and how many are chosen.
type RawStep = (Option<u32>, Kind, String, u32, Option<(u32, u32, u32)>);

struct Kind(StepKind);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || de::Error::custom(format_args!("'{name}' is no kind of step"));
        StepKind::from_name(&name).map(Kind).ok_or_else(unknown)
    }
}

fn number(raw: Vec<RawStep>) -> Result<Vec<Step>, String> {
    let mut next = 0u32;
    let step = |(i, (layer, Kind(kind), part, pages, experts)): (usize, RawStep)| {
        let first = next;
        next = next.checked_add(pages).ok_or_else(|| format!("step {i}: there are too many pages"))?;
        let experts = experts.map(|(experts, each, chosen)| ExpertPages { experts, each, chosen });
        Ok(Step { name: StepName { layer, kind, part: part.into() }, pages: first..next, experts })
    };
    raw.into_iter().enumerate().map(step).collect()
}

/// An event as it stands in the file: `[time, kind, ...]`.
struct RawEntry(Entry);

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntryVisitor).map(RawEntry)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: [time, kind, ...]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        let at = Nanos(item(&mut seq)?);
        let kind: EventKind = item(&mut seq)?;
        let event = match kind {
            EventKind::Pass => Event::Pass { tokens: item(&mut seq)?, position: item(&mut seq)? },
            EventKind::Step => Event::Step(item(&mut seq)?),
            EventKind::Read => {
                let page = PageId(item(&mut seq)?);
                let class: ClassName = item(&mut seq)?;
                Event::Read { page, class: class.into() }
            }
            EventKind::Arrived => Event::Arrived { page: PageId(item(&mut seq)?), since: Nanos(item(&mut seq)?) },
            EventKind::Failed => Event::Failed { page: PageId(item(&mut seq)?), since: Nanos(item(&mut seq)?) },
            EventKind::Leased => Event::Leased(PageId(item(&mut seq)?)),
            EventKind::Evicted => Event::Evicted { page: PageId(item(&mut seq)?), wasted: item(&mut seq)? },
            EventKind::Stalled => Event::Stalled { since: Nanos(item(&mut seq)?) },
        };
        match seq.next_element::<de::IgnoredAny>()? {
            None => Ok(Entry { at, event }),
            Some(_) => Err(de::Error::custom("an event has too many items")),
        }
    }
}

fn item<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("an event has too few items"))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventKind {
    Pass,
    Step,
    Read,
    Arrived,
    Failed,
    Leased,
    Evicted,
    Stalled,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassName {
    Demand,
    Hint,
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Class {
        match name {
            ClassName::Demand => Class::Demand,
            ClassName::Hint => Class::Hint,
        }
    }
}
