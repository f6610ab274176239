//! Text while it is written: whole characters only, and nothing of a stop string.

/// A stop string without text, which would stop everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stop string is empty")]
pub struct EmptyStop;

/// Turns the bytes of tokens into text that can be shown at once.
///
/// Tokens end anywhere: within a character, within a stop string. So the last bytes are held back for as long as they
/// may be part of either. Bytes that are no UTF-8 become U+FFFD. How the bytes are divided among calls does not change
/// the text.
///
/// Of several stop strings, the one that is complete first ends the text; of those that are complete at the same byte,
/// the longest. The text before it is what was written.
#[derive(Debug, Clone)]
pub struct TextStream {
    stops: Vec<Stop>,
    /// The beginning of a character, at most three bytes.
    partial: Vec<u8>,
    /// Text that was not yet handed on.
    held: String,
    stopped: bool,
}

/// A stop string and how much of it the text ends with (Knuth, Morris and Pratt's automaton).
#[derive(Debug, Clone)]
struct Stop {
    text: Box<[u8]>,
    /// For each length of a beginning of `text`, the longest shorter one that it ends with.
    shorter: Box<[u32]>,
    matched: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let mut shorter = vec![0u32; text.len() + 1];
        for length in 2..=text.len() {
            let mut matched = shorter[length - 1] as usize;
            while matched > 0 && text[matched] != text[length - 1] {
                matched = shorter[matched] as usize;
            }
            shorter[length] = matched as u32 + u32::from(text[matched] == text[length - 1]);
        }
        Self { text: text.into(), shorter: shorter.into(), matched: 0 }
    }

    /// Takes the next byte; whether the text now ends with the whole stop string.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.text[self.matched] != byte {
            self.matched = self.shorter[self.matched] as usize;
        }
        self.matched += usize::from(self.text[self.matched] == byte);
        self.matched == self.text.len()
    }
}

impl TextStream {
    /// A stream that ends at any of `stops`.
    pub fn new<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> Result<Self, EmptyStop> {
        let stop = |text: S| match text.as_ref() {
            "" => Err(EmptyStop),
            text => Ok(Stop::new(text)),
        };
        let stops = stops.into_iter().map(stop).collect::<Result<Vec<_>, _>>()?;
        let longest = stops.iter().map(|stop| stop.text.len()).max().unwrap_or(0);
        Ok(Self { stops, partial: Vec::with_capacity(4), held: String::with_capacity(longest + 256), stopped: false })
    }

