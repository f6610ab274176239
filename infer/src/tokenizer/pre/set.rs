//! Sets of characters as the older patterns write them out: ranges, in the text of the pattern itself.

use super::class::{Class, class};
use super::scan::peek;

/// A set of characters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Set {
    /// `\p{N}`
    Numbers,
    /// `\p{L}`
    Letters,
    /// `\p{P}`
    Punctuation,
    /// `\p{P}` and these
    PunctuationAnd(&'static str),
    /// `[0-9]`
    AsciiDigits,
    /// `[\r\n]`
    LineEnds,
    /// `[^(\s|.,!?…。，、।۔،)]`
    NotBloomStops,
    /// Ascending ranges, less white space outside ASCII: llama.cpp hides it from the patterns that spell out ranges.
    Ranges(&'static [(char, char)]),
}

impl Set {
    #[inline]
    pub(super) fn has(self, c: char) -> bool {
        match self {
            Self::Numbers => class(c) == Class::Number,
            Self::Letters => class(c) == Class::Letter,
            Self::Punctuation => class(c) == Class::Punctuation,
            Self::PunctuationAnd(more) => class(c) == Class::Punctuation || more.contains(c),
            Self::AsciiDigits => c.is_ascii_digit(),
            Self::LineEnds => matches!(c, '\r' | '\n'),
            Self::NotBloomStops => class(c) != Class::Space && !"(|.,!?…。，、।۔،)".contains(c),
            Self::Ranges(ranges) => {
                let after = ranges.partition_point(|&(first, _)| first <= c);
                after > 0 && c <= ranges[after - 1].1 && (c.is_ascii() || class(c) != Class::Space)
            }
        }
    }

    /// Whether the character at `at` is in the set.
    #[inline]
    pub(super) fn has_at(self, text: &str, at: usize) -> bool {
        peek(text, at).is_some_and(|c| self.has(c))
    }
}

/// The cased letters that DeepSeek LLM lists.
#[rustfmt::skip]
pub(super) const DEEPSEEK_LETTERS: Set = Set::Ranges(&[
    ('A', 'Z'), ('a', 'z'), ('\u{b5}', '\u{b5}'), ('\u{c0}', '\u{d6}'), ('\u{d8}', '\u{f6}'), ('\u{f8}', '\u{1ba}'),
    ('\u{1bc}', '\u{1bf}'), ('\u{1c4}', '\u{293}'), ('\u{295}', '\u{2af}'), ('\u{370}', '\u{373}'),
    ('\u{376}', '\u{376}'), ('\u{377}', '\u{377}'), ('\u{37b}', '\u{37d}'), ('\u{37f}', '\u{37f}'),
    ('\u{386}', '\u{386}'), ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'), ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'), ('\u{3f7}', '\u{481}'), ('\u{48a}', '\u{52f}'), ('\u{531}', '\u{556}'),
    ('\u{10a0}', '\u{10c5}'), ('\u{13a0}', '\u{13f5}'), ('\u{13f8}', '\u{13fd}'), ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'), ('\u{1d00}', '\u{1d2b}'), ('\u{1d6b}', '\u{1d77}'), ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'), ('\u{1f18}', '\u{1f1d}'), ('\u{1f20}', '\u{1f45}'), ('\u{1f48}', '\u{1f4d}'),
    ('\u{1f50}', '\u{1f57}'), ('\u{1f59}', '\u{1f59}'), ('\u{1f5b}', '\u{1f5b}'), ('\u{1f5d}', '\u{1f5d}'),
    ('\u{1f5f}', '\u{1f7d}'), ('\u{1f80}', '\u{1fb4}'), ('\u{1fb6}', '\u{1fbc}'), ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'), ('\u{1fc6}', '\u{1fcc}'), ('\u{1fd0}', '\u{1fd3}'), ('\u{1fd6}', '\u{1fdb}'),
    ('\u{1fe0}', '\u{1fec}'), ('\u{1ff2}', '\u{1ff4}'), ('\u{1ff6}', '\u{1ffc}'), ('\u{2102}', '\u{2102}'),
    ('\u{2107}', '\u{2107}'), ('\u{210a}', '\u{2113}'), ('\u{2115}', '\u{2115}'), ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'), ('\u{2126}', '\u{2126}'), ('\u{2128}', '\u{2128}'), ('\u{212a}', '\u{212d}'),
    ('\u{212f}', '\u{2134}'), ('\u{2139}', '\u{2139}'), ('\u{213c}', '\u{213f}'), ('\u{2145}', '\u{2149}'),
    ('\u{214e}', '\u{214e}'), ('\u{2183}', '\u{2183}'), ('\u{2184}', '\u{2184}'), ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'), ('\u{2ceb}', '\u{2cee}'), ('\u{2cf2}', '\u{2cf2}'), ('\u{2cf3}', '\u{2cf3}'),
    ('\u{a640}', '\u{a66d}'), ('\u{a680}', '\u{a69b}'), ('\u{a722}', '\u{a76f}'), ('\u{a771}', '\u{a787}'),
    ('\u{a78b}', '\u{a78e}'), ('\u{ab70}', '\u{abbf}'), ('\u{fb00}', '\u{fb06}'), ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{10400}', '\u{1044f}'), ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'), ('\u{10c80}', '\u{10cb2}'), ('\u{10cc0}', '\u{10cf2}'), ('\u{118a0}', '\u{118df}'),
    ('\u{1e900}', '\u{1e943}'),
]);

