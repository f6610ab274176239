//! The page table: loads, hints, leases, evictions, arrivals, and what is counted of them.

use super::{Setup, arrivals, pages, setup, spec};
use crate::testing::{ManualClock, MockStorage, Order};
use crate::{ALIGN, Class, FileId, Load, Nanos, PageId, PageSpec, PageState, Pager, Window};

const A: PageId = PageId(0);
const B: PageId = PageId(1);
const C: PageId = PageId(2);

#[test]
fn a_page_comes_and_goes() {
    let Setup { mut pager, file, .. } = setup(2, 4);
    assert_eq!((pager.frames(), pager.free_frames(), pager.depth(), pager.page_count()), (2, 2, 4, 10));
    assert_eq!(pager.state(A), PageState::Absent);
    assert!(pager.lease(A).is_none());
    assert_eq!(pager.load(A, Class::Demand), Load::Started);
    assert_eq!((pager.state(A), pager.in_flight(), pager.free_frames()), (PageState::Loading, 1, 1));
    assert!(!pager.evict(A), "it is loading");
    assert_eq!(pager.wait().unwrap(), 1);
    assert_eq!(pager.state(A), PageState::Resident);
    assert_eq!(arrivals(&mut pager), [0]);
    assert_eq!(pager.load(A, Class::Demand), Load::Hit);
    let lease = pager.lease(A).unwrap();
    assert_eq!(pager.bytes(&lease), &file[100..4100]);
    pager.release(lease);
    assert!(pager.evict(A));
    assert!(!pager.evict(A), "it is absent");
    assert_eq!((pager.state(A), pager.free_frames()), (PageState::Absent, 2));
    pager.validate();
}

#[test]
fn loads_of_one_page_share_one_read() {
    let Setup { mut pager, remote, .. } = setup(2, 4);
    assert_eq!(pager.load(A, Class::Hint), Load::Started);
    assert_eq!(pager.load(A, Class::Hint), Load::Joined);
    assert_eq!(pager.load(A, Class::Demand), Load::Joined);
    assert_eq!(pager.load(A, Class::Demand), Load::Joined);
    pager.wait().unwrap();
    assert_eq!(remote.submitted(), [(FileId(0), 0)]);
    let stats = pager.stats();
    assert_eq!((stats.reads, stats.joined, stats.hints, stats.hints_used, stats.hints_late), (1, 3, 1, 1, 1));
}

#[test]
fn a_full_queue_is_told_before_a_full_window() {
    let Setup { mut pager, .. } = setup(2, 2);
    assert_eq!(pager.load(A, Class::Demand), Load::Started);
    assert_eq!(pager.load(B, Class::Demand), Load::Started);
    assert_eq!(pager.load(C, Class::Demand), Load::QueueFull, "an eviction would not help");
    while pager.in_flight() > 0 {
        pager.wait().unwrap();
    }
    assert_eq!(pager.load(C, Class::Demand), Load::NoFrame);
    assert!(pager.evict(A));
    assert_eq!(pager.load(C, Class::Demand), Load::Started);
    pager.validate();
}

#[test]
fn a_lease_keeps_its_page_until_the_last_one_ends() {
    let Setup { mut pager, file, .. } = setup(1, 1);
    let _ = pager.load(B, Class::Demand);
    pager.wait().unwrap();
    let (one, two) = (pager.lease(B).unwrap(), pager.lease(B).unwrap());
    drop(one);
    assert!(pager.is_leased(B) && !pager.evict(B));
    // Another thread may hold it, and it outlives the pager.
    drop(pager);
    let bytes = std::thread::scope(|scope| scope.spawn(|| two.bytes().to_vec()).join().unwrap());
    assert_eq!((two.page(), &bytes[..]), (B, &file[4100..8100]));
}

#[test]
fn arrivals_are_told_once_and_only_while_resident() {
    let Setup { mut pager, remote, .. } = setup(2, 2);
    remote.order(Order::Newest);
    let _ = (pager.load(A, Class::Demand), pager.load(B, Class::Demand));
    pager.wait().unwrap();
    assert_eq!(arrivals(&mut pager), [1, 0], "in the order of arrival");
    assert_eq!(arrivals(&mut pager), [0u32; 0]);
    // C takes the frame of A before anyone asked.
    pager.evict(A);
    let _ = pager.load(A, Class::Demand);
    pager.wait().unwrap();
    pager.evict(A);
    let _ = pager.load(C, Class::Demand);
    pager.wait().unwrap();
    assert_eq!(arrivals(&mut pager), [2]);
    assert_eq!(pager.resident().collect::<Vec<_>>(), [C, B]);
    pager.validate();
}

