//! The key-value part of a header: the raw bytes and an index into them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Error, ErrorKind, Shown};
use super::value::{Array, Strings, Value, ValueType};

/// A model's metadata, keys in the order of the file.
///
/// The values stay encoded as they are in the file; a vocabulary of 150 000 tokens costs its bytes and nothing per token. Once
/// the tokenizer is built, [`drop_arrays_over`](Self::drop_arrays_over) gives those bytes back.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    file: Option<PathBuf>,
}

/// Where a key and its value are. Headers are limited to far less than 4 GiB, so 32 bits do.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Range<u32>,
    pub(super) ty: ValueType,
    /// The value's bytes; of a string or an array only the contents, without lengths and element type.
    pub(super) value: Range<u32>,
    pub(super) array: Option<ArrayEntry>,
}

#[derive(Debug, Clone)]
pub(super) struct ArrayEntry {
    pub(super) element: ValueType,
    pub(super) len: u32,
    pub(super) loaded: bool,
}

fn slice<'a>(bytes: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
}

impl Entry {
    pub(super) fn key_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        slice(bytes, &self.key)
    }

    pub(super) fn value_in<'a>(&self, bytes: &'a [u8]) -> Option<Value<'a>> {
        let value = slice(bytes, &self.value);
        match (self.ty, &self.array) {
            (ValueType::Array, Some(a)) => {
                let bytes = a.loaded.then_some(value);
                Some(Value::Array(Array { element: a.element, len: a.len as usize, bytes }))
            }
            (ValueType::String, _) => str::from_utf8(value).ok().map(Value::String),
            (ty, _) => Value::fixed(ty, value),
        }
    }
}

impl Metadata {
    /// Of bytes that the parser has made `entries` from.
    pub(super) fn new(bytes: Vec<u8>, entries: Vec<Entry>) -> Self {
        Metadata { bytes, entries, file: None }
    }

    pub(super) fn set_file(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.entries.iter().find(|e| e.key_in(&self.bytes) == key.as_bytes())?.value_in(&self.bytes)
    }

    /// Whether there is a value for `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries
            .iter()
            .filter_map(|e| Some((str::from_utf8(e.key_in(&self.bytes)).ok()?, e.value_in(&self.bytes)?)))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that are kept of the header: all of it up to the tensors, or, once arrays were dropped, the keys and the values that
    /// are left, without what is between them.
    pub fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that the metadata takes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Frees every array of more than `bytes` bytes; all other values stay readable. Returns the bytes given back.
    ///
    /// A freed array still has its key, type and length; its elements are an error ([`ErrorKind::Dropped`]).
    pub fn drop_arrays_over(&mut self, bytes: usize) -> usize {
        let before = self.bytes.capacity();
        let drops = |e: &Entry| e.array.is_some() && e.value.len() > bytes;
        let kept = self.entries.iter().map(|e| e.key.len() + if drops(e) { 0 } else { e.value.len() }).sum();
        let mut packed = Vec::with_capacity(kept);
        // Sum of parts of a header shorter than 4 GiB: the casts keep the value.
        let mut keep = |range: &Range<u32>| {
            let start = packed.len() as u32;
            packed.extend_from_slice(slice(&self.bytes, range));
            start..packed.len() as u32
        };
        for entry in &mut self.entries {
            let dropped = drops(entry);
            entry.key = keep(&entry.key);
            entry.value = keep(if dropped { &(0..0) } else { &entry.value });
            if let (true, Some(array)) = (dropped, &mut entry.array) {
                array.loaded = false;
            }
        }
        self.bytes = packed;
        before.saturating_sub(self.bytes.capacity())
    }

    fn error(&self, kind: ErrorKind) -> Error {
        let error = Error::new(kind);
        match &self.file {
            Some(file) => error.in_file(file),
            None => error,
        }
    }

