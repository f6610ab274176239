//! Finding special tokens in a text before it is cut into words.

use super::pieces::Pieces;
use super::special::Attributes;

/// A part of a text: plain, by byte range, or a special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fragment {
    Text(usize, usize),
    Token(u32),
}

/// Which special tokens there are to look for, prepared so that most of a text is passed over at a glance.
///
/// Longer tokens go first, anywhere in the text; what they leave is searched for the next shorter ones. So one pass
/// over the text is made for each length that a special token has, and a pass looks at a position only where the first
/// two bytes begin some special token.
#[derive(Debug)]
pub(super) struct Finder {
    /// Lengths of special tokens, descending, and whether a token of that length is found in plain text too.
    lengths: Vec<(usize, bool)>,
    /// For each pair of bytes one bit: some special token begins with it.
    pairs: Vec<u64>,
    /// For each byte: it is a special token by itself.
    singles: [bool; 256],
}

impl Finder {
    pub(super) fn new(pieces: &Pieces, attributes: &[Attributes]) -> Self {
        let mut lengths: Vec<(usize, bool)> = Vec::new();
        let mut pairs = vec![0; 1 << 10];
        let mut singles = [false; 256];
        for (id, attributes) in attributes.iter().enumerate().filter(|(_, a)| a.any(Attributes::SPECIAL)) {
            let text = pieces.get(id as u32);
            let in_plain_text = !attributes.any(Attributes::HIDDEN);
            match lengths.binary_search_by(|(length, _)| text.len().cmp(length)) {
                Ok(at) => lengths[at].1 |= in_plain_text,
                Err(at) => lengths.insert(at, (text.len(), in_plain_text)),
            }
            match *text {
                [only] => singles[usize::from(only)] = true,
                [first, second, ..] => {
                    let pair = usize::from(first) << 8 | usize::from(second);
                    pairs[pair / 64] |= 1 << (pair % 64);
                }
                [] => {}
            }
        }
        Self { lengths, pairs, singles }
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.lengths.capacity() * size_of::<(usize, bool)>() + self.pairs.capacity() * size_of::<u64>()
    }

    /// Splits `text` into `fragments`. Control tokens are found only if `parse_special`. `spare` is working space.
    pub(super) fn partition(
        &self,
        text: &str,
        parse_special: bool,
        pieces: &Pieces,
        attributes: &[Attributes],
        fragments: &mut Vec<Fragment>,
        spare: &mut Vec<Fragment>,
    ) {
        fragments.clear();
        if !text.is_empty() {
            fragments.push(Fragment::Text(0, text.len()));
        }
        for &(length, in_plain_text) in &self.lengths {
            if !(parse_special || in_plain_text) || length > text.len() {
                continue;
            }
            let special = |at: usize| {
                let id = pieces.find(&text.as_bytes()[at..at + length])?;
                let flags = *attributes.get(id as usize)?;
                let wanted = flags.any(Attributes::SPECIAL) && (parse_special || !flags.any(Attributes::HIDDEN));
                wanted.then_some((id, flags))
            };
            spare.clear();
            for &fragment in fragments.iter() {
                match fragment {
                    Fragment::Text(from, to) => self.cut(text, (from, to), length, special, spare),
                    Fragment::Token(_) => spare.push(fragment),
                }
            }
            std::mem::swap(fragments, spare);
        }
    }

    fn cut(
        &self,
        text: &str,
        (mut from, to): (usize, usize),
        length: usize,
        special: impl Fn(usize) -> Option<(u32, Attributes)>,
        out: &mut Vec<Fragment>,
    ) {
        let bytes = text.as_bytes();
        let mut at = from;
        while at + length <= to {
            let begins = match bytes[at..at + length] {
                [only] => self.singles[usize::from(only)],
                [first, second, ..] => {
                    let pair = usize::from(first) << 8 | usize::from(second);
                    self.pairs[pair / 64] >> (pair % 64) & 1 == 1
                }
                [] => false,
            };
            let Some((id, flags)) = begins.then(|| special(at)).flatten() else {
                at += 1;
                continue;
            };
            if from < at {
                out.push(Fragment::Text(from, at));
            }
            out.push(Fragment::Token(id));
            at += length;
            if flags.any(Attributes::STRIPS_RIGHT) {
                while at < to && (bytes[at] == b' ' || (b'\t'..=b'\r').contains(&bytes[at])) {
                    at += 1;
                }
            }
            from = at;
        }
        if from < to {
            out.push(Fragment::Text(from, to));
        }
    }
}
