//! Reading a stored grid along the axes of the patient, without moving voxels.

use crate::{Geometry, Volume, geometry::IDENTITY};

/// Deviation of a direction cosine from 0 or ±1 below which a grid counts as axis-aligned: over the 400 mm of a chest
/// it moves no voxel by more than 0.0004 mm.
const AXIS_TOLERANCE: f64 = 1e-6;

/// A volume seen along LPS axes: index `[z, y, x]` counts to the head, to the back and to the patient's left, whatever
/// the order in the file. Exists for every grid whose axes are those of the patient, in any order and sign.
#[derive(Clone, Copy)]
pub(crate) struct LpsView<'a, T> {
    voxels: &'a [T],
    first: isize,
    stride_zyx: [isize; 3],
    pub(crate) shape_zyx: [usize; 3],
    pub(crate) spacing_mm_xyz: [f64; 3],
    pub(crate) origin_mm_xyz: [f64; 3],
}

impl<'a, T: Copy> LpsView<'a, T> {
    /// `None` for an oblique grid.
    pub(crate) fn new(volume: &'a Volume<T>) -> Option<Self> {
        Self::of(volume.voxels(), volume.geometry())
    }

    /// As [`LpsView::new`], of voxels whose grid is given beside them.
    pub(crate) fn of(voxels: &'a [T], geometry: &Geometry) -> Option<Self> {
        let [_, ny, nx] = geometry.shape_zyx;
        let shape_xyz = [geometry.shape_zyx[2], ny, geometry.shape_zyx[0]];
        let stride_xyz = [1, nx as isize, (ny * nx) as isize];
        let mut view = Self {
            voxels,
            first: 0,
            stride_zyx: [0; 3],
            shape_zyx: [0; 3],
            spacing_mm_xyz: [0.0; 3],
            origin_mm_xyz: geometry.origin_mm_xyz,
        };
        for world in 0..3 {
            let row = geometry.direction[world];
            let axis = (0..3).find(|&axis| row[axis].abs() > 0.5)?;
            if (0..3).any(|other| (row[other].abs() - IDENTITY[axis][other]).abs() > AXIS_TOLERANCE) {
                return None;
            }
            let (count, spacing) = (shape_xyz[axis], geometry.spacing_mm_xyz[axis]);
            view.shape_zyx[2 - world] = count;
            view.spacing_mm_xyz[world] = spacing;
            view.stride_zyx[2 - world] = stride_xyz[axis];
            if row[axis] < 0.0 {
                view.first += (count as isize - 1) * stride_xyz[axis];
                view.stride_zyx[2 - world] = -stride_xyz[axis];
                view.origin_mm_xyz[world] -= (count - 1) as f64 * spacing;
            }
        }
        Some(view)
    }

    /// The grid along LPS axes.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            shape_zyx: self.shape_zyx,
            spacing_mm_xyz: self.spacing_mm_xyz,
            origin_mm_xyz: self.origin_mm_xyz,
            direction: IDENTITY,
        }
    }

    pub(crate) fn at(&self, index_zyx: [usize; 3]) -> T {
        let offset: isize = (0..3).map(|d| index_zyx[d] as isize * self.stride_zyx[d]).sum();
        self.voxels[(self.first + offset) as usize]
    }

    /// The voxels of one row along x.
    pub(crate) fn row(&self, z: usize, y: usize) -> impl Iterator<Item = T> + use<'a, T> {
        let first = self.first + z as isize * self.stride_zyx[0] + y as isize * self.stride_zyx[1];
        let (voxels, stride) = (self.voxels, self.stride_zyx[2]);
        (0..self.shape_zyx[2]).map(move |x| voxels[(first + x as isize * stride) as usize])
    }
}

/// The same image stored along LPS axes: no voxel changes its value or its place in the world. `None` for an oblique
/// grid.
pub fn to_lps<T: Copy>(volume: &Volume<T>) -> Option<Volume<T>> {
    let view = LpsView::new(volume)?;
    let [nz, ny, _] = view.shape_zyx;
    let voxels = (0..nz).flat_map(|z| (0..ny).flat_map(move |y| view.row(z, y))).collect();
    Some(Volume::new(view.geometry(), voxels))
}
