//! Writing GGUF files: version 3, little-endian.
//!
//! First the keys and tensors are declared, then the header goes out, then the tensors' data in the same order, in pieces of any
//! size: a converter never holds more than it is working on. Every header is read back before a byte of it is written, so what
//! the reader rejects is never written.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::TensorType;
use super::error::{Error, ErrorKind, Shown};
use super::parse;
use super::pool;
use super::tensor;
use super::value::{Value, ValueType};

/// A type that metadata values and array elements of fixed size can have.
pub trait Scalar: Copy {
    /// The type in the file.
    const TYPE: ValueType;
    /// Appends the value as it is in the file.
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! scalars {
    ($($rust:ty => $ty:ident),*) => {$(
        impl Scalar for $rust {
            const TYPE: ValueType = ValueType::$ty;
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
scalars!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, u64 => U64, i64 => I64, f64 => F64);

impl Scalar for bool {
    const TYPE: ValueType = ValueType::Bool;
    fn put(self, out: &mut Vec<u8>) {
        out.push(self.into());
    }
}

/// The header of a file to be written.
#[derive(Debug, Clone)]
pub struct Writer {
    alignment: u32,
    key_count: u64,
    keys: Vec<u8>,
    tensors: Vec<Declared>,
    /// Bytes that tensors share, behind all others.
    pool: u64,
}

/// A tensor to be written.
#[derive(Debug, Clone)]
struct Declared {
    name: String,
    ty: TensorType,
    dims: Vec<u64>,
    /// Where in the pool it lies; `None` if it has bytes of its own.
    shared: Option<u64>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    (bytes.len() as u64).put(out);
    out.extend_from_slice(bytes);
}

impl Writer {
    /// Neither keys nor tensors, and the format's alignment of 32.
    pub fn new() -> Self {
        Writer { alignment: 32, key_count: 0, keys: Vec::new(), tensors: Vec::new(), pool: 0 }
    }

    /// Aligns the tensors to `bytes`, a power of two of at least 8, and adds the key that says so.
    pub fn alignment(&mut self, bytes: u32) -> &mut Self {
        self.alignment = bytes;
        self.scalar("general.alignment", bytes)
    }

    fn key(&mut self, key: &str, ty: ValueType) -> &mut Vec<u8> {
        self.key_count += 1;
        put_bytes(key.as_bytes(), &mut self.keys);
        (ty as u32).put(&mut self.keys);
        &mut self.keys
    }

    fn array_key(&mut self, key: &str, element: ValueType, len: u64) -> &mut Vec<u8> {
        let out = self.key(key, ValueType::Array);
        (element as u32).put(out);
        len.put(out);
        out
    }

    /// Adds a number or truth value.
    pub fn scalar<T: Scalar>(&mut self, key: &str, value: T) -> &mut Self {
        value.put(self.key(key, T::TYPE));
        self
    }

    /// Adds a string.
    pub fn str(&mut self, key: &str, value: &str) -> &mut Self {
        put_bytes(value.as_bytes(), self.key(key, ValueType::String));
        self
    }

    /// Adds an array of numbers or truth values.
    pub fn array<T: Scalar>(&mut self, key: &str, values: &[T]) -> &mut Self {
        let out = self.array_key(key, T::TYPE, values.len() as u64);
        values.iter().for_each(|v| v.put(out));
        self
    }

    /// Adds an array of strings, which may be any bytes.
    pub fn strings<S: AsRef<[u8]>>(&mut self, key: &str, values: &[S]) -> &mut Self {
        let out = self.array_key(key, ValueType::String, values.len() as u64);
        values.iter().for_each(|v| put_bytes(v.as_ref(), out));
        self
    }

    /// Adds a value that was read; an error if it is an array that has been dropped.
    pub fn value(&mut self, key: &str, value: Value<'_>) -> Result<&mut Self, Error> {
        Ok(match value {
            Value::U8(v) => self.scalar(key, v),
            Value::I8(v) => self.scalar(key, v),
            Value::U16(v) => self.scalar(key, v),
            Value::I16(v) => self.scalar(key, v),
            Value::U32(v) => self.scalar(key, v),
            Value::I32(v) => self.scalar(key, v),
            Value::F32(v) => self.scalar(key, v),
            Value::Bool(v) => self.scalar(key, v),
            Value::U64(v) => self.scalar(key, v),
            Value::I64(v) => self.scalar(key, v),
            Value::F64(v) => self.scalar(key, v),
            Value::String(v) => self.str(key, v),
            Value::Array(a) => {
                let dropped = || Error::new(ErrorKind::Dropped { key: Shown(key.as_bytes()).to_string() });
                let bytes = a.bytes.ok_or_else(dropped)?;
                self.array_key(key, a.element, a.len as u64).extend_from_slice(bytes);
                self
            }
        })
    }

    /// Declares the next tensor; `dims[0]` is the length of a row.
    pub fn tensor(&mut self, name: &str, ty: TensorType, dims: &[u64]) -> &mut Self {
        self.tensors.push(Declared { name: name.to_owned(), ty, dims: dims.to_vec(), shared: None });
        self
    }

    /// Sets the length of the pool of bytes that tensors share: see [`Pool`](super::Pool). Its bytes are written like those of one more
    /// tensor, behind all that have bytes of their own.
    pub fn pool(&mut self, bytes: u64) -> &mut Self {
        self.pool = bytes;
        self
    }

    /// Declares a tensor that lies in the pool, `offset` bytes behind its beginning. Its data is not written by itself.
    pub fn shared_tensor(&mut self, name: &str, ty: TensorType, dims: &[u64], offset: u64) -> &mut Self {
        self.tensors.push(Declared { name: name.to_owned(), ty, dims: dims.to_vec(), shared: Some(offset) });
        self
    }

    /// Where each tensor lies within the data, the lengths of what is to be written, and where all of it ends.
    fn lay_out(&self) -> Result<(Vec<u64>, VecDeque<u64>, u64), Error> {
        let (mut end, mut sizes) = (0u64, VecDeque::with_capacity(self.tensors.len()));
        let mut offsets = Vec::with_capacity(self.tensors.len());
        let beyond = "lies beyond 16 EiB, or the alignment is 0";
        for tensor in &self.tensors {
            let wrong = |problem: &str| Error::field(format_args!("tensor {}", Shown(tensor.name.as_bytes())), problem);
            let size = tensor::size(tensor.ty, &tensor.dims).map_err(|problem| wrong(&problem))?;
            if tensor.shared.is_some_and(|at| at.checked_add(size).is_none_or(|end| end > self.pool)) {
                return Err(wrong("ends behind the pool"));
            }
            offsets.push(tensor.shared.unwrap_or_default());
            if tensor.shared.is_none() {
                let offset = end.checked_next_multiple_of(self.alignment.into()).ok_or_else(|| wrong(beyond))?;
                end = offset.checked_add(size).ok_or_else(|| wrong("ends beyond 16 EiB"))?;
                *offsets.last_mut().expect("just pushed") = offset;
                sizes.push_back(size);
            }
        }
        if self.pool > 0 {
            let offset = end.checked_next_multiple_of(self.alignment.into());
            let offset = offset.ok_or_else(|| Error::field("the pool", beyond))?;
            end = offset.checked_add(self.pool).ok_or_else(|| Error::field("the pool", "ends beyond 16 EiB"))?;
            sizes.push_back(self.pool);
            let shared = self.tensors.iter().zip(&mut offsets).filter(|(tensor, _)| tensor.shared.is_some());
            shared.for_each(|(_, at)| *at += offset);
        }
        Ok((offsets, sizes, end))
    }

    /// The header up to the first tensor's data, and the length of each piece of the data.
    fn header(&self) -> Result<(Vec<u8>, VecDeque<u64>), Error> {
        let (offsets, sizes, end) = self.lay_out()?;
        let mut keys = Writer { key_count: self.key_count, keys: self.keys.clone(), ..Writer::new() };
        if self.pool > 0 {
            keys.scalar(pool::OFFSET, end - self.pool).scalar(pool::BYTES, self.pool);
        }
        let mut out = b"GGUF".to_vec();
        3u32.put(&mut out);
        (self.tensors.len() as u64).put(&mut out);
        keys.key_count.put(&mut out);
        out.extend_from_slice(&keys.keys);
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            put_bytes(tensor.name.as_bytes(), &mut out);
            (tensor.dims.len() as u32).put(&mut out);
            tensor.dims.iter().for_each(|d| d.put(&mut out));
            (tensor.ty as u32).put(&mut out);
            offset.put(&mut out);
        }
        let parsed = parse::index(&out, (out.len() as u64).saturating_add(self.alignment.into()).saturating_add(end))?;
        if parsed.alignment != self.alignment {
            let problem = format!("{}, but the tensors are aligned to {}", parsed.alignment, self.alignment);
            return Err(Error::field("key \"general.alignment\"", problem));
        }
        out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        Ok((out, sizes))
    }

    /// Writes the header. An error of kind `InvalidInput` holds an [`Error`] that says what is wrong with it.
    pub fn begin<W: Write>(&self, mut out: W) -> io::Result<Body<W>> {
        let (header, sizes) = self.header().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        out.write_all(&header)?;
        Ok(Body { out, sizes, alignment: self.alignment, written: 0 })
    }

    /// The whole file in memory: `data` has each tensor's data, in order.
    pub fn to_bytes<D: AsRef<[u8]>>(&self, data: impl IntoIterator<Item = D>) -> io::Result<Vec<u8>> {
        let mut body = self.begin(Vec::new())?;
        for bytes in data {
            body.data(bytes.as_ref())?;
        }
        body.finish()
    }
}

/// A file whose header is written and whose tensors' data is still to come.
#[derive(Debug)]
pub struct Body<W> {
    out: W,
    /// Of the tensors that are not complete.
    sizes: VecDeque<u64>,
    alignment: u32,
    /// Of the first of these.
    written: u64,
}

impl<W: Write> Body<W> {
    /// Writes the next bytes of the tensor that is not complete yet, all or a part of what it still lacks.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let Some(&size) = self.sizes.front() else {
            return Err(invalid(format!("{} bytes behind the last tensor", bytes.len())));
        };
        let len = bytes.len() as u64;
        if len > size - self.written {
            return Err(invalid(format!("{len} bytes for a tensor that lacks {}", size - self.written)));
        }
        self.out.write_all(bytes)?;
        self.written += len;
        if self.written == size {
            // Behind the last tensor as well: ggml reads the data as one block of whole units.
            let padding = size.next_multiple_of(self.alignment.into()) - size;
            io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.out)?;
            self.sizes.pop_front();
            self.written = 0;
        }
        Ok(())
    }

    /// Flushes the file, whose tensors must be complete.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.sizes.is_empty() {
            let text = format!("{} tensors are not written", self.sizes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}
