//! The fields of a [`Case`] by their names: what budget files and the axes of a sweep set.
//!
//! A value is JSON, and it is right if a `Case` can be read from it. So no field has a second list of what it may be.

use std::fmt;
use std::str::FromStr as _;

use serde::Deserialize as _;
use serde_json::{Map, Number, Value};

use crate::case::Case;
use crate::size::Size;

/// Fields whose values are sizes.
const SIZES: [&str; 4] = ["ram", "window", "page", "cache"];
/// Any name will do where another field is looked at.
const ANY: &str = "any";

/// Why a field cannot have a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A case has no such field.
    #[error("a case has no field '{field}'; there are {}", fields().join(", "))]
    Unknown {
        /// The name.
        field: String,
    },
    /// Not a value of this field.
    #[error("{message}")]
    Value {
        /// What is wrong.
        message: String,
    },
}

/// A field of a case with a value that it can have.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    field: String,
    value: Value,
}

impl Setting {
    /// `field` (words joined by `-` or `_`) set to `value`.
    ///
    /// # Errors
    /// If there is no such field, or it cannot have this value.
    pub fn new(field: &str, value: Value) -> Result<Setting, SettingError> {
        let field = field.replace('_', "-");
        if !fields().contains(&field) {
            return Err(SettingError::Unknown { field });
        }
        let bad = |message: String| SettingError::Value { message };
        if value.is_null() {
            return Err(bad("there is no such number".into()));
        }
        let mut case = Map::from_iter([("device".into(), ANY.into()), ("model".into(), ANY.into())]);
        case.insert(field.clone(), value);
        let case = Case::deserialize(Value::Object(case)).map_err(|e| bad(e.to_string()))?;
        // As the case writes it: 6144MiB is 6GiB.
        let value = case_fields(&case).remove(&field).expect("one of its fields");
        Ok(Setting { field, value })
    }

    /// `field` set to what a command line says: a text if the field takes it, else a number.
    ///
    /// # Errors
    /// If there is no such field, or it cannot have this value.
    pub fn from_text(field: &str, text: &str) -> Result<Setting, SettingError> {
        let as_text = Setting::new(field, text.into());
        let number = Number::from_str(text).ok().filter(|_| as_text.is_err());
        number.map_or(as_text, |number| Setting::new(field, Value::Number(number)))
    }

    /// The field's name.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value as JSON, in the one way of several that the case itself would write.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value as a number, sizes in bytes; `None` where it is neither.
    pub fn number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if SIZES.contains(&self.field()) => Size::from_str(text).ok().map(|size| size.0 as f64),
            _ => None,
        }
    }
}

/// The value alone.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::String(text) => f.pad(text),
            other => f.pad(&other.to_string()),
        }
    }
}

/// Whether the values of `field` are sizes.
pub fn is_size(field: &str) -> bool {
    SIZES.contains(&field)
}

/// A case with these settings, everything else as it is by default. Of two settings of one field the last one counts.
///
/// # Errors
/// If no device or no model is among them.
pub fn case<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> Result<Case, SettingError> {
    let fields: Map<_, _> = settings.into_iter().map(|s| (s.field.clone(), s.value.clone())).collect();
    for field in ["device", "model"] {
        if !fields.contains_key(field) {
            return Err(SettingError::Value { message: format!("no {field} is given") });
        }
    }
    Case::deserialize(Value::Object(fields)).map_err(|e| SettingError::Value { message: e.to_string() })
}

/// The names of all fields, sorted.
fn fields() -> Vec<String> {
    let mut names: Vec<_> = case_fields(&Case::new(ANY, ANY)).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

fn case_fields(case: &Case) -> Map<String, Value> {
    match serde_json::to_value(case) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("a case is a table: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use forebay_prefetch::PolicyKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_that_a_case_takes() {
        let set = |field: &str, text: &str| Setting::from_text(field, text);
        assert_eq!(set("ram", "6144MiB").unwrap().to_string(), "6GiB");
        assert_eq!(set("ram", "4096").unwrap().number(), Some(4096.0));
        assert_eq!(set("experts_chosen", "6").unwrap(), Setting::new("experts-chosen", json!(6)).unwrap());
        assert_eq!(set("device", "4").unwrap().number(), None, "a device that has this name");
        assert_eq!(
            (set("core", "small").unwrap().to_string(), set("capacity", "512").unwrap().number()),
            ("small".into(), Some(512.0))
        );
        assert_eq!(set("recall", "0.5").unwrap().number(), Some(0.5));
        assert_eq!(
            (set("engine", "serial").unwrap().to_string(), set("cache", "1g").unwrap().to_string()),
            ("serial".into(), "1GiB".into())
        );
    }

    #[test]
    fn what_is_no_value_says_why() {
        let error = |field: &str, text: &str| Setting::from_text(field, text).unwrap_err().to_string();
        assert_eq!(error("policy", "fifo"), "unknown policy 'fifo'; there are forecast, lru, lfu and clock");
        assert_eq!(error("core", "medium"), "unknown core 'medium'; there are big and small");
        assert_eq!(error("ram", "6X"), "'6X' is no size; write 512MiB, 1.5G or a number of bytes");
        assert_eq!(error("depth", "70000"), "invalid value: integer `70000`, expected u16");
        assert_eq!(error("depth", "deep"), "invalid type: string \"deep\", expected u16");
        assert!(
            error("rams", "6")
                .starts_with("a case has no field 'rams'; there are cache, capacity, context, core, depth, device, ")
        );
    }

    #[test]
    fn settings_make_a_case() {
        let settings = [("device", "d"), ("model", "m"), ("policy", "lru"), ("depth", "2"), ("depth", "8")];
        let settings = settings.map(|(field, text)| Setting::from_text(field, text).unwrap());
        let expected = Case { policy: PolicyKind::Lru, depth: 8, ..Case::new("d", "m") };
        assert_eq!(case(&settings), Ok(expected));
        assert_eq!(case(&settings[..1]).unwrap_err().to_string(), "no model is given");
    }
}
