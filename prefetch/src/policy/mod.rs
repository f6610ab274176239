//! Who leaves when a frame is wanted.
//!
//! Time is a [`Position`]: the number of dense pages of the plan that lie behind. A policy is told of every use
//! ([`Policy::touch`]) and asked for a victim when no frame is free. It sees no bytes and does no I/O.

mod baseline;
mod experts;
mod forecast;

pub use baseline::{ClockSweep, Lfu, Lru};
pub use experts::ResidentExperts;
pub use forecast::Forecast;

use forebay_pager::{Class, PageId};

/// A point of the run: passes x dense pages per pass + dense pages of this pass that lie behind. Experts are used between
/// two dense pages, at the position of the second.
pub type Position = u64;

/// What is asked of a replacement policy.
pub trait Policy {
    /// `page` is resident, and was used, or (for a page that just arrived) will be used, at `at`.
    fn touch(&mut self, page: PageId, at: Position, use_: Use);

    /// The page that gives up its frame for `incoming`, wanted at `at`. `evictable` accepts the pages that may leave at
    /// all. `None` when nothing may, or when a hint would push out something that is needed sooner than itself.
    fn victim(
        &mut self,
        incoming: PageId,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId>;

    /// `page` has left the window.
    fn forget(&mut self, page: PageId);
}

/// What a [`Policy::touch`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It has arrived and will be used at the position given.
    Arrived,
    /// It was used at the position given.
    Done,
}

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicyKind {
    /// Furthest next use leaves first: exact for dense pages, with the resident set of [`crate::residency`]; estimated for
    /// experts.
    #[default]
    Forecast,
    /// Least recently used leaves first.
    Lru,
    /// Least frequently used leaves first.
    Lfu,
    /// Second chance.
    Clock,
}

impl PolicyKind {
    /// All of them, ours first.
    pub const ALL: [PolicyKind; 4] = [PolicyKind::Forecast, PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::Clock];

    /// The name used on command lines.
    pub fn name(self) -> &'static str {
        match self {
            PolicyKind::Forecast => "forecast",
            PolicyKind::Lru => "lru",
            PolicyKind::Lfu => "lfu",
            PolicyKind::Clock => "clock",
        }
    }
}

impl std::fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for PolicyKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|k| k.name() == s)
            .ok_or_else(|| format!("unknown policy '{s}'; there are forecast, lru, lfu and clock"))
    }
}

/// Any of the policies, chosen at run time.
#[derive(Debug)]
#[allow(missing_docs)] // One variant per policy; each type has its documentation.
#[allow(clippy::large_enum_variant)] // There is one of it.
pub enum AnyPolicy {
    Forecast(Forecast),
    Lru(Lru),
    Lfu(Lfu),
    Clock(ClockSweep),
}

macro_rules! each {
    ($self:ident, $p:ident => $e:expr) => {
        match $self {
            AnyPolicy::Forecast($p) => $e,
            AnyPolicy::Lru($p) => $e,
            AnyPolicy::Lfu($p) => $e,
            AnyPolicy::Clock($p) => $e,
        }
    };
}

impl Policy for AnyPolicy {
    fn touch(&mut self, page: PageId, at: Position, use_: Use) {
        each!(self, p => p.touch(page, at, use_));
    }

    fn victim(
        &mut self,
        incoming: PageId,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        each!(self, p => p.victim(incoming, at, class, evictable))
    }

    fn forget(&mut self, page: PageId) {
        each!(self, p => p.forget(page));
    }
}

impl AnyPolicy {
    /// The experts, if the policy tells them from other pages.
    pub(crate) fn experts(&mut self) -> Option<&mut ResidentExperts> {
        match self {
            AnyPolicy::Forecast(forecast) => Some(forecast.experts()),
            _ => None,
        }
    }
}