#[test]
fn hints_are_used_or_wasted() {
    let Setup { mut pager, .. } = setup(3, 3);
    for page in [A, B, C] {
        let _ = pager.load(page, Class::Hint);
    }
    pager.wait().unwrap();
    drop(pager.lease(A));
    assert_eq!(pager.load(B, Class::Demand), Load::Hit);
    assert_eq!(pager.load(C, Class::Hint), Load::Hit);
    for page in [A, B, C] {
        assert!(pager.evict(page));
    }
    let stats = pager.stats();
    assert_eq!((stats.hints, stats.hints_used, stats.hints_late, stats.hints_wasted), (3, 2, 0, 1));
    assert_eq!((stats.evictions, stats.rereads, stats.hits), (3, 0, 2));
    let _ = pager.load(A, Class::Demand);
    assert_eq!(pager.take_stats().rereads, 1);
    assert_eq!(pager.stats().rereads, 0);
}

#[test]
fn time_is_charged_to_who_spends_it() {
    let Setup { mut pager, remote, clock, .. } = setup(4, 4);
    remote.hold();
    remote.tick(&clock, Nanos(1000));
    let _ = pager.load(A, Class::Demand);
    clock.advance(Nanos(100));
    let _ = pager.load(B, Class::Demand);
    assert_eq!(pager.poll().unwrap(), 0, "nothing has ended");
    assert_eq!(pager.wait().unwrap(), 1);
    clock.advance(Nanos(50));
    assert_eq!(pager.wait().unwrap(), 1);
    // Flash idles: not busy.
    clock.advance(Nanos(7777));
    assert_eq!(pager.wait().unwrap(), 0, "nothing to wait for");
    let _ = pager.load(C, Class::Demand);
    assert_eq!(pager.wait().unwrap(), 1);
    let stats = pager.stats();
    assert_eq!((stats.stall, stats.stalls), (Nanos(3000), 3));
    assert_eq!(stats.busy, Nanos(100 + 1000 + 50 + 1000 + 1000));
    assert_eq!((stats.latency.count(), stats.latency.max()), (3, Nanos(2050)));
    assert_eq!((stats.peak_in_flight, stats.bytes_useful, stats.bytes_read), (2, 12_000, 5 * 4096));
    assert_eq!(
        stats.to_string(),
        "3 reads (3 demanded, 0 hinted, 0 one-off; 0 again, 0 failed), 0.0 MiB read for 0.0 MiB\n\
         0 hits, 0 joined, 0 evictions; hints: 0 used, 0 of them late, 0 wasted\n\
         stalled 3.0µs in 3 waits; flash busy 3.2µs at 6200.4 MiB/s, at most 2 in flight, latency 1.2µs (p99 2.0µs)"
    );
}

#[test]
fn a_page_that_cannot_work_is_named() {
    let refuse = |spec: PageSpec| {
        let (storage, _) = MockStorage::new(vec![vec![]], 1);
        let mut list = pages(3);
        list.push(spec);
        let window = Window::new(ALIGN * 2, 1).unwrap();
        Pager::new(storage, ManualClock::new(), window, vec!["f".into()], list).unwrap_err().to_string()
    };
    assert_eq!(refuse(spec(7, 0)), "page 3 (0 bytes at byte 7) is empty");
    assert_eq!(
        refuse(spec(4095, 4098)),
        "page 3 (4098 bytes at byte 4095) needs an aligned read of 12288 bytes, but a frame has 8192"
    );
    assert_eq!(
        refuse(PageSpec { file: FileId(1), offset: 0, len: 1 }),
        "page 3 (1 bytes at byte 0) names file 1, but there are 1"
    );
    assert_eq!(
        refuse(spec(u64::MAX, 1)),
        "page 3 (1 bytes at byte 18446744073709551615) ends beyond the largest file offset"
    );
}
