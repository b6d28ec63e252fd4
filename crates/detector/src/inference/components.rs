//! Connected bodies of nodule voxels: the classic network's detections, and the volumes of the detection network's.

use imaging::Geometry;

use super::peaks::{DIAMETER_RANGE_MM, Detection, MAX_DETECTIONS};

/// Voxels at least this probable form the classic network's detections.
const DETECTION_PROBABILITY: f32 = 0.3;

/// Nodule probability of a whole scan.
#[derive(Debug, Clone)]
pub(crate) struct SegmentationMaps {
    /// The cells: twice the plan's spacing.
    pub(crate) geometry: Geometry,
    /// Probability of the cells' voxels, one array for each of the eight, in space-to-depth order.
    pub(crate) voxels: [Vec<f32>; 8],
}

/// The bodies of a scan.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// One more than the index of the body that each cell belongs to, 0 for none.
    labels: Vec<u32>,
    bodies: Vec<Body>,
}

/// Voxels that hang together.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Voxels and their summed indices, in cells.
    voxels: usize,
    sum_zyx: [f64; 3],
    /// Mean probability of the most probable cell.
    confidence: f32,
}

impl SegmentationMaps {
    /// One detection for each body: its centre of mass, the diameter of a sphere of its volume, and its confidence.
    pub(crate) fn detections(&self) -> Vec<Detection> {
        let bodies = self.bodies(DETECTION_PROBABILITY).bodies;
        let mut detections: Vec<Detection> = bodies.iter().map(|body| body.detection(&self.geometry)).collect();
        // Equal ones stay in the order of the grid.
        detections.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        detections.truncate(MAX_DETECTIONS);
        detections
    }

    /// Voxels at least this probable; cells with a common face and such a voxel each are of one body.
    pub(crate) fn bodies(&self, probability: f32) -> Bodies {
        let [nz, ny, nx] = self.geometry.shape_zyx;
        let inside = |cell: usize| self.voxels.iter().any(|v| v[cell] >= probability);
        let mut labels = vec![0; nz * ny * nx];
        let mut bodies = Vec::new();
        for first in 0..labels.len() {
            if labels[first] != 0 || !inside(first) {
                continue;
            }
            let label = bodies.len() as u32 + 1;
            labels[first] = label;
            let mut open = vec![first];
            let mut body = Body::default();
            while let Some(cell) = open.pop() {
                let at = [cell / (ny * nx), cell / nx % ny, cell % nx];
                for (sub, map) in self.voxels.iter().enumerate() {
                    if map[cell] >= probability {
                        body.add(at, sub);
                    }
                }
                let mean = self.voxels.iter().map(|v| v[cell]).sum::<f32>() / 8.0;
                body.confidence = body.confidence.max(mean);
                let neighbours = [(0, ny * nx, nz), (1, nx, ny), (2, 1, nx)];
                for (axis, stride, count) in neighbours {
                    let below = (at[axis] > 0).then(|| cell - stride);
                    let above = (at[axis] + 1 < count).then(|| cell + stride);
                    for next in [below, above].into_iter().flatten() {
                        if labels[next] == 0 && inside(next) {
                            labels[next] = label;
                            open.push(next);
                        }
                    }
                }
            }
            bodies.push(body);
        }
        Bodies { labels, bodies }
    }
}

impl Bodies {
    /// The body that a cell belongs to, and its number.
    pub(crate) fn at(&self, cell: usize) -> Option<(u32, &Body)> {
        let number = self.labels[cell].checked_sub(1)?;
        Some((number, &self.bodies[number as usize]))
    }
}

impl Body {
    fn add(&mut self, cell: [usize; 3], sub: usize) {
        self.voxels += 1;
        for (axis, sum) in self.sum_zyx.iter_mut().enumerate() {
            let shift = if sub >> (2 - axis) & 1 == 1 { 0.25 } else { -0.25 };
            *sum += cell[axis] as f64 + shift;
        }
    }

    /// On this grid of cells.
    pub(crate) fn volume_mm3(&self, geometry: &Geometry) -> f64 {
        self.voxels as f64 * geometry.spacing_mm_xyz.iter().product::<f64>() / 8.0
    }

    fn detection(&self, geometry: &Geometry) -> Detection {
        let volume_mm3 = self.volume_mm3(geometry);
        Detection {
            center_mm_xyz: geometry.world_from_index(self.sum_zyx.map(|s| s / self.voxels as f64)),
            diameter_mm: sphere_diameter(volume_mm3).clamp(DIAMETER_RANGE_MM[0], DIAMETER_RANGE_MM[1]),
            confidence: f64::from(self.confidence),
            volume_mm3: Some(volume_mm3),
        }
    }
}

/// Of a sphere of this volume.
pub(crate) fn sphere_diameter(volume: f64) -> f64 {
    2.0 * (3.0 * volume / (4.0 * std::f64::consts::PI)).cbrt()
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
