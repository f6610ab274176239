//! Figures for people: three digits and a unit.

use crate::figures::Metric;

/// One figure with its unit; `never` for a time that does not come.
pub fn figure(metric: Metric, value: f64) -> String {
    const GIB: f64 = (1u64 << 30) as f64;
    match metric {
        _ if value.is_infinite() => "never".into(),
        Metric::TokensPerSecond => digits(value),
        Metric::TimeToFirstToken | Metric::TimeToThrottle => format!("{} s", digits(value)),
        Metric::GigabytesPerToken => format!("{} GB", digits(value)),
        Metric::Stall | Metric::Compute | Metric::FlashBusy | Metric::HitRate => format!("{:.1} %", 100.0 * value),
        Metric::PeakRam if value < GIB => format!("{} MiB", digits(1024.0 * value / GIB)),
        Metric::PeakRam => format!("{} GiB", digits(value / GIB)),
        Metric::JoulesPerToken => format!("{} J", digits(value)),
    }
}

/// A number with three digits that count, or all before the point.
pub fn digits(value: f64) -> String {
    let whole = value.abs().log10().floor();
    let behind = if value == 0.0 || !whole.is_finite() { 0.0 } else { (2.0 - whole).clamp(0.0, 9.0) };
    format!("{value:.*}", behind as usize)
}

/// A share as a percentage, fine enough that it is not zero.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share.abs();
    if percent >= 0.1 || percent == 0.0 { format!("{percent:.1} %") } else { format!("{} %", digits(percent)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let gib = (1u64 << 30) as f64;
        assert_eq!(figure(Metric::TokensPerSecond, 0.61234), "0.612");
        assert_eq!(figure(Metric::TokensPerSecond, 0.0), "0");
        assert_eq!(figure(Metric::TimeToFirstToken, 1234.5), "1234 s");
        assert_eq!(figure(Metric::PeakRam, 5.5 * gib), "5.50 GiB");
        assert_eq!(figure(Metric::PeakRam, gib / 2.0), "512 MiB");
        assert_eq!(figure(Metric::Stall, 0.3456), "34.6 %");
        assert_eq!(figure(Metric::TimeToThrottle, f64::INFINITY), "never");
        assert_eq!(percent(-0.0321), "3.2 %");
        assert_eq!(percent(0.00001), "0.00100 %");
    }
}
