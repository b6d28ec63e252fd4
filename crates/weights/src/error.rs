//! What can be wrong with tensors, with bytes and with files.

use std::io;
use std::path::PathBuf;

use crate::MAX_FILE_BYTES;

/// Tensors that do not make a state dict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Shape and number of values disagree.
    #[error("a tensor of shape {shape:?} cannot hold {values} values")]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// Number of values.
        values: usize,
    },
    /// A name that is there already, or that a file could not hold.
    #[error("the tensor name {name:?} cannot be used: a name must be new, not empty, and not `__metadata__`")]
    Name {
        /// The name.
        name: String,
    },
    /// A flat vector of another length than the parameters.
    #[error("found {found} values, expected {expected}: the vector is not of this model")]
    Length {
        /// Length of the vector.
        found: usize,
        /// Number of parameters.
        expected: usize,
    },
}

/// Bytes that are not the weights that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not in the format at all, or damaged.
    #[error("not a valid {format} file; it may be damaged or of another kind")]
    Malformed {
        /// The format.
        format: &'static str,
        /// What the format's reader says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An element type that is no weight.
    #[error("tensor {tensor:?} has elements of type {found}, expected f32, f16, bf16, f64 or i64")]
    ElementType {
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// A finite number that `f32` cannot hold.
    #[error("tensor {tensor:?} holds a number beyond the range of f32; convert the file with `.float()` first")]
    Range {
        /// The tensor.
        tensor: String,
    },
    /// A checkpoint without weights.
    #[error("no tensor in the file: expected a state dict, alone or under `state_dict`, `model_state_dict` or `model`")]
    Empty,
    /// Small file, large claim.
    #[error("the tensors would take more than {MAX_FILE_BYTES} bytes: this is not a checkpoint of ours")]
    TooLarge,
    /// Tensors that do not fit together.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A file of weights that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is there already and must not be replaced.
    #[error("{path} exists already: choose another name, or allow that it is replaced")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than any checkpoint of ours.
    #[error("{path} has {bytes} bytes, more than the {MAX_FILE_BYTES} that a checkpoint may have")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It does not hold weights.
    #[error("cannot use the weights in {path}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
}
