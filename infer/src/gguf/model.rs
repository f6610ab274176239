//! A whole model: the headers of its file, or of all the files it is split into.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::cursor::MAX_HEADER;
use super::error::{Error, ErrorKind, Shown};
use super::metadata::Metadata;
use super::parse::{self, Index};
use super::pool::Pool;
use super::split;
use super::tensor::Tensor;

/// First read of a header; most models without a large vocabulary end here.
const FIRST_READ: u64 = 64 << 10;

/// A model's headers: everything but the tensors' data.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Model {
    /// The GGUF version, of the first part.
    pub version: u32,
    /// The keys, of the first part: the others only repeat which part they are.
    pub metadata: Metadata,
    /// The tensors of all parts, part after part, each in the order of its file.
    pub tensors: Vec<Tensor>,
    /// The parts, in order; one unless the model is split.
    pub files: Vec<PathBuf>,
    /// The bytes that tensors share, in the first part, if there are such.
    pub pool: Option<Pool>,
    file_lens: Vec<u64>,
    alignment: u32,
    /// Indices of the tensors by name.
    by_name: Vec<u32>,
}

/// The header of one file.
pub(super) struct Part {
    pub(super) version: u32,
    pub(super) alignment: u32,
    pub(super) pool: Option<Pool>,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<Tensor>,
    pub(super) file_len: u64,
}

impl Model {
    /// Reads the header of the model at `path`; of a split model, `path` is any of its parts and all are found beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        let opened = Part::read(path)?;
        let Some(set) = split::Set::of(path, &opened.metadata)? else {
            return Model::join(vec![(path.to_owned(), opened)]);
        };
        let mut opened = Some(opened);
        let mut parts = Vec::new();
        for no in 0..set.count {
            let (file, part) = match opened.take_if(|_| no == set.opened) {
                Some(part) => (path.to_owned(), part),
                None => set.read(no)?,
            };
            set.check(no, &file, &part)?;
            parts.push((file, part));
        }
        set.check_total(&parts)?;
        Model::join(parts)
    }

    /// The model whose header is `bytes`, in a file of `file_len` bytes of this name. The file need not be there.
    ///
    /// # Errors
    /// As of [`Model::open`], when the header is damaged or longer than `bytes`.
    pub fn from_header(bytes: Vec<u8>, file_len: u64, name: impl Into<PathBuf>) -> Result<Model, Error> {
        let name = name.into();
        let index = parse::index(&bytes, file_len).map_err(|e| e.in_file(&name))?;
        Model::join(vec![(name, Part::new(index, bytes, file_len))])
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        let named = |i: &u32| self.tensors.get(*i as usize).map(|t| t.name.as_str());
        let at = self.by_name.binary_search_by(|i| named(i).cmp(&Some(name))).ok()?;
        self.tensors.get(self.by_name[at] as usize)
    }

    /// Bytes of all tensors, without padding.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// The length that file `i` of [`files`](Self::files) had when its header was read.
    pub fn file_len(&self, i: usize) -> Option<u64> {
        self.file_lens.get(i).copied()
    }

    /// What the offsets of tensors within the data are a multiple of, in the first part.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    fn join(parts: Vec<(PathBuf, Part)>) -> Result<Model, Error> {
        let mut model = Model {
            version: 0,
            metadata: Metadata::default(),
            tensors: Vec::new(),
            files: Vec::with_capacity(parts.len()),
            pool: None,
            file_lens: Vec::with_capacity(parts.len()),
            alignment: 0,
            by_name: Vec::new(),
        };
        for (i, (file, part)) in parts.into_iter().enumerate() {
            if i == 0 {
                model.version = part.version;
                model.alignment = part.alignment;
                model.pool = part.pool;
                model.metadata = part.metadata;
            }
            // At most split::MAX_PARTS.
            model.tensors.extend(part.tensors.into_iter().map(|t| Tensor { file: i as u16, ..t }));
            model.files.push(file);
            model.file_lens.push(part.file_len);
        }
        let tensors = &model.tensors;
        model.by_name = (0..tensors.len() as u32).collect();
        model.by_name.sort_by_key(|i| (tensors[*i as usize].name.as_str(), *i));
        for w in model.by_name.windows(2) {
            let (a, b) = (&tensors[w[0] as usize], &tensors[w[1] as usize]);
            if a.name == b.name {
                let problem = format!("a duplicate of the one in {}", model.files[a.file as usize].display());
                let error = Error::field(format_args!("tensor {}", Shown(b.name.as_bytes())), problem);
                return Err(error.in_file(&model.files[b.file as usize]));
            }
        }
        Ok(model)
    }
}

impl Part {
    pub(super) fn read(path: &Path) -> Result<Part, Error> {
        Self::read_header(path).map_err(|e| e.in_file(path)).map(|mut part| {
            part.metadata.set_file(path);
            part
        })
    }

    fn read_header(path: &Path) -> Result<Part, Error> {
        let io = |e: io::Error| Error::new(ErrorKind::Io(e));
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(Error::new(ErrorKind::NotAFile));
        }
        #[expect(clippy::disallowed_methods, reason = "the GGUF reader is one of the places that open files")]
        let mut file = File::open(path).map_err(io)?;
        let file_len = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::new();
        let mut want = FIRST_READ;
        loop {
            let more = want.min(MAX_HEADER).min(file_len) - bytes.len() as u64;
            // At most MAX_HEADER: fits. Exact, so that the buffer never is twice the header.
            bytes.try_reserve_exact(more as usize).map_err(|_| io(io::ErrorKind::OutOfMemory.into()))?;
            let read = file.by_ref().take(more).read_to_end(&mut bytes).map_err(io)?;
            // A file that has become shorter since: its end is where it is now.
            let file_len = if (read as u64) < more { bytes.len() as u64 } else { file_len };
            match parse::index(&bytes, file_len) {
                Ok(index) => return Ok(Part::new(index, bytes, file_len)),
                Err(e) => match *e.kind() {
                    // Always more than is there and at most the limit, so every round reads and the loop ends.
                    ErrorKind::Incomplete { needed, .. } => want = needed.max(2 * bytes.len() as u64),
                    _ => return Err(e),
                },
            }
        }
    }

    fn new(index: Index, mut bytes: Vec<u8>, file_len: u64) -> Part {
        bytes.truncate(index.metadata_end);
        bytes.shrink_to_fit();
        Part {
            version: index.version,
            alignment: index.alignment,
            pool: index.pool,
            metadata: Metadata::new(bytes, index.entries),
            tensors: index.tensors,
            file_len,
        }
    }
}
