//! One-off reads, beside pages that come and go.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Setup, setup, spec};
use crate::testing::Order;
use crate::{Class, FileId, Nanos, PageId, PageState};

#[test]
fn every_request_is_answered_once_with_its_bytes() {
    let Setup { mut pager, remote, file, clock } = setup(3, 3);
    remote.order(Order::Shuffled(7));
    remote.hold();
    remote.tick(&clock, Nanos(10));
    let _ = (pager.load(PageId(0), Class::Demand), pager.load(PageId(1), Class::Hint));
    let requests: Vec<_> = (0..20).map(|i| spec(i * 1999, 1 + 25 * i as u32)).collect();
    let mut answered = vec![0; requests.len()];
    let take = |i: usize, bytes: &[u8]| {
        let (start, len) = (requests[i].offset as usize, requests[i].len as usize);
        assert_eq!(bytes, &file[start..start + len]);
        answered[i] += 1;
    };
    pager.gather(&requests, take).unwrap();
    assert!(answered.iter().all(|&times| times == 1));
    assert_eq!((pager.stats().gathered, pager.stats().stall), (20, Nanos(220)), "22 reads, 10 ns each");
    assert_eq!(pager.state(PageId(0)), PageState::Resident, "pages arrive meanwhile");
    pager.validate();
}

#[test]
fn a_queue_full_of_pages_makes_room() {
    let Setup { mut pager, .. } = setup(2, 2);
    let _ = (pager.load(PageId(0), Class::Hint), pager.load(PageId(1), Class::Hint));
    let mut got = 0;
    pager.gather(&[spec(5, 5)], |_, bytes| got += bytes.len()).unwrap();
    assert_eq!(got, 5);
    pager.gather(&[], |_, _| unreachable!()).unwrap();
}

#[test]
fn faults_end_it_and_leave_everything_in_place() {
    let Setup { mut pager, remote, .. } = setup(2, 2);
    remote.fail(FileId(0), 8192, libc::EIO);
    let requests: Vec<_> = (0..9).map(|i| spec(i * 4096 + 3, 10)).collect();
    let error = pager.gather(&requests, |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "model.gguf: cannot read 10 bytes at byte 8195: Input/output error (os error 5)");
    pager.validate();
    assert_eq!(pager.in_flight(), 0);
    // A demanded page that fails meanwhile is told by the next poll.
    remote.fail(FileId(0), 0, libc::EIO);
    let _ = pager.load(PageId(0), Class::Demand);
    pager.gather(&requests[4..5], |_, _| {}).unwrap();
    assert!(pager.poll().is_err());
    assert!(pager.poll().is_ok());
}

#[test]
fn requests_that_cannot_be_served_are_named() {
    let Setup { mut pager, .. } = setup(1, 1);
    assert_eq!(pager.max_gather(), 4096, "whole granules");
    let error = pager.gather(&[spec(9, 4097)], |_, _| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a one-off read of 4097 bytes at byte 9 cannot be served: it must be within a file and have 1 to 4096 bytes"
    );
}

#[test]
fn a_panic_in_the_callback_loses_no_frame() {
    let Setup { mut pager, .. } = setup(2, 2);
    let requests: Vec<_> = (0..6).map(|i| spec(i * 4096, 10)).collect();
    for _ in 0..3 {
        let caught = catch_unwind(AssertUnwindSafe(|| pager.gather(&requests, |_, _| panic!("on purpose"))));
        assert!(caught.is_err());
    }
    let mut answered = 0;
    pager.gather(&requests, |_, _| answered += 1).unwrap();
    assert_eq!(answered, 6);
    pager.validate();
}
