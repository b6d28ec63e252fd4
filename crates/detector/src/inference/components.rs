//! Detections of the classic network, which only segments: connected regions of nodule voxels.

use imaging::Geometry;

use super::peaks::{DIAMETER_RANGE_MM, Detection, MAX_DETECTIONS};

/// Voxels at least this probable form regions.
const REGION_PROBABILITY: f32 = 0.3;

/// Nodule probability of a whole scan.
#[derive(Debug, Clone)]
pub(crate) struct SegmentationMaps {
    /// The cells: twice the plan's spacing.
    pub(crate) geometry: Geometry,
    /// Probability of the cells' voxels, one array for each of the eight, in space-to-depth order.
    pub(crate) voxels: [Vec<f32>; 8],
}

impl SegmentationMaps {
    /// One detection for each region: its centre of mass, the diameter of a sphere of its volume, and as confidence the
    /// mean probability of its most probable cell.
    pub(crate) fn detections(&self) -> Vec<Detection> {
        let [nz, ny, nx] = self.geometry.shape_zyx;
        let mean = |cell: usize| self.voxels.iter().map(|v| v[cell]).sum::<f32>() / 8.0;
        let in_region = |cell: usize| self.voxels.iter().any(|v| v[cell] >= REGION_PROBABILITY);
        let mut seen = vec![false; nz * ny * nx];
        let mut detections = Vec::new();
        for first in 0..seen.len() {
            if seen[first] || !in_region(first) {
                continue;
            }
            seen[first] = true;
            let mut open = vec![first];
            let mut region = Region::default();
            while let Some(cell) = open.pop() {
                let at = [cell / (ny * nx), cell / nx % ny, cell % nx];
                for (sub, map) in self.voxels.iter().enumerate() {
                    region.add(at, sub, map[cell]);
                }
                region.confidence = region.confidence.max(mean(cell));
                let neighbours = [(0, ny * nx, nz), (1, nx, ny), (2, 1, nx)];
                for (axis, stride, count) in neighbours {
                    let below = (at[axis] > 0).then(|| cell - stride);
                    let above = (at[axis] + 1 < count).then(|| cell + stride);
                    for next in [below, above].into_iter().flatten() {
                        if !seen[next] && in_region(next) {
                            seen[next] = true;
                            open.push(next);
                        }
                    }
                }
            }
            detections.push(region.detection(&self.geometry));
        }
        // Equal ones stay in the order of the grid.
        detections.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        detections.truncate(MAX_DETECTIONS);
        detections
    }
}

#[derive(Default)]
struct Region {
    /// Voxels and their summed indices, in cells.
    voxels: usize,
    sum_zyx: [f64; 3],
    confidence: f32,
}

impl Region {
    fn add(&mut self, cell: [usize; 3], sub: usize, probability: f32) {
        if probability < REGION_PROBABILITY {
            return;
        }
        self.voxels += 1;
        for (axis, sum) in self.sum_zyx.iter_mut().enumerate() {
            let shift = if sub >> (2 - axis) & 1 == 1 { 0.25 } else { -0.25 };
            *sum += cell[axis] as f64 + shift;
        }
    }

    fn detection(&self, geometry: &Geometry) -> Detection {
        let n = self.voxels as f64;
        let volume_mm3 = n * geometry.spacing_mm_xyz.iter().product::<f64>() / 8.0;
        let diameter = 2.0 * (3.0 * volume_mm3 / (4.0 * std::f64::consts::PI)).cbrt();
        Detection {
            center_mm_xyz: geometry.world_from_index(self.sum_zyx.map(|s| s / n)),
            diameter_mm: diameter.clamp(DIAMETER_RANGE_MM[0], DIAMETER_RANGE_MM[1]),
            confidence: f64::from(self.confidence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sphere_comes_back_with_its_centre_and_size() {
        let geometry = Geometry::axis_aligned([16, 16, 16], [2.0; 3], [-5.0, 3.0, 7.0]).unwrap();
        let centre = [8.2, 7.6, 6.9];
        let mut maps =
            SegmentationMaps { geometry: geometry.clone(), voxels: std::array::from_fn(|_| vec![0.01; 4096]) };
        for cell in 0..4096 {
            let at = [cell / 256, cell / 16 % 16, cell % 16];
            for sub in 0..8 {
                let inside = (0..3).map(|a| {
                    let shift = if sub >> (2 - a) & 1 == 1 { 0.25 } else { -0.25 };
                    (at[a] as f64 + shift - centre[a]).powi(2)
                });
                if inside.sum::<f64>().sqrt() < 3.0 {
                    maps.voxels[sub][cell] = 0.9;
                }
            }
        }
        let [d] = maps.detections()[..] else { panic!() };
        let expected = geometry.world_from_index(centre);
        assert!((0..3).all(|a| (d.center_mm_xyz[a] - expected[a]).abs() < 0.15), "{d:?} {expected:?}");
        assert!((d.diameter_mm - 12.0).abs() < 0.3 && (d.confidence - 0.9).abs() < 1e-6, "{d:?}");
    }
}
