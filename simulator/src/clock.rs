//! Virtual time: it passes when compute says what it has done, and when somebody waits for the flash.

use std::cell::Cell;
use std::rc::Rc;

use forebay_pager::{Clock, Nanos, Work};

use crate::compute::Costs;
use crate::flash::ThermalState;

/// So long threads that have nothing to compute look out for work before they sleep.
const AWAKE: Nanos = Nanos(30_000);

/// A clock of a simulation. Clones show the same time.
#[derive(Debug, Clone)]
pub struct VirtualClock(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    costs: Costs,
    now: Cell<Nanos>,
    computed: Cell<Nanos>,
    /// Tokens and position of the pass.
    pass: Cell<(u32, u32)>,
    warm: Cell<ThermalState>,
    /// Nothing was computed since a wait of some length.
    asleep: Cell<bool>,
}

impl VirtualClock {
    /// A clock at zero, on which compute takes what `costs` say.
    pub fn new(costs: Costs) -> Self {
        let (now, computed, pass) = (Cell::new(Nanos::ZERO), Cell::new(Nanos::ZERO), Cell::new((1, 0)));
        VirtualClock(Rc::new(Shared { costs, now, computed, pass, warm: Cell::default(), asleep: Cell::default() }))
    }

    /// Lets time pass until `at`, if that is still to come.
    pub fn advance_to(&self, at: Nanos) {
        let now = self.0.now.get();
        if at > now + AWAKE {
            self.0.asleep.set(true);
        }
        self.0.now.set(now.max(at));
    }

    /// The time that compute has taken.
    pub fn computed(&self) -> Nanos {
        self.0.computed.get()
    }

    /// So warm the device is from here on.
    pub(crate) fn warm(&self, state: ThermalState) {
        self.0.warm.set(state);
    }

    /// Compute is busy for so long.
    pub(crate) fn compute(&self, time: Nanos) {
        self.0.now.set(self.0.now.get() + time);
        self.0.computed.set(self.0.computed.get() + time);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Nanos {
        self.0.now.get()
    }

    fn spend(&self, work: Work) {
        if let Work::Pass { tokens, position } = work {
            self.0.pass.set((tokens, position));
        }
        let (tokens, position) = self.0.pass.get();
        if let Work::Page { .. } = work
            && self.0.asleep.take()
        {
            self.compute(self.0.costs.wake());
        }
        self.compute(self.0.costs.of(work, tokens, position, self.0.warm.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{Machine, Rates};
    use forebay_pager::PageId;

    #[test]
    fn the_first_page_behind_a_wait_takes_longer() {
        let machine = Machine { memory_bytes_s: 1e9, float_products_s: 1e9, step: Nanos(10), wake: Nanos(500) };
        let rates = Rates { stream_bytes_s: 1e9, batch_bytes_s: 1e9 };
        let clock = VirtualClock::new(Costs::new(machine, [1.0; 2], vec![rates], vec![(100, 0)], vec![<_>::default()]));
        let spent = |work| {
            let before = clock.now();
            clock.spend(work);
            clock.now() - before
        };
        let page = || spent(Work::Page { page: PageId(0), tokens: 1 });
        assert_eq!(page(), Nanos(100), "nobody sleeps when all begins");
        clock.advance_to(clock.now() + AWAKE);
        assert_eq!(page(), Nanos(100), "a wait in which nobody falls asleep");
        clock.advance_to(clock.now() + AWAKE + Nanos(1));
        assert_eq!(spent(Work::Step(0)), Nanos(10), "a step is not shared out");
        assert_eq!([page(), page()], [Nanos(600), Nanos(100)]);
    }
}
