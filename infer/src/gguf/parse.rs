//! From the first bytes of a file to an index of its metadata and its tensors: pure, no I/O.

use super::TensorType;
use super::cursor::Cursor;
use super::error::{Error, ErrorKind, Shown};
use super::metadata::{ArrayEntry, Entry, Metadata};
use super::pool::Pool;
use super::tensor::{self, Tensor};
use super::value::{Value, ValueType};

/// Where tensor data starts at a multiple of, unless the file says otherwise.
const DEFAULT_ALIGNMENT: u32 = 32;
/// More keys than this are no model; real ones have dozens.
const MAX_KEYS: u64 = 1 << 16;
/// Real models have at most tens of thousands, even with every expert on its own.
const MAX_TENSORS: u64 = 1 << 17;
/// The specification's limit for keys.
const MAX_KEY: u64 = (1 << 16) - 1;
/// ggml's own limit is 64; the rest is courtesy to other writers.
const MAX_NAME: u64 = 1 << 10;

/// Least bytes a key-value pair takes: length and one byte of the key, value type, one byte of value.
const MIN_PAIR: u64 = 8 + 1 + 4 + 1;
/// Least bytes a tensor takes: length and one byte of the name, dimension count, one dimension, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// A parsed header.
#[derive(Debug, Clone)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// What tensor offsets are a multiple of.
    pub alignment: u32,
    /// Where in the file the tensor data starts.
    pub data_start: u64,
    /// The bytes that tensors share, if there are such.
    pub pool: Option<Pool>,
    /// All keys.
    pub metadata: Metadata,
    /// All tensors, in the order of the file.
    pub tensors: Vec<Tensor>,
}

/// Parses the header at the start of `bytes`, the beginning of a file of `file_len` bytes.
///
/// Where `bytes` end within the header although the file does not, the error is [`ErrorKind::Incomplete`]. Everything in an
/// `Ok` is checked: tensors lie in the file, aligned, without overlap but in a declared
/// [`Pool`](super::Pool); names and keys are unique.
pub fn parse(bytes: &[u8], file_len: u64) -> Result<Header, Error> {
    let index = index(bytes, file_len)?;
    Ok(Header {
        version: index.version,
        alignment: index.alignment,
        data_start: index.data_start,
        pool: index.pool,
        metadata: Metadata::new(bytes[..index.metadata_end].to_vec(), index.entries),
        tensors: index.tensors,
    })
}

/// A header without a copy of its bytes.
pub(super) struct Index {
    pub(super) version: u32,
    pub(super) alignment: u32,
    pub(super) data_start: u64,
    pub(super) pool: Option<Pool>,
    pub(super) entries: Vec<Entry>,
    /// The entries point before this.
    pub(super) metadata_end: usize,
    pub(super) tensors: Vec<Tensor>,
}

pub(super) fn index(bytes: &[u8], file_len: u64) -> Result<Index, Error> {
    let mut cur = Cursor::new(bytes, file_len);
    let magic = cur.magic()?;
    if magic != *b"GGUF" {
        return Err(Error::new(ErrorKind::Magic(magic)).at(0));
    }
    let version = cur.u32(format_args!("version"))?;
    if version & 0xffff == 0 && version != 0 {
        return Err(Error::new(ErrorKind::BigEndian(version.swap_bytes())).at(4));
    }
    if !(2..=3).contains(&version) {
        return Err(Error::new(ErrorKind::Version(version)).at(4));
    }
    let tensor_count = cur.count(MIN_TENSOR, MAX_TENSORS, format_args!("tensor_count"))?;
    let key_count = cur.count(MIN_PAIR, MAX_KEYS, format_args!("metadata_kv_count"))?;

    // No capacity up front: a count may still be a lie within the file's length, the bytes at hand never are.
    let mut entries = Vec::new();
    for i in 0..key_count {
        entries.push(pair(&mut cur, i)?);
    }
    check_unique_keys(&entries, cur.bytes())?;
    let metadata_end = cur.pos();
    let alignment = alignment(&entries, cur.bytes())?;

    let mut raws = Vec::new();
    for i in 0..tensor_count {
        raws.push(raw_tensor(&mut cur, i)?);
    }
    // At most 256 MiB, and the alignment is less than 4 GiB: no overflow.
    let data_start = (cur.pos() as u64).next_multiple_of(alignment.into());
    let key = |name: &str| entries.iter().find(|e| e.key_in(cur.bytes()) == name.as_bytes())?.value_in(cur.bytes());
    let pool = Pool::declared(key, data_start)?;
    let tensors = tensor::lay_out(raws, data_start, alignment, file_len, pool)?;
    Ok(Index { version, alignment, data_start, pool, entries, metadata_end, tensors })
}

