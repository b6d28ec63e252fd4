//! What the scanner does to the patient: slice profile, point spread, edge enhancement, noise, streaks, padding.

use crate::random::{Purpose, Stream};
use crate::shapes::smooth_step;
use crate::style::Acquisition;

/// A symmetric kernel of odd length, normalised to a sum of 1, for [`blur_plane`].
pub(crate) fn gaussian(sigma: f32) -> Vec<f32> {
    let radius = (2.6 * sigma).ceil().max(1.0) as i32;
    let mut k: Vec<f32> =
        (-radius..=radius).map(|i| libm::expf(-0.5 * (i as f32 / sigma) * (i as f32 / sigma))).collect();
    let sum: f32 = k.iter().sum();
    k.iter_mut().for_each(|v| *v /= sum);
    k
}

/// Weights of the fine slices in one slice: a box of the slice thickness with soft edges. The fine slices are
/// `step` apart; the middle of the weights belongs to the middle of the slice.
pub(crate) fn slice_profile(thickness: f32, step: f32, per_slice: usize) -> Vec<f32> {
    let sigma = 0.22 * thickness + 0.1;
    let half = ((0.5 * thickness + 2.0 * sigma) / step).ceil() as usize;
    // An even number of fine slices per slice puts the middle between two of them.
    let length = 2 * half + if per_slice.is_multiple_of(2) { 2 } else { 1 };
    let middle = (length as f32 - 1.0) * 0.5;
    let edge = |t: f32| 0.5 * (1.0 + libm::erff(t / (sigma * std::f32::consts::SQRT_2)));
    let mut weights: Vec<f32> = (0..length)
        .map(|i| {
            let t = (i as f32 - middle) * step;
            edge(t + 0.5 * thickness) - edge(t - 0.5 * thickness)
        })
        .collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}

/// Convolves a plane (`nx` wide) with `kernel` along x and y; the border value continues outside.
pub(crate) fn blur_plane(plane: &mut [f32], nx: usize, kernel: &[f32], scratch: &mut Vec<f32>) {
    let ny = plane.len() / nx;
    let r = kernel.len() / 2;
    scratch.resize(plane.len().max(nx + 2 * r), 0.0);
    let mut padded = vec![0.0f32; nx + 2 * r];
    for line in plane.chunks_exact_mut(nx) {
        padded[..r].fill(line[0]);
        padded[r..r + nx].copy_from_slice(line);
        padded[r + nx..].fill(line[nx - 1]);
        line.fill(0.0);
        for (j, k) in kernel.iter().enumerate() {
            for (v, p) in line.iter_mut().zip(&padded[j..j + nx]) {
                *v += k * p;
            }
        }
    }
    let scratch = &mut scratch[..plane.len()];
    for (y, out) in scratch.chunks_exact_mut(nx).enumerate() {
        out.fill(0.0);
        for (j, k) in kernel.iter().enumerate() {
            let from = (y + j).saturating_sub(r).min(ny - 1);
            for (v, p) in out.iter_mut().zip(&plane[from * nx..][..nx]) {
                *v += k * p;
            }
        }
    }
    plane.copy_from_slice(scratch);
}

/// The kernels of one scan.
pub(crate) struct Scanner {
    seed: u64,
    index: u64,
    shape: [usize; 2],
    acquisition: Acquisition,
    spread: Vec<f32>,
    /// The wide part that a sharp kernel subtracts.
    wide: Vec<f32>,
    noise_narrow: Vec<f32>,
    noise_wide: Vec<f32>,
    noise_gain: f32,
}

/// Share of the low frequencies that the reconstruction's ramp filter removes from the noise.
const RAMP: f32 = 0.75;

impl Scanner {
    pub(crate) fn new(seed: u64, index: u64, shape: [usize; 2], acquisition: Acquisition) -> Self {
        let pixels = |mm: f32| mm / acquisition.spacing_xy;
        let noise_narrow = gaussian(pixels(acquisition.blur * 0.85).max(0.35));
        let noise_wide = gaussian(pixels(acquisition.blur * 2.6).max(0.9));
        let noise_gain = 1.0 / ramp_energy(&noise_narrow, &noise_wide).sqrt();
        Self {
            seed,
            index,
            shape,
            acquisition,
            spread: gaussian(pixels(acquisition.blur).max(0.35)),
            wide: gaussian(pixels(acquisition.blur * 1.9).max(0.6)),
            noise_narrow,
            noise_wide,
            noise_gain,
        }
    }

    /// Turns a slice of exact densities into the image of slice `z`. `depth` is how far (mm, at most a few) each
    /// pixel lies inside the body, and `height` its position between the bottom (0) and the top (1) of the scan.
    pub(crate) fn image(&self, slice: &mut [f32], depth: &[f32], z: usize, height: f32, out: &mut [i16]) {
        let [ny, nx] = self.shape;
        let mut scratch = Vec::new();
        blur_plane(slice, nx, &self.spread, &mut scratch);
        if self.acquisition.edge > 0.0 {
            let mut smooth = slice.to_vec();
            blur_plane(&mut smooth, nx, &self.wide, &mut scratch);
            for (v, s) in slice.iter_mut().zip(&smooth) {
                *v += self.acquisition.edge * (*v - s);
            }
        }
        let noise = self.noise(z, &mut scratch);
        let streaks = (self.acquisition.streak > 0.0).then(|| self.streaks(z, height));
        // The shoulders absorb more.
        let shoulders = 1.0 + 0.5 * smooth_step(0.75, 1.0, height);
        let centre = (0.5 * (nx as f32 - 1.0), 0.5 * (ny as f32 - 1.0));
        let radius = 0.5 * nx.max(ny) as f32;
        for (i, v) in out.iter_mut().enumerate() {
            let amplitude = self.acquisition.noise * shoulders * depth[i];
            let mut hu = slice[i] + amplitude * noise[i];
            if let Some(s) = &streaks {
                hu += s[i] * depth[i];
            }
            *v = hu.round().clamp(-1024.0, 3071.0) as i16;
            if let Some(padding) = self.acquisition.padding {
                let (dx, dy) = ((i % nx) as f32 - centre.0, (i / nx) as f32 - centre.1);
                if dx * dx + dy * dy > radius * radius {
                    *v = padding;
                }
            }
        }
    }

