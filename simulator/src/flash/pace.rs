//! How fast bytes move right now: the link shared out, heat, and other traffic.

use super::options::{FlashOptions, ThermalState};
use super::parameters::{Background, FlashProfile};
use super::thermal::Thermal;
use crate::chance::Chance;
use forebay_pager::Nanos;
use std::sync::Arc;

/// Heat is reckoned on a grid of this length, so that a run does not depend on when it is looked at.
const TICK: Nanos = Nanos(100_000_000);

/// The link as a processor that is shared: all active reads move at one rate, so one number, the bytes that a read
/// has got that was always active, tells of all of them how far they are.
///
/// It is small and can be copied: to look ahead is to move a copy.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    constants: Arc<Constants>,
    now: Nanos,
    /// Bytes that each active read has got since the link was idle.
    attained: f64,
    /// Bytes per nanosecond of each active read.
    rate: f64,
    active: usize,
    in_flight: usize,
    thermal: Thermal,
    next_tick: Nanos,
    /// Bytes of all reads since the last tick.
    moved: f64,
    /// Heat that came from elsewhere since the last tick, in joules.
    warmed: f64,
    others: Others,
}

/// What does not change in a run.
#[derive(Debug)]
struct Constants {
    profile: FlashProfile,
    other_watts: f64,
}

impl Pace {
    pub(super) fn new(profile: FlashProfile, options: &FlashOptions) -> Pace {
        let constants = Arc::new(Constants { other_watts: options.other_watts, profile });
        let profile = &constants.profile;
        let others = Others::new(&profile.background, Chance::new(options.seed, 1));
        let thermal = Thermal::new(profile.heat, options.start);
        let (now, next_tick) = (Nanos::ZERO, TICK);
        Pace {
            now,
            attained: 0.0,
            rate: 0.0,
            active: 0,
            in_flight: 0,
            thermal,
            next_tick,
            moved: 0.0,
            warmed: 0.0,
            others,
            constants,
        }
    }

    /// When the rate changes next without anybody's doing.
    pub(super) fn next_change(&self) -> Nanos {
        self.next_tick.min(self.others.toggle)
    }

    /// When active reads will have got `attained` bytes, if nothing changes.
    pub(super) fn reaches(&self, attained: f64) -> Nanos {
        let left = (attained - self.attained).max(0.0) / self.rate;
        let whole = left as u64;
        self.now + Nanos(whole.saturating_add(u64::from((whole as f64) < left)))
    }

    /// Moves on to `until`, before which nothing changes.
    pub(super) fn move_to(&mut self, until: Nanos) {
        if self.active > 0 {
            let each = self.rate * (until - self.now).0 as f64;
            self.attained += each;
            self.moved += each * self.active as f64;
        }
        self.now = until;
    }

    /// Takes the change that is due at `now`.
    pub(super) fn change(&mut self) {
        if self.next_tick <= self.now {
            let seconds = TICK.as_secs_f64();
            let elsewhere = self.warmed + self.constants.other_watts * seconds;
            let joules = self.moved * self.constants.profile.joules_byte + elsewhere;
            self.thermal.step(seconds, joules);
            (self.moved, self.warmed) = (0.0, 0.0);
            self.next_tick += TICK;
        }
        if self.others.toggle <= self.now {
            self.others.change(&self.constants.profile.background);
        }
        self.set_rate();
    }

    /// Moves on to `until`, before which no read begins or ends, with the changes on the way.
    pub(super) fn pass_to(&mut self, until: Nanos) {
        let at_rest = self.constants.other_watts == 0.0;
        while self.next_change() <= until {
            if at_rest
                && self.active == 0
                && self.moved + self.warmed == 0.0
                && self.thermal.is_at_rest()
                && self.others.toggle > until
            {
                let ticks = (until - self.next_tick).0 / TICK.0 + 1;
                self.next_tick += Nanos(ticks * TICK.0);
                break;
            }
            self.move_to(self.next_change());
            self.change();
        }
        self.move_to(until);
    }

    /// A read begins to move `bytes`; returns what active reads will have got when it is done.
    pub(super) fn begin(&mut self, bytes: f64) -> f64 {
        self.active += 1;
        self.set_rate();
        self.attained + bytes
    }

    /// A read has got all its bytes.
    pub(super) fn finish(&mut self) {
        self.active -= 1;
        if self.active == 0 {
            self.attained = 0.0; // So that sums stay small, and exact enough.
        }
    }

    /// So many requests are at the device from now on.
    pub(super) fn set_in_flight(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
        self.set_rate();
    }

    /// Heat that came from elsewhere.
    pub(super) fn warm(&mut self, joules: f64) {
        self.warmed += joules;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    pub(super) fn thermal(&self) -> (ThermalState, f64) {
        (self.thermal.state(), self.thermal.celsius())
    }

    pub(super) fn profile(&self) -> &FlashProfile {
        &self.constants.profile
    }

    fn set_rate(&mut self) {
        let profile = &self.constants.profile;
        let link = profile.link_bytes_s * profile.depth.share(self.in_flight) * (1.0 - self.others.taken);
        let fair = link / self.active.max(1) as f64;
        self.rate = fair.min(profile.stream_bytes_s) * self.thermal.share() / 1e9;
    }
}

/// Other traffic: bursts of one length, with exponential gaps between them.
#[derive(Debug, Clone)]
struct Others {
    /// Of the link, now.
    taken: f64,
    /// When that changes.
    toggle: Nanos,
    chance: Chance,
}

impl Others {
    fn new(background: &Background, chance: Chance) -> Others {
        let mut others = Others { taken: background.burst_share, toggle: Nanos::ZERO, chance };
        others.change(background);
        others
    }

    fn change(&mut self, background: &Background) {
        let Background { share, burst_share, burst_s } = *background;
        if share <= 0.0 {
            (self.taken, self.toggle) = (0.0, Nanos(u64::MAX));
            return;
        }
        let seconds = if self.taken > 0.0 {
            self.taken = 0.0;
            burst_s * (burst_share / share - 1.0) * self.chance.exponential()
        } else {
            self.taken = burst_share;
            burst_s
        };
        self.toggle += Nanos((seconds * 1e9) as u64 + 1);
    }
}
