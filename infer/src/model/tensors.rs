//! The tensors that a decoder uses, checked against the shapes that it expects and put in the order of the plan.

use std::collections::HashSet;

use crate::gguf::{self, Tensor, TensorType};

use super::ModelError;
use super::decoder::{MatrixId, VectorId};

/// A weight that is streamed, page by page. Of experts there is one matrix for each, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Outputs; of all heads together.
    pub rows: usize,
    /// Inputs; of a head.
    pub cols: usize,
    /// Heads, each of which has inputs of its own, that meet as many of the rows; 1 where all rows meet the same inputs.
    pub heads: usize,
    /// How many of these there are: one, or as many as experts.
    pub copies: usize,
    /// Index of its file.
    pub file: u16,
    /// Where the first begins in that file.
    pub offset: u64,
}

/// The matrices of a step of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepMatrices {
    /// How many there are.
    pub count: u32,
    /// How many experts a token chooses, where they are matrices of experts.
    pub chosen: Option<u32>,
}

impl Matrix {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols).expect("checked when the tensor was read")
    }

    /// Bytes of the whole matrix; of experts, of that of one.
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes() as u64
    }

    /// Bytes of all copies.
    pub fn all_bytes(&self) -> u64 {
        self.copies as u64 * self.bytes()
    }
}

/// A weight that is resident for good: norms, biases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Elements.
    pub len: usize,
    /// Index of its file.
    pub file: u16,
    /// Where it begins in that file.
    pub offset: u64,
}

/// Rows of a matrix at most, and bytes of a row: a page holds whole rows, and both are numbered by 32 bits.
const MOST_ROWS: usize = 1 << 28;
const LONGEST_ROW: usize = 16 << 20;

/// Collects what an architecture asks for. Matrices are asked for in the order in which a pass uses them.
#[derive(Debug)]
pub struct Tensors<'a> {
    model: &'a gguf::Model,
    matrices: Vec<Matrix>,
    vectors: Vec<Vector>,
    steps: Vec<StepMatrices>,
    /// Names of the tensors that were asked for.
    used: HashSet<&'a str>,
}

impl<'a> Tensors<'a> {
    pub(super) fn new(model: &'a gguf::Model) -> Self {
        Tensors { model, matrices: Vec::new(), vectors: Vec::new(), steps: Vec::new(), used: HashSet::new() }
    }

