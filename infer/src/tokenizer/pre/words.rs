//! The patterns that cut a text into words: one alternation each, tried from left to right at every position.

use super::class::{Class, class};
use super::scan::{class_is, class_run, contraction, peek, run, run_at_most, spaces};

/// What the word alternative of a [`Words`] pattern takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letters {
    /// `[^\r\n\p{L}\p{N}]?\p{L}+`
    Plain,
    /// `[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+`
    Marks,
    /// `[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`: single letters may have a space between them.
    Spaced,
    /// Capitals before small letters; a cut where a small letter is followed by a capital. The patterns in use tell
    /// the cases of ASCII letters only: any other letter counts as both.
    Camel {
        /// Marks count as letters of both cases.
        marks: bool,
    },
    /// A run of Han characters, or `[^\r\n\p{L}\p{N}]?` and a run of other letters.
    Han,
}

/// Where a pattern takes `'s`, `'re` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contractions {
    /// Nowhere.
    No,
    /// As a word of their own.
    Alone,
    /// At the end of the word before.
    Attached,
}

/// What follows `[^\s\p{L}\p{N}]+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    None,
    /// `[\r\n]*`
    Lines,
    /// `[\r\n/]*`
    LinesAndSlashes,
    /// `[\r\n/]?`
    OneLineOrSlash,
}