    /// Takes the bytes of a token and hands the text that is certain to `emit`, in one piece or not at all. `true` once
    /// a stop string has come up; what comes after it is thrown away.
    pub fn feed(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&str)) -> bool {
        if self.stopped {
            return true;
        }
        let from = self.held.len();
        self.decode(bytes);
        self.show(from, emit);
        self.stopped
    }

    /// Hands on what was held back, now that nothing follows, and makes the stream as new.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&str)) {
        if !self.stopped {
            if !self.partial.is_empty() {
                let from = self.held.len();
                self.held.push(char::REPLACEMENT_CHARACTER);
                self.show(from, emit);
            }
            if !self.stopped && !self.held.is_empty() {
                emit(&self.held);
            }
        }
        self.partial.clear();
        self.held.clear();
        self.stopped = false;
        for stop in &mut self.stops {
            stop.matched = 0;
        }
    }

    /// Appends the whole characters of `bytes` to the held text.
    fn decode(&mut self, mut bytes: &[u8]) {
        // A character that began in an earlier call is completed byte by byte.
        while !self.partial.is_empty()
            && let Some((&byte, rest)) = bytes.split_first()
        {
            self.partial.push(byte);
            match str::from_utf8(&self.partial) {
                Ok(c) => self.held.push_str(c),
                Err(error) if error.error_len().is_none() => {
                    bytes = rest;
                    continue;
                }
                // What was held is no character, and `byte` was not part of it.
                Err(_) => {
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.partial.clear();
                    break;
                }
            }
            self.partial.clear();
            bytes = rest;
        }
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.held.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let may_go_on = || str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !invalid.is_empty() && chunks.peek().is_none() && may_go_on() {
                self.partial.extend_from_slice(invalid);
            } else if !invalid.is_empty() {
                self.held.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// Looks for stop strings in the held text from byte `from` on, and hands on what cannot be part of one.
    fn show(&mut self, from: usize, emit: &mut dyn FnMut(&str)) {
        for (at, &byte) in self.held.as_bytes().iter().enumerate().skip(from) {
            let longest = self.stops.iter_mut().filter_map(|stop| stop.advance(byte).then_some(stop.text.len())).max();
            if let Some(length) = longest {
                if at + 1 > length {
                    emit(&self.held[..at + 1 - length]);
                }
                self.held.clear();
                self.stopped = true;
                return;
            }
        }
        let kept = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let certain = self.held.len() - kept;
        if certain > 0 {
            emit(&self.held[..certain]);
            self.held.drain(..certain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out, when `bytes` are fed in pieces of these lengths, and whether it stopped.
    fn run(stream: &mut TextStream, mut bytes: &[u8], lengths: &[usize]) -> (String, bool) {
        let mut out = String::new();
        let mut stopped = false;
        let mut lengths = lengths.iter().cycle();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((*lengths.next().unwrap()).min(bytes.len()));
            stopped = stream.feed(piece, &mut |text| {
                assert!(!text.is_empty());
                out.push_str(text);
            });
            bytes = rest;
        }
        stream.finish(&mut |text| out.push_str(text));
        (out, stopped)
    }

    /// All at once: the stop string that ends first, the longest of those.
    fn oracle(bytes: &[u8], stops: &[String]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let found = |stop: &String| text.find(stop).map(|start| (start + stop.len(), start));
        match stops.iter().filter_map(found).min() {
            Some((_, start)) => text[..start].to_owned(),
            None => text.into_owned(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_division_gives_the_same_text(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "[ab]{0,40}".prop_map(String::into_bytes),
                "[aé中😀\u{fffd}]{0,20}".prop_map(String::into_bytes),
                proptest::collection::vec(proptest::sample::select(b"a\xc3\xa9\xf0\x9f\x98\x80\xe4\xb8".to_vec()), 0..40),
            ],
            stops in proptest::collection::vec("[ab]{1,5}|[aé中😀\u{fffd}]{1,3}", 0..4),
            lengths in proptest::collection::vec(1usize..6, 1..6),
        ) {
            let mut stream = TextStream::new(&stops).unwrap();
            let (text, _) = run(&mut stream, &bytes, &lengths);
            prop_assert_eq!(&text, &oracle(&bytes, &stops));
            // As new: the same again, in one piece.
            prop_assert_eq!(run(&mut stream, &bytes, &[usize::MAX]).0, text);
        }
    }

    #[test]
    fn text_goes_out_as_soon_as_it_is_certain() {
        let mut stream = TextStream::new(["</s>", "END"]).unwrap();
        let mut feed = |bytes: &[u8]| {
            let mut out = String::new();
            let stopped = stream.feed(bytes, &mut |text| out.push_str(text));
            (out, stopped)
        };
        assert_eq!(feed("é".as_bytes()), ("é".to_owned(), false));
        assert_eq!(feed(b"\xc3"), (String::new(), false));
        assert_eq!(feed(b"\xa9a<"), ("éa".to_owned(), false));
        assert_eq!(feed(b"/"), (String::new(), false));
        assert_eq!(feed(b"sE"), ("</s".to_owned(), false));
        assert_eq!(feed(b"EN"), ("E".to_owned(), false));
        assert_eq!(feed(b"D more"), (String::new(), true));
        assert_eq!(feed(b"more"), (String::new(), true));
    }

    #[test]
    fn an_unfinished_character_ends_as_a_replacement() {
        let mut stream = TextStream::new(["\u{fffd}"]).unwrap();
        assert_eq!(run(&mut stream, b"a\xf0\x9f", &[1]), ("a".to_owned(), false));
        let mut stream = TextStream::new([""; 0]).unwrap();
        assert_eq!(run(&mut stream, b"a\xf0\x9f", &[1]).0, "a\u{fffd}");
        assert_eq!(run(&mut stream, b"a\xf0\x9f!", &[1]).0, "a\u{fffd}!");
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        assert_eq!(TextStream::new(["a", ""]).unwrap_err().to_string(), "a stop string is empty");
    }
}
