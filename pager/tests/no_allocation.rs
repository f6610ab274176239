//! After construction the pager allocates nothing, whatever it loads, evicts, leases or gathers.
#![allow(clippy::disallowed_methods)] // Tests make files.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use forebay_pager::{
    Backend, Class, FileId, Load, OpenError, PageId, PageSpec, Pager, Scratch, Storage, SystemClock, Window, open,
};

struct Counting;

thread_local! {
    /// By thread, since the test harness allocates on others when it likes.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PAGES: u32 = 40;
const PAGE_LEN: u32 = 30_000;

fn page(i: u32) -> PageSpec {
    PageSpec { file: FileId(0), offset: u64::from(i) * u64::from(PAGE_LEN) + 17, len: PAGE_LEN }
}

/// Streams all pages through the window, leases each, and gathers a row beside each.
fn pass<S: Storage>(pager: &mut Pager<S, SystemClock>) {
    let mut sum = 0u64;
    for i in 0..PAGES {
        while let Load::NoFrame | Load::QueueFull = pager.load(PageId(i), Class::Hint) {
            pager.wait().expect("a healthy file");
            let oldest = pager.resident().min_by_key(|page| page.0);
            let _ = oldest.is_some_and(|page| pager.evict(page));
        }
        pager
            .gather(&[page(i % 7)].map(|spec| PageSpec { len: 100, ..spec }), |_, row| sum += row.len() as u64)
            .unwrap();
        while pager.load(PageId(i), Class::Demand) == Load::Joined {
            pager.wait().expect("a healthy file");
        }
        let lease = pager.lease(PageId(i)).expect("it has arrived");
        sum += u64::from(lease.bytes()[0]);
        pager.release(lease);
        pager.drain_arrived(|page| sum += u64::from(page.0));
        pager.poll().expect("a healthy file");
    }
    assert!(sum > 0);
}

#[test]
fn nothing_is_allocated_after_the_first_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, vec![1; (PAGES * PAGE_LEN) as usize + 17]).unwrap();
    for backend in [Backend::Uring, Backend::Pread, Backend::Mmap] {
        let window = Window::with_scratch(36 << 10, 6, Scratch { max_len: 4096, frames: 2 }).unwrap();
        let storage = match open(std::slice::from_ref(&path), &window, 4, backend) {
            Ok((storage, _)) => storage,
            Err(error @ OpenError::Uring { .. }) => {
                eprintln!("SKIPPED: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let pages = (0..PAGES).map(page).collect();
        let mut pager = Pager::new(storage, SystemClock::new(), window, vec![path.clone()], pages).unwrap();
        // The first pass may allocate what the standard library keeps for a thread that blocks.
        pass(&mut pager);
        let before = ALLOCATIONS.get();
        pass(&mut pager);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{backend}");
    }
}
