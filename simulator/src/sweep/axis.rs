//! An axis as people write it: `ram=2GiB,4GiB`, `ram=2GiB..12GiB:1GiB`, `depth=1..32:*2`.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::settings::{Setting, SettingError, is_size};
use crate::size::Size;

/// More values than this are a mistake in a step.
const MOST_VALUES: usize = 10_000;

/// A field and the values that it goes through, all different.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    field: String,
    values: Vec<Setting>,
}

/// What is wrong with axes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    /// It is not `FIELD=VALUES`.
    #[error("'{text}' is no axis; write FIELD=VALUE,VALUE or FIELD=FIRST..LAST:STEP")]
    Form {
        /// What was written.
        text: String,
    },
    /// A value is none of the field, or there is no such field.
    #[error("axis {field}: {source}")]
    Value {
        /// The field.
        field: String,
        /// Why.
        source: SettingError,
    },
    /// A range does not get from its first value to its last.
    #[error(
        "axis {field}: '{range}' is no range; write FIRST..LAST:STEP, or FIRST..LAST:*FACTOR, with FIRST below LAST"
    )]
    Range {
        /// The field.
        field: String,
        /// What was written.
        range: String,
    },
    /// A value comes twice.
    #[error("axis {field}: '{value}' comes twice")]
    Repeated {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },
    /// Two axes of one field.
    #[error("there are two axes '{field}'")]
    Twice {
        /// The field.
        field: String,
    },
    /// A range, or the product of the axes, is too long.
    #[error("there are too many cells")]
    TooMany,
    /// There is no axis along which advice could be given.
    #[error("advice is about the ceiling or the weights: give an axis ram, or an axis quant from finest to coarsest")]
    NothingToAdvise,
    /// The device or the model is missing.
    #[error(transparent)]
    Case(#[from] SettingError),
}

impl Axis {
    /// The field, words joined by `-`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// At least one.
    pub fn values(&self) -> &[Setting] {
        &self.values
    }

    /// The values as numbers, sizes in bytes, if all of them are.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        self.values.iter().map(Setting::number).collect()
    }
}

impl FromStr for Axis {
    type Err = AxisError;

    fn from_str(text: &str) -> Result<Self, AxisError> {
        let form = || AxisError::Form { text: text.to_owned() };
        let (field, list) = text.split_once('=').ok_or_else(form)?;
        if list.is_empty() {
            return Err(form());
        }
        let mut values: Vec<Setting> = Vec::new();
        let mut seen = HashSet::new();
        for item in list.split(',') {
            for value in expanded(field, item.trim())? {
                let value = Setting::from_text(field, &value)
                    .map_err(|source| AxisError::Value { field: field.to_owned(), source })?;
                if !seen.insert(value.to_string()) {
                    return Err(AxisError::Repeated { field: field.to_owned(), value: value.to_string() });
                }
                values.push(value);
            }
        }
        Ok(Axis { field: values[0].field().to_owned(), values })
    }
}

/// As it is written, but with no more than four values.
impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = match &*self.values {
            [first, .., last] if self.values.len() > 4 => vec![first.to_string(), "..".into(), last.to_string()],
            all => all.iter().map(Setting::to_string).collect(),
        };
        write!(f, "{}={}", self.field, shown.join(","))
    }
}

/// A range becomes its values; anything else is a value as it stands.
fn expanded(field: &str, item: &str) -> Result<Vec<String>, AxisError> {
    let size = is_size(&field.replace('_', "-"));
    let number = |text: &str| match size {
        true => Size::from_str(text).ok().map(|size| size.0 as f64),
        false => f64::from_str(text).ok().filter(|number| number.is_finite()),
    };
    // A path may have two points, too, but no number before them.
    let Some((first, rest)) = item.split_once("..").and_then(|(first, rest)| Some((number(first)?, rest))) else {
        return Ok(vec![item.to_owned()]);
    };
    let bad = || AxisError::Range { field: field.to_owned(), range: item.to_owned() };
    let (last, step) = rest.split_once(':').ok_or_else(bad)?;
    let last = number(last).filter(|last| *last >= first).ok_or_else(bad)?;
    let values = match step.strip_prefix('*') {
        Some(factor) => {
            let factor =
                f64::from_str(factor).ok().filter(|f| *f > 1.0 && f.is_finite() && first > 0.0).ok_or_else(bad)?;
            upto(last, |i| first * factor.powi(i as i32))
        }
        None => {
            let step = number(step).filter(|step| *step > 0.0).ok_or_else(bad)?;
            upto(last, |i| first + i as f64 * step)
        }
    }?;
    let written = |value: f64| if size { Size(value as u64).to_string() } else { plain(value) };
    Ok(values.into_iter().map(written).collect())
}

