//! From one grid to another: CT values with linear interpolation and a low-pass where resolution is lost, masks with
//! the nearest voxel.
//!
//! The low-pass is the interpolation's own triangle, widened to the new voxel size on every axis that gets coarser:
//! the filter of Pillow's `Image.resize(BILINEAR)` and of PyTorch's `interpolate(mode="bilinear", antialias=True)`.
//! Interpolating alone would fold noise and vessels above the new Nyquist frequency into the picture.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::geometry::IDENTITY;
use crate::orient::LpsView;
use crate::{Geometry, GeometryError, Volume};

/// CT values below air are padding around the scanner's field of view (-2000, -3024 …) and would bleed into skin.
pub const AIR_HU: i16 = -1024;

/// Resamples to cubic voxels of `spacing_mm` along LPS axes. See [`resample`].
pub fn resample_isotropic(volume: &Volume<i16>, spacing_mm: f64) -> Result<Volume<i16>, GeometryError> {
    resample(volume, [spacing_mm; 3])
}

/// Resamples to an unrotated LPS grid of the given spacing that covers the whole volume, centred on it.
///
/// Values below [`AIR_HU`] count as air. A volume along the patient's axes, in whatever order and sign, is
/// resampled axis by axis; an oblique one by trilinear interpolation in world space, with air outside. Deterministic
/// for any number of threads.
pub fn resample(volume: &Volume<i16>, spacing_mm_xyz: [f64; 3]) -> Result<Volume<i16>, GeometryError> {
    let geometry = covering_grid(volume.geometry(), spacing_mm_xyz)?;
    Ok(match LpsView::new(volume) {
        Some(view) => resample_separable(&view, geometry),
        None => resample_oblique(volume, geometry),
    })
}

/// The value of the nearest voxel for each voxel of `target`, and `outside` where there is none: for masks and labels.
pub fn resample_nearest<T: Copy + Send + Sync>(volume: &Volume<T>, target: &Geometry, outside: T) -> Volume<T> {
    let map = IndexMap::new(target, volume.geometry());
    let shape = volume.geometry().shape_zyx;
    let nearest = |position: f64, d: usize| {
        let index = (position + 0.5).floor();
        (index >= 0.0 && index < shape[d] as f64).then_some(index as usize)
    };
    let voxels = if let Some(order) = map.order() {
        // Each target axis runs along one source axis: three small tables instead of a product per voxel.
        let stride = [shape[1] * shape[2], shape[2], 1];
        let offsets: [Vec<Option<usize>>; 3] = std::array::from_fn(|axis| {
            let d = order[axis];
            let position = |i: usize| map.first[d] + i as f64 * map.step[axis][d];
            (0..target.shape_zyx[axis]).map(|i| nearest(position(i), d).map(|index| index * stride[d])).collect()
        });
        map_voxels(target, outside, |[z, y, x]| match (offsets[0][z], offsets[1][y], offsets[2][x]) {
            (Some(z), Some(y), Some(x)) => volume.voxels()[z + y + x],
            _ => outside,
        })
    } else {
        map_voxels(target, outside, |index_zyx| {
            let position = map.apply(index_zyx);
            match (nearest(position[0], 0), nearest(position[1], 1), nearest(position[2], 2)) {
                (Some(z), Some(y), Some(x)) => volume.at([z, y, x]),
                _ => outside,
            }
        })
    };
    Volume::new(target.clone(), voxels)
}

/// The smallest unrotated grid of this spacing that covers all voxels of `source` to their outer faces, with the same
/// centre.
fn covering_grid(source: &Geometry, spacing_mm_xyz: [f64; 3]) -> Result<Geometry, GeometryError> {
    /// So that rounding does not add a voxel to a grid that fits exactly.
    const SLACK: f64 = 1e-6;
    let last = source.shape_zyx.map(|n| (n - 1) as f64);
    let centre = source.world_from_index(last.map(|n| n / 2.0));
    let mut shape_zyx = [0; 3];
    let mut origin_mm_xyz = [0.0; 3];
    for world in 0..3 {
        let extent_mm: f64 = (0..3)
            .map(|a| source.direction[world][a].abs() * source.spacing_mm_xyz[a] * source.shape_zyx[2 - a] as f64)
            .sum();
        // Infinity and NaN (a spacing of 0) saturate and are refused below.
        let count = ((extent_mm / spacing_mm_xyz[world] - SLACK).ceil()).max(1.0) as usize;
        shape_zyx[2 - world] = count;
        origin_mm_xyz[world] = centre[world] - count.saturating_sub(1) as f64 / 2.0 * spacing_mm_xyz[world];
    }
    Geometry { shape_zyx, spacing_mm_xyz, origin_mm_xyz, direction: IDENTITY }.validated()
}