    /// The value of `key`, or the error that it is missing.
    pub fn value(&self, key: &str) -> Result<Value<'_>, Error> {
        self.get(key).ok_or_else(|| self.error(ErrorKind::Missing { key: shown(key) }))
    }

    fn wrong_type(&self, key: &str, expected: &'static str, found: Value<'_>) -> Error {
        let found = match found {
            Value::Array(a) => format!("array of {} {}", a.len(), a.element()),
            v => match v.integer() {
                Some(n) => format!("{} ({n})", v.ty()),
                None => v.ty().to_string(),
            },
        };
        self.error(ErrorKind::WrongType { key: shown(key), expected, found })
    }

    fn int<T: TryFrom<i128>>(&self, key: &str, expected: &'static str) -> Result<T, Error> {
        let value = self.value(key)?;
        let int = value.integer().and_then(|n| T::try_from(n).ok());
        int.ok_or_else(|| self.wrong_type(key, expected, value))
    }

    /// An integer of any type whose value fits.
    pub fn u64(&self, key: &str) -> Result<u64, Error> {
        self.int(key, "an integer that fits u64")
    }

    /// An integer of any type whose value fits.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        self.int(key, "an integer that fits u32")
    }

    /// An integer of any type whose value fits.
    pub fn i64(&self, key: &str) -> Result<i64, Error> {
        self.int(key, "an integer that fits i64")
    }

    /// An integer of any type whose value fits.
    pub fn i32(&self, key: &str) -> Result<i32, Error> {
        self.int(key, "an integer that fits i32")
    }

    /// A floating-point number; a double is rounded.
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        let value = self.value(key)?;
        value.float().map(|v| v as f32).ok_or_else(|| self.wrong_type(key, "f32", value))
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        match self.value(key)? {
            Value::Bool(v) => Ok(v),
            other => Err(self.wrong_type(key, "bool", other)),
        }
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<&str, Error> {
        match self.value(key)? {
            Value::String(v) => Ok(v),
            other => Err(self.wrong_type(key, "string", other)),
        }
    }

    /// `Ok(None)` for a key that may be absent: `m.optional(m.u32("llama.expert_count"))?.unwrap_or(0)`.
    pub fn optional<T>(&self, value: Result<T, Error>) -> Result<Option<T>, Error> {
        match value {
            Ok(v) => Ok(Some(v)),
            Err(e) if e.is_missing_key() => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn array(&self, key: &str, expected: &'static str) -> Result<Array<'_>, Error> {
        match self.value(key)? {
            Value::Array(a) if a.is_loaded() => Ok(a),
            Value::Array(_) => Err(self.error(ErrorKind::Dropped { key: shown(key) })),
            other => Err(self.wrong_type(key, expected, other)),
        }
    }

    /// An array of strings, as raw bytes; see [`Strings::utf8`] for text.
    pub fn strings(&self, key: &str) -> Result<Strings<'_>, Error> {
        let array = self.array(key, "array of string")?;
        array.strings().ok_or_else(|| self.wrong_type(key, "array of string", Value::Array(array)))
    }

    fn numbers<'a, T: Default>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: fn(Value<'static>) -> Option<T>,
    ) -> Result<impl ExactSizeIterator<Item = T> + use<'a, T>, Error> {
        let array = self.array(key, expected)?;
        if array.element().size().is_none() {
            return Err(self.wrong_type(key, expected, Value::Array(array)));
        }
        // All are checked now, so that the walk itself cannot fail.
        if let Some((i, found)) = array.values().enumerate().find(|(_, v)| convert(*v).is_none()) {
            let found = match found.integer() {
                Some(n) => format!("{n} in element {i} of {} {}", array.len(), array.element()),
                None => format!("array of {} {}", array.len(), array.element()),
            };
            return Err(self.error(ErrorKind::WrongType { key: shown(key), expected, found }));
        }
        Ok(array.values().map(move |v| convert(v).unwrap_or_default()))
    }

    /// An array of floating-point numbers; doubles are rounded.
    pub fn f32s<'a>(&'a self, key: &str) -> Result<impl ExactSizeIterator<Item = f32> + use<'a>, Error> {
        self.numbers(key, "array of f32", |v| v.float().map(|v| v as f32))
    }

    /// An array of integers of any type, each of which fits.
    pub fn i32s<'a>(&'a self, key: &str) -> Result<impl ExactSizeIterator<Item = i32> + use<'a>, Error> {
        self.numbers(key, "array of integers that fit i32", |v| i32::try_from(v.integer()?).ok())
    }

    /// An array of integers of any type, each of which fits.
    pub fn u32s<'a>(&'a self, key: &str) -> Result<impl ExactSizeIterator<Item = u32> + use<'a>, Error> {
        self.numbers(key, "array of integers that fit u32", |v| u32::try_from(v.integer()?).ok())
    }

    /// An array of truth values.
    pub fn bools<'a>(&'a self, key: &str) -> Result<impl ExactSizeIterator<Item = bool> + use<'a>, Error> {
        self.numbers(key, "array of bool", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }
}

fn shown(key: &str) -> String {
    Shown(key.as_bytes()).to_string()
}
