//! From prepared scans to training examples: which patch, how it is varied, and its targets.

use serde::{Deserialize, Serialize};

use super::random::Stream;
use super::targets::{PatchNodule, Targets};
use crate::plan::Plan;
use crate::prepared::{PrepareError, PreparedScan};

/// Shares of what a patch is drawn for, and how strongly it is varied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Share of patches with a nodule.
    pub nodule_share: f64,
    /// Share of patches around a mined false positive, of which there must be some.
    pub mined_share: f64,
    /// Rotation about each axis, up to this many degrees.
    pub rotation_deg: f64,
    /// Scale factor drawn from this range.
    pub scale: [f64; 2],
    /// Mirroring along each axis.
    pub flip: bool,
    /// Shift of all values, up to this many HU.
    pub shift_hu: f64,
    /// Standard deviation of added noise, up to this many HU.
    pub noise_hu: f64,
    /// Exponent on the windowed values, drawn from this range.
    pub gamma: [f64; 2],
    /// Chance of blurring or sharpening, and of averaging neighbouring slices.
    pub filter_chance: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            nodule_share: 0.5,
            mined_share: 0.3,
            rotation_deg: 30.0,
            scale: [0.75, 1.25],
            flip: true,
            shift_hu: 20.0,
            noise_hu: 40.0,
            gamma: [0.8, 1.25],
            filter_chance: 0.3,
        }
    }
}

impl Sampling {
    /// For runs of minutes: more nodules, and less variety than such a run can learn (合成体模: CPM 0.71 instead of
    /// 0.68 after 600 steps of a federation of three).
    pub fn brief() -> Self {
        Self { nodule_share: 0.75, rotation_deg: 0.0, noise_hu: 20.0, ..Self::default() }
    }
}

/// A place in one of the scans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the scan in the training set.
    pub scan: usize,
    /// Voxel of the resampled grid, `[z, y, x]`.
    pub voxel_zyx: [f64; 3],
}

/// One network input with its targets.
pub(crate) struct Example {
    /// `[side, side, side]`, normalised.
    pub(crate) input: Vec<f32>,
    pub(crate) targets: Targets,
    transform: Transform,
    scan: usize,
}

impl Example {
    /// Where a voxel of the patch lies in its scan.
    pub(crate) fn place_of(&self, patch_zyx: [f64; 3]) -> Place {
        Place { scan: self.scan, voxel_zyx: self.transform.source(patch_zyx) }
    }
}

/// Patch coordinates to source coordinates: `source = centre + matrix · (patch − middle)`.
#[derive(Debug, Clone, Copy)]
struct Transform {
    centre: [f64; 3],
    matrix: [[f64; 3]; 3],
    middle: f64,
    scale: f64,
}

impl Transform {
    fn random(centre: [f64; 3], side: usize, sampling: &Sampling, rng: &mut Stream) -> Self {
        let limit = sampling.rotation_deg.to_radians();
        let scale = rng.between(sampling.scale[0], sampling.scale[1]);
        let mut matrix = [[scale, 0.0, 0.0], [0.0, scale, 0.0], [0.0, 0.0, scale]];
        for axis in 0..3 {
            let (sin, cos) = rng.between(-limit, limit).sin_cos();
            let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
            for row in &mut matrix {
                (row[a], row[b]) = (cos * row[a] - sin * row[b], sin * row[a] + cos * row[b]);
            }
            if sampling.flip && rng.chance(0.5) {
                matrix.iter_mut().for_each(|row| row[axis] = -row[axis]);
            }
        }
        Self { centre, matrix, middle: (side as f64 - 1.0) / 2.0, scale }
    }

    fn centred(centre: [f64; 3], side: usize) -> Self {
        let matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self { centre, matrix, middle: (side as f64 - 1.0) / 2.0, scale: 1.0 }
    }

    fn source(&self, patch: [f64; 3]) -> [f64; 3] {
        let d = patch.map(|p| p - self.middle);
        std::array::from_fn(|r| self.centre[r] + (0..3).map(|c| self.matrix[r][c] * d[c]).sum::<f64>())
    }

    /// The inverse; the matrix is a scaled rotation or reflection, so its inverse is its transpose over scale².
    fn patch(&self, source: [f64; 3]) -> [f64; 3] {
        let d: [f64; 3] = std::array::from_fn(|r| source[r] - self.centre[r]);
        std::array::from_fn(|c| {
            self.middle + (0..3).map(|r| self.matrix[r][c] * d[r]).sum::<f64>() / (self.scale * self.scale)
        })
    }

    fn nodule(&self, nodule: &PatchNodule) -> PatchNodule {
        PatchNodule { center_zyx: self.patch(nodule.center_zyx), diameter: nodule.diameter / self.scale }
    }
}

