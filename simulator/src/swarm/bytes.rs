//! Files that are nowhere: each byte follows from its place, so whoever has bytes can tell whether they are the right ones.

use forebay_pager::{Done, FileId, Read};

use crate::storage::Source;

const WORD: usize = 8;

/// What a word differs from the one before by.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The eight bytes at a place, as a number whose first byte is the lowest.
fn word(file: FileId, index: u64) -> u64 {
    ((u64::from(file.0) << 48 | index) + 1).wrapping_mul(STEP)
}

/// The words from a place on.
fn words(file: FileId, index: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(word(file, index)), |word| Some(word.wrapping_add(STEP)))
}

/// The first of `bytes` that is not what `file` has from `offset` on.
pub(super) fn first_wrong(file: FileId, offset: u64, bytes: &[u8]) -> Option<usize> {
    // Up to the first whole word, whole words, and what is left.
    let lead = (offset.next_multiple_of(WORD as u64) - offset).min(bytes.len() as u64) as usize;
    let (head, rest) = bytes.split_at(lead);
    let (whole, tail) = rest.as_chunks::<WORD>();
    let first = (offset + lead as u64) / WORD as u64;
    let there = whole.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let differ = there.zip(words(file, first)).fold(0, |all, (there, right)| all | (there ^ right));
    let wrong = |from: usize, bytes: &[u8]| {
        let right = |at: u64| word(file, at / WORD as u64).to_le_bytes()[at as usize % WORD];
        let wrong = bytes.iter().zip(offset + from as u64..).position(|(&byte, at)| byte != right(at));
        wrong.map(|wrong| from + wrong)
    };
    let at_tail = bytes.len() - tail.len();
    let in_words = || if differ == 0 { None } else { wrong(lead, &bytes[lead..at_tail]) };
    wrong(0, head).or_else(in_words).or_else(|| wrong(at_tail, tail))
}

/// What frames have while they are with the device, and after a read that failed.
const NOTHING: u8 = 0xee;

/// A [`Source`] of such files.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Read>);

impl Source for Places {
    fn begin(&mut self, mut read: Read) {
        read.frame.bytes_mut()[..read.len as usize].fill(NOTHING);
        self.0.push(read);
    }

    fn end(&mut self, tag: u64) -> Done {
        let place = self.0.iter().position(|read| read.tag == tag).expect("what ends was begun");
        let Read { file, offset, len, mut frame, .. } = self.0.swap_remove(place);
        let whole = frame.bytes_mut()[..len as usize].chunks_exact_mut(WORD);
        let words = words(file, offset / WORD as u64);
        whole.zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        Done { tag, frame, result: Ok(()) }
    }

    fn describe(&self) -> String {
        "bytes that tell their place".to_owned()
    }
}

/// Makes a frame that failed useless.
pub(super) fn spoil(done: &mut Done) {
    done.frame.bytes_mut().fill(NOTHING);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_at_another_place_is_wrong() {
        let file = FileId(1);
        let bytes: Vec<u8> = (500..520).flat_map(|index| word(file, index).to_le_bytes()).collect();
        for skip in 0..20 {
            assert_eq!(first_wrong(file, 4000 + skip as u64, &bytes[skip..]), None);
            assert_eq!(first_wrong(file, 4000 + skip as u64, &bytes[skip..skip + 1]), None);
        }
        let elsewhere = [(file, 4096), (file, 8192), (FileId(0), 4000), (file, 4001)];
        elsewhere.iter().for_each(|&(file, offset)| assert!(first_wrong(file, offset, &bytes).is_some()));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            assert_eq!(first_wrong(file, 4000, &bytes), Some(at));
        }
    }
}
