//! Numbers as people read them: three digits that count, and a unit that suits.

/// Three digits that count; of whole numbers, all.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value == value.trunc() => 0,
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    grouped(&format!("{value:.digits$}"))
}

/// Thousands apart.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.trim_start_matches('-');
    if digits.len() < 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    let mut out = whole[..whole.len() - digits.len()].to_owned();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out + fraction
}

/// A share in percent, without the sign. What is not quite all, or not quite nothing, is not told as that.
pub(super) fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p > 99.9 && p < 100.0 => "> 99.9".into(),
        p if p > 0.0 && p < 0.05 => "< 0.1".into(),
        p => format!("{p:.1}"),
    }
}

fn scaled(value: f64, base: f64, units: &[&'static str]) -> (String, &'static str) {
    let (mut value, mut unit) = (value, 0);
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    (number(value), units.get(unit).copied().unwrap_or(""))
}

/// Bytes that were moved, in powers of 1000, and their unit.
pub(super) fn split_decimal(bytes: f64) -> (String, &'static str) {
    scaled(bytes.round(), 1e3, &["B", "kB", "MB", "GB", "TB"])
}

/// Bytes of memory, in powers of 1024.
pub(super) fn memory(bytes: f64) -> String {
    let (value, unit) = scaled(bytes.round(), 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]);
    format!("{value} {unit}")
}

/// Seconds, and the unit that they are told in.
pub(super) fn split_duration(seconds: f64) -> (String, &'static str) {
    match seconds {
        0.0 => ("0".into(), "s"),
        s if s < 1.0 => scaled((s * 1e9).round(), 1e3, &["ns", "\u{b5}s", "ms"]),
        s => (number(s), "s"),
    }
}

/// Seconds with a unit.
pub(super) fn duration(seconds: f64) -> String {
    let (value, unit) = split_duration(seconds);
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let told = [0.0, 0.01234, 0.5, 1.234, 12.34, 123.4, 1234.0, 12345.6, 1234567.0].map(number);
        assert_eq!(
            told,
            ["0", "0.0123", "0.500", "1.23", "12.3", "123", "1234", "12\u{202f}346", "1\u{202f}234\u{202f}567"]
        );
    }

    #[test]
    fn shares_that_are_not_whole_are_not_told_as_such() {
        assert_eq!([0.0, 1e-9, 0.123, 0.9999, 1.0].map(percent), ["0.0", "< 0.1", "12.3", "> 99.9", "100.0"]);
    }

    #[test]
    fn units_suit() {
        assert_eq!([0.0, 2e-9, 1.5e-3, 61.0].map(duration), ["0 s", "2 ns", "1.50 ms", "61 s"]);
        assert_eq!([512.0, 118_784.0, 1e12].map(memory), ["512 B", "116 KiB", "931 GiB"]);
        assert_eq!(split_decimal(25_490_628.1), ("25.5".into(), "MB"));
    }
}
