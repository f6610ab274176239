//! Which read is on which lane: a read takes the lowest that is free when it is started, and gives it up when it ends.

use forebay_pager::{Nanos, PageId};

#[derive(Debug, Clone, Copy)]
struct Lane {
    /// Whose read is on it.
    page: Option<PageId>,
    /// When the last one left it.
    free: Nanos,
}

/// The lanes of the flash. There are as many as reads were in flight at once.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

impl Lanes {
    /// The read of `page` is started. Events come in the order of time, so a lane that was given up is free by now.
    pub(super) fn start(&mut self, page: PageId, at: Nanos) {
        let lane = self.free_since(at);
        self.lanes[lane].page = Some(page);
    }

    /// The read of `page`, which was started at `since`, has ended. Returns the lane that it was on.
    pub(super) fn end(&mut self, page: PageId, since: Nanos, at: Nanos) -> usize {
        let taken = self.lanes.iter().position(|lane| lane.page == Some(page));
        let lane = match taken {
            Some(lane) if self.lanes[lane].free <= since => lane,
            // It was started before the first event; or the events are not in order, and lanes may still not overlap.
            taken => {
                taken.inspect(|&lane| self.lanes[lane].page = None);
                self.free_since(since)
            }
        };
        self.lanes[lane] = Lane { page: None, free: at };
        lane
    }

    fn free_since(&mut self, time: Nanos) -> usize {
        let free = |lane: &Lane| lane.page.is_none() && lane.free <= time;
        self.lanes.iter().position(free).unwrap_or_else(|| {
            self.lanes.push(Lane { page: None, free: Nanos::ZERO });
            self.lanes.len() - 1
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }
}
