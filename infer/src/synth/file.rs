//! A blueprint as a file: what goes where, and its bytes.

use std::io::{self, Write};

use super::blocks::Blocks;
use super::blueprint::{Blueprint, Content, Key, Planned, Routing};
use super::config::{Config, ShapeError};
use super::hidden::{Parts, random};
use super::routing::{self, Drawn, Rows};
use crate::gguf::write::{Body, Writer};
use crate::gguf::{self, TensorType};

/// Bytes that are made at once, about.
const PIECE: usize = 8 << 20;
/// Tokens that are bytes; the vocabulary begins with them.
const BYTES: u64 = 256;
/// For the header, in the size that the file may have.
const HEADER: u64 = 64 << 20;

/// Why a model cannot be synthesised.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A tensor that there cannot be.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file may not be as large as it must be.
    #[error(
        "{given} bytes are too few: what cannot share its bytes takes {own}, and the largest of the others {largest}"
    )]
    TooSmall {
        /// What was allowed.
        given: u64,
        /// Bytes that are not shared.
        own: u64,
        /// Bytes of the largest tensor that may share its own.
        largest: u64,
    },
    /// The file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A model that can be written.
#[derive(Debug)]
pub struct Synthesis {
    blueprint: Blueprint,
    writer: Writer,
    parts: Parts,
    seed: u64,
    /// What the pool is made of, if there is one.
    pool: Option<(Blocks, TensorType, u64)>,
    tensor_bytes: u64,
    file_bytes: u64,
}

/// Bytes of a planned tensor.
fn bytes(planned: &Planned) -> Result<u64, SynthError> {
    let wrong = |problem| SynthError::Tensor { name: planned.name.clone(), problem };
    gguf::tensor_size(planned.ty, &planned.dims).map_err(wrong)
}

impl Synthesis {
    /// A model of the shape `config`, whose matrices are of the type `ty`, in a file of at most `disk` bytes.
    ///
    /// Where the model is larger, the matrices of its experts (of a dense model, all matrices of its layers) share a pool of
    /// what is left of the file. The tensors of a layer lie apart in it, if it has room for them.
    ///
    /// # Errors
    /// When the shape is none, or does not fit the file even so.
    pub fn new(config: &Config, ty: TensorType, disk: u64, seed: u64, name: &str) -> Result<Self, SynthError> {
        let blueprint = Blueprint::new(config, ty)?;
        let dim = usize::try_from(blueprint.dim).expect("a checked size");
        if dim < 256 || !dim.is_multiple_of(32) {
            let problem = format!("{dim} is not a multiple of 32 from 256 on");
            return Err(ShapeError::Value { name: "hidden_size", problem }.into());
        }
        let (mut own, mut shared, mut largest) = (0, 0, 0);
        for planned in &blueprint.tensors {
            let bytes = bytes(planned)?.next_multiple_of(32);
            if planned.shared {
                shared += bytes
            } else {
                own += bytes
            }
            largest = if planned.shared { bytes.max(largest) } else { largest };
        }
        let room = disk.checked_sub(own + HEADER).filter(|room| *room >= largest.min(shared));
        let room = room.ok_or(SynthError::TooSmall { given: disk, own: own + HEADER, largest })?;
        let mut synthesis = Synthesis {
            parts: Parts::new(dim, seed),
            writer: header(&blueprint, name),
            pool: None,
            tensor_bytes: own + shared,
            file_bytes: own + shared.min(room),
            seed,
            blueprint,
        };
        synthesis.declare(if shared > room { Some(room) } else { None })?;
        Ok(synthesis)
    }

    /// Declares the tensors; those that may, in a pool of `room` bytes if there is not room for all.
    fn declare(&mut self, room: Option<u64>) -> Result<(), SynthError> {
        let mut next = 0;
        for planned in &self.blueprint.tensors {
            let (name, ty, dims) = (&planned.name, planned.ty, &planned.dims[..]);
            let Some(room) = room.filter(|_| planned.shared) else {
                self.writer.tensor(name, ty, dims);
                continue;
            };
            let (_, of, _) =
                *self.pool.get_or_insert((Blocks::new(ty, weight_size(self.blueprint.dim, 1.0)), ty, room));
            if of != ty {
                let problem = format!("is of {ty}, and shares its bytes with tensors of {of}");
                return Err(SynthError::Tensor { name: name.clone(), problem });
            }
            // Whole blocks from the beginning of the pool, aligned as tensors are.
            let unit = 32 * ty.block_bytes() as u64;
            let bytes = bytes(planned)?;
            let places = (room - bytes) / unit + 1;
            self.writer.shared_tensor(name, ty, dims, next % places * unit);
            next += bytes.div_ceil(unit);
        }
        if let Some((.., room)) = self.pool {
            self.writer.pool(room);
        }
        Ok(())
    }