    /// Unit-variance noise with the spectrum of filtered back-projection: rising with frequency (ramp), then falling
    /// with the kernel; neighbouring slices share some of it.
    fn noise(&self, z: usize, scratch: &mut Vec<f32>) -> Vec<f32> {
        let [ny, nx] = self.shape;
        let share = 0.32f32;
        let mut plane = vec![0.0; nx * ny];
        Stream::new(self.seed, self.index, Purpose::Noise, z as u64).fill_white(&mut plane);
        let mut next = vec![0.0; nx * ny];
        Stream::new(self.seed, self.index, Purpose::Noise, z as u64 + 1).fill_white(&mut next);
        let gain = self.noise_gain / (1.0 + share * share).sqrt();
        for (a, b) in plane.iter_mut().zip(&next) {
            *a = (*a + share * b) * gain;
        }
        let mut wide = plane.clone();
        blur_plane(&mut plane, nx, &self.noise_narrow, scratch);
        blur_plane(&mut wide, nx, &self.noise_wide, scratch);
        for (a, b) in plane.iter_mut().zip(&wide) {
            *a -= RAMP * b;
        }
        plane
    }

    /// Straight streaks: noise of single projections smeared back along their rays, mostly from side to side.
    fn streaks(&self, z: usize, height: f32) -> Vec<f32> {
        let [ny, nx] = self.shape;
        let mut s = Stream::new(self.seed, self.index, Purpose::Streaks, z as u64);
        let mut out = vec![0.0; nx * ny];
        let length = nx + ny;
        let strength = self.acquisition.streak * (0.6 + 0.9 * smooth_step(0.6, 1.0, height));
        for _ in 0..7 {
            let angle = 0.30 * s.normal();
            let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
            let mut profile = vec![0.0; length];
            s.fill_white(&mut profile);
            // Most rays are quiet; a few carry a streak.
            profile.iter_mut().for_each(|p| *p = *p * *p * *p * 0.26 * strength);
            let amount = s.range(0.2, 1.0);
            for y in 0..ny {
                for x in 0..nx {
                    let (dx, dy) = (x as f32 - 0.5 * nx as f32, y as f32 - 0.5 * ny as f32);
                    let t = dy * cos - dx * sin + 0.5 * length as f32;
                    let i = t as usize;
                    let f = t - i as f32;
                    if i + 1 < length {
                        out[y * nx + x] += amount * (profile[i] * (1.0 - f) + profile[i + 1] * f);
                    }
                }
            }
        }
        out
    }
}

/// Variance of white noise after the narrow kernel minus [`RAMP`] times the wide one.
fn ramp_energy(narrow: &[f32], wide: &[f32]) -> f32 {
    let size = narrow.len().max(wide.len());
    let at = |k: &[f32], i: usize| {
        let shift = (size - k.len()) / 2;
        if i < shift || i >= shift + k.len() { 0.0 } else { k[i - shift] }
    };
    let mut energy = 0.0;
    for y in 0..size {
        for x in 0..size {
            let v = at(narrow, y) * at(narrow, x) - RAMP * at(wide, y) * at(wide, x);
            energy += v * v;
        }
    }
    energy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::{HospitalStyle, Size};

    fn scanner(style: HospitalStyle) -> Scanner {
        Scanner::new(4, 2, [256, 256], Acquisition::draw(4, 2, style, Size::Full))
    }

    fn deviation(v: &[f32]) -> f32 {
        let mean = v.iter().sum::<f32>() / v.len() as f32;
        (v.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / v.len() as f32).sqrt()
    }

    #[test]
    fn noise_has_unit_variance_and_a_ramp_spectrum() {
        for style in HospitalStyle::ALL {
            let s = scanner(style);
            let noise = s.noise(9, &mut Vec::new());
            // 65536 correlated samples: the deviation is known to about 1 %.
            assert!((deviation(&noise) - 1.0).abs() < 0.03, "{style:?}: {}", deviation(&noise));
            // Means of 16 × 16 pixels: the same noise without the ramp would leave 1/16 of its gain.
            let smooth: f32 = s.noise_narrow.iter().map(|k| k * k).sum();
            let means: Vec<f32> = (0..256)
                .map(|b| {
                    let (by, bx) = (b / 16 * 16, b % 16 * 16);
                    (0..256).map(|i| noise[(by + i / 16) * 256 + bx + i % 16]).sum::<f32>() / 256.0
                })
                .collect();
            assert!(deviation(&means) < 0.5 / (16.0 * smooth), "{style:?}: {}", deviation(&means));
        }
    }

    #[test]
    fn kernels_and_profiles_keep_the_mean() {
        for (thickness, step, per_slice) in [(0.6, 0.6, 1), (2.5, 2.5 / 3.0, 3), (2.6, 1.0, 2)] {
            let w = slice_profile(thickness, step, per_slice);
            assert!((w.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert_eq!(w.len() % 2, per_slice % 2);
            assert!(w.iter().zip(w.iter().rev()).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        let mut plane = vec![7.0; 20 * 11];
        blur_plane(&mut plane, 20, &gaussian(1.3), &mut Vec::new());
        assert!(plane.iter().all(|v| (v - 7.0).abs() < 1e-4));
    }
}
