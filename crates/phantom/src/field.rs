//! Smooth scalar fields on a coarse grid: organ distances and textures, evaluated once and interpolated linearly
//! at every voxel.

use crate::random::Stream;
use crate::vector::Vec3;
use rayon::prelude::*;

/// The grid of a [`Field`]: cubic cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lattice {
    pub(crate) origin: Vec3,
    pub(crate) step: f32,
    /// Points along x, y, z.
    pub(crate) shape: [usize; 3],
}

impl Lattice {
    /// The lattice that covers the box `low..high` with one spare cell on every side.
    pub(crate) fn covering(low: Vec3, high: Vec3, step: f32) -> Self {
        let shape = std::array::from_fn(|i| ((high[i] - low[i]) / step) as usize + 4);
        Self { origin: [low[0] - step, low[1] - step, low[2] - step], step, shape }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape[0] * self.shape[1] * self.shape[2]
    }

    pub(crate) fn point(&self, i: usize) -> Vec3 {
        let [nx, ny, _] = self.shape;
        let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
        [
            self.origin[0] + self.step * x as f32,
            self.origin[1] + self.step * y as f32,
            self.origin[2] + self.step * z as f32,
        ]
    }

    /// Cell and position within it, along `axis`, held inside the lattice.
    pub(crate) fn cell(&self, axis: usize, v: f32) -> (usize, f32) {
        let t = ((v - self.origin[axis]) / self.step).clamp(0.0, (self.shape[axis] - 1) as f32 - 1e-3);
        let i = t as usize;
        (i, t - i as f32)
    }
}

/// One value per point of a [`Lattice`].
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) lattice: Lattice,
    pub(crate) values: Vec<f32>,
}

impl Field {
    /// Evaluates `N` fields at once at every point of the lattice.
    pub(crate) fn evaluate<const N: usize>(lattice: Lattice, f: impl Fn(Vec3) -> [f32; N] + Sync) -> [Field; N] {
        let mut all = vec![[0.0f32; N]; lattice.len()];
        let row = lattice.shape[0];
        all.par_chunks_mut(row).enumerate().for_each(|(r, out)| {
            for (x, v) in out.iter_mut().enumerate() {
                *v = f(lattice.point(r * row + x));
            }
        });
        std::array::from_fn(|n| Field { lattice, values: all.iter().map(|v| v[n]).collect() })
    }

    /// White noise of unit variance on the lattice points.
    pub(crate) fn white(lattice: Lattice, stream: &mut Stream) -> Field {
        let mut values = vec![0.0; lattice.len()];
        stream.fill_white(&mut values);
        Field { lattice, values }
    }

    /// Trilinear interpolation; the border value outside.
    pub(crate) fn sample(&self, p: Vec3) -> f32 {
        let l = &self.lattice;
        let ((x, fx), (y, fy), (z, fz)) = (l.cell(0, p[0]), l.cell(1, p[1]), l.cell(2, p[2]));
        self.mix(x, y, z, fx, fy, fz)
    }

    /// Like [`Field::sample`] with smooth weights, so that the gradient is continuous too.
    pub(crate) fn sample_smooth(&self, p: Vec3) -> f32 {
        let l = &self.lattice;
        let smooth = |(i, t): (usize, f32)| (i, t * t * (3.0 - 2.0 * t));
        let ((x, fx), (y, fy), (z, fz)) = (smooth(l.cell(0, p[0])), smooth(l.cell(1, p[1])), smooth(l.cell(2, p[2])));
        self.mix(x, y, z, fx, fy, fz)
    }

    fn mix(&self, x: usize, y: usize, z: usize, fx: f32, fy: f32, fz: f32) -> f32 {
        let [nx, ny, _] = self.lattice.shape;
        let at = |dy: usize, dz: usize| {
            let o = ((z + dz) * ny + y + dy) * nx + x;
            self.values[o] + (self.values[o + 1] - self.values[o]) * fx
        };
        let low = at(0, 0) + (at(1, 0) - at(0, 0)) * fy;
        let high = at(0, 1) + (at(1, 1) - at(0, 1)) * fy;
        low + (high - low) * fz
    }

    /// The lattice row at height `y`, `z`, to be interpolated along x by the caller.
    pub(crate) fn row(&self, y: f32, z: f32, out: &mut [f32]) {
        let l = &self.lattice;
        let ((y, fy), (z, fz)) = (l.cell(1, y), l.cell(2, z));
        let [nx, ny, _] = l.shape;
        let start = |dy: usize, dz: usize| ((z + dz) * ny + y + dy) * nx;
        let (w00, w10) = ((1.0 - fy) * (1.0 - fz), fy * (1.0 - fz));
        let (w01, w11) = ((1.0 - fy) * fz, fy * fz);
        let (a, b) = (&self.values[start(0, 0)..][..nx], &self.values[start(1, 0)..][..nx]);
        let (c, d) = (&self.values[start(0, 1)..][..nx], &self.values[start(1, 1)..][..nx]);
        for i in 0..nx {
            out[i] = a[i] * w00 + b[i] * w10 + c[i] * w01 + d[i] * w11;
        }
    }

    /// The outward direction of a distance field: its gradient, normalised.
    pub(crate) fn normal(&self, p: Vec3) -> Vec3 {
        let h = self.lattice.step;
        let d = |axis: usize| {
            let (mut hi, mut lo) = (p, p);
            hi[axis] += h;
            lo[axis] -= h;
            self.sample(hi) - self.sample(lo)
        };
        crate::vector::unit([d(0), d(1), d(2)])
    }
}
