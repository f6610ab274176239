//! One table of a budget file: `[defaults]` or a `[[budget]]`.

use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize as _;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Mistake;
use crate::settings::{Setting, SettingError};
use crate::target::{Edge, Target};

/// What a table says, in its order.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) name: Option<String>,
    pub(super) targets: Option<Vec<Target>>,
    pub(super) edge: Option<Edge>,
    pub(super) allowed: Option<f64>,
    pub(super) settings: Vec<Settings>,
}

/// The values of one field.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) field: String,
    pub(super) values: Vec<Setting>,
    /// Written as a list: then it is part of the cases' names, however long the list is.
    pub(super) listed: bool,
}

impl Section {
    /// Reads `table`, a part of `text`.
    pub(super) fn read(text: &str, table: &DeTable<'_>) -> Result<Section, Mistake> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut section = Section::default();
        let mut seen: Vec<String> = Vec::new();
        for (key, value) in entries {
            let field = key.get_ref().replace('_', "-");
            if seen.contains(&field) {
                return Err(Mistake::of(&field, key.span(), "given twice"));
            }
            match field.as_str() {
                "name" => section.name = Some(name(value)?),
                "require" => section.targets = Some(targets(text, value)?),
                "judge" => section.edge = Some(parsed(text, "judge", value)?),
                "allow-regression" => section.allowed = Some(allowed(value)?),
                _ => section.settings.push(settings(&field, key.span(), value)?),
            }
            seen.push(field);
        }
        Ok(section)
    }
}

fn name(value: &Spanned<DeValue<'_>>) -> Result<String, Mistake> {
    let name = string("name", value)?;
    if name.trim().is_empty() { Err(Mistake::of("name", value.span(), "is empty")) } else { Ok(name.to_owned()) }
}

fn targets(text: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Target>, Mistake> {
    const FIELD: &str = "require";
    let Some(list) = value.get_ref().as_array() else {
        let message = format!("a list such as [\"tok_s >= 0.5\"] is wanted, not {}", kind(value));
        return Err(Mistake::of(FIELD, value.span(), message));
    };
    if list.is_empty() {
        return Err(Mistake::of(FIELD, value.span(), "an empty list requires nothing"));
    }
    list.iter().map(|target| parsed(text, FIELD, target)).collect()
}

fn allowed(value: &Spanned<DeValue<'_>>) -> Result<f64, Mistake> {
    const FIELD: &str = "allow-regression";
    let bad = || Mistake::of(FIELD, value.span(), "a percentage such as \"5%\" is wanted");
    let number = string(FIELD, value).ok().and_then(|text| text.strip_suffix('%')).ok_or_else(bad)?;
    let percent = f64::from_str(number.trim()).ok().filter(|p| p.is_finite() && *p >= 0.0).ok_or_else(bad)?;
    Ok(percent / 100.0)
}

/// One value, or a list of them.
fn settings(field: &str, key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Result<Settings, Mistake> {
    let Some(list) = value.get_ref().as_array() else {
        let values = vec![setting(field, &key, value)?];
        return Ok(Settings { field: field.to_owned(), values, listed: false });
    };
    let mut values: Vec<Setting> = Vec::new();
    for entry in list.iter() {
        let setting = setting(field, &key, entry)?;
        if values.contains(&setting) {
            return Err(Mistake::of(field, entry.span(), format!("'{setting}' is in the list twice")));
        }
        values.push(setting);
    }
    if values.is_empty() {
        return Err(Mistake::of(field, value.span(), "an empty list makes no case"));
    }
    Ok(Settings { field: field.to_owned(), values, listed: true })
}

fn setting(field: &str, key: &Range<usize>, value: &Spanned<DeValue<'_>>) -> Result<Setting, Mistake> {
    let json = Value::deserialize(toml::de::ValueDeserializer::from(value.clone()))?;
    Setting::new(field, json).map_err(|error| match error {
        SettingError::Unknown { .. } => Mistake::new(
            key.clone(),
            format!("{error}; and a budget has name, require, judge and allow_regression beside them"),
        ),
        SettingError::Value { message } => Mistake::of(field, value.span(), message),
    })
}

/// What is written as a string with a meaning of its own.
fn parsed<T: FromStr<Err: Misread>>(text: &str, field: &str, value: &Spanned<DeValue<'_>>) -> Result<T, Mistake> {
    let content = string(field, value)?;
    content.parse().map_err(|error: T::Err| {
        let span = value.span();
        // Without escapes, a place in the string is a place in the file.
        let plain = text.get(span.start + 1..span.end - 1) == Some(content);
        let start = if plain { span.start + 1 + error.at() } else { span.start };
        Mistake::of(field, start..span.end, error)
    })
}

/// An error that may know where in a string it is.
trait Misread: std::fmt::Display {
    fn at(&self) -> usize;
}

impl Misread for crate::target::NoTarget {
    fn at(&self) -> usize {
        self.at
    }
}

impl Misread for String {
    fn at(&self) -> usize {
        0
    }
}

pub(super) fn string<'a>(field: &str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, Mistake> {
    let wrong = || Mistake::of(field, value.span(), format!("a string is wanted, not {}", kind(value)));
    value.get_ref().as_str().ok_or_else(wrong)
}

fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
