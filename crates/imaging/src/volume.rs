//! Voxels together with their place in the world.

use crate::Geometry;

/// A 3D image: one value per voxel of a [`Geometry`], x fastest.
#[derive(Clone, PartialEq)]
pub struct Volume<T> {
    geometry: Geometry,
    voxels: Vec<T>,
}

impl<T: Copy> Volume<T> {
    /// Takes ownership of `voxels`, laid out `[z, y, x]` with x fastest.
    ///
    /// # Panics
    /// When the number of voxels is not the geometry's: that is a bug of the caller, readers check before.
    pub fn new(geometry: Geometry, voxels: Vec<T>) -> Self {
        assert_eq!(voxels.len(), geometry.voxel_count(), "voxels do not fill the geometry");
        Self { geometry, voxels }
    }

    /// A volume of one value.
    pub fn filled(geometry: Geometry, value: T) -> Self {
        let voxels = vec![value; geometry.voxel_count()];
        Self { geometry, voxels }
    }

    /// Where the voxels lie.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// All voxels, x fastest, then y, then z.
    pub fn voxels(&self) -> &[T] {
        &self.voxels
    }

    /// All voxels, to be changed in place.
    pub fn voxels_mut(&mut self) -> &mut [T] {
        &mut self.voxels
    }

    /// Gives the voxels away.
    pub fn into_voxels(self) -> Vec<T> {
        self.voxels
    }

    /// Position of voxel `[z, y, x]` in [`Volume::voxels`].
    pub fn offset(&self, index_zyx: [usize; 3]) -> usize {
        let [_, ny, nx] = self.geometry.shape_zyx;
        (index_zyx[0] * ny + index_zyx[1]) * nx + index_zyx[2]
    }

    /// The value at `[z, y, x]`.
    ///
    /// # Panics
    /// Outside the volume.
    pub fn at(&self, index_zyx: [usize; 3]) -> T {
        self.voxels[self.offset(index_zyx)]
    }
}

impl<T> std::fmt::Debug for Volume<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the voxels: a log line must not hold image data.
        f.debug_struct("Volume").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}