/// The source voxels that make one target voxel along one axis.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// The taps of every target voxel of one axis. `offset` is the source index of the first target voxel, `step` the
/// distance between target voxels in source voxels, `half_width` that from the triangle's peak to its foot.
fn taps(source_count: usize, target_count: usize, offset: f64, step: f64, half_width: f64) -> Vec<Taps> {
    (0..target_count)
        .map(|target| {
            let centre = offset + target as f64 * step;
            let first = ((centre - half_width).floor().max(0.0) as usize).min(source_count - 1);
            let last = ((centre + half_width).ceil().max(0.0) as usize).min(source_count - 1);
            let triangle = |source: usize| (1.0 - (source as f64 - centre).abs() / half_width).max(0.0);
            let weights: Vec<f64> = (first..=last).map(triangle).collect();
            // Taps that would lie outside are left out and the others weigh more.
            let sum: f64 = weights.iter().sum();
            let kept = |weight: &&f64| **weight == 0.0;
            let leading = weights.iter().take_while(kept).count();
            let trailing = weights.iter().rev().take_while(kept).count();
            let weights = weights[leading..weights.len() - trailing].iter().map(|weight| (weight / sum) as f32);
            Taps { first: first + leading, weights: weights.collect() }
        })
        .collect()
}

fn resample_separable(view: &LpsView<'_, i16>, target: Geometry) -> Volume<i16> {
    let taps = std::array::from_fn(|world| {
        let offset = (target.origin_mm_xyz[world] - view.origin_mm_xyz[world]) / view.spacing_mm_xyz[world];
        let step = target.spacing_mm_xyz[world] / view.spacing_mm_xyz[world];
        taps(view.shape_zyx[2 - world], target.shape_zyx[2 - world], offset, step, step.max(1.0))
    });
    apply(view, &taps, target)
}

/// Weighs and adds source voxels, axis by axis; `taps` are those of x, y, z.
fn apply(view: &LpsView<'_, i16>, taps: &[Vec<Taps>; 3], target: Geometry) -> Volume<i16> {
    let [x_taps, y_taps, z_taps] = taps;
    let [nz, ny, nx] = target.shape_zyx;
    let slice_len = ny * nx;
    let mut voxels = vec![0i16; nz * slice_len];
    // One run of slices per thread: neighbouring slices share their taps' slices, which are made once per run. The
    // value of a voxel does not depend on how the runs are cut.
    let run = nz.div_ceil(rayon::current_num_threads()).max(1);
    voxels.par_chunks_mut(run * slice_len).enumerate().for_each(|(number, chunk)| {
        let mut slices = InPlane::new(view, x_taps, y_taps);
        let mut sum = vec![0f32; slice_len];
        for (slice, out) in chunk.chunks_mut(slice_len).enumerate() {
            let taps = &z_taps[number * run + slice];
            sum.fill(0.0);
            for (tap, &weight) in taps.weights.iter().enumerate() {
                let plane = slices.get(taps.first + tap);
                sum.iter_mut().zip(plane).for_each(|(sum, &value)| *sum += weight * value);
            }
            slices.forget_before(taps.first);
            out.iter_mut().zip(&sum).for_each(|(out, &value)| *out = round_hu(value));
        }
    });
    Volume::new(target, voxels)
}

/// Nearest integer. Adding before truncating avoids a slow call of `floor`; every input is within the range of i16.
fn round_hu(value: f32) -> i16 {
    ((value + 32768.5) as i32 - 32768) as i16
}

/// Source slices, resampled in the plane, as long as they are needed.
struct InPlane<'a> {
    view: &'a LpsView<'a, i16>,
    x_taps: &'a [Taps],
    y_taps: &'a [Taps],
    /// The slices from `first` on.
    ready: VecDeque<Vec<f32>>,
    first: usize,
    spare: Vec<Vec<f32>>,
    rows: Vec<f32>,
    row: Vec<f32>,
}

impl<'a> InPlane<'a> {
    fn new(view: &'a LpsView<'a, i16>, x_taps: &'a [Taps], y_taps: &'a [Taps]) -> Self {
        let [_, ny, nx] = view.shape_zyx;
        Self {
            view,
            x_taps,
            y_taps,
            ready: VecDeque::new(),
            first: 0,
            spare: Vec::new(),
            rows: vec![0.0; ny * nx],
            row: vec![0.0; nx],
        }
    }

    fn get(&mut self, z: usize) -> &[f32] {
        if self.ready.is_empty() {
            self.first = z;
        }
        while self.first + self.ready.len() <= z {
            let mut plane = self.spare.pop().unwrap_or_else(|| vec![0.0; self.x_taps.len() * self.y_taps.len()]);
            self.make(self.first + self.ready.len(), &mut plane);
            self.ready.push_back(plane);
        }
        &self.ready[z - self.first]
    }

    fn forget_before(&mut self, z: usize) {
        while self.first < z
            && let Some(plane) = self.ready.pop_front()
        {
            self.spare.push(plane);
            self.first += 1;
        }
    }