/// `[!-/:-~！-／：－～‘-‟　-。]` of DeepSeek LLM. The second range runs over the ASCII letters.
pub(super) const DEEPSEEK_PUNCTUATION: Set =
    Set::Ranges(&[('!', '/'), (':', '~'), ('‘', '‟'), ('\u{3000}', '。'), ('！', '／'), ('：', '～')]);

/// `[一-龥ࠀ-一가-퟿]` of the first DeepSeek models.
pub(super) const DEEPSEEK_CJK: Set = Set::Ranges(&[('ࠀ', '龥'), ('가', '\u{d7ff}')]);

/// `[一-龥぀-ゟ゠-ヿ]` of DeepSeek V3.
pub(super) const CJK: Set = Set::Ranges(&[('\u{3040}', '\u{30ff}'), ('一', '龥')]);

/// The scripts without spaces that AFMoE lists.
#[rustfmt::skip]
pub(super) const AFMOE_ASIAN: Set = Set::Ranges(&[
    ('\u{e40}', '\u{e7f}'), ('\u{e80}', '\u{eff}'), ('\u{1000}', '\u{109f}'), ('\u{1100}', '\u{11ff}'),
    ('\u{1780}', '\u{17ff}'), ('\u{2f00}', '\u{2fdf}'), ('\u{3040}', '\u{309f}'), ('\u{30a0}', '\u{30ff}'),
    ('\u{3400}', '\u{4dbf}'), ('\u{4e00}', '\u{faff}'), ('\u{ff65}', '\u{ff9f}'),
]);

/// The runs that Youtu cuts first, in the order of the alternation.
pub(super) const YOUTU: [Set; 4] = [
    Set::Ranges(&[('ㄱ', 'ㆎ'), ('가', '힣')]),
    Set::Ranges(&[
        ('\u{2014}', '\u{2014}'),
        ('\u{2018}', '\u{2018}'),
        ('\u{2019}', '\u{2019}'),
        ('\u{201c}', '\u{201c}'),
        ('\u{201d}', '\u{201d}'),
        ('\u{2026}', '\u{2026}'),
        ('\u{3001}', '\u{303f}'),
        ('\u{fe30}', '\u{fe4f}'),
        ('\u{ff01}', '\u{ff01}'),
        ('\u{ff0c}', '\u{ff0c}'),
        ('\u{ff1a}', '\u{ff1a}'),
        ('\u{ff1b}', '\u{ff1b}'),
    ]),
    Set::Ranges(&[('ㄅ', 'ㄯ')]),
    CJK,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_ascend_and_do_not_touch_backwards() {
        let sets = [DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, DEEPSEEK_CJK, CJK, AFMOE_ASIAN];
        for set in sets.into_iter().chain(YOUTU) {
            let Set::Ranges(ranges) = set else { panic!("{set:?} has no ranges") };
            assert!(ranges.iter().all(|(first, last)| first <= last), "{set:?}");
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{set:?}");
        }
    }

    #[test]
    fn members() {
        assert!(DEEPSEEK_LETTERS.has('a') && DEEPSEEK_LETTERS.has('µ') && DEEPSEEK_LETTERS.has('я'));
        assert!(!DEEPSEEK_LETTERS.has('中') && !DEEPSEEK_LETTERS.has('×') && !DEEPSEEK_LETTERS.has('1'));
        assert!(DEEPSEEK_PUNCTUATION.has('x') && !DEEPSEEK_PUNCTUATION.has('0'));
        assert!(Set::NotBloomStops.has('x') && !Set::NotBloomStops.has('。') && !Set::NotBloomStops.has('\u{a0}'));
    }
}
