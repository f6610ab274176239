//! GPT-2's spelling of bytes: every byte is a printable character, so that no token has white space in it.

/// The character that stands for `byte`.
pub(super) const fn to_char(byte: u8) -> char {
    let point = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as u32,
        // The others are numbered from 256 on, in order.
        0..=0x20 => 0x100 + byte as u32,
        0x7f..=0xa0 => 0x121 + (byte - 0x7f) as u32,
        0xad => 0x143,
    };
    match char::from_u32(point) {
        Some(c) => c,
        None => char::REPLACEMENT_CHARACTER,
    }
}

/// The byte that `c` stands for, if it does.
pub(super) fn from_char(c: char) -> Option<u8> {
    let point = c as u32;
    let byte = match point {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => point,
        0x100..=0x120 => point - 0x100,
        0x121..=0x142 => point - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The byte in a token like `<0x0A>`.
pub(super) fn from_hex(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let &[high, low] = digits else { return None };
    let digit = |b: u8| (b as char).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The token text for a byte, like `<0x0A>`.
pub(super) fn to_hex(byte: u8) -> [u8; 6] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'<', b'0', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)], b'>']
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_its_own_printable_character() {
        let chars: BTreeSet<char> = (0..=255).map(to_char).collect();
        assert_eq!(chars.len(), 256);
        assert!(chars.iter().all(|c| !c.is_whitespace() && !c.is_control()));
        for byte in 0..=255 {
            assert_eq!(from_char(to_char(byte)), Some(byte));
        }
        assert_eq!((to_char(b' '), to_char(b'\n'), to_char(0x7f), to_char(0xad)), ('Ġ', 'Ċ', 'ġ', 'Ń'));
        assert_eq!((from_char(' '), from_char('中'), from_char('\u{144}')), (None, None, None));
    }

    #[test]
    fn hexadecimal_bytes() {
        for byte in 0..=255 {
            assert_eq!(from_hex(&to_hex(byte)), Some(byte));
        }
        assert_eq!(from_hex(b"<0x0a>"), Some(10));
        for bad in [&b"<0x0>"[..], b"<0x+1>", b"<0x123>", b"0x12", b""] {
            assert_eq!(from_hex(bad), None, "{bad:?}");
        }
    }
}
