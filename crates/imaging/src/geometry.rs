//! Where the voxels of an image lie in the patient: ITK's model of an image grid.

use serde::{Deserialize, Serialize};

/// An oriented regular grid. World coordinates are millimetres, LPS (x to the patient's left, y to the back, z to
/// the head), as ITK, MetaImage and LUNA16 use them.
///
/// The arrays' axis order is in the field names: `_zyx` for array indices (slowest first), `_xyz` for the axes of
/// the file and of the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// Number of voxels along z, y, x.
    pub shape_zyx: [usize; 3],
    /// Distance between voxel centres along the grid's x, y, z axes, millimetres, positive.
    pub spacing_mm_xyz: [f64; 3],
    /// World position of the centre of voxel `[0, 0, 0]`.
    pub origin_mm_xyz: [f64; 3],
    /// Direction cosines, row-major as ITK's `GetDirection()`: column `j` is the world direction of grid axis `j`
    /// (x, y, z).
    pub direction: [[f64; 3]; 3],
}

/// A grid that no CT can have.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GeometryError {
    /// A dimension is zero or the number of voxels overflows.
    #[error(
        "shape {0:?} (z, y, x) is not an image: every dimension must be at least 1 and the product must fit in memory"
    )]
    Shape([usize; 3]),
    /// A spacing is not a positive finite number.
    #[error("spacing {0:?} mm (x, y, z) is not usable: every value must be finite and above 0")]
    Spacing([f64; 3]),
    /// The direction is not a rotation or reflection.
    #[error("direction {0:?} is not orthonormal (tolerance 1e-3)")]
    Direction([[f64; 3]; 3]),
    /// The origin is not finite.
    #[error("origin {0:?} mm is not finite")]
    Origin([f64; 3]),
}

/// The direction of an unrotated LPS image.
pub(crate) const IDENTITY: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

impl Geometry {
    /// An unrotated grid. Fails as [`Geometry::validated`] does.
    pub fn axis_aligned(
        shape_zyx: [usize; 3],
        spacing_mm_xyz: [f64; 3],
        origin_mm_xyz: [f64; 3],
    ) -> Result<Self, GeometryError> {
        Self { shape_zyx, spacing_mm_xyz, origin_mm_xyz, direction: IDENTITY }.validated()
    }

    /// The same grid if it can be one.
    pub fn validated(self) -> Result<Self, GeometryError> {
        let count = self.shape_zyx.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count.is_none_or(|n| n == 0 || n > isize::MAX as usize / 8) {
            return Err(GeometryError::Shape(self.shape_zyx));
        }
        if !self.spacing_mm_xyz.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(GeometryError::Spacing(self.spacing_mm_xyz));
        }
        if !self.origin_mm_xyz.iter().all(|o| o.is_finite()) {
            return Err(GeometryError::Origin(self.origin_mm_xyz));
        }
        for i in 0..3 {
            for j in 0..3 {
                let dot: f64 = (0..3).map(|r| self.direction[r][i] * self.direction[r][j]).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                let error = (dot - expected).abs();
                if error.is_nan() || error > 1e-3 {
                    return Err(GeometryError::Direction(self.direction));
                }
            }
        }
        Ok(self)
    }

    /// Number of voxels.
    pub fn voxel_count(&self) -> usize {
        self.shape_zyx.iter().product()
    }

    /// World position of a continuous index (integers are voxel centres): `origin + direction · (spacing ∘ index)`.
    pub fn world_from_index(&self, index_zyx: [f64; 3]) -> [f64; 3] {
        let [z, y, x] = index_zyx;
        let step = [x * self.spacing_mm_xyz[0], y * self.spacing_mm_xyz[1], z * self.spacing_mm_xyz[2]];
        std::array::from_fn(|r| self.origin_mm_xyz[r] + (0..3).map(|c| self.direction[r][c] * step[c]).sum::<f64>())
    }

    /// Continuous index `[z, y, x]` of a world position; the inverse of [`Geometry::world_from_index`]. As in ITK the
    /// direction is inverted, not transposed: files state it with few digits, and then the two differ.
    pub fn index_from_world(&self, point_mm_xyz: [f64; 3]) -> [f64; 3] {
        let offset: [f64; 3] = std::array::from_fn(|r| point_mm_xyz[r] - self.origin_mm_xyz[r]);
        let inverse = inverse(&self.direction);
        let axis = |c: usize| (0..3).map(|r| inverse[c][r] * offset[r]).sum::<f64>() / self.spacing_mm_xyz[c];
        [axis(2), axis(1), axis(0)]
    }
}

/// Inverse by cofactors. A validated direction has a determinant near ±1.
fn inverse(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let cofactor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / determinant))
}
