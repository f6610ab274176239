//! Tests of the pager over files in memory. Those of the backends are beside them, in `storage/tests.rs`.

mod faults;
mod gather;
mod journal;
mod model;
mod table;

use crate::testing::{ManualClock, MockStorage, Remote};
use crate::{ALIGN, FileId, PageId, PageSpec, Pager, Scratch, Window};

type MockPager = Pager<MockStorage, ManualClock>;

/// Bytes that tell their place.
fn file_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn spec(offset: u64, len: u32) -> PageSpec {
    PageSpec { file: FileId(0), offset, len }
}

/// `count` pages of a bit less than a granule each, one after the other from an odd offset.
fn pages(count: u32) -> Vec<PageSpec> {
    (0..count).map(|i| spec(100 + u64::from(i) * 4000, 4000)).collect()
}

struct Setup {
    pager: MockPager,
    remote: Remote,
    clock: ManualClock,
    file: Vec<u8>,
}

/// Ten pages in one file, `frames` frames, `depth` reads at once, two scratch frames.
fn setup(frames: usize, depth: usize) -> Setup {
    let file = file_bytes(10 * 4000 + 100);
    let (storage, remote) = MockStorage::new(vec![file.clone()], depth);
    let clock = ManualClock::new();
    let window = Window::with_scratch(2 * ALIGN, frames, Scratch { max_len: 500, frames: 2 }).unwrap();
    let pager = Pager::new(storage, clock.clone(), window, vec!["model.gguf".into()], pages(10)).unwrap();
    Setup { pager, remote, clock, file }
}

fn arrivals(pager: &mut MockPager) -> Vec<u32> {
    let mut told = Vec::new();
    pager.drain_arrived(|PageId(page)| told.push(page));
    told
}
