//! The tensors that a decoder uses, checked against the shapes that it expects and put in the order of the plan.

use std::collections::HashSet;

use crate::gguf::{self, Tensor, TensorType};

use super::ModelError;
use super::decoder::{MatrixId, VectorId};

/// A weight that is streamed, page by page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Its name in the file.
    pub name: String,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Index of its file.
    pub file: u16,
    /// Where it begins in that file.
    pub offset: u64,
}

impl Matrix {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols).expect("checked when the tensor was read")
    }

    /// Bytes of the whole matrix.
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes() as u64
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
    steps: Vec<u32>,
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
        self.steps.push(0);
    }

    /// The streamed weight `name` with `rows` outputs and `cols` inputs.
    ///
    /// # Errors
    /// When it is missing, has another shape or a type without a kernel.
    ///
    /// # Panics
    /// Before the first [`Tensors::step`].
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<MatrixId, ModelError> {
        let tensor = self.find(name)?;
        let matrix = matrix(tensor, rows, cols)?;
        self.matrices.push(matrix);
        *self.steps.last_mut().expect("a matrix belongs to a step") += 1;
        Ok(MatrixId(self.matrices.len() as u32 - 1))
    }

    /// The resident weight `name` with `len` elements.
    ///
    /// # Errors
    /// When it is missing, has another length, or a type that cannot be widened.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<VectorId, ModelError> {
        let tensor = self.find(name)?;
        if tensor.dims.iter().product::<u64>() != len as u64 {
            return Err(shape_error(tensor, &[len]));
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

    /// The embedding: a matrix that is not streamed, as a token needs one row of it.
    pub(super) fn embedding(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        matrix(self.find(name)?, rows, cols)
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

    /// What was asked for: matrices, vectors, and how many matrices each step has.
    pub(super) fn finish(self) -> (Vec<Matrix>, Vec<Vector>, Vec<u32>) {
        (self.matrices, self.vectors, self.steps)
    }

    fn find(&mut self, name: &str) -> Result<&'a Tensor, ModelError> {
        let tensor = self.model.tensor(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        self.used.insert(&tensor.name);
        Ok(tensor)
    }
}

fn matrix(tensor: &Tensor, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
    if tensor.dims.len() < 2 || tensor.cols() != cols || tensor.rows() != rows {
        return Err(shape_error(tensor, &[cols, rows]));
    }
    check_kernel(tensor)?;
    if rows > MOST_ROWS || tensor.row_bytes() > LONGEST_ROW {
        return Err(ModelError::TooLarge { name: tensor.name.clone(), rows, row_bytes: tensor.row_bytes() });
    }
    let (name, ty, file, offset) = (tensor.name.clone(), tensor.ty, tensor.file, tensor.offset);
    Ok(Matrix { name, ty, rows, cols, file, offset })
}

fn check_kernel(tensor: &Tensor) -> Result<(), ModelError> {
    if tensor.ty.has_kernel() { Ok(()) } else { Err(ModelError::NoKernel { name: tensor.name.clone(), ty: tensor.ty }) }
}

fn shape_error(tensor: &Tensor, expected: &[usize]) -> ModelError {
    ModelError::Shape {
        name: tensor.name.clone(),
        found: tensor.dims.clone(),
        expected: expected.iter().map(|&d| d as u64).collect(),
    }
}
