//! From a CT file to voxels with a place in the world, and from there to patches and pictures.
//!
//! Arrays index `[z, y, x]`; world coordinates are millimetres in LPS, as ITK and LUNA16 use them; units are
//! suffixes (`_mm`, `_hu`). This crate knows no neural network, no network and no async.

mod geometry;
mod volume;

pub use geometry::{Geometry, GeometryError};
pub use volume::Volume;
