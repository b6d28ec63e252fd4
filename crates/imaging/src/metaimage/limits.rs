//! How much is believed of a header, by where it comes from.

use std::ops::RangeInclusive;

/// What a header may claim before it is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Longest dimension, voxels.
    pub max_dim: usize,
    /// Largest number of voxels.
    pub max_voxels: usize,
    /// Distances between voxel centres that a CT can have, millimetres.
    pub spacing_mm: RangeInclusive<f64>,
    /// Strict rules for text that a stranger wrote: no key twice, spacing stated, and the data file is `LOCAL` or a
    /// plain file name that stays beside the header.
    pub strict: bool,
}

impl Limits {
    /// The longest header that is looked at, bytes, at any level of trust.
    pub const MAX_HEADER_BYTES: usize = 64 * 1024;

    /// A file that the user chose on the own disk: read whatever ITK reads, as long as it is one 3D scalar image.
    pub fn local() -> Self {
        Self { max_dim: usize::MAX, max_voxels: usize::MAX, spacing_mm: f64::MIN_POSITIVE..=f64::MAX, strict: false }
    }

    /// A file that somebody sent: nothing in it may cost more memory than a large CT or reach another file.
    pub fn strangers() -> Self {
        Self { max_dim: 4096, max_voxels: 1 << 29, spacing_mm: 0.05..=20.0, strict: true }
    }
}
