//! The journal tells what happened, in order, with its times.

use super::{arrivals, setup};
use crate::testing::Order;
use crate::{Class, Entry, Event, FileId, Journal, Nanos, PageId};

#[test]
fn reads_leases_evictions_and_waits_are_put_down_in_order() {
    let mut s = setup(2, 2);
    assert!(s.pager.keep_journal(Some(Journal::new(100))).is_none());
    s.remote.order(Order::Newest);
    s.remote.hold();
    s.remote.tick(&s.clock, Nanos(50));
    s.clock.advance(Nanos(7));
    let [a, b] = [PageId(3), PageId(4)];
    let _ = s.pager.load(a, Class::Demand);
    let _ = s.pager.load(b, Class::Hint);
    s.pager.wait().unwrap();
    assert_eq!(arrivals(&mut s.pager), [4]);
    s.pager.note(Event::Step(9));
    assert!(s.pager.evict(b));
    s.remote.fail(FileId(0), 8192, 5);
    s.pager.wait().unwrap_err();
    let journal = s.pager.keep_journal(None).unwrap();
    let at = |at, event| Entry { at: Nanos(at), event };
    let since = Nanos(7);
    let expected = [
        at(7, Event::Read { page: a, class: Class::Demand }),
        at(7, Event::Read { page: b, class: Class::Hint }),
        at(57, Event::Arrived { page: b, since }),
        at(57, Event::Stalled { since }),
        at(57, Event::Step(9)),
        at(57, Event::Evicted { page: b, wasted: true }),
        at(107, Event::Failed { page: a, since }),
        at(107, Event::Stalled { since: Nanos(57) }),
    ];
    assert_eq!(journal.entries(), expected);
    let _ = s.pager.load(a, Class::Demand);
    assert_eq!(journal.entries().len(), expected.len(), "nothing is kept after its end");
}
