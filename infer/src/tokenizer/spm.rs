//! SentencePiece's unigram vocabularies as llama.cpp reads them: neighbours are joined when their text is a token, the
//! highest score first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::bytes;
use super::pieces::Pieces;

/// There is no symbol on that side, or the symbol is gone.
const NONE: u32 = u32::MAX;

/// A vocabulary with scores.
#[derive(Debug)]
pub(super) struct Spm {
    /// One for each token. None is a NaN, and none is -0.
    pub(super) scores: Vec<f32>,
    /// Token for each byte of a character that is no token.
    of_byte: [u32; 256],
    neighbours: Neighbours,
}

/// Which characters follow each other within some token: a set of pairs, kept by hash, so that now and then a pair is
/// taken for a member that is none.
///
/// Between two characters that do not, nothing is ever joined. A text cut there gives the same tokens, part by part,
/// and the working space is that of the longest part.
#[derive(Debug)]
struct Neighbours(Box<[u64]>);

impl Neighbours {
    const BITS: u32 = 21;

    fn new(pieces: &Pieces) -> Self {
        let mut bits = vec![0; 1 << (Self::BITS - 6)];
        for id in 0..pieces.len() as u32 {
            // Bytes that are no UTF-8 never equal a part of a text.
            let Ok(text) = str::from_utf8(pieces.get(id)) else { continue };
            for (first, second) in text.chars().zip(text.chars().skip(1)) {
                let bit = Self::bit(first, second);
                bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        Self(bits.into())
    }

    fn bit(first: char, second: char) -> usize {
        let pair = u64::from(u32::from(first)) << 32 | u64::from(u32::from(second));
        (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS)) as usize
    }

    fn may_join(&self, first: char, second: char) -> bool {
        let bit = Self::bit(first, second);
        self.0[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// Working space, kept from text to text.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    candidates: BinaryHeap<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u32,
    /// Zero once the symbol was joined to the one before it.
    len: u32,
    previous: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    score: f32,
    left: u32,
    /// Bytes of both, which tells whether either has changed since.
    len: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    /// The higher score goes first, and of equals the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(other.len.cmp(&self.len))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Spm {
    /// `scores` has one element for each token. A byte without a token of its own becomes `unknown`, if that is a token.
    pub(super) fn new(mut scores: Vec<f32>, pieces: &Pieces, unknown: Option<u32>) -> Self {
        for score in &mut scores {
            *score += 0.0;
        }
        let mut of_byte = [NONE; 256];
        for (byte, id) in (0..=255u8).zip(&mut of_byte) {
            let token = pieces.find(&bytes::to_hex(byte)).or_else(|| pieces.find(&[byte])).or(unknown);
            *id = token.unwrap_or(NONE);
        }
        Self { scores, of_byte, neighbours: Neighbours::new(pieces) }
    }

    pub(super) fn memory(&self) -> usize {
        4 * self.scores.capacity() + size_of_val(&self.of_byte) + size_of_val(&*self.neighbours.0)
    }

    /// Appends the tokens of `text`, whose spaces are escaped already.
    pub(super) fn encode(&self, text: &str, pieces: &Pieces, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let mut start = 0;
        for ((_, first), (at, second)) in text.char_indices().zip(text.char_indices().skip(1)) {
            if !self.neighbours.may_join(first, second) {
                self.encode_part(&text[start..at], pieces, scratch, out);
                start = at;
            }
        }
        self.encode_part(&text[start..], pieces, scratch, out);
    }

    fn encode_part(&self, text: &str, pieces: &Pieces, scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { symbols, candidates } = scratch;
        symbols.clear();
        symbols.extend(text.char_indices().zip(0..).map(|((start, c), at): (_, u32)| Symbol {
            start: start as u32,
            len: c.len_utf8() as u32,
            previous: at.checked_sub(1).unwrap_or(NONE),
            next: at + 1,
        }));
        let Some(last) = symbols.last_mut() else { return };
        last.next = NONE;

        let text = text.as_bytes();
        let mut seeds = std::mem::take(candidates).into_vec();
        seeds.clear();
        seeds.extend(
            (1..symbols.len() as u32).filter_map(|right| self.candidate(text, symbols, right - 1, right, pieces)),
        );
        *candidates = BinaryHeap::from(seeds);
        while let Some(candidate) = candidates.pop() {
            let left = candidate.left as usize;
            let Symbol { len, previous, next, .. } = symbols[left];
            if len == 0 || next == NONE || len + symbols[next as usize].len != candidate.len {
                continue;
            }
            let joined = std::mem::replace(&mut symbols[next as usize].len, 0);
            let after = symbols[next as usize].next;
            symbols[left].len += joined;
            symbols[left].next = after;
            if after != NONE {
                symbols[after as usize].previous = candidate.left;
                candidates.extend(self.candidate(text, symbols, candidate.left, after, pieces));
            }
            if previous != NONE {
                candidates.extend(self.candidate(text, symbols, previous, candidate.left, pieces));
            }
        }

        let mut at = 0;
        while let Some(symbol) = symbols.get(at as usize) {
            let bytes = &text[symbol.start as usize..(symbol.start + symbol.len) as usize];
            match pieces.find(bytes) {
                Some(id) => out.push(id),
                None => out.extend(bytes.iter().map(|&b| self.of_byte[usize::from(b)]).filter(|&id| id != NONE)),
            }
            at = symbol.next;
        }
    }

    /// The candidate to join `left` and `right`, neighbours, if their text is a token.
    fn candidate(&self, text: &[u8], symbols: &[Symbol], left: u32, right: u32, pieces: &Pieces) -> Option<Candidate> {
        let (first, second) = (symbols[left as usize], symbols[right as usize]);
        let len = first.len + second.len;
        let id = pieces.find(&text[first.start as usize..(first.start + len) as usize])?;
        Some(Candidate { score: self.scores[id as usize], left, len })
    }
}