/// One key with its value.
fn pair(cur: &mut Cursor<'_>, i: usize) -> Result<Entry, Error> {
    let at = cur.pos();
    let len = cur.u64(format_args!("key {i}"))?;
    if !(1..=MAX_KEY).contains(&len) {
        return Err(Error::field(format_args!("key {i}"), format_args!("{len} bytes long, not 1 to {MAX_KEY}")).at(at));
    }
    let key_start = cur.pos();
    let key = cur.take(len, format_args!("key {i}"))?;
    let shown = Shown(key);
    if str::from_utf8(key).is_err() {
        return Err(Error::field(format_args!("key {i}"), format_args!("not UTF-8: {shown}")).at(key_start));
    }
    let key = range(key_start, cur);
    let ty = value_type(cur, format_args!("key {shown}"))?;
    let mut start = cur.pos();
    let mut array = None;
    match ty {
        ValueType::Array => {
            let element = value_type(cur, format_args!("key {shown}, array elements"))?;
            let len = array_len(cur, element, &shown)?;
            start = cur.pos();
            elements(cur, element, len, &shown)?;
            // Ranges within a header are 32-bit: the header's limit keeps every count that is read to its end below that.
            array = Some(ArrayEntry { element, len: len as u32, loaded: true });
        }
        ValueType::String => {
            let text = cur.string(format_args!("value of key {shown}"))?;
            start = cur.pos() - text.len();
            if str::from_utf8(text).is_err() {
                let problem = format_args!("value is not UTF-8: {}", Shown(text)).to_string();
                return Err(Error::field(format_args!("key {shown}"), problem).at(start));
            }
        }
        fixed => {
            let value = cur.take(fixed.size().unwrap_or(0) as u64, format_args!("value of key {shown}"))?;
            if fixed == ValueType::Bool {
                check_bools(value, &shown, start)?;
            }
        }
    }
    Ok(Entry { key, ty, value: range(start, cur), array })
}

/// The element count of an array. No limit of its own: the elements have to be in the file, and the header has one.
fn array_len(cur: &mut Cursor<'_>, element: ValueType, key: &Shown<'_>) -> Result<usize, Error> {
    let min_bytes = match element {
        // Each has its length.
        ValueType::String => 8,
        ValueType::Array => {
            let problem = "an array of arrays, which no model has";
            return Err(Error::field(format_args!("key {key}"), problem).at(cur.pos() - 4));
        }
        fixed => fixed.size().unwrap_or(1) as u64,
    };
    cur.count(min_bytes, u64::MAX, format_args!("array length of key {key}"))
}

/// Walks over an array's elements.
fn elements(cur: &mut Cursor<'_>, element: ValueType, len: usize, key: &Shown<'_>) -> Result<(), Error> {
    let Some(size) = element.size() else {
        for i in 0..len {
            cur.string(format_args!("value of key {key}, element {i}"))?;
        }
        return Ok(());
    };
    let start = cur.pos();
    // No overflow: so many are in the file.
    let bytes = cur.take(len as u64 * size as u64, format_args!("value of key {key}"))?;
    if element == ValueType::Bool { check_bools(bytes, key, start) } else { Ok(()) }
}

fn value_type(cur: &mut Cursor<'_>, what: std::fmt::Arguments<'_>) -> Result<ValueType, Error> {
    let at = cur.pos();
    let number = cur.u32(what)?;
    let unknown = || Error::field(what, format_args!("unknown value type {number}")).at(at);
    ValueType::from_number(number).ok_or_else(unknown)
}

