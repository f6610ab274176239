//! A max-heap of pages that knows where each page stands, so that a key can change in O(log n). It allocates only when made.

/// Pages by key, the greatest on top.
#[derive(Debug)]
pub(crate) struct PageHeap {
    heap: Vec<u32>,
    place: Vec<u32>,
    key: Vec<u64>,
}

const ABSENT: u32 = u32::MAX;

impl PageHeap {
    pub(crate) fn new(pages: usize) -> Self {
        PageHeap { heap: Vec::with_capacity(pages), place: vec![ABSENT; pages], key: vec![0; pages] }
    }

    /// Puts `page` in, or changes its key.
    pub(crate) fn set(&mut self, page: u32, key: u64) {
        let before = std::mem::replace(&mut self.key[page as usize], key);
        let place = self.place[page as usize];
        if place == ABSENT {
            self.place[page as usize] = self.heap.len() as u32;
            self.heap.push(page);
            self.sift_up(self.heap.len() - 1);
        } else if key > before {
            self.sift_up(place as usize);
        } else if key < before {
            self.sift_down(place as usize);
        }
    }

    pub(crate) fn remove(&mut self, page: u32) {
        let at = std::mem::replace(&mut self.place[page as usize], ABSENT);
        if at == ABSENT {
            return;
        }
        let last = self.heap.pop().expect("a page that has a place is in the heap");
        if last != page {
            self.heap[at as usize] = last;
            self.place[last as usize] = at;
            let at = self.sift_up(at as usize);
            self.sift_down(at);
        }
    }

    pub(crate) fn contains(&self, page: u32) -> bool {
        self.place[page as usize] != ABSENT
    }

    pub(crate) fn key(&self, page: u32) -> u64 {
        self.key[page as usize]
    }

    /// The page with the greatest key among those that `usable` accepts. The top is nearly always usable; each page above the
    /// answer that is not costs a look at two more.
    pub(crate) fn greatest(&self, usable: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best = None;
        self.search(0, &usable, &mut best);
        best
    }

    /// Looks at the pages from `at` down, where they may be greater than `best`. It goes no deeper than the heap is high.
    fn search(&self, at: usize, usable: &impl Fn(u32) -> bool, best: &mut Option<u32>) {
        let Some(&page) = self.heap.get(at) else {
            return;
        };
        if best.is_some_and(|best| self.key[best as usize] >= self.key[page as usize]) {
            return;
        }
        if usable(page) {
            *best = Some(page);
        } else {
            self.search(2 * at + 1, usable, best);
            self.search(2 * at + 2, usable, best);
        }
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.key_at(parent) >= self.key_at(at) {
                break;
            }
            self.swap(at, parent);
            at = parent;
        }
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut greatest = at;
            for child in [left, right] {
                if child < self.heap.len() && self.key_at(child) > self.key_at(greatest) {
                    greatest = child;
                }
            }
            if greatest == at {
                return;
            }
            self.swap(at, greatest);
            at = greatest;
        }
    }

    fn key_at(&self, at: usize) -> u64 {
        self.key[self.heap[at] as usize]
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a] as usize] = a as u32;
        self.place[self.heap[b] as usize] = b as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec((0u32..20, prop::option::of(0u64..50)), 0..300)) {
            let mut heap = PageHeap::new(20);
            let mut map = HashMap::new();
            for (page, key) in ops {
                match key {
                    Some(key) => {
                        heap.set(page, key);
                        map.insert(page, key);
                    }
                    None => {
                        heap.remove(page);
                        map.remove(&page);
                    }
                }
                for odd in [false, true] {
                    let usable = |p: u32| !odd || p % 2 == 1;
                    let want = map.iter().filter(|(p, _)| usable(**p)).map(|(_, k)| *k).max();
                    prop_assert_eq!(heap.greatest(usable).map(|p| heap.key(p)), want);
                }
            }
        }
    }
}
