//! What compute takes on a device: the time of pages and of steps.
//!
//! A page that meets one token is bound by the memory, or by the unpacking of its weights: both are a rate in bytes. One that
//! meets many is bound by arithmetic. So its time is the longer of `bytes / rate` and `bytes * tokens / rate`. What a step does
//! besides (norms, attention, a recurrence) is a matter of the bytes and products that [`Beside`] counts.

use forebay_pager::{Nanos, Work};

use crate::flash::ThermalState;

/// How fast weights of one type are multiplied with activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Bytes of weights per second, for one token.
    pub stream_bytes_s: f64,
    /// Bytes of weights, times tokens, per second, for many.
    pub batch_bytes_s: f64,
}

/// What a step does besides multiplying its pages.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Beside {
    /// Bytes of keys and values for each position that is seen.
    pub kv_bytes: u64,
    /// Positions that are seen at most; 0 for all.
    pub window: u32,
    /// Multiplications for each pair of a token and a position that it sees.
    pub pair_products: u64,
    /// Bytes read and written for each token: states of a recurrence, activations.
    pub token_bytes: u64,
}

/// The device, as far as steps are concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Bytes per second of memory.
    pub memory_bytes_s: f64,
    /// Multiplications with additions per second in floats.
    pub float_products_s: f64,
    /// What a step takes whatever it does: threads that meet, and small vectors.
    pub step: Nanos,
    /// What the first page behind a wait takes longer.
    pub wake: Nanos,
}

/// What compute takes for one model on one device.
#[derive(Debug, Clone)]
pub struct Costs {
    machine: Machine,
    /// What is left of all rates when the device is warm, and when it is hot.
    derated: [f64; 2],
    rates: Vec<Rates>,
    /// For each page, its bytes and which of the rates is its own.
    pages: Vec<(u32, u16)>,
    /// For each step.
    steps: Vec<Beside>,
}

impl Costs {
    /// For pages of which `pages` tells bytes and the index of their rates, and steps with `steps` besides. `derated` is what is
    /// left of all rates when the device is warm, and when it is hot.
    ///
    /// # Panics
    /// When a page has no such rates.
    pub fn new(
        machine: Machine,
        derated: [f64; 2],
        rates: Vec<Rates>,
        pages: Vec<(u32, u16)>,
        steps: Vec<Beside>,
    ) -> Self {
        assert!(pages.iter().all(|(_, rate)| usize::from(*rate) < rates.len()), "rates for each page");
        Costs { machine, derated, rates, pages, steps }
    }

    /// The time of `work` in a pass of `tokens` tokens behind `position` others, on a device that is `warm`.
    pub fn of(&self, work: Work, tokens: u32, position: u32, warm: ThermalState) -> Nanos {
        let rested = self.of_rested(work, tokens, position);
        match warm {
            ThermalState::Cold => rested,
            ThermalState::Warm => Nanos::from_secs_f64(rested.as_secs_f64() / self.derated[0]),
            ThermalState::Hot => Nanos::from_secs_f64(rested.as_secs_f64() / self.derated[1]),
        }
    }

    fn of_rested(&self, work: Work, tokens: u32, position: u32) -> Nanos {
        match work {
            Work::Pass { .. } => Nanos::ZERO,
            Work::Step(step) => self.step_of(step, tokens, position),
            Work::Page { page, tokens } => self.page_of(page.index(), tokens),
        }
    }

    /// What the first page behind a wait takes longer.
    pub fn wake(&self) -> Nanos {
        self.machine.wake
    }

    /// The time of a page, by its number, with `tokens` tokens.
    pub fn page_of(&self, page: usize, tokens: u32) -> Nanos {
        let ((bytes, rates), tokens) = (self.pages[page], f64::from(tokens));
        let (bytes, rates) = (f64::from(bytes), self.rates[usize::from(rates)]);
        Nanos::from_secs_f64((bytes / rates.stream_bytes_s).max(bytes * tokens / rates.batch_bytes_s))
    }

    /// The time of what a step does besides, for `tokens` tokens behind `position` others.
    pub fn step_of(&self, step: u32, tokens: u32, position: u32) -> Nanos {
        let (beside, tokens, position) = (self.steps[step as usize], f64::from(tokens), f64::from(position));
        let Machine { memory_bytes_s, float_products_s, step, .. } = self.machine;
        let limit =
            |positions: f64| if beside.window == 0 { positions } else { positions.min(f64::from(beside.window)) };
        // Of a chunk, each token sees one more than the one before.
        let (read, seen) = (limit(position) + tokens, limit(position + (tokens + 1.0) / 2.0));
        let keys = read * beside.kv_bytes as f64 / memory_bytes_s;
        let products = tokens * seen * beside.pair_products as f64 / float_products_s;
        step + Nanos::from_secs_f64(keys.max(products) + tokens * beside.token_bytes as f64 / memory_bytes_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_pager::PageId;

    #[test]
    fn one_token_is_bound_by_bytes_and_many_by_products() {
        let machine = Machine { memory_bytes_s: 1e9, float_products_s: 1e9, step: Nanos(10), wake: Nanos(0) };
        let rates = Rates { stream_bytes_s: 1e9, batch_bytes_s: 8e9 };
        let beside = Beside { kv_bytes: 100, window: 50, pair_products: 1000, token_bytes: 7 };
        let costs = Costs::new(machine, [0.5, 0.25], vec![rates], vec![(4000, 0)], vec![Beside::default(), beside]);
        let page = |tokens| costs.of(Work::Page { page: PageId(0), tokens }, 1, 0, ThermalState::Cold);
        assert_eq!([1, 8, 16].map(page), [Nanos(4000), Nanos(4000), Nanos(8000)]);
        assert_eq!(costs.of(Work::Step(0), 3, 1000, ThermalState::Cold), Nanos(10));
        let warm = [ThermalState::Warm, ThermalState::Hot];
        assert_eq!(warm.map(|warm| costs.of(Work::Step(0), 3, 1000, warm)), [Nanos(20), Nanos(40)]);
        // 51 positions of 100 bytes against 50 x 1000 products; then 7 bytes.
        assert_eq!(costs.of(Work::Step(1), 1, 1000, ThermalState::Cold), Nanos(10 + 50_000 + 7));
        assert_eq!(costs.of(Work::Step(1), 2, 0, ThermalState::Cold), Nanos(10 + 3_000 + 14));
    }
}
