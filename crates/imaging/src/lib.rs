//! From a CT file to voxels with a place in the world, and from there to patches and pictures.
//!
//! Arrays index `[z, y, x]`; world coordinates are millimetres in LPS, as ITK and LUNA16 use them; units are
//! suffixes (`_mm`, `_hu`). This crate knows no neural network, no network and no async.

mod describe;
mod geometry;
pub mod luna16;
pub mod lung_mask;
pub mod metaimage;
mod orient;
pub mod patch_grid;
pub mod render;
pub mod resample;
pub mod slices;
mod volume;
mod voxel_box;
mod window;

pub use describe::{Description, describe, describe_with};
pub use geometry::{Geometry, GeometryError};
pub use orient::to_lps;
pub use volume::Volume;
pub use voxel_box::VoxelBox;
pub use window::{Normalization, Window};
