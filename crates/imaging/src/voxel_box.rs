//! A block of voxels.

use serde::{Deserialize, Serialize};

/// The voxels from `start_zyx` up to but not including `end_zyx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoxelBox {
    /// First index along z, y, x.
    pub start_zyx: [usize; 3],
    /// One past the last index along z, y, x.
    pub end_zyx: [usize; 3],
}

impl VoxelBox {
    /// All voxels of an image of this shape.
    pub fn whole(shape_zyx: [usize; 3]) -> Self {
        Self { start_zyx: [0; 3], end_zyx: shape_zyx }
    }

    /// Number of voxels along z, y, x.
    pub fn shape_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|d| self.end_zyx[d].saturating_sub(self.start_zyx[d]))
    }

    /// Number of voxels.
    pub fn voxel_count(&self) -> usize {
        self.shape_zyx().iter().product()
    }

    /// Whether a voxel belongs to the box.
    pub fn contains(&self, index_zyx: [usize; 3]) -> bool {
        (0..3).all(|d| (self.start_zyx[d]..self.end_zyx[d]).contains(&index_zyx[d]))
    }

    /// The voxels of both boxes; `None` if there are none.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let common = Self {
            start_zyx: std::array::from_fn(|d| self.start_zyx[d].max(other.start_zyx[d])),
            end_zyx: std::array::from_fn(|d| self.end_zyx[d].min(other.end_zyx[d])),
        };
        (0..3).all(|d| common.start_zyx[d] < common.end_zyx[d]).then_some(common)
    }

    /// Every index, x fastest.
    pub fn indices(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        let Self { start_zyx: [z0, y0, x0], end_zyx: [z1, y1, x1] } = *self;
        (z0..z1).flat_map(move |z| (y0..y1).flat_map(move |y| (x0..x1).map(move |x| [z, y, x])))
    }

    /// The smallest box around the voxels for which `inside` holds, x fastest; `None` if there are none.
    pub fn around<T: Copy>(shape_zyx: [usize; 3], voxels: &[T], inside: impl Fn(T) -> bool) -> Option<Self> {
        let [_, ny, nx] = shape_zyx;
        let mut found: Option<Self> = None;
        for (row, values) in voxels.chunks_exact(nx).enumerate() {
            let Some(first) = values.iter().position(|&v| inside(v)) else { continue };
            let last = values.iter().rposition(|&v| inside(v)).unwrap_or(first);
            let (z, y) = (row / ny, row % ny);
            let bounds = found.get_or_insert(Self { start_zyx: [z, y, first], end_zyx: [z + 1, y + 1, last + 1] });
            for (d, low, high) in [(0, z, z), (1, y, y), (2, first, last)] {
                bounds.start_zyx[d] = bounds.start_zyx[d].min(low);
                bounds.end_zyx[d] = bounds.end_zyx[d].max(high + 1);
            }
        }
        found
    }
}
