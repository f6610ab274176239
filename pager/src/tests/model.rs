//! Random sequences of everything, under random completion orders and faults: the tables stay whole, every byte is
//! right, and every page is where a simple model says.

use proptest::prelude::*;

use super::{Setup, setup};
use crate::testing::Order;
use crate::{Class, Lease, Load, PageId, PageSpec, PageState};

#[derive(Debug, Clone)]
enum Op {
    Load(u32, bool),
    Evict(u32),
    Lease(u32),
    Release(usize),
    Poll,
    Wait,
    Allow(usize),
    Fail(u32),
    Heal,
    Gather(u32, u32),
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let page = 0u32..10;
    let op = prop_oneof![
        6 => (page.clone(), any::<bool>()).prop_map(|(page, demand)| Op::Load(page, demand)),
        4 => page.clone().prop_map(Op::Evict),
        3 => page.clone().prop_map(Op::Lease),
        3 => any::<usize>().prop_map(Op::Release),
        2 => Just(Op::Poll),
        2 => Just(Op::Wait),
        2 => (0usize..3).prop_map(Op::Allow),
        1 => page.prop_map(Op::Fail),
        1 => Just(Op::Heal),
        1 => (0u32..39_000, 1u32..500).prop_map(|(offset, len)| Op::Gather(offset, len)),
        1 => Just(Op::Drain),
    ];
    prop::collection::vec(op, 1..120)
}

/// What the pager should hold, and the leases in hand.
struct Model {
    setup: Setup,
    leases: Vec<Lease>,
    told: Vec<PageId>,
}

impl Model {
    fn apply(&mut self, op: Op) {
        let Setup { pager, remote, .. } = &mut self.setup;
        match op {
            Op::Load(page, demand) => self.load(PageId(page), if demand { Class::Demand } else { Class::Hint }),
            Op::Evict(page) => self.evict(PageId(page)),
            Op::Lease(page) => {
                let resident = pager.state(PageId(page)) == PageState::Resident;
                let lease = pager.lease(PageId(page));
                assert_eq!(lease.is_some(), resident);
                self.leases.extend(lease);
            }
            Op::Release(_) if self.leases.is_empty() => {}
            Op::Release(which) => {
                let lease = self.leases.swap_remove(which % self.leases.len());
                pager.release(lease);
            }
            // Errors are expected: faults are put in. What they leave behind is checked below.
            Op::Poll => drop(pager.poll()),
            Op::Wait => drop(pager.wait()),
            Op::Allow(count) => remote.allow(count),
            Op::Fail(page) => {
                let PageSpec { file, offset, .. } = pager.spec(PageId(page));
                remote.fail(file, offset / 4096 * 4096, libc::EIO);
            }
            Op::Heal => remote.heal(),
            Op::Gather(offset, len) => self.gather(offset, len),
            Op::Drain => self.drain(),
        }
        self.check();
    }

    fn load(&mut self, page: PageId, class: Class) {
        let pager = &mut self.setup.pager;
        let (state, free, flying) = (pager.state(page), pager.free_frames(), pager.in_flight());
        let expected = match state {
            PageState::Resident => Load::Hit,
            PageState::Loading => Load::Joined,
            PageState::Absent if flying == pager.depth() => Load::QueueFull,
            PageState::Absent if free == 0 => Load::NoFrame,
            PageState::Absent => Load::Started,
        };
        assert_eq!(pager.load(page, class), expected);
    }

    fn evict(&mut self, page: PageId) {
        let pager = &mut self.setup.pager;
        let leased = self.leases.iter().any(|lease| lease.page() == page);
        let expected = pager.state(page) == PageState::Resident && !leased;
        assert_eq!(pager.is_leased(page), leased);
        assert_eq!(pager.evict(page), expected);
        if expected {
            self.told.retain(|&told| told != page);
        }
    }

    fn gather(&mut self, offset: u32, len: u32) {
        let Setup { pager, file, .. } = &mut self.setup;
        let spec = super::spec(u64::from(offset), len);
        let _ = pager.gather(&[spec, spec], |_, bytes| {
            assert_eq!(bytes, &file[offset as usize..(offset + len) as usize]);
        });
    }

    fn drain(&mut self) {
        let told = &mut self.told;
        self.setup.pager.drain_arrived(|page| {
            assert!(!told.contains(&page), "{page} is told twice");
            told.push(page);
        });
        let mut resident: Vec<_> = self.setup.pager.resident().collect();
        resident.sort();
        self.told.sort();
        assert_eq!(self.told, resident, "every resident page was told of");
    }

    fn check(&self) {
        self.setup.pager.validate();
        for lease in &self.leases {
            let PageSpec { offset, len, .. } = self.setup.pager.spec(lease.page());
            assert_eq!(lease.bytes(), &self.setup.file[offset as usize..][..len as usize]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_the_tables_whole(
        ops in ops(),
        frames in 1usize..6,
        depth in 1usize..6,
        seed in any::<u64>(),
    ) {
        let setup = setup(frames, depth);
        setup.remote.order(Order::Shuffled(seed));
        setup.remote.hold();
        let mut model = Model { setup, leases: Vec::new(), told: Vec::new() };
        ops.into_iter().for_each(|op| model.apply(op));
        // And in the end everything can be taken out.
        model.leases.clear();
        while model.setup.pager.in_flight() > 0 {
            let _ = model.setup.pager.wait();
        }
        for page in 0..10 {
            model.evict(PageId(page));
        }
        prop_assert_eq!(model.setup.pager.free_frames(), frames);
        model.check();
    }
}