    /// Whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.model.tensor(name).is_some()
    }

    /// Begins a step of the plan: the matrices asked for from here to the next call share one input.
    pub fn step(&mut self) {
        self.steps.push(StepMatrices { count: 0, chosen: None });
    }

    /// Begins a step of which a token needs `chosen` experts: all matrices asked for from here to the next call are theirs.
    pub fn choice(&mut self, chosen: usize) {
        self.steps.push(StepMatrices { count: 0, chosen: Some(chosen as u32) });
    }

    /// The streamed weight `name` with `rows` outputs and `cols` inputs.
    ///
    /// # Errors
    /// When it is missing, has another shape or a type without a kernel.
    ///
    /// # Panics
    /// Before the first [`Tensors::step`].
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<MatrixId, ModelError> {
        let matrix = matrix(self.find(name)?, rows, cols, None)?;
        Ok(self.push(matrix))
    }

    /// The streamed weights `name` of `heads` heads, each with `rows` outputs and `cols` inputs of its own: one matrix, alone in
    /// its step.
    ///
    /// # Errors
    /// As of [`Tensors::matrix`].
    ///
    /// # Panics
    /// Before the first [`Tensors::step`].
    pub fn head_matrices(
        &mut self,
        name: &str,
        heads: usize,
        rows: usize,
        cols: usize,
    ) -> Result<MatrixId, ModelError> {
        let tensor = self.find(name)?;
        let each = matrix(tensor, rows, cols, Some(heads))?;
        let matrix = Matrix { rows: heads * rows, heads, copies: 1, ..each };
        if matrix.rows > MOST_ROWS { Err(too_large(tensor, matrix.rows)) } else { Ok(self.push(matrix)) }
    }

    /// The streamed weights `name` of `experts` experts, each with `rows` outputs and `cols` inputs.
    ///
    /// # Errors
    /// As of [`Tensors::matrix`].
    ///
    /// # Panics
    /// Outside a [`Tensors::choice`].
    pub fn expert_matrices(
        &mut self,
        name: &str,
        experts: usize,
        rows: usize,
        cols: usize,
    ) -> Result<MatrixId, ModelError> {
        assert!(self.steps.last().is_some_and(|step| step.chosen.is_some()), "experts are a choice");
        let matrix = matrix(self.find(name)?, rows, cols, Some(experts))?;
        Ok(self.push(matrix))
    }

    fn push(&mut self, matrix: Matrix) -> MatrixId {
        self.matrices.push(matrix);
        self.steps.last_mut().expect("a matrix belongs to a step").count += 1;
        MatrixId(self.matrices.len() as u32 - 1)
    }

    /// The resident weight `name` with `len` elements.
    ///
    /// # Errors
    /// When it is missing, has another length, or a type that cannot be widened.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<VectorId, ModelError> {
        let tensor = self.find(name)?;
        if tensor.dims.iter().product::<u64>() != len as u64 {
            return Err(shape_error(tensor, &[len as u64]));
        }
        check_kernel(tensor)?;
        let (name, ty, file, offset) = (tensor.name.clone(), tensor.ty, tensor.file, tensor.offset);
        self.vectors.push(Vector { name, ty, len, file, offset });
        Ok(VectorId(self.vectors.len() as u32 - 1))
    }

    /// Like [`Tensors::vector`], but the file need not have it.
    ///
    /// # Errors
    /// As there, when the file has it.
    pub fn vector_if_any(&mut self, name: &str, len: usize) -> Result<Option<VectorId>, ModelError> {
        if self.has(name) { self.vector(name, len).map(Some) } else { Ok(None) }
    }

    /// Leaves out all tensors whose names begin so: what they are for is not needed.
    pub fn leave_out(&mut self, prefix: &str) {
        self.used.extend(self.model.tensors.iter().map(|t| t.name.as_str()).filter(|name| name.starts_with(prefix)));
    }

    /// The embedding: a matrix that is not streamed, as a token needs one row of it.
    pub(super) fn embedding(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        matrix(self.find(name)?, rows, cols, None)
    }

    /// Rows of a matrix, before its shape is known: the size of the vocabulary is that of the embedding.
    pub(super) fn rows_of(&mut self, name: &str) -> Result<usize, ModelError> {
        Ok(self.find(name)?.rows())
    }

    /// That every tensor of the file was asked for.
    ///
    /// # Errors
    /// When one was not: the model computes something that we do not.
    pub(super) fn check_all_used(&self) -> Result<(), ModelError> {
        match self.model.tensors.iter().find(|tensor| !self.used.contains(tensor.name.as_str())) {
            Some(tensor) => Err(ModelError::UnusedTensor { name: tensor.name.clone() }),
            None => Ok(()),
        }
    }

    /// What was asked for: matrices, vectors, and which matrices each step has.
    pub(super) fn finish(self) -> (Vec<Matrix>, Vec<Vector>, Vec<StepMatrices>) {
        (self.matrices, self.vectors, self.steps)
    }

    fn find(&mut self, name: &str) -> Result<&'a Tensor, ModelError> {
        let tensor = self.model.tensor(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        self.used.insert(&tensor.name);
        Ok(tensor)
    }
}

/// `copies` is the third dimension, where there is one: experts, or heads.
fn matrix(tensor: &Tensor, rows: usize, cols: usize, copies: Option<usize>) -> Result<Matrix, ModelError> {
    let expected: Vec<u64> = [Some(cols), Some(rows), copies].into_iter().flatten().map(|d| d as u64).collect();
    // One expert, one head, or one row: trailing dimensions of 1 are not always written.
    let fits = |(i, d): (usize, &u64)| tensor.dims.get(i).map_or(*d == 1 && i > 1, |found| found == d);
    if tensor.dims.len() < 2 || tensor.dims.len() > expected.len() || !expected.iter().enumerate().all(fits) {
        return Err(shape_error(tensor, &expected));
    }
    check_kernel(tensor)?;
    if rows > MOST_ROWS || tensor.row_bytes() > LONGEST_ROW {
        return Err(too_large(tensor, rows));
    }
    let (name, ty, file, offset) = (tensor.name.clone(), tensor.ty, tensor.file, tensor.offset);
    Ok(Matrix { name, ty, rows, cols, heads: 1, copies: copies.unwrap_or(1), file, offset })
}

fn check_kernel(tensor: &Tensor) -> Result<(), ModelError> {
    if tensor.ty.has_kernel() { Ok(()) } else { Err(ModelError::NoKernel { name: tensor.name.clone(), ty: tensor.ty }) }
}

fn too_large(tensor: &Tensor, rows: usize) -> ModelError {
    ModelError::TooLarge { name: tensor.name.clone(), rows, row_bytes: tensor.row_bytes() }
}

fn shape_error(tensor: &Tensor, expected: &[u64]) -> ModelError {
    ModelError::Shape { name: tensor.name.clone(), found: tensor.dims.clone(), expected: expected.to_vec() }
}
