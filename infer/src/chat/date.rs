//! Dates for templates, after `strftime`.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The time `seconds` after the beginning of 1970, UTC. Directives that no template uses are left as they are.
pub(super) fn format(seconds: i64, format: &str) -> String {
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (year, month, day) = civil(days);
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[days.rem_euclid(7) as usize];
    let of_year = days - days_before(year, 1, 1) + 1;
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(directive) = chars.next() else {
            out.push('%');
            break;
        };
        match directive {
            'Y' => out += &format!("{year:04}"),
            'y' => out += &format!("{:02}", year.rem_euclid(100)),
            'm' => out += &format!("{month:02}"),
            'd' => out += &format!("{day:02}"),
            'B' => out += month_name,
            'b' | 'h' => out += &month_name[..3],
            'A' => out += day_name,
            'a' => out += &day_name[..3],
            'j' => out += &format!("{of_year:03}"),
            'H' => out += &format!("{hour:02}"),
            'I' => out += &format!("{:02}", (hour + 11) % 12 + 1),
            'p' => out += if hour < 12 { "AM" } else { "PM" },
            'M' => out += &format!("{minute:02}"),
            'S' => out += &format!("{:02}", second % 60),
            'F' => out += &format!("{year:04}-{month:02}-{day:02}"),
            'T' => out += &format!("{hour:02}:{minute:02}:{:02}", second % 60),
            'Z' => out += "UTC",
            'z' => out += "+0000",
            '%' => out.push('%'),
            other => out.extend(['%', other]),
        }
    }
    out
}

/// Days from the beginning of 1970 to a date of the Gregorian calendar, whose years are counted from March here.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from the beginning of 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_undo_each_other() {
        for days in (-800_000..800_000).step_by(7) {
            let (year, month, day) = civil(days);
            assert_eq!(days_before(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }
    }

    #[test]
    fn known_dates() {
        assert_eq!(format(0, "%A %d %B %Y %H:%M:%S %j"), "Thursday 01 January 1970 00:00:00 001");
        assert_eq!(format(1_709_210_096, "%a %d %b %y, %F %T %I %p"), "Thu 29 Feb 24, 2024-02-29 12:34:56 12 PM");
        assert_eq!(format(-1, "%Y-%m-%d %Q %%%"), "1969-12-31 %Q %%");
    }
}
