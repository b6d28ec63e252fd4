//! The parameters of a network as files and as a vector.
//!
//! A [`StateDict`] holds named `f32` tensors, as PyTorch's `state_dict()` does. It is written as
//! [safetensors](https://github.com/huggingface/safetensors) (our own format of choice: nothing in it can be executed) and as a `.pth`
//! that plain PyTorch loads with `torch.load(path, weights_only=True)`; both are read, whoever wrote them. Federated
//! training sees the same parameters as one flat vector with the [hash of their schema](StateDict::schema_hash).
//!
//! The crate knows no network and no deep-learning library, and executes nothing that is in a file.

mod element;
mod error;
mod file;
mod pth;
mod safetensors_format;
mod state;

pub use error::{DecodeError, FileError, StateError};
pub use file::{MAX_FILE_BYTES, Overwrite, Sha256, hex, sha256_of_file};
pub use state::{StateDict, Tensor};

#[cfg(target_endian = "big")]
compile_error!("tensors are converted from little-endian bytes only");