/// The values of an increasing sequence that are not beyond `last`.
fn upto(last: f64, value: impl Fn(usize) -> f64) -> Result<Vec<f64>, AxisError> {
    // Ten steps of 0.1 are a little more than 1.
    let within = |value: &f64| *value <= last + 1e-9 * last.abs();
    let values: Vec<f64> = (0..=MOST_VALUES).map(value).take_while(within).collect();
    if values.len() > MOST_VALUES { Err(AxisError::TooMany) } else { Ok(values) }
}

/// Without what adding steps left behind the twelfth digit.
fn plain(value: f64) -> String {
    format!("{value:.11e}").parse::<f64>().expect("just written").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        text.parse::<Axis>().unwrap().values().iter().map(Setting::to_string).collect()
    }

    #[test]
    fn lists_and_ranges_are_values_in_their_order() {
        assert_eq!(values("ram=2GiB, 4GiB"), ["2GiB", "4GiB"]);
        assert_eq!(values("ram=2GiB..4GiB:512MiB"), ["2GiB", "2560MiB", "3GiB", "3584MiB", "4GiB"]);
        assert_eq!(values("ram=2GiB..5GiB:2GiB"), ["2GiB", "4GiB"]);
        assert_eq!(values("depth=1..32:*2"), ["1", "2", "4", "8", "16", "32"]);
        assert_eq!(values("depth=1..4:*2,12..16:2"), ["1", "2", "4", "12", "14", "16"]);
        assert_eq!(values("recall=0.7..1:0.1"), ["0.7", "0.8", "0.9", "1.0"]);
        assert_eq!(values("page=64KiB..1MiB:*4"), ["64KiB", "256KiB", "1MiB"]);
        assert_eq!(values("device=../mine.toml,b"), ["../mine.toml", "b"]);
        assert_eq!(values("experts_chosen=4,6,10"), ["4", "6", "10"]);
        assert_eq!("depth=1..32:*2".parse::<Axis>().unwrap().to_string(), "depth=1,..,32");
    }

    #[test]
    fn sizes_are_numbers_and_names_are_none() {
        let numbers = |text: &str| text.parse::<Axis>().unwrap().numbers();
        assert_eq!(numbers("ram=1KiB,2KiB"), Some(vec![1024.0, 2048.0]));
        assert_eq!(numbers("depth=2,8"), Some(vec![2.0, 8.0]));
        assert_eq!(numbers("device=4,8"), None);
    }

    #[test]
    fn what_is_no_axis_says_why() {
        let error = |text: &str| text.parse::<Axis>().unwrap_err().to_string();
        assert_eq!(error("ram"), "'ram' is no axis; write FIELD=VALUE,VALUE or FIELD=FIRST..LAST:STEP");
        assert_eq!(error("ram="), "'ram=' is no axis; write FIELD=VALUE,VALUE or FIELD=FIRST..LAST:STEP");
        assert_eq!(error("ram=2GiB,,4GiB"), "axis ram: '' is no size; write 512MiB, 1.5G or a number of bytes");
        assert_eq!(error("ram=4GiB,4096MiB"), "axis ram: '4GiB' comes twice");
        assert!(error("rom=1").starts_with("axis rom: a case has no field 'rom'; there are cache, capacity, "));
        for range in [
            "ram=2GiB..4GiB",
            "ram=4GiB..2GiB:1GiB",
            "ram=2GiB..4GiB:0",
            "depth=1..8:*1",
            "depth=0..8:*2",
            "depth=1..x:1",
        ] {
            assert!(error(range).contains("is no range; write FIRST..LAST:STEP, or FIRST..LAST:*FACTOR"), "{range}");
        }
        assert_eq!(error("seed=0..1000000000:1"), "there are too many cells");
        assert_eq!(error("depth=1..3:0.5"), "axis depth: invalid type: floating point `1.5`, expected u16");
    }
}
