//! Measured points: how many bytes per second at which size and depth.

use crate::flash::ThermalState;
use crate::profile::ProfileError;

/// One point of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Bytes of each read.
    pub block_bytes: u32,
    /// Reads in flight.
    pub depth: usize,
    /// What came, in MB/s (1e6 bytes).
    pub mb_s: f64,
    /// How warm the device was.
    pub state: ThermalState,
    /// Where the reads were.
    pub pattern: Pattern,
    /// Who measured it.
    pub source: String,
}

pub use forebay_pager::Pattern;

const COLUMNS: &str = "block_bytes,depth,mb_s,state,pattern,source";

/// Reads points from a table with one line for each; `file` is only what errors call it.
///
/// The columns are `block_bytes,depth,mb_s,state,pattern,source`; the last takes the rest of the line.
pub fn parse_points(text: &str, file: &str) -> Result<Vec<Point>, ProfileError> {
    let error = |line: usize, field: Option<&str>, what: String| ProfileError {
        file: file.into(),
        line: line + 1,
        field: field.map(Into::into),
        what,
    };
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, COLUMNS)) => {}
        _ => return Err(error(0, None, format!("the first line must be {COLUMNS}"))),
    }
    let mut points = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.splitn(6, ',').collect();
        let [block, depth, mb_s, state, pattern, source] = cells[..] else {
            return Err(error(number, None, format!("{} columns instead of 6", cells.len())));
        };
        let wrong =
            |field: &str, cell: &str, wanted: &str| error(number, Some(field), format!("`{cell}` is not {wanted}"));
        points.push(Point {
            block_bytes: block
                .parse()
                .ok()
                .filter(|b| (1..=1 << 30).contains(b))
                .ok_or_else(|| wrong("block_bytes", block, "a number of bytes from 1 to 1073741824"))?,
            depth: depth
                .parse()
                .ok()
                .filter(|d| (1..=1 << 16).contains(d))
                .ok_or_else(|| wrong("depth", depth, "a number from 1 to 65536"))?,
            mb_s: mb_s
                .parse()
                .ok()
                .filter(|x: &f64| x.is_finite() && *x > 0.0)
                .ok_or_else(|| wrong("mb_s", mb_s, "a number above 0"))?,
            state: match state {
                "cold" => ThermalState::Cold,
                "warm" => ThermalState::Warm,
                "hot" => ThermalState::Hot,
                _ => return Err(wrong("state", state, "cold, warm or hot")),
            },
            pattern: match pattern {
                "random" => Pattern::Random,
                "sequential" => Pattern::Sequential,
                _ => return Err(wrong("pattern", pattern, "random or sequential")),
            },
            source: source.into(),
        });
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        parse_points(&format!("{COLUMNS}\n4096,1,36.2,cold,random,a\n{line}\n"), "points.csv").unwrap_err().to_string()
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(error("4096,1"), "points.csv:3: 2 columns instead of 6");
        assert_eq!(error("4096,0,1,cold,random,a"), "points.csv:3: depth: `0` is not a number from 1 to 65536");
        assert_eq!(error("4096,1,-1,cold,random,a"), "points.csv:3: mb_s: `-1` is not a number above 0");
        assert_eq!(error("4096,1,1,tepid,random,a"), "points.csv:3: state: `tepid` is not cold, warm or hot");
        assert_eq!(error("4096,1,1,hot,here,a"), "points.csv:3: pattern: `here` is not random or sequential");
        assert_eq!(
            parse_points("a,b\n", "p").unwrap_err().to_string(),
            format!("p:1: the first line must be {COLUMNS}")
        );
    }

    #[test]
    fn the_last_column_takes_the_rest() {
        let points = parse_points(&format!("{COLUMNS}\n4096,8,36.2,warm,sequential,a, b\n"), "p").unwrap();
        assert_eq!(points[0].source, "a, b");
        assert_eq!((points[0].depth, points[0].state, points[0].pattern), (8, ThermalState::Warm, Pattern::Sequential));
    }
}
