//! The texts of a vocabulary, packed: one run of bytes, one offset per text, one table to find a text by hash.

use std::hash::{BuildHasher, RandomState};

/// Ids and table slots are `u32`; no id is this.
const EMPTY: u32 = u32::MAX;

/// Distinct texts, numbered in the order they were added.
///
/// 150,000 tokens cost about 2.7 MB: 1 MB of text, 0.6 MB of offsets and 1 MB of table. The hash is keyed at random,
/// so that no file can be made whose texts all collide; nothing depends on the key but the time of a look-up.
#[derive(Debug)]
pub(super) struct Pieces {
    text: Vec<u8>,
    /// Where each text ends.
    ends: Vec<u32>,
    /// Open addressing, linear probing, never more than two thirds full.
    slots: Vec<u32>,
    longest: usize,
    hasher: RandomState,
}

impl Pieces {
    /// No texts yet, with room for about `expected`.
    pub(super) fn with_capacity(expected: usize) -> Self {
        Self {
            text: Vec::new(),
            ends: Vec::with_capacity(expected),
            slots: vec![EMPTY; slots_for(expected)],
            longest: 0,
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all texts.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Bytes of the longest text.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The text of `id`; empty for an id that there is not.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.text[start as usize..end as usize]
    }

    /// The id of `text`.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        match self.slots[self.slot(text)] {
            EMPTY => None,
            id => Some(id),
        }
    }

    /// Adds `text`, or gives the id that it has as an error. The caller keeps the sizes below `u32::MAX`.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<u32, u32> {
        if self.slots.len() < slots_for(self.ends.len() + 1) {
            self.grow();
        }
        let slot = self.slot(text);
        if self.slots[slot] != EMPTY {
            return Err(self.slots[slot]);
        }
        let id = self.ends.len() as u32;
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len() as u32);
        self.slots[slot] = id;
        self.longest = self.longest.max(text.len());
        Ok(id)
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity() + 4 * (self.ends.capacity() + self.slots.capacity())
    }

    /// The slot that holds `text`, or the empty one where it would go.
    fn slot(&self, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(text) as usize & mask;
        while self.slots[slot] != EMPTY && self.get(self.slots[slot]) != text {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let mask = 2 * self.slots.len() - 1;
        self.slots = vec![EMPTY; mask + 1];
        for id in 0..self.ends.len() as u32 {
            let mut slot = self.hasher.hash_one(self.get(id)) as usize & mask;
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = id;
        }
    }
}

/// A power of two that `count` fills to two thirds at most.
pub(super) fn slots_for(count: usize) -> usize {
    (count + count / 2 + 1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_was_added_and_nothing_else(
            texts in proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..4), 0..200),
            others in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..50),
            room in 0usize..300,
        ) {
            let mut pieces = Pieces::with_capacity(room);
            for (id, text) in texts.iter().enumerate() {
                prop_assert_eq!(pieces.add(text), Ok(id as u32));
            }
            for (id, text) in texts.iter().enumerate() {
                prop_assert_eq!(pieces.find(text), Some(id as u32));
                prop_assert_eq!(pieces.get(id as u32), &text[..]);
                prop_assert_eq!(pieces.add(text), Err(id as u32));
            }
            for text in others.iter().filter(|text| !texts.contains(*text)) {
                prop_assert_eq!(pieces.find(text), None);
            }
            prop_assert_eq!(pieces.len(), texts.len());
        }
    }
}
