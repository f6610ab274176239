//! One-off small reads, such as rows of an embedding table: through scratch frames, past the page table.

use crate::clock::{Clock, Nanos};
use crate::error::Error;
use crate::ids::{ALIGN, PageSpec};
use crate::pager::{Class, Pager, SCRATCH_TAG, read_of};
use crate::storage::{Done, Storage, Wait};
use crate::window::Frame;

/// The scratch frames, and when each was sent off.
#[derive(Debug)]
pub(crate) struct Gathering {
    idle: Vec<Frame>,
    since: Vec<Nanos>,
    /// The number of the first scratch frame.
    first: usize,
    max_len: usize,
}

impl Gathering {
    pub(crate) fn new(scratch: Vec<Frame>, first: usize) -> Gathering {
        // A frame has a granule to spare for reads that start just before a boundary.
        let max_len = scratch.first().map_or(0, |frame| frame.len() - ALIGN);
        Gathering { since: vec![Nanos::ZERO; scratch.len()], idle: scratch, first, max_len }
    }

    /// How many scratch frames are with the storage.
    pub(crate) fn in_flight(&self) -> usize {
        self.since.len() - self.idle.len()
    }

    pub(crate) fn give_back(&mut self, frame: Frame) -> &Frame {
        self.idle.push(frame);
        &self.idle[self.idle.len() - 1]
    }

    fn sent(&mut self, frame: &Frame, now: Nanos) {
        self.since[frame.id().index() - self.first] = now;
    }

    fn since(&self, frame: &Frame) -> Nanos {
        self.since[frame.id().index() - self.first]
    }
}

impl<S: Storage, C: Clock> Pager<S, C> {
    /// Reads each of `requests` once, without making it resident, and hands its bytes to `take` with its number, in
    /// the order of arrival. Returns when all have arrived; the time counts as stall.
    ///
    /// Pages that arrive meanwhile are taken in as by [`poll`](Pager::poll), and their errors are left for it. The
    /// first error of a request is returned, after the requests already in flight have ended.
    pub fn gather(&mut self, requests: &[PageSpec], take: impl FnMut(usize, &[u8])) -> Result<(), Error> {
        self.check_requests(requests)?;
        // A callback that panicked may have left reads behind; their numbers are not ours.
        while self.gathering.in_flight() > 0 {
            self.collect(Wait::One);
        }
        let before = self.meter.clock().now();
        let result = Gather { pager: self, requests, take, next: 0, fault: None }.run();
        self.meter.stalled_since(before);
        result
    }

    /// The longest request that [`gather`](Pager::gather) takes; zero when the window has no scratch frames.
    pub fn max_gather(&self) -> usize {
        self.gathering.max_len
    }

    fn check_requests(&self, requests: &[PageSpec]) -> Result<(), Error> {
        let max = self.gathering.max_len;
        for &PageSpec { file, offset, len } in requests {
            let fits = (1..=max).contains(&(len as usize)) && file.index() < self.files.len();
            if !fits || (PageSpec { file, offset, len }).span().is_none() {
                return Err(Error::BadGather { offset, len, max });
            }
        }
        Ok(())
    }
}

struct Gather<'a, S: Storage, C: Clock, F> {
    pager: &'a mut Pager<S, C>,
    requests: &'a [PageSpec],
    take: F,
    next: usize,
    fault: Option<Error>,
}

impl<S: Storage, C: Clock, F: FnMut(usize, &[u8])> Gather<'_, S, C, F> {
    fn run(mut self) -> Result<(), Error> {
        loop {
            self.submit();
            // Another's reads may fill the whole queue; then it is theirs that make room.
            if self.pager.gathering.in_flight() == 0 && self.exhausted() {
                return self.fault.map_or(Ok(()), Err);
            }
            self.collect();
        }
    }

    fn exhausted(&self) -> bool {
        self.fault.is_some() || self.next == self.requests.len()
    }

    fn submit(&mut self) {
        let Pager { storage, meter, gathering, .. } = &mut *self.pager;
        while self.fault.is_none()
            && let Some(&spec) = self.requests.get(self.next)
            && storage.in_flight() < storage.depth()
            && let Some(frame) = gathering.idle.pop()
        {
            gathering.sent(&frame, meter.started());
            meter.stats.gathered += 1;
            storage.submit(read_of(spec, SCRATCH_TAG | self.next as u64, frame));
            self.next += 1;
        }
    }

    fn collect(&mut self) {
        let Pager { storage, done, .. } = &mut *self.pager;
        storage.flush();
        storage.reap(Wait::One, done);
        let now = self.pager.meter.observe();
        // One by one and out of the pager's own list: if `take` panics, the others are still there.
        self.pager.done.reverse();
        while let Some(done) = self.pager.done.pop() {
            match done.tag & SCRATCH_TAG {
                0 => self.pager.settle(done, now),
                _ => self.settle(done, now),
            }
        }
    }

    fn settle(&mut self, done: Done, now: Nanos) {
        let index = (done.tag & !SCRATCH_TAG) as usize;
        let spec = self.requests[index];
        let Pager { meter, gathering, files, .. } = &mut *self.pager;
        let since = gathering.since(&done.frame);
        let frame = gathering.give_back(done.frame);
        match done.result {
            Ok(()) => {
                meter.ended(spec, since, now);
                let skip = spec.offset as usize % ALIGN;
                (self.take)(index, &frame.bytes()[skip..][..spec.len as usize]);
            }
            Err(source) => {
                meter.failed(Class::Demand);
                let file = files[spec.file.index()].clone();
                let error = Error::Gather { file, offset: spec.offset, len: spec.len, source };
                self.fault.get_or_insert(error);
            }
        }
    }
}
