//! The cost of a decision about experts: `cargo bench -p forebay-prefetch --bench expert_policies`.
//!
//! A decision is everything that a policy does for one expert that a router chose: its part of observing the visit, and the
//! touch, or the victim with its leaving and the arrival. The shape is 512 experts of a layer, 10 chosen; layers make the number:
//! a cost that grows with the logarithm of it hardly grows. Capacity is a quarter.

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_pager::{Class, PageId};
use forebay_prefetch::experts::trace::{Phase, Row, Trace, TraceBuilder};
use forebay_prefetch::experts::{ExpertPolicy, ExpertPolicyKind};
use forebay_prefetch::policy::Use;

const EXPERTS: usize = 512;
const USED: usize = 10;

/// Routing that repeats half of the last token's experts and takes the others from a skewed popularity.
fn routing(layers: usize) -> Trace {
    let mut builder = TraceBuilder::new(synthetic::header(layers, EXPERTS, USED)).expect("a sane header");
    let mut state = 1u64;
    let mut random = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut last = vec![Vec::<u32>::new(); layers];
    for step in 0..24 {
        for (layer, last) in last.iter_mut().enumerate() {
            last.truncate(USED / 2);
            while last.len() < USED {
                let r = random(EXPERTS as u64 * EXPERTS as u64);
                let expert = (r.isqrt() as u32 + layer as u32 * 7) % EXPERTS as u32;
                if !last.contains(&expert) {
                    last.insert(0, expert);
                }
            }
            for (slot, &expert) in last.iter().enumerate() {
                let (layer, slot, weight) = (layer as u32, slot as u32, 0.1);
                let phase = Phase::Decode;
                let row = Row { turn: 0, phase, step, layer, slot, expert, weight, resident: false, read: 0 };
                builder.push(row).expect("a row of the model");
            }
        }
    }
    builder.finish().expect("there are rows")
}

/// A cache that is run on and on.
struct Run<'a> {
    trace: &'a Trace,
    policy: Box<dyn ExpertPolicy + 'a>,
    resident: Vec<bool>,
    room: usize,
    next: usize,
}

impl Run<'_> {
    fn visit(&mut self) {
        let routing = self.trace.visit(self.next % self.trace.visits().len()).expect("it is taken modulo");
        self.next += 1;
        self.policy.observe(&routing);
        for choice in routing.choices {
            let page = self.trace.grid().page(routing.layer, choice.expert as usize);
            if !self.resident[page.index()] && !self.make_room(page) {
                continue;
            }
            self.resident[page.index()] = true;
            self.policy.touch(page, self.next as u64, Use::Done);
        }
        while self.policy.hint(&|page| self.resident[page.index()]).is_some() {}
    }

    fn make_room(&mut self, page: PageId) -> bool {
        if self.room > 0 {
            self.room -= 1;
            return true;
        }
        let Some(victim) = self.policy.victim(page, self.next as u64, Class::Demand, &|_| true) else {
            return false;
        };
        self.policy.forget(victim);
        self.resident[victim.index()] = false;
        true
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expert_decision");
    group.throughput(Throughput::Elements(USED as u64));
    for layers in [6, 60, 240] {
        let trace = routing(layers);
        let experts = layers * EXPERTS;
        let kinds = ExpertPolicyKind::ALL.into_iter().filter(|&kind| kind != ExpertPolicyKind::Belady);
        for kind in kinds {
            let policy = kind.build(&trace, experts / 4, None);
            let mut run = Run { trace: &trace, policy, resident: vec![false; experts], room: experts / 4, next: 0 };
            (0..trace.visits().len()).for_each(|_| run.visit());
            group.bench_function(BenchmarkId::new(kind.name(), experts), |b| b.iter(|| run.visit()));
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
