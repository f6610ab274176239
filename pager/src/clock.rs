//! Time, as a value that can be replaced: the system's clock here, a virtual one in the simulator.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ids::PageId;

/// Nanoseconds: a point on a [`Clock`] or the distance of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Nanos = Nanos(0);

    /// As seconds, for rates and reports.
    #[inline]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// So many seconds, to the nearest nanosecond: a sum of many does not depend on their order. What is negative, or no number,
    /// is no time.
    #[inline]
    pub fn from_secs_f64(seconds: f64) -> Nanos {
        Nanos((seconds * 1e9 + 0.5) as u64)
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Nanos {
        Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Duration {
        Duration::from_nanos(nanos.0)
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        *self = *self + other;
    }
}

/// Saturates at zero: a clock that steps back gives a short interval, never a huge one.
impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As `Duration` shows itself: with a unit that suits, and the precision asked for.
        fmt::Debug::fmt(&Duration::from(*self), f)
    }
}

/// A piece of work that compute has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A pass through the model begins.
    Pass {
        /// Tokens that go through together.
        tokens: u32,
        /// Tokens that are in the context already.
        position: u32,
    },
    /// What a step of the plan does besides multiplying its pages, by the number of the step.
    Step(u32),
    /// A page was multiplied with the activations of so many tokens.
    Page {
        /// The page.
        page: PageId,
        /// The tokens.
        tokens: u32,
    },
}

/// A source of time. Reading it never advances it.
pub trait Clock {
    /// The time since some fixed point of this clock.
    fn now(&self) -> Nanos;

    /// Compute has done `work`. A clock over real time knows by itself; one of a simulation stands still until it is told.
    #[inline]
    fn spend(&self, work: Work) {
        let _ = work;
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Nanos {
        (**self).now()
    }
    fn spend(&self, work: Work) {
        (**self).spend(work);
    }
}

impl<C: Clock + ?Sized> Clock for Rc<C> {
    fn now(&self) -> Nanos {
        (**self).now()
    }
    fn spend(&self, work: Work) {
        (**self).spend(work);
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Nanos {
        (**self).now()
    }
    fn spend(&self, work: Work) {
        (**self).spend(work);
    }
}

/// The operating system's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "this is the one clock over the system's time")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Nanos {
        self.start.elapsed().into()
    }
}
