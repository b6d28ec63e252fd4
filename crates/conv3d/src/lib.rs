//! Kernels of 3D convolutional networks for the CPU, in single precision, on plain slices.
//!
//! This crate knows neither a deep-learning framework nor what the arrays mean. All arrays are contiguous
//! `[n, c, d, h, w]`, the width running fastest, and the caller provides every output; [`inference`] has a layout of its
//! own. The results are the same to the bit whatever the number of threads. They may differ between instruction sets
//! (fused and unfused multiply-add).
//!
//! All of the workspace's unsafe code lives here: vector instructions, chosen at run time, and output arrays of which
//! each worker writes its own part.

pub mod batch_norm;
mod blocks;
mod conv;
mod correlate;
pub mod group_norm;
pub mod inference;
mod job;
mod kernel;
mod lattice;
pub mod max_pool;
mod pack;
mod planes;
mod scratch;
mod shape;
pub mod space_to_depth;
pub mod transposed;
pub mod upsample;
mod weight_gradient;

#[cfg(test)]
mod tests;

pub use conv::{backward_bias, backward_data, backward_weight, forward};
pub use shape::{ConvShape, ShapeError};