/// The specification calls every other byte invalid; it is a sign that the rest is shifted.
fn check_bools(bytes: &[u8], key: &Shown<'_>, start: usize) -> Result<(), Error> {
    match bytes.iter().position(|b| *b > 1) {
        None => Ok(()),
        Some(i) => {
            let problem = format!("a bool of {}, not 0 or 1", bytes[i]);
            Err(Error::field(format_args!("key {key}"), problem).at(start + i))
        }
    }
}

fn range(start: usize, cur: &Cursor<'_>) -> std::ops::Range<u32> {
    // The cursor never passes MAX_HEADER.
    start as u32..cur.pos() as u32
}

fn check_unique_keys(entries: &[Entry], bytes: &[u8]) -> Result<(), Error> {
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_by_key(|e| (e.key_in(bytes), e.key.start));
    match order.windows(2).find(|w| w[0].key_in(bytes) == w[1].key_in(bytes)) {
        None => Ok(()),
        Some(w) => {
            let shown = Shown(w[1].key_in(bytes));
            let problem = format!("a duplicate of the key at byte {}", w[0].key.start);
            Err(Error::field(format_args!("key {shown}"), problem).at(w[1].key.start as usize))
        }
    }
}

fn alignment(entries: &[Entry], bytes: &[u8]) -> Result<u32, Error> {
    const KEY: &str = "general.alignment";
    let Some(entry) = entries.iter().find(|e| e.key_in(bytes) == KEY.as_bytes()) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let wrong =
        |problem: String| Err(Error::field(format_args!("key \"{KEY}\""), problem).at(entry.value.start as usize));
    match entry.value_in(bytes).as_ref().and_then(Value::integer).map(u32::try_from) {
        None => wrong(format!("expected an integer, found {}", entry.ty)),
        Some(Ok(n)) if n.is_power_of_two() && n >= 8 => Ok(n),
        Some(Ok(n)) => wrong(format!("{n} is not a power of two of at least 8")),
        Some(Err(_)) => wrong("not an integer that fits u32".to_owned()),
    }
}

/// A tensor as the header has it, with the places that errors name.
pub(super) struct RawTensor<'a> {
    pub(super) name: &'a str,
    pub(super) ty: TensorType,
    pub(super) dims: Vec<u64>,
    /// Within the data.
    pub(super) offset: u64,
    pub(super) name_at: usize,
    pub(super) dims_at: usize,
    pub(super) offset_at: usize,
}

fn raw_tensor<'a>(cur: &mut Cursor<'a>, i: usize) -> Result<RawTensor<'a>, Error> {
    let at = cur.pos();
    let len = cur.u64(format_args!("name of tensor {i}"))?;
    if !(1..=MAX_NAME).contains(&len) {
        let problem = format!("{len} bytes long, not 1 to {MAX_NAME}");
        return Err(Error::field(format_args!("name of tensor {i}"), problem).at(at));
    }
    let name_at = cur.pos();
    let name = cur.take(len, format_args!("name of tensor {i}"))?;
    let shown = Shown(name);
    let Ok(name) = str::from_utf8(name) else {
        return Err(Error::field(format_args!("name of tensor {i}"), format_args!("not UTF-8: {shown}")).at(name_at));
    };
    let at = cur.pos();
    let n_dims = cur.u32(format_args!("tensor {shown}, dimension count"))?;
    if !(1..=4).contains(&n_dims) {
        return Err(
            Error::field(format_args!("tensor {shown}"), format_args!("{n_dims} dimensions, not 1 to 4")).at(at)
        );
    }
    let dims_at = cur.pos();
    let mut dims = Vec::with_capacity(n_dims as usize);
    for d in 0..n_dims {
        dims.push(cur.u64(format_args!("tensor {shown}, dimension {d}"))?);
    }
    let at = cur.pos();
    let number = cur.u32(format_args!("tensor {shown}, type"))?;
    let Some(ty) = TensorType::from_number(number) else {
        let problem = match TensorType::removed(number) {
            Some(name) => format!("tensor type {number} ({name}) was taken out of the format; convert the model again"),
            None => format!("unknown tensor type {number}"),
        };
        return Err(Error::field(format_args!("tensor {shown}"), problem).at(at));
    };
    let offset_at = cur.pos();
    let offset = cur.u64(format_args!("tensor {shown}, offset"))?;
    Ok(RawTensor { name, ty, dims, offset, name_at, dims_at, offset_at })
}
