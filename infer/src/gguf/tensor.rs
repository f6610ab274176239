//! Tensors: their shapes, and where in the file they lie.

use super::TensorType;
use super::error::{Error, ErrorKind, Shown};
use super::parse::RawTensor;
use super::pool::Pool;

/// One tensor of a model: what it is and where it lies. Its data is never read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its unique name.
    pub name: String,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Elements in each dimension, 1 to 4 of them, none zero, in ggml's order: `dims[0]` is the length of a row.
    pub dims: Vec<u64>,
    /// The file it is in, an index into [`Model::files`](super::Model::files).
    pub file: u16,
    /// Where in that file its data starts.
    pub offset: u64,
    /// Length of its data.
    pub bytes: u64,
}

impl Tensor {
    /// Elements of a row.
    pub fn cols(&self) -> usize {
        // The parser has checked that both fit.
        self.dims.first().copied().unwrap_or(0) as usize
    }

    /// Number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.dims.iter().skip(1).product::<u64>() as usize
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols() / self.ty.block_len() * self.ty.block_bytes()
    }

    /// The byte of the file behind the data.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

/// A tensor has 1 to 4 dimensions.
pub(super) fn check_dims(count: usize) -> Result<(), String> {
    if (1..=4).contains(&count) { Ok(()) } else { Err(format!("{count} dimensions, not 1 to 4")) }
}

/// Bytes of a tensor, or why there is no such tensor.
///
/// A dimension of zero is an error, unlike in ggml: no architecture has such a tensor, and nothing further on has to ask.
pub(crate) fn size(ty: TensorType, dims: &[u64]) -> Result<u64, String> {
    check_dims(dims.len())?;
    if let Some(d) = dims.iter().position(|n| *n == 0) {
        return Err(format!("dimension {d} of {dims:?} is 0"));
    }
    let elements = dims.iter().try_fold(1u64, |product, n| product.checked_mul(*n));
    // ggml counts in signed numbers; on 32-bit machines `usize` is the tighter limit.
    let Some(elements) = elements.filter(|n| i64::try_from(*n).is_ok() && usize::try_from(*n).is_ok()) else {
        return Err(format!("shape {dims:?} has too many elements"));
    };
    let block = ty.block_len() as u64;
    match dims.first() {
        Some(cols) if cols % block == 0 => {}
        _ => return Err(format!("rows of shape {dims:?} are no multiple of the {block} elements of a {ty} block")),
    }
    let bytes = (elements / block).checked_mul(ty.block_bytes() as u64);
    bytes.ok_or_else(|| format!("shape {dims:?} of {ty} has too many bytes"))
}

/// Places the tensors in the file and checks that each has its own bytes of it, but for those in the `pool`.
pub(super) fn lay_out(
    raws: Vec<RawTensor<'_>>,
    data_start: u64,
    alignment: u32,
    file_len: u64,
    pool: Option<Pool>,
) -> Result<Vec<Tensor>, Error> {
    let mut tensors = Vec::with_capacity(raws.len());
    for raw in &raws {
        let shown = Shown(raw.name.as_bytes());
        let wrong = |problem: String, at| Err(Error::field(format_args!("tensor {shown}"), problem).at(at));
        let bytes = match size(raw.ty, &raw.dims) {
            Ok(bytes) => bytes,
            Err(problem) => return wrong(problem, raw.dims_at),
        };
        if !raw.offset.is_multiple_of(alignment.into()) {
            return wrong(format!("offset {} is no multiple of the alignment {alignment}", raw.offset), raw.offset_at);
        }
        let offset = data_start.checked_add(raw.offset);
        let end = offset.and_then(|o| o.checked_add(bytes));
        let (Some(offset), true) = (offset, end.is_some_and(|end| end <= file_len)) else {
            let field = format!("tensor {shown} of {bytes} bytes at {data_start} + {}", raw.offset);
            let needed = end.unwrap_or(u64::MAX);
            return Err(Error::new(ErrorKind::Truncated { field, needed, file_len }).at(raw.offset_at));
        };
        tensors.push(Tensor { name: raw.name.to_owned(), ty: raw.ty, dims: raw.dims.clone(), file: 0, offset, bytes });
    }

    let mut order: Vec<usize> = (0..raws.len()).collect();
    order.sort_by_key(|i| (raws[*i].name, *i));
    if let Some(w) = order.windows(2).find(|w| raws[w[0]].name == raws[w[1]].name) {
        let (first, second) = (&raws[w[0]], &raws[w[1]]);
        let problem = format!("a duplicate of the tensor at byte {}", first.name_at);
        let field = format!("tensor {}", Shown(second.name.as_bytes()));
        return Err(Error::field(field, problem).at(second.name_at));
    }
    order.retain(|i| !pool.is_some_and(|pool| pool.holds(&tensors[*i])));
    order.sort_by_key(|i| (tensors[*i].offset, *i));
    if let Some(tensor) = order.iter().map(|i| &tensors[*i]).find(|t| pool.is_some_and(|pool| pool.cuts(t))) {
        let problem = "lies partly in the pool of shared bytes";
        return Err(Error::field(format_args!("tensor {}", Shown(tensor.name.as_bytes())), problem));
    }
    if let Some(w) = order.windows(2).find(|w| tensors[w[0]].end() > tensors[w[1]].offset) {
        let (first, second) = (&tensors[w[0]], &tensors[w[1]]);
        let problem = format!(
            "bytes {}..{} overlap tensor {} at {}..{}",
            second.offset,
            second.end(),
            Shown(first.name.as_bytes()),
            first.offset,
            first.end()
        );
        let field = format!("tensor {}", Shown(second.name.as_bytes()));
        return Err(Error::field(field, problem).at(raws[w[1]].offset_at));
    }
    Ok(tensors)
}
