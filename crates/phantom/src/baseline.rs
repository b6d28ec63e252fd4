//! A classical detector for which the phantoms must be hard: scale-normalised Laplacian of Gaussian.
//!
//! A blob detector finds every roundish bright spot; only vessels, branch points and the other distractors make it
//! fail. A phantom that it solves is no test of a detector (see [`crate::acceptance`]).

use crate::scanner::gaussian;
use imaging::luna16::Mark;
use imaging::lung_mask::{LungMaskConfig, lung_mask};
use imaging::resample::{resample_isotropic, resample_nearest};
use imaging::{GeometryError, Volume};
use rayon::prelude::*;

/// Voxel size at which blobs are sought, millimetres.
const SPACING_MM: f64 = 1.25;
/// Standard deviations of the Gaussians, millimetres. A ball of radius r answers most at r/√3.
const SIGMAS_MM: [f32; 5] = [1.3, 1.9, 2.8, 4.1, 6.0];
/// LUNA16 reads at most 100 marks of a scan.
const MAX_MARKS: usize = 100;

/// Marks the strongest bright blobs in the lungs, at most 100. The probability is the filter's answer over 1000 HU.
///
/// # Errors
/// When the volume cannot be resampled, which no valid CT provokes.
pub fn log_blobs(series_uid: &str, volume: &Volume<i16>) -> Result<Vec<Mark>, GeometryError> {
    let iso = resample_isotropic(volume, SPACING_MM)?;
    // Small phantoms have the lungs of a small child: any volume is plausible here.
    let config =
        LungMaskConfig { volume_ml: 100.0..=12_000.0, closing_mm: 6.0, dilation_mm: 0.0, ..LungMaskConfig::default() };
    let mask = lung_mask(volume, &config)?;
    let lungs = resample_nearest(&mask.mask, iso.geometry(), 0);
    let shape = iso.geometry().shape_zyx;
    // Bone and calcium must not outshine soft tissue.
    let image: Vec<f32> = iso.voxels().iter().map(|&v| f32::from(v.clamp(-1000, 150))).collect();
    let mut candidates: Vec<(f32, usize, f32)> = Vec::new();
    for sigma in SIGMAS_MM {
        let pixels = sigma / SPACING_MM as f32;
        let smooth = blur(&image, shape, &gaussian(pixels));
        let answer = negative_laplacian(&smooth, shape, pixels * pixels);
        collect_maxima(&answer, shape, lungs.voxels(), sigma, &mut candidates);
    }
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut kept: Vec<Mark> = Vec::new();
    for (answer, offset, sigma) in candidates {
        let centre = iso.geometry().world_from_index([
            (offset / (shape[1] * shape[2])) as f64,
            (offset / shape[2] % shape[1]) as f64,
            (offset % shape[2]) as f64,
        ]);
        let radius = f64::from(sigma) * 3.0f64.sqrt();
        let near = |m: &Mark| {
            let d2: f64 = (0..3).map(|i| (m.center_mm_xyz[i] - centre[i]) * (m.center_mm_xyz[i] - centre[i])).sum();
            let reach = (m.diameter_mm.unwrap_or(0.0) * 0.5).max(radius).max(3.0);
            d2 < reach * reach
        };
        if kept.iter().any(near) {
            continue;
        }
        kept.push(Mark {
            series_uid: series_uid.to_owned(),
            center_mm_xyz: centre,
            probability: f64::from(answer) / 1000.0,
            diameter_mm: Some(2.0 * radius),
        });
        if kept.len() == MAX_MARKS {
            break;
        }
    }
    Ok(kept)
}

/// Separable convolution, the border value continued.
fn blur(image: &[f32], shape: [usize; 3], kernel: &[f32]) -> Vec<f32> {
    let [nz, ny, nx] = shape;
    let plane = nx * ny;
    let mut out = image.to_vec();
    out.par_chunks_mut(plane).for_each(|slice| {
        crate::scanner::blur_plane(slice, nx, kernel, &mut Vec::new());
    });
    let r = kernel.len() / 2;
    let mut result = vec![0.0f32; image.len()];
    result.par_chunks_mut(plane).enumerate().for_each(|(z, slice)| {
        for (j, k) in kernel.iter().enumerate() {
            let from = (z + j).saturating_sub(r).min(nz - 1);
            for (v, p) in slice.iter_mut().zip(&out[from * plane..][..plane]) {
                *v += k * p;
            }
        }
    });
    result
}

/// `−gain·∇²`, zero on the border.
fn negative_laplacian(image: &[f32], shape: [usize; 3], gain: f32) -> Vec<f32> {
    let [nz, ny, nx] = shape;
    let plane = nx * ny;
    let mut out = vec![0.0f32; image.len()];
    out.par_chunks_mut(plane).enumerate().for_each(|(z, slice)| {
        if z == 0 || z + 1 == nz {
            return;
        }
        for y in 1..ny.saturating_sub(1) {
            for x in 1..nx.saturating_sub(1) {
                let o = z * plane + y * nx + x;
                let around =
                    image[o - 1] + image[o + 1] + image[o - nx] + image[o + nx] + image[o - plane] + image[o + plane];
                slice[y * nx + x] = gain * (6.0 * image[o] - around);
            }
        }
    });
    out
}

/// Local maxima among the 26 neighbours, within the lungs.
fn collect_maxima(answer: &[f32], shape: [usize; 3], lungs: &[u8], sigma: f32, out: &mut Vec<(f32, usize, f32)>) {
    let [nz, ny, nx] = shape;
    let plane = nx * ny;
    let rows: Vec<Vec<(f32, usize, f32)>> = (1..nz.saturating_sub(1))
        .into_par_iter()
        .map(|z| {
            let mut found = Vec::new();
            for y in 1..ny.saturating_sub(1) {
                for x in 1..nx.saturating_sub(1) {
                    let o = z * plane + y * nx + x;
                    let v = answer[o];
                    if lungs[o] == 0 || v < 60.0 {
                        continue;
                    }
                    let mut neighbours = (0..27).filter(|n| *n != 13).map(|n| {
                        let (dz, dy, dx) = (n / 9, n / 3 % 3, n % 3);
                        answer[o + dz * plane + dy * nx + dx - plane - nx - 1]
                    });
                    if neighbours.all(|n| n <= v) {
                        found.push((v, o, sigma));
                    }
                }
            }
            found
        })
        .collect();
    out.extend(rows.into_iter().flatten());
}
