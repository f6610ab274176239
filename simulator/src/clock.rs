//! Virtual time: it passes when compute says what it has done, and when somebody waits for the flash.

use std::cell::Cell;
use std::rc::Rc;

use forebay_pager::{Clock, Nanos, Work};

use crate::compute::Costs;
use crate::flash::ThermalState;

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
}

impl VirtualClock {
    /// A clock at zero, on which compute takes what `costs` say.
    pub fn new(costs: Costs) -> Self {
        let (now, computed, pass) = (Cell::new(Nanos::ZERO), Cell::new(Nanos::ZERO), Cell::new((1, 0)));
        VirtualClock(Rc::new(Shared { costs, now, computed, pass, warm: Cell::default() }))
    }

    /// Lets time pass until `at`, if that is still to come.
    pub fn advance_to(&self, at: Nanos) {
        self.0.now.set(self.0.now.get().max(at));
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
        self.compute(self.0.costs.of(work, tokens, position, self.0.warm.get()));
    }
}
