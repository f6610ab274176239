//! The seven classes of characters that pre-tokenizer patterns tell apart.

use super::class_table::RUNS;

/// The class of a character. White space wins over its general category (`Z*`, or `Cc` for tabs and line ends).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Controls, format characters, unassigned code points.
    Other,
    Letter,
    Number,
    Mark,
    Punctuation,
    Symbol,
    Space,
}

impl Class {
    const fn from_low_bits(entry: u32) -> Self {
        match entry & 7 {
            1 => Self::Letter,
            2 => Self::Number,
            3 => Self::Mark,
            4 => Self::Punctuation,
            5 => Self::Symbol,
            6 => Self::Space,
            _ => Self::Other,
        }
    }
}

/// ASCII, where most text is, answers without a search.
static ASCII: [Class; 128] = {
    let mut table = [Class::Other; 128];
    let mut run = 0;
    let mut c = 0;
    while c < 128 {
        if RUNS[run + 1] >> 3 <= c as u32 {
            run += 1;
        }
        table[c] = Class::from_low_bits(RUNS[run]);
        c += 1;
    }
    table
};

/// For each block of 256 code points, the run that its first code point lies in: a search looks at one block only.
static BLOCKS: [u16; 0x1101] = {
    let mut blocks = [0; 0x1101];
    let mut run = 0;
    let mut block = 0;
    while block < 0x1100 {
        while run + 1 < RUNS.len() && RUNS[run + 1] >> 3 <= (block as u32) << 8 {
            run += 1;
        }
        blocks[block] = run as u16;
        block += 1;
    }
    blocks[0x1100] = RUNS.len() as u16 - 1;
    blocks
};

/// The class of `c`.
#[inline]
pub(super) fn class(c: char) -> Class {
    let point = c as u32;
    match ASCII.get(point as usize) {
        Some(&class) => class,
        None => {
            let block = (point >> 8) as usize;
            let (from, to) = (BLOCKS[block] as usize, BLOCKS[block + 1] as usize + 1);
            let after = RUNS[from..to].partition_point(|&entry| entry >> 3 <= point);
            Class::from_low_bits(RUNS[from + after - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_what_a_walk_over_the_table_finds() {
        let mut run = 0;
        for c in '\0'..=char::MAX {
            while run + 1 < RUNS.len() && RUNS[run + 1] >> 3 <= c as u32 {
                run += 1;
            }
            assert_eq!(class(c), Class::from_low_bits(RUNS[run]), "{c:?}");
        }
    }

    #[test]
    fn spaces_and_numbers_are_those_of_the_standard_library() {
        // White_Space is stable; of the numbers, only ASCII is compared, because the library's Unicode is newer.
        for c in '\0'..=char::MAX {
            assert_eq!(class(c) == Class::Space, c.is_whitespace(), "{c:?}");
        }
        for c in '\0'..='\x7f' {
            assert_eq!(class(c) == Class::Number, c.is_ascii_digit(), "{c:?}");
            assert_eq!(class(c) == Class::Letter, c.is_ascii_alphabetic(), "{c:?}");
        }
    }

    #[test]
    fn one_of_each() {
        assert_eq!(class('é'), Class::Letter);
        assert_eq!(class('中'), Class::Letter);
        assert_eq!(class('Ⅻ'), Class::Number);
        assert_eq!(class('\u{301}'), Class::Mark);
        assert_eq!(class('。'), Class::Punctuation);
        assert_eq!(class('🚀'), Class::Symbol);
        assert_eq!(class('\u{3000}'), Class::Space);
        assert_eq!(class('\u{200d}'), Class::Other);
        assert_eq!(class(char::MAX), Class::Other);
    }
}