    fn make(&mut self, z: usize, plane: &mut [f32]) {
        let [_, ny, nx] = self.view.shape_zyx;
        for (y, row) in (0..ny).zip(self.rows.chunks_mut(nx)) {
            row.iter_mut().zip(self.view.row(z, y)).for_each(|(out, hu)| *out = f32::from(hu.max(AIR_HU)));
        }
        for (taps, out) in self.y_taps.iter().zip(plane.chunks_mut(self.x_taps.len())) {
            self.row.fill(0.0);
            for (tap, &weight) in taps.weights.iter().enumerate() {
                let source = &self.rows[(taps.first + tap) * nx..][..nx];
                self.row.iter_mut().zip(source).for_each(|(sum, &value)| *sum += weight * value);
            }
            for (taps, out) in self.x_taps.iter().zip(out) {
                let source = &self.row[taps.first..][..taps.weights.len()];
                *out = taps.weights.iter().zip(source).map(|(weight, value)| weight * value).sum();
            }
        }
    }
}

/// Affine map from a target's index to a source's continuous index, both `[z, y, x]`.
struct IndexMap {
    first: [f64; 3],
    step: [[f64; 3]; 3],
}

impl IndexMap {
    fn new(target: &Geometry, source: &Geometry) -> Self {
        let map = |index: [f64; 3]| source.index_from_world(target.world_from_index(index));
        let first = map([0.0; 3]);
        let step = std::array::from_fn(|axis| {
            let unit = map(std::array::from_fn(|d| if d == axis { 1.0 } else { 0.0 }));
            std::array::from_fn(|d| unit[d] - first[d])
        });
        Self { first, step }
    }

    /// The source axis along which each target axis runs, if each runs along one: to within a hundredth of a voxel
    /// over a thousand.
    fn order(&self) -> Option<[usize; 3]> {
        const TOLERANCE: f64 = 1e-5;
        let along = |axis: usize| {
            let mut dims = (0..3).filter(|&d| self.step[axis][d].abs() > TOLERANCE);
            dims.next().filter(|_| dims.next().is_none())
        };
        let order = [along(0)?, along(1)?, along(2)?];
        (0..3).all(|d| order.contains(&d)).then_some(order)
    }

    fn apply(&self, index_zyx: [usize; 3]) -> [f64; 3] {
        std::array::from_fn(|d| {
            self.first[d] + (0..3).map(|axis| index_zyx[axis] as f64 * self.step[axis][d]).sum::<f64>()
        })
    }
}

fn map_voxels<T: Copy + Send + Sync>(target: &Geometry, fill: T, value: impl Fn([usize; 3]) -> T + Sync) -> Vec<T> {
    let [_, ny, nx] = target.shape_zyx;
    let mut voxels = vec![fill; target.voxel_count()];
    voxels.par_chunks_mut(ny * nx).enumerate().for_each(|(z, slice)| {
        for (y, row) in slice.chunks_mut(nx).enumerate() {
            row.iter_mut().enumerate().for_each(|(x, out)| *out = value([z, y, x]));
        }
    });
    voxels
}

fn resample_oblique(volume: &Volume<i16>, target: Geometry) -> Volume<i16> {
    // The low-pass works along the source's own axes, where "coarser" is known; the grid stays as fine as it is.
    let source = volume.geometry();
    let smooth = low_pass(volume, target.spacing_mm_xyz.iter().copied().fold(f64::INFINITY, f64::min));
    let shape = source.shape_zyx;
    let map = IndexMap::new(&target, source);
    let voxels = map_voxels(&target, AIR_HU, |index_zyx| {
        let position = map.apply(index_zyx);
        // Half a voxel beyond the outermost centres still belongs to the image.
        if !(0..3).all(|d| position[d] >= -0.5 && position[d] <= shape[d] as f64 - 0.5) {
            return AIR_HU;
        }
        let position: [f64; 3] = std::array::from_fn(|d| position[d].clamp(0.0, (shape[d] - 1) as f64));
        let low = position.map(|p| p as usize);
        let fraction: [f32; 3] = std::array::from_fn(|d| (position[d] - low[d] as f64) as f32);
        let mut sum = 0.0;
        for corner in 0..8 {
            let at: [usize; 3] = std::array::from_fn(|d| (low[d] + (corner >> d & 1)).min(shape[d] - 1));
            let weight: f32 =
                (0..3).map(|d| if corner >> d & 1 == 1 { fraction[d] } else { 1.0 - fraction[d] }).product();
            sum += weight * f32::from(smooth.at(at));
        }
        round_hu(sum)
    });
    Volume::new(target, voxels)
}

/// The volume on its own grid, without detail that voxels of `spacing_mm` cannot hold, air for padding.
fn low_pass(volume: &Volume<i16>, spacing_mm: f64) -> Volume<i16> {
    // The grid's own axes taken for the patient's: the filter does not ask where they point.
    let unrotated = Geometry { direction: IDENTITY, ..volume.geometry().clone() };
    let Some(view) = LpsView::of(volume.voxels(), &unrotated) else { unreachable!("an unrotated grid is LPS") };
    let taps = std::array::from_fn(|axis| {
        let count = unrotated.shape_zyx[2 - axis];
        taps(count, count, 0.0, 1.0, (spacing_mm / unrotated.spacing_mm_xyz[axis]).max(1.0))
    });
    Volume::new(volume.geometry().clone(), apply(&view, &taps, unrotated).into_voxels())
}