/// The family of Llama 3's pattern. Written out, with the choices in angle brackets:
///
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|<letters>|\p{N}{1,<digits>}| ?[^\s\p{L}\p{N}]+<tail>|\s*[\r\n]+|\s+(?!\S)|\s+`
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) contractions: Contractions,
    pub(super) letters: Letters,
    pub(super) digits: usize,
    pub(super) tail: Tail,
    /// `[^\s\p{L}\p{M}\p{N}]+` in place of `[^\s\p{L}\p{N}]+`.
    pub(super) marks_are_no_symbols: bool,
    /// `\s{512}(?!\S)|\s{256}(?!\S)|…|\s{4}(?!\S)|\s{1,2}(?!\S)|\s` in place of `\s+(?!\S)|\s+`.
    pub(super) halving_spaces: bool,
}

impl Words {
    /// The end of the match at `at`. There always is one.
    pub(super) fn end(&self, text: &str, at: usize) -> usize {
        if self.contractions == Contractions::Alone
            && let Some(end) = contraction(text, at, true)
        {
            return end;
        }
        if let Some(end) = self.letters.end(text, at) {
            return match self.contractions {
                Contractions::Attached => contraction(text, end, true).unwrap_or(end),
                _ => end,
            };
        }
        let Some(first) = peek(text, at) else { return at };
        if class(first) == Class::Number {
            return run_at_most(text, at, self.digits, |c| class(c) == Class::Number);
        }
        if let Some(end) = self.symbols(text, at) {
            return end;
        }
        if class(first) != Class::Space {
            return at + first.len_utf8();
        }
        if self.halving_spaces { halving_spaces(text, at) } else { spaces(text, at, true) }
    }

    /// ` ?[^\s\p{L}\p{N}]+` and the tail.
    fn symbols(&self, text: &str, at: usize) -> Option<usize> {
        let symbol = |c| match c {
            Class::Space | Class::Letter | Class::Number => false,
            Class::Mark => !self.marks_are_no_symbols,
            Class::Other | Class::Punctuation | Class::Symbol => true,
        };
        let from = if text[at..].starts_with(' ') { at + 1 } else { at };
        let end = class_run(text, from, symbol);
        if end == from {
            return None;
        }
        Some(match self.tail {
            Tail::None => end,
            Tail::Lines => run(text, end, |c| matches!(c, '\r' | '\n')),
            Tail::LinesAndSlashes => run(text, end, |c| matches!(c, '\r' | '\n' | '/')),
            Tail::OneLineOrSlash => run_at_most(text, end, 1, |c| matches!(c, '\r' | '\n' | '/')),
        })
    }
}

impl Letters {
    fn end(self, text: &str, at: usize) -> Option<usize> {
        let first = peek(text, at)?;
        let after_first = at + first.len_utf8();
        let may_lead = !matches!(first, '\r' | '\n') && !matches!(class(first), Class::Letter | Class::Number);
        if self == Self::Han && is_han(first) {
            return Some(run(text, at, is_han));
        }
        // The leading character is optional and tried first.
        let starts = [if may_lead { after_first } else { at }, at];
        let found = |&from: &usize, end: usize| (end > from).then_some(end);
        match self {
            Self::Camel { marks } => {
                let letter = |c| matches!(class(c), Class::Letter) || marks && class(c) == Class::Mark;
                let ends = starts.map(|from| camel(text, from, letter));
                starts
                    .iter()
                    .zip(ends)
                    .find_map(|(from, (small, _))| found(from, small))
                    .or_else(|| starts.iter().zip(ends).find_map(|(from, (_, capital))| found(from, capital)))
            }
            _ => starts.iter().find_map(|from| found(from, self.run(text, *from))),
        }
    }

    /// The pattern without its leading character, for those that are a plain run.
    fn run(self, text: &str, at: usize) -> usize {
        let is_letter = |c| c == Class::Letter;
        match self {
            Self::Plain => class_run(text, at, is_letter),
            Self::Marks | Self::Camel { .. } => class_run(text, at, |c| matches!(c, Class::Letter | Class::Mark)),
            Self::Han => run(text, at, |c| is_letter(class(c)) && !is_han(c)),
            Self::Spaced => {
                let mut end = at;
                loop {
                    let letter = if end > at && text[end..].starts_with(' ') { end + 1 } else { end };
                    if !class_is(text, letter, is_letter) {
                        break end;
                    }
                    let after = letter + peek(text, letter).map_or(0, char::len_utf8);
                    end = class_run(text, after, |c| c == Class::Mark);
                }
            }
        }
    }
}

/// Where `U*L+` and where `U+L*` end, `at` if they do not match; `U` is a letter outside `[a-z]` and `L` one outside
/// `[A-Z]`.
fn camel(text: &str, at: usize, letter: impl Fn(char) -> bool) -> (usize, usize) {
    let mut after_both = at;
    let mut end = at;
    while let Some(c) = peek(text, end) {
        if c.is_ascii_lowercase() || !letter(c) {
            break;
        }
        end += c.len_utf8();
        if !c.is_ascii_uppercase() {
            after_both = end;
        }
    }
    if peek(text, end).is_some_and(|c| c.is_ascii_lowercase()) {
        let small = run(text, end, |c| letter(c) && !c.is_ascii_uppercase());
        return (small, if end > at { small } else { at });
    }
    // No `L` follows: `U*` gives back as far as to the last letter that is both.
    (after_both, end)
}

/// The Han blocks that llama.cpp's splitter of Kimi K2 knows.
fn is_han(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2ebef}' | '\u{2f800}'..='\u{2fa1f}')
}

/// Newlines as everywhere; other spaces in halving portions that leave the last one to the word.
fn halving_spaces(text: &str, at: usize) -> usize {
    let all = class_run(text, at, |c| c == Class::Space);
    if let Some(line_end) = text[at..all].rfind(['\r', '\n']) {
        return at + line_end + 1;
    }
    let open = all == text.len();
    for portion in [512, 256, 128, 64, 32, 16, 8, 4, 2, 1] {
        let end = run_at_most(text, at, portion, |c| class(c) == Class::Space);
        let taken = text[at..end].chars().count();
        if taken == portion && (end < all || open) {
            return end;
        }
    }
    run_at_most(text, at, 1, |_| true)
}

/// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
pub(super) fn gpt2(text: &str, at: usize) -> usize {
    if let Some(end) = contraction(text, at, false) {
        return end;
    }
    let from = if text[at..].starts_with(' ') { at + 1 } else { at };
    let Some(first) = peek(text, from) else { return text.len() };
    match class(first) {
        Class::Space => spaces(text, at, false),
        Class::Letter => class_run(text, from, |c| c == Class::Letter),
        Class::Number => class_run(text, from, |c| c == Class::Number),
        _ => class_run(text, from, |c| !matches!(c, Class::Space | Class::Letter | Class::Number)),
    }
}

/// DeepSeek V3: `[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+`
/// `|\s+(?!\S)|\s+`. With `lines_alone`, `[\r\n]` in place of both `[\r\n]*` and `\s*[\r\n]+`.
///
/// Digits and controls may be left over: `None`.
pub(super) fn deepseek3(text: &str, at: usize, lines_alone: bool) -> Option<usize> {
    let first = peek(text, at)?;
    let after_first = at + first.len_utf8();
    if first.is_ascii_punctuation() {
        let end = run(text, after_first, |c| c.is_ascii_alphabetic());
        if end > after_first {
            return Some(end);
        }
    }
    let word = |c| matches!(c, Class::Letter | Class::Mark);
    let kind = class(first);
    let may_lead = !matches!(first, '\r' | '\n') && !matches!(kind, Class::Letter | Class::Punctuation | Class::Symbol);
    let from = if may_lead && class_is(text, after_first, word) { after_first } else { at };
    let end = class_run(text, from, word);
    if end > from {
        return Some(end);
    }
    let from = if first == ' ' { after_first } else { at };
    let end = class_run(text, from, |c| matches!(c, Class::Punctuation | Class::Symbol));
    if end > from {
        return Some(if lines_alone { end } else { run(text, end, |c| matches!(c, '\r' | '\n')) });
    }
    match kind {
        Class::Space if lines_alone && matches!(first, '\r' | '\n') => Some(after_first),
        Class::Space => Some(spaces(text, at, !lines_alone)),
        _ => None,
    }
}