/// Draws examples from a training set.
pub(crate) struct Sampler<'a> {
    pub(crate) scans: &'a [PreparedScan],
    pub(crate) plan: &'a Plan,
    pub(crate) sampling: &'a Sampling,
    /// Every nodule with its chance of being drawn, cumulative.
    nodules: Vec<(f64, Place)>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(scans: &'a [PreparedScan], plan: &'a Plan, sampling: &'a Sampling) -> Self {
        let all: Vec<(usize, &PatchNodule)> =
            scans.iter().enumerate().flat_map(|(i, s)| s.nodules.iter().map(move |n| (i, n))).collect();
        // Sizes in bins of half octaves, a bin drawn ~ frequency^½: a nodule's chance is its bin's count^-½.
        let bin = |diameter: f64| (2.0 * diameter.max(1.0).log2()).floor() as usize;
        let mut counts = [0usize; 32];
        all.iter().for_each(|(_, n)| counts[bin(n.diameter).min(31)] += 1);
        let mut total = 0.0;
        let nodules = all
            .iter()
            .map(|&(scan, n)| {
                total += (counts[bin(n.diameter).min(31)] as f64).powf(-0.5);
                (total, Place { scan, voxel_zyx: n.center_zyx })
            })
            .collect();
        Self { scans, plan, sampling, nodules }
    }

    /// Where to look for the next example.
    fn place(&self, mined: &[Place], rng: &mut Stream) -> Place {
        let draw = rng.unit();
        let side = self.plan.patch_size as f64;
        match self.nodules.last() {
            Some(&(total, _)) if draw < self.sampling.nodule_share => {
                let pick = rng.unit() * total;
                let at = self.nodules.partition_point(|(cumulative, _)| *cumulative <= pick);
                jitter(self.nodules[at.min(self.nodules.len() - 1)].1, side * 0.3, rng)
            }
            _ if draw < self.sampling.nodule_share + self.sampling.mined_share && !mined.is_empty() => {
                jitter(mined[rng.below(mined.len())], side * 0.2, rng)
            }
            _ => {
                let scan = rng.below(self.scans.len());
                self.place_in_lungs(scan, rng)
            }
        }
    }

    fn place_in_lungs(&self, scan: usize, rng: &mut Stream) -> Place {
        let points = self.scans[scan].lung_points();
        let voxel_zyx = match points.len() {
            0 => self.scans[scan].geometry().shape_zyx.map(|n| rng.between(0.0, n as f64)),
            n => points[rng.below(n)].map(f64::from),
        };
        Place { scan, voxel_zyx }
    }

    /// Example number `example` of step `step`.
    pub(crate) fn example(&self, seed: u64, step: u64, example: u64, mined: &[Place]) -> Result<Example, PrepareError> {
        let mut rng = Stream::new(seed, step, example);
        let place = self.place(mined, &mut rng);
        self.example_at(place, &mut rng)
    }

    /// An example of this scan that no other scan has any influence on: neither the frequency of its nodules' sizes among
    /// all, nor false positives that were mined, and forgotten, by a limit for all.
    pub(crate) fn example_of(&self, scan: usize, rng: &mut Stream) -> Result<Example, PrepareError> {
        let nodules = &self.scans[scan].nodules;
        let place = if !nodules.is_empty() && rng.chance(self.sampling.nodule_share) {
            let voxel_zyx = nodules[rng.below(nodules.len())].center_zyx;
            jitter(Place { scan, voxel_zyx }, self.plan.patch_size as f64 * 0.3, rng)
        } else {
            self.place_in_lungs(scan, rng)
        };
        self.example_at(place, rng)
    }

    fn example_at(&self, place: Place, rng: &mut Stream) -> Result<Example, PrepareError> {
        let side = self.plan.patch_size;
        let transform = Transform::random(place.voxel_zyx, side, self.sampling, rng);
        let scan = &self.scans[place.scan];
        let mut patch = resampled(scan, &transform, side)?;
        self.vary(&mut patch, side, rng);
        Ok(finished(scan, place.scan, transform, patch, side))
    }

    /// Changes of appearance, then the window. In: HU; out: network input.
    fn vary(&self, patch: &mut [f32], side: usize, rng: &mut Stream) {
        let s = self.sampling;
        if rng.chance(s.filter_chance) {
            // Below zero sharpens, above blurs; ¼ is a binomial filter.
            let strength = rng.between(-0.1, 0.25) as f32;
            (0..3).for_each(|axis| filter_axis(patch, side, axis, strength));
        }
        if rng.chance(s.filter_chance) {
            filter_axis(patch, side, 0, rng.between(0.0, 1.0 / 3.0) as f32);
        }
        let shift = rng.between(-s.shift_hu, s.shift_hu) as f32;
        let noise = if rng.chance(0.5) { rng.between(0.0, s.noise_hu) as f32 } else { 0.0 };
        let gamma = rng.between(s.gamma[0].ln(), s.gamma[1].ln()).exp() as f32;
        let bend = rng.chance(0.3);
        for value in patch.iter_mut() {
            let added = if noise > 0.0 { noise * rng.noise() } else { 0.0 };
            let mut v = self.plan.normalization.apply(*value + shift + added);
            if bend {
                v = ((v + 1.0) / 2.0).powf(gamma) * 2.0 - 1.0;
            }
            *value = v;
        }
    }
}

