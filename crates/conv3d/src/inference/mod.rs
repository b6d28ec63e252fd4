//! Whole networks forward, one sample at a time: the layers read and write [`Activations`], whose layout suits the inner
//! loop, so nothing is gathered or transposed between them, and a layer's activation rides on its last write.
//!
//! Weights are packed once ([`Conv`]), arrays are allocated once and written again for every sample. A convolution's
//! sums are the same bits as [`crate::forward`]'s.

mod activations;
mod conv;
mod elementwise;
mod winograd;

#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use conv::{Conv, Finish};
