//! Pre-tokenizers: how a text is cut into words before byte-pair merges, by the name in `tokenizer.ggml.pre`.
//!
//! The patterns are facts of the models, published as regular expressions. They are written here as code instead:
//! a regular expression engine would need look-ahead (`\s+(?!\S)`), large Unicode classes in memory and care about
//! backtracking, while every pattern in use is a walk with at most one step back. Each takes time linear in the text.
//!
//! A pre-tokenizer is a list of passes. Each pass cuts every piece that the passes before it left, and what its
//! pattern does not match stays as a piece between the matches.

mod class;
mod class_table;
mod names;
mod scan;
mod set;
mod words;

#[cfg(test)]
mod tests;

use self::class::{Class, class};
use self::scan::{class_is, class_run, peek, run, run_at_most};
use self::set::Set;
use self::words::Words;

pub(super) use self::names::{PreTokenizer, known, named};

/// One pattern, applied to the pieces that the passes before it left.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// The pattern of Llama 3 and its relatives.
    Words(Words),
    /// The pattern of GPT-2.
    Gpt2,
    /// The pattern of DeepSeek V3.
    DeepSeek3 {
        /// Line ends are words of their own.
        lines_alone: bool,
    },
    /// `[set]{1,n}`
    UpTo(usize, Set),
    /// `[set]{n}`
    Exactly(usize, Set),
    /// `\s?[set]+`
    SpaceThen(Set),
    /// ` ?[set]+`
    BlankThen(Set),
    /// `[a]+|[b]+|...`
    FirstOf(&'static [Set]),
    /// `\s+$`
    TrailingSpace,
    /// `[^\n]+|[\n]+`
    Lines,
    /// Runs of digits in threes, counted from the right. What comes before the digits stays with the first group.
    DigitsFromRight,
    /// `(?=(\d{3})+(?!\d))`: a cut before every group of three.
    CutBeforeThrees,
    /// `<sentinel:[0-9]+>` of Chameleon.
    Sentinel,
    /// `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z` of Chameleon.
    Image,
    /// `[\t\n]|    |  ` (four blanks, or two).
    Indent,
}

/// What a pattern finds at a position.
enum Found {
    /// A match that ends here.
    Match(usize),
    /// No match starts before here.
    Nothing(usize),
}

impl PreTokenizer {
    /// Cuts `text` into words and hands them, in order, to `emit`. Put together they are the text.
    pub(super) fn split<'a>(&self, text: &'a str, emit: &mut dyn FnMut(&'a str)) {
        split(self.passes, text, emit);
    }
}

fn split<'a>(passes: &[Pass], text: &'a str, emit: &mut dyn FnMut(&'a str)) {
    match passes.split_first() {
        None => emit(text),
        Some((pass, rest)) => pass.pieces(text, &mut |piece| split(rest, piece, emit)),
    }
}

impl Pass {
    fn pieces<'a>(&self, text: &'a str, emit: &mut dyn FnMut(&'a str)) {
        if let Self::DigitsFromRight | Self::CutBeforeThrees = self {
            return self.threes(text, emit);
        }
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            match self.find(text, at) {
                Found::Match(end) => {
                    if from < at {
                        emit(&text[from..at]);
                    }
                    emit(&text[at..end]);
                    (from, at) = (end, end);
                }
                Found::Nothing(next) => at = next,
            }
        }
        if from < text.len() {
            emit(&text[from..]);
        }
    }

    fn find(&self, text: &str, at: usize) -> Found {
        let next = at + peek(text, at).map_or(1, char::len_utf8);
        let end = match *self {
            Self::Words(words) => words.end(text, at),
            Self::Gpt2 => words::gpt2(text, at),
            Self::DeepSeek3 { lines_alone } => words::deepseek3(text, at, lines_alone).unwrap_or(at),
            Self::UpTo(most, set) => run_at_most(text, at, most, |c| set.has(c)),
            Self::Exactly(count, set) => {
                let end = run_at_most(text, at, count, |c| set.has(c));
                if text[at..end].chars().count() == count { end } else { at }
            }
            Self::SpaceThen(set) if class_is(text, at, |c| c == Class::Space) && set.has_at(text, next) => {
                run(text, next, |c| set.has(c))
            }
            Self::BlankThen(set) if text[at..].starts_with(' ') => {
                let end = run(text, next, |c| set.has(c));
                if end > next { end } else { at }
            }
            Self::SpaceThen(set) | Self::BlankThen(set) => run(text, at, |c| set.has(c)),
            Self::FirstOf(sets) => {
                let set = sets.iter().find(|set| set.has_at(text, at));
                set.map_or(at, |set| run(text, at, |c| set.has(c)))
            }
            Self::TrailingSpace => {
                let end = class_run(text, at, |c| c == Class::Space);
                if end < text.len() {
                    // Neither does a match start within a run that goes on.
                    return Found::Nothing(end.max(next));
                }
                end
            }
            Self::Lines => {
                let line_end = text[at..].starts_with('\n');
                run(text, at, |c| (c == '\n') == line_end)
            }
            Self::Sentinel => sentinel(text, at).unwrap_or(at),
            Self::Image => image(text, at).unwrap_or(at),
            Self::Indent => match &text.as_bytes()[at..] {
                [b'\t' | b'\n', ..] => at + 1,
                [b' ', b' ', b' ', b' ', ..] => at + 4,
                [b' ', b' ', ..] => at + 2,
                _ => at,
            },
            Self::DigitsFromRight | Self::CutBeforeThrees => at,
        };
        if end > at { Found::Match(end) } else { Found::Nothing(next) }
    }

    /// Pieces of the two passes that count digits from the right.
    fn threes<'a>(&self, text: &'a str, emit: &mut dyn FnMut(&'a str)) {
        let before = matches!(self, Self::CutBeforeThrees);
        let digit = |c: char| if before { c.is_ascii_digit() } else { class(c) == Class::Number };
        let (mut from, mut at) = (0, 0);
        while at < text.len() {
            let start = run(text, at, |c| !digit(c));
            at = run(text, start, digit);
            let mut left = text[start..at].chars().count();
            let mut cut = start;
            while left > 0 {
                let group = if left.is_multiple_of(3) { 3 } else { left % 3 };
                if before && group == 3 && cut > from {
                    emit(&text[from..cut]);
                    from = cut;
                }
                cut = run_at_most(text, cut, group, digit);
                left -= group;
                if !before {
                    emit(&text[from..cut]);
                    from = cut;
                }
            }
        }
        if from < text.len() {
            emit(&text[from..]);
        }
    }
}

fn sentinel(text: &str, at: usize) -> Option<usize> {
    let digits = at + text[at..].strip_prefix("<sentinel:").map(|_| "<sentinel:".len())?;
    let end = run(text, digits, |c| c.is_ascii_digit());
    (end > digits && text[end..].starts_with('>')).then_some(end + 1)
}

fn image(text: &str, at: usize) -> Option<usize> {
    let letters = at + text[at..].strip_prefix("IMGIMG").map(|_| "IMGIMG".len())?;
    let end = run_at_most(text, letters, 4, |c| matches!(c, 'A'..='I'));
    (end > letters && text[end..].starts_with('Z')).then_some(end + 1)
}
