//! Byte-pair encoding: the pieces of a word are joined, the most urgent merge first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bytes;
use super::merges::Merges;
use super::pieces::Pieces;
use super::pre::PreTokenizer;

/// No piece has this id: the character is in no token and no merge.
const UNKNOWN: u32 = u32::MAX;
/// The symbol was joined to the one before it.
const GONE: u32 = u32::MAX - 1;
/// There is no symbol on that side.
const NONE: u32 = u32::MAX;

/// A byte-pair vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    pub(super) pre: &'static PreTokenizer,
    merges: Merges,
    /// The piece for each byte, or of each ASCII character for plain-text vocabularies.
    of_byte: [u32; 256],
}

/// Working space, kept from word to word.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    ids: Vec<u32>,
    previous: Vec<u32>,
    next: Vec<u32>,
    /// Candidate merges as `rank << 32 | position`, so that the least is the most urgent and then the leftmost.
    candidates: BinaryHeap<Reverse<u64>>,
    /// The word as the vocabulary spells it.
    spelled: String,
}

impl Bpe {
    pub(super) fn new(pre: &'static PreTokenizer, merges: Merges, pieces: &Pieces) -> Self {
        let mut of_byte = [UNKNOWN; 256];
        for (byte, id) in (0..=255u8).zip(&mut of_byte) {
            let c = if pre.plain_text { char::from(byte) } else { bytes::to_char(byte) };
            *id = pieces.find(c.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(UNKNOWN);
        }
        Self { pre, merges, of_byte }
    }

    pub(super) fn memory(&self) -> usize {
        self.merges.memory() + size_of_val(&self.of_byte)
    }

    /// Appends the tokens of a word. `tokens` is how many of `pieces` are tokens; the others occur in merges only.
    pub(super) fn encode(&self, word: &str, pieces: &Pieces, tokens: u32, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let newlines = self.pre.plain_text && word.bytes().all(|b| b == b'\n');
        if (self.pre.ignore_merges || newlines) && word.len() <= pieces.longest() {
            self.spell(word, &mut scratch.spelled);
            if let Some(id) = pieces.find(scratch.spelled.as_bytes()).filter(|&id| id < tokens) {
                out.push(id);
                return;
            }
        }
        self.symbols(word, pieces, scratch);
        self.merge(scratch);
        let mut at = 0;
        let mut chars = word.chars();
        while let Some(&id) = scratch.ids.get(at) {
            let c =
                if self.pre.plain_text { chars.next() } else { word.as_bytes().get(at).map(|&b| bytes::to_char(b)) };
            if id < tokens {
                out.push(id);
            } else {
                self.fall_back(id, c, pieces, tokens, out);
            }
            let next = scratch.next[at] as usize;
            if self.pre.plain_text && next > at + 1 && next < scratch.ids.len() {
                chars.nth(next - at - 2);
            }
            at = next;
        }
    }

    fn spell(&self, word: &str, spelled: &mut String) {
        spelled.clear();
        if self.pre.plain_text {
            spelled.push_str(word);
        } else {
            spelled.extend(word.bytes().map(bytes::to_char));
        }
    }

    /// The symbols to begin with: bytes, or the characters of plain text.
    fn symbols(&self, word: &str, pieces: &Pieces, scratch: &mut Scratch) {
        let Scratch { ids, previous, next, .. } = scratch;
        ids.clear();
        if self.pre.plain_text {
            ids.extend(word.chars().map(|c| match c {
                c if c.is_ascii() => self.of_byte[c as usize],
                c => pieces.find(c.encode_utf8(&mut [0; 4]).as_bytes()).unwrap_or(UNKNOWN),
            }));
        } else {
            ids.extend(word.bytes().map(|b| self.of_byte[usize::from(b)]));
        }
        let count = ids.len() as u32;
        previous.clear();
        previous.extend((0..count).map(|at| at.checked_sub(1).unwrap_or(NONE)));
        next.clear();
        next.extend((1..=count).map(|at| if at < count { at } else { NONE }));
    }

    fn merge(&self, scratch: &mut Scratch) {
        let Scratch { ids, previous, next, candidates, .. } = scratch;
        let mut seeds = std::mem::take(candidates).into_vec();
        seeds.clear();
        for at in 1..ids.len() {
            if let Some(rank) = self.merges.rank(ids[at - 1], ids[at]) {
                seeds.push(Reverse(u64::from(rank) << 32 | (at - 1) as u64));
            }
        }
        *candidates = BinaryHeap::from(seeds);
        while let Some(Reverse(candidate)) = candidates.pop() {
            let merge = self.merges.get((candidate >> 32) as u32);
            let at = candidate as u32;
            let left = at as usize;
            let right = next[left];
            // Either side may have been joined to something else since.
            if right == NONE || (ids[left], ids[right as usize]) != (merge.left, merge.right) {
                continue;
            }
            ids[left] = merge.merged;
            ids[right as usize] = GONE;
            let after = next[right as usize];
            next[left] = after;
            if after != NONE {
                previous[after as usize] = at;
            }
            for (a, b) in [(previous[left], at), (at, after)] {
                if a != NONE
                    && b != NONE
                    && let Some(rank) = self.merges.rank(ids[a as usize], ids[b as usize])
                {
                    candidates.push(Reverse(u64::from(rank) << 32 | u64::from(a)));
                }
            }
        }
    }

    /// A symbol that is no token, `c` if no merge knows it either: the tokens of its bytes, those there are.
    fn fall_back(&self, id: u32, c: Option<char>, pieces: &Pieces, tokens: u32, out: &mut Vec<u32>) {
        let mut buffer = [0; 4];
        let text = match c {
            Some(c) if id == UNKNOWN => c.encode_utf8(&mut buffer).as_bytes(),
            _ => pieces.get(id),
        };
        for &byte in text {
            let token = if self.pre.plain_text { pieces.find(&bytes::to_hex(byte)) } else { pieces.find(&[byte]) };
            out.extend(token.filter(|&id| id < tokens));
        }
    }
}
