//! Reads that fail: the error names file, offset and page, comes once, and leaves the table as it was before.

use super::{Setup, setup};
use crate::{Class, Error, FileId, Load, PageId, PageState};

const FILE: FileId = FileId(0);
const A: PageId = PageId(0);
const C: PageId = PageId(2);

/// The third page starts at byte 8100, its aligned span at 4096.
#[test]
fn a_demanded_page_that_fails_is_told_once_and_can_be_tried_again() {
    let Setup { mut pager, remote, file, .. } = setup(2, 2);
    remote.fail(FILE, 4096, libc::EIO);
    let _ = (pager.load(A, Class::Demand), pager.load(C, Class::Demand));
    let error = pager.wait().unwrap_err();
    assert_eq!(error.to_string(), "model.gguf: cannot read page 2 at byte 8100: Input/output error (os error 5)");
    assert!(matches!(error, Error::Read { offset: 8100, page: C, .. }));
    assert_eq!(pager.state(A), PageState::Resident, "the other read is not lost");
    assert_eq!((pager.state(C), pager.free_frames()), (PageState::Absent, 1));
    assert_eq!(pager.poll().unwrap(), 0);
    pager.validate();

    remote.heal();
    assert_eq!(pager.load(C, Class::Demand), Load::Started);
    assert_eq!(pager.wait().unwrap(), 1);
    assert_eq!(pager.lease(C).unwrap().bytes(), &file[8100..12_100]);
    assert_eq!(pager.stats().faults, 1);
}

#[test]
fn a_file_that_shrank_is_told() {
    let Setup { mut pager, remote, .. } = setup(2, 2);
    remote.truncate(FILE, 9000);
    let _ = pager.load(C, Class::Demand);
    assert_eq!(
        pager.wait().unwrap_err().to_string(),
        "model.gguf: cannot read page 2 at byte 8100: \
         the file ends at byte 9000, but the bytes up to 12100 are needed; it was truncated"
    );
}

#[test]
fn several_faults_are_told_one_by_one_without_waiting() {
    let Setup { mut pager, remote, .. } = setup(3, 3);
    remote.fail(FILE, 0, libc::EIO);
    remote.fail(FILE, 4096, libc::EIO);
    let _ = (pager.load(A, Class::Demand), pager.load(C, Class::Demand));
    assert!(pager.wait().is_err());
    remote.hold();
    let _ = pager.load(PageId(5), Class::Demand);
    assert!(pager.wait().is_err());
    assert_eq!(pager.in_flight(), 1, "the second fault was told without waiting for more");
    assert_eq!(pager.wait().unwrap(), 1);
}

#[test]
fn a_hint_that_fails_is_only_counted_unless_it_is_demanded() {
    let Setup { mut pager, remote, .. } = setup(2, 2);
    remote.fail(FILE, 0, libc::EIO);
    let _ = pager.load(A, Class::Hint);
    assert_eq!(pager.wait().unwrap(), 1);
    assert_eq!((pager.state(A), pager.stats().faults, pager.stats().hints_wasted), (PageState::Absent, 1, 1));
    let _ = pager.load(A, Class::Hint);
    assert_eq!(pager.load(A, Class::Demand), Load::Joined);
    assert!(pager.wait().is_err());
    pager.validate();
}
