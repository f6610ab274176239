//! Looking at a text by byte offset, the way the splitters do.

use super::class::{Class, class};

/// The character at byte `at`, if the text goes on that far. `at` is a character boundary.
#[inline]
pub(super) fn peek(text: &str, at: usize) -> Option<char> {
    match text.as_bytes().get(at) {
        Some(&b) if b < 0x80 => Some(b as char),
        Some(_) => text[at..].chars().next(),
        None => None,
    }
}

/// Whether a character is at `at` and its class passes `test`.
#[inline]
pub(super) fn class_is(text: &str, at: usize, test: impl Fn(Class) -> bool) -> bool {
    peek(text, at).is_some_and(|c| test(class(c)))
}

/// The end of the run, starting at `at`, of characters that pass `test`.
#[inline]
pub(super) fn run(text: &str, mut at: usize, test: impl Fn(char) -> bool) -> usize {
    while let Some(c) = peek(text, at) {
        if !test(c) {
            break;
        }
        at += c.len_utf8();
    }
    at
}

/// The end of the run, starting at `at`, of characters whose class passes `test`.
#[inline]
pub(super) fn class_run(text: &str, at: usize, test: impl Fn(Class) -> bool) -> usize {
    run(text, at, |c| test(class(c)))
}

/// Like [`run`], but of at most `most` characters.
#[inline]
pub(super) fn run_at_most(text: &str, mut at: usize, most: usize, test: impl Fn(char) -> bool) -> usize {
    for _ in 0..most {
        match peek(text, at) {
            Some(c) if test(c) => at += c.len_utf8(),
            _ => break,
        }
    }
    at
}

/// `'s|'t|'re|'ve|'m|'ll|'d` at `at`: the end of it. With `any_case`, capitals too.
pub(super) fn contraction(text: &str, at: usize, any_case: bool) -> Option<usize> {
    let rest = text.as_bytes()[at..].strip_prefix(b"'")?;
    let letter = |i: usize| {
        let b = *rest.get(i)?;
        Some(if any_case { b.to_ascii_lowercase() } else { b })
    };
    match (letter(0)?, letter(1)) {
        (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
        _ => None,
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` at `at`, which is white space: the end of the match. The first of the three is tried
/// only if `lines`.
///
/// The last space before a word is left for the word.
pub(super) fn spaces(text: &str, at: usize, lines: bool) -> usize {
    let mut end = at;
    let mut last_start = at;
    let mut line_end = None;
    while let Some(c) = peek(text, end) {
        if class(c) != Class::Space {
            break;
        }
        last_start = end;
        end += c.len_utf8();
        if matches!(c, '\r' | '\n') {
            line_end = Some(end);
        }
    }
    match line_end {
        Some(line_end) if lines => line_end,
        _ if end == text.len() || last_start == at => end,
        _ => last_start,
    }
}