    /// Bytes of the model: what its tensors take together.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensor_bytes
    }

    /// Bytes of the file, about.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes that are shared; `None` where all tensors have their own.
    pub fn pool_bytes(&self) -> Option<u64> {
        self.pool.map(|(.., bytes)| bytes)
    }

    /// The header, as it will be written.
    pub fn header(&self) -> &Writer {
        &self.writer
    }

    /// The routing of some layers, from the first to the last; none for a dense model.
    pub fn routing(&self) -> Vec<Drawn> {
        const LAYERS: u64 = 5;
        let Some(rule) = self.blueprint.routing else { return Vec::new() };
        let [first, end] = rule.layers;
        let mut layers: Vec<u64> =
            (0..LAYERS).map(|i| first + (end - first).saturating_sub(1) * i / (LAYERS - 1)).collect();
        layers.dedup();
        let dim = self.blueprint.dim as usize;
        layers.into_iter().map(|layer| routing::draw(&rule, self.parts, dim, self.seed, layer)).collect()
    }

    /// The same of a layer in the middle, if it had as many experts as the [`REFERENCE`](routing::REFERENCE), and chose as many.
    pub fn routing_as_recorded(&self) -> Option<Drawn> {
        let rule = self.blueprint.routing?;
        let rule = Routing { experts: 128, chosen: 6, groups: None, ..rule };
        Some(routing::draw(&rule, self.parts, self.blueprint.dim as usize, self.seed, self.blueprint.layers / 2))
    }

    /// Writes the file; `progress` is told the bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, out: impl Write, mut progress: impl FnMut(u64)) -> Result<(), SynthError> {
        let (mut body, mut done) = (self.writer.begin(out)?, 0);
        let mut put = |body: &mut Body<_>, bytes: &[u8]| -> io::Result<()> {
            body.data(bytes)?;
            done += bytes.len() as u64;
            progress(done);
            Ok(())
        };
        for planned in &self.blueprint.tensors {
            if self.pool.is_some() && planned.shared {
                continue;
            }
            match planned.content {
                Content::Random(size) => {
                    let blocks = Blocks::new(planned.ty, weight_size(planned.dims[0], size));
                    self.random(&blocks, planned.ty, &planned.name, bytes(planned)?, |bytes| put(&mut body, bytes))?;
                }
                _ => self.rows(planned, |bytes| put(&mut body, bytes))?,
            }
        }
        if let Some((blocks, ty, len)) = self.pool {
            self.random(&blocks, ty, "pool", len, |bytes| put(&mut body, bytes))?;
        }
        body.finish()?.flush()?;
        Ok(())
    }

    /// So many bytes of weights at random.
    fn random(
        &self,
        blocks: &Blocks,
        ty: TensorType,
        name: &str,
        len: u64,
        mut put: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut random = random(self.seed, name, 0);
        let mut piece = vec![0; PIECE / ty.block_bytes() * ty.block_bytes()];
        let mut left = len;
        while left > 0 {
            blocks.draw(&mut random, &mut piece);
            let some = left.min(piece.len() as u64);
            put(&piece[..some as usize])?;
            left -= some;
        }
        Ok(())
    }

    /// A tensor whose rows are made one by one.
    fn rows(&self, planned: &Planned, mut put: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let (cols, rows) = (planned.dims[0] as usize, planned.dims[1..].iter().product::<u64>());
        let mut row = vec![if let Content::Constant(x) = planned.content { x } else { 0.0 }; cols];
        let mut router = if let Content::Router(layer) = planned.content {
            Some(Rows::new(self.parts, self.seed, layer))
        } else {
            None
        };
        let size = match planned.content {
            Content::Embedding => self.parts.largest(),
            // So that the steps of four bits reach as far as nearly all of what is drawn.
            _ => 1.6,
        };
        let (blocks, mut out) = (Blocks::new(planned.ty, size), Vec::new());
        for number in 0..rows {
            match planned.content {
                Content::Embedding => self.parts.embed(number, &mut row),
                Content::Head => self.parts.ask(number, self.blueprint.vocab, &mut row),
                Content::Router(_) => router.as_mut().expect("made above").next(&mut row),
                Content::Constant(_) | Content::Random(_) => {}
            }
            blocks.put(&row, &mut out);
            if out.len() >= PIECE || number + 1 == rows {
                put(&out)?;
                out.clear();
            }
        }
        Ok(())
    }
}

/// The size of weights of which a row of `cols` turns inputs of size 1 into an output of `size`.
fn weight_size(cols: u64, size: f32) -> f32 {
    size / (cols as f32).sqrt()
}

/// Keys without a vocabulary.
pub(super) fn keys(blueprint: &Blueprint, name: &str) -> Writer {
    let (mut writer, architecture) = (Writer::new(), blueprint.architecture);
    writer.str("general.architecture", architecture).str("general.name", name);
    for (name, value) in &blueprint.keys {
        let key = format!("{architecture}.{name}");
        match *value {
            Key::Count(n) => writer.scalar(&key, n as u32),
            Key::Number(x) => writer.scalar(&key, x),
            Key::Flag(flag) => writer.scalar(&key, flag),
            Key::Word(word) => writer.str(&key, word),
        };
    }
    writer
}

/// Keys and vocabulary.
fn header(blueprint: &Blueprint, name: &str) -> Writer {
    let mut writer = keys(blueprint, name);
    let vocab = blueprint.vocab;
    let token = |i: u64| if i < BYTES { byte_token(i as u8).into() } else { format!("<|{i}|>") };
    let tokens: Vec<String> = (0..vocab).map(token).collect();
    // Words of their own, which are found in a text as they stand.
    let types: Vec<i32> = (0..vocab).map(|i| if i < BYTES { 1 } else { 4 }).collect();
    writer.str("tokenizer.ggml.model", "gpt2").str("tokenizer.ggml.pre", "gpt-2");
    writer.strings("tokenizer.ggml.tokens", &tokens).array("tokenizer.ggml.token_type", &types);
    writer.strings::<&str>("tokenizer.ggml.merges", &[]);
    writer
}

/// How byte-level BPE writes a byte: as itself where it can be seen, else as one of the characters from U+0100 on (GPT-2).
fn byte_token(byte: u8) -> char {
    let seen = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !seen(*b)).count() as u32;
    char::from_u32(0x100 + before).expect("not a surrogate")
}