fn jitter(place: Place, reach: f64, rng: &mut Stream) -> Place {
    Place { voxel_zyx: place.voxel_zyx.map(|c| c + rng.between(-reach, reach)), ..place }
}

/// The patch around a voxel as it is, neither moved nor varied.
pub(crate) fn plain_example(scan: &PreparedScan, plan: &Plan, voxel_zyx: [f64; 3]) -> Result<Example, PrepareError> {
    let transform = Transform::centred(voxel_zyx.map(f64::round), plan.patch_size);
    let mut patch = resampled(scan, &transform, plan.patch_size)?;
    patch.iter_mut().for_each(|v| *v = plan.normalization.apply(*v));
    Ok(finished(scan, 0, transform, patch, plan.patch_size))
}

fn finished(scan: &PreparedScan, index: usize, transform: Transform, input: Vec<f32>, side: usize) -> Example {
    let inside = |n: &PatchNodule| {
        let reach = n.diameter / 2.0 + 4.0;
        n.center_zyx.iter().all(|&c| c > -reach && c < side as f64 + reach)
    };
    let of = |nodules: &[PatchNodule]| -> Vec<PatchNodule> {
        nodules.iter().map(|n| transform.nodule(n)).filter(inside).collect()
    };
    let targets = Targets::new(side, &of(&scan.nodules), &of(&scan.ignored));
    Example { input, targets, transform, scan: index }
}

/// Three-tap filter `[a, 1 − 2a, a]` along an axis, edges repeated.
fn filter_axis(patch: &mut [f32], side: usize, axis: usize, a: f32) {
    let stride = side.pow(2 - axis as u32);
    let old = patch.to_vec();
    for (i, value) in patch.iter_mut().enumerate() {
        let along = i / stride % side;
        let before = if along > 0 { old[i - stride] } else { old[i] };
        let after = if along + 1 < side { old[i + stride] } else { old[i] };
        *value = a * (before + after) + (1.0 - 2.0 * a) * old[i];
    }
}

/// Trilinear samples of the scan on the transformed patch grid, HU.
fn resampled(scan: &PreparedScan, transform: &Transform, side: usize) -> Result<Vec<f32>, PrepareError> {
    let last = side as f64 - 1.0;
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for corner in 0..8u8 {
        let at = transform.source([0, 1, 2].map(|bit| if corner >> bit & 1 == 1 { last } else { 0.0 }));
        for axis in 0..3 {
            low[axis] = low[axis].min(at[axis]);
            high[axis] = high[axis].max(at[axis]);
        }
    }
    let start = low.map(|v| v.floor() as i64);
    let shape: [usize; 3] = std::array::from_fn(|a| (high[a].floor() as i64 - start[a]) as usize + 2);
    let source = scan.read_box(start, shape)?;
    let at = |z: usize, y: usize, x: usize| f32::from(source[(z * shape[1] + y) * shape[2] + x]);
    let step: [f32; 3] = std::array::from_fn(|r| transform.matrix[r][2] as f32);
    let mut patch = Vec::with_capacity(side * side * side);
    for z in 0..side {
        for y in 0..side {
            let origin = transform.source([z as f64, y as f64, 0.0]);
            let origin: [f32; 3] = std::array::from_fn(|a| (origin[a] - start[a] as f64) as f32);
            for x in 0..side {
                let p: [f32; 3] =
                    std::array::from_fn(|a| (origin[a] + step[a] * x as f32).clamp(0.0, shape[a] as f32 - 1.001));
                let [iz, iy, ix] = p.map(|v| v as usize);
                let [fz, fy, fx] = [p[0] - iz as f32, p[1] - iy as f32, p[2] - ix as f32];
                let row = |z, y| at(z, y, ix) * (1.0 - fx) + at(z, y, ix + 1) * fx;
                let plane = |z| row(z, iy) * (1.0 - fy) + row(z, iy + 1) * fy;
                patch.push(plane(iz) * (1.0 - fz) + plane(iz + 1) * fz);
            }
        }
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_and_source_coordinates_are_inverse() {
        for example in 0..50 {
            let mut rng = Stream::new(3, 0, example);
            let t = Transform::random([50.0, 60.0, 70.0], 64, &Sampling::default(), &mut rng);
            let p = [rng.between(0.0, 63.0), rng.between(0.0, 63.0), rng.between(0.0, 63.0)];
            let back = t.patch(t.source(p));
            assert!((0..3).all(|a| (back[a] - p[a]).abs() < 1e-9), "{p:?} {back:?}");
            let rotated = (0..3).all(|r| (0..3).all(|c| r == c || t.matrix[r][c].abs() < 1e-12));
            assert!(!rotated, "nothing was rotated");
        }
    }

    #[test]
    fn noise_has_unit_variance() {
        let mut rng = Stream::new(1, 2, 3);
        let values: Vec<f32> = (0..100_000).map(|_| rng.noise()).collect();
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 1e5;
        // Standard error of the variance of 1e5 samples: about 0.004.
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
