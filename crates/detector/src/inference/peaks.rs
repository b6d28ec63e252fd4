//! From the blended maps to detections.

use serde::{Deserialize, Serialize};

use super::components::{Bodies, SegmentationMaps, sphere_diameter};

/// A nodule that the detector marks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// World position of its centre, LPS.
    pub center_mm_xyz: [f64; 3],
    /// Diameter of a sphere of its size: from 6 mm on of its segmented volume, below as the network estimates it.
    pub diameter_mm: f64,
    /// Probability that it is a nodule, 0 to 1.
    pub confidence: f64,
    /// Volume of the body that the network has segmented there, where it has.
    #[serde(default)]
    pub volume_mm3: Option<f64>,
}

/// Weaker peaks are not detections.
pub const MIN_CONFIDENCE: f32 = 0.02;
/// Most detections of one scan, the limit of LUNA16's evaluation.
pub const MAX_DETECTIONS: usize = 100;
/// Voxels at least this probable are a nodule's body: not ½, for the loss weighs missed voxels more than superfluous ones.
/// On phantoms the sphere of a body's volume then has a nodule's true diameter, in the median (docs/design/detector.md).
const BODY_PROBABILITY: f32 = 0.7;
/// From this diameter on bodies measure better than the network's own estimate.
const MEASURED_MM: f64 = 6.0;
/// Peaks nearer than this to a stronger one are part of it, millimetres; and those within its estimated radius.
const MERGE_MM: f64 = 3.0;
/// Diameters outside are not nodules (a larger lesion is a mass): predictions are limited to this range, millimetres.
pub(crate) const DIAMETER_RANGE_MM: [f64; 2] = [2.0, 60.0];

/// Maps of a whole scan on the grid of the network's cells.
#[derive(Debug, Clone)]
pub(crate) struct CentreMaps {
    /// Probability of a centre.
    pub(crate) centre: Vec<f32>,
    /// Offset of the centre, in cells, one array for each of z, y, x.
    pub(crate) offset: [Vec<f32>; 3],
    /// ln(diameter / mm).
    pub(crate) log_diameter: Vec<f32>,
    /// The nodules' voxels, and the grid of all maps.
    pub(crate) segmentation: SegmentationMaps,
}

impl CentreMaps {
    /// Local maxima of the centre map, strongest first, merged: [`MAX_DETECTIONS`] at most.
    pub(crate) fn detections(&self) -> Vec<Detection> {
        let mut peaks: Vec<usize> = (0..self.centre.len()).filter(|&i| self.is_peak(i)).collect();
        // Equal peaks in the order of the grid: the same on every machine.
        peaks.sort_by(|&a, &b| self.centre[b].total_cmp(&self.centre[a]).then(a.cmp(&b)));
        let bodies = self.segmentation.bodies(BODY_PROBABILITY);
        let mut kept: Vec<Mark> = Vec::new();
        for peak in peaks {
            let mark = self.mark(peak, &bodies);
            if !kept.iter().any(|other| mark.is_part_of(other)) {
                kept.push(mark);
            }
            if kept.len() == MAX_DETECTIONS {
                break;
            }
        }
        kept.into_iter().map(|mark| mark.detection).collect()
    }

    fn position(&self, cell: usize) -> [usize; 3] {
        let [_, ny, nx] = self.segmentation.geometry.shape_zyx;
        [cell / (ny * nx), cell / nx % ny, cell % nx]
    }

    /// Strong enough, and not below any of its 26 neighbours (of equal neighbours the first counts).
    fn is_peak(&self, cell: usize) -> bool {
        let value = self.centre[cell];
        if value < MIN_CONFIDENCE {
            return false;
        }
        let [nz, ny, nx] = self.segmentation.geometry.shape_zyx;
        let [z, y, x] = self.position(cell);
        let around = |c: usize, n: usize| c.saturating_sub(1)..(c + 2).min(n);
        around(z, nz).all(|z| {
            around(y, ny).all(|y| {
                around(x, nx).all(|x| {
                    let other = (z * ny + y) * nx + x;
                    let v = self.centre[other];
                    other == cell || v < value || (v == value && other > cell)
                })
            })
        })
    }

    fn mark(&self, cell: usize, bodies: &Bodies) -> Mark {
        let geometry = &self.segmentation.geometry;
        let at = self.position(cell);
        // An offset beyond the neighbouring cell would be another cell's peak.
        let index = std::array::from_fn(|a| at[a] as f64 + f64::from(self.offset[a][cell]).clamp(-1.0, 1.0));
        let estimated_mm = f64::from(self.log_diameter[cell]).exp().clamp(DIAMETER_RANGE_MM[0], DIAMETER_RANGE_MM[1]);
        let body = bodies.at(cell).map(|(number, body)| (number, body.volume_mm3(geometry)));
        // What is larger than any nodule has run out into its surroundings.
        let body = body.filter(|&(_, volume)| sphere_diameter(volume) <= DIAMETER_RANGE_MM[1]);
        let volume_mm3 = body.map(|(_, volume)| volume);
        let measured_mm = volume_mm3.map(sphere_diameter).filter(|&diameter| diameter >= MEASURED_MM);
        let detection = Detection {
            center_mm_xyz: geometry.world_from_index(index),
            diameter_mm: measured_mm.unwrap_or(estimated_mm),
            confidence: f64::from(self.centre[cell]),
            volume_mm3,
        };
        Mark { detection, reach_mm: MERGE_MM.max(estimated_mm / 2.0), body: body.map(|(number, _)| number) }
    }
}

/// A detection and what is part of it.
struct Mark {
    detection: Detection,
    /// Weaker peaks nearer than this are.
    reach_mm: f64,
    /// Those in this body, too, unless they are further away than a nodule of its volume goes: a vessel can lead from one
    /// nodule to another.
    body: Option<u32>,
}

impl Mark {
    fn is_part_of(&self, stronger: &Self) -> bool {
        let [a, b] = [self.detection.center_mm_xyz, stronger.detection.center_mm_xyz];
        let distance = (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt();
        let same_body = self.body.is_some() && self.body == stronger.body;
        distance < stronger.reach_mm || (same_body && distance < stronger.detection.diameter_mm)
    }
}

#[cfg(test)]
mod tests {
    use imaging::Geometry;

    use super::*;

    fn maps(peaks: &[([usize; 3], f32)]) -> CentreMaps {
        let geometry = Geometry::axis_aligned([12, 12, 12], [2.0; 3], [10.0, 20.0, 30.0]).unwrap();
        let n = geometry.voxel_count();
        let mut maps = CentreMaps {
            centre: vec![0.001; n],
            offset: [vec![0.25; n], vec![0.0; n], vec![-0.5; n]],
            log_diameter: vec![6f32.ln(); n],
            segmentation: SegmentationMaps { geometry, voxels: std::array::from_fn(|_| vec![0.01; n]) },
        };
        for &([z, y, x], p) in peaks {
            maps.centre[(z * 12 + y) * 12 + x] = p;
        }
        maps
    }

    #[test]
    fn a_peak_becomes_a_detection_in_world_millimetres() {
        let [d] = maps(&[([3, 4, 5], 0.8)]).detections()[..] else { panic!() };
        assert_eq!(d.center_mm_xyz, [10.0 + 2.0 * 4.5, 20.0 + 2.0 * 4.0, 30.0 + 2.0 * 3.25]);
        assert!((d.diameter_mm - 6.0).abs() < 1e-5 && (d.confidence - 0.8).abs() < 1e-6);
    }

    #[test]
    fn a_mark_has_the_volume_of_the_body_it_lies_in() {
        let mut maps = maps(&[([3, 4, 5], 0.8), ([9, 9, 9], 0.7)]);
        let cell = |[z, y, x]: [usize; 3]| (z * 12 + y) * 12 + x;
        for (sub, map) in maps.segmentation.voxels.iter_mut().enumerate() {
            // A cell and the upper half of the one below it: 12 voxels of 1 mm³. Another body has no mark.
            map[cell([3, 4, 5])] = 0.9;
            map[cell([2, 4, 5])] = if sub < 4 { 0.1 } else { 0.75 };
            map[cell([6, 6, 6])] = 0.9;
        }
        let volumes: Vec<_> = maps.detections().iter().map(|d| d.volume_mm3).collect();
        assert_eq!(volumes, [Some(12.0), None]);
    }

    /// Maps with these peaks, and a body of so many cells along each axis, z first, from cell (1, 1, 1).
    fn with_body(peaks: &[([usize; 3], f32)], [nz, ny, nx]: [usize; 3]) -> CentreMaps {
        let mut maps = maps(peaks);
        for map in &mut maps.segmentation.voxels {
            for (z, y) in (1..=nz).flat_map(|z| (1..=ny).map(move |y| (z, y))) {
                map[(z * 12 + y) * 12 + 1..][..nx].fill(0.9);
            }
        }
        maps
    }

    /// A block of 8 mm, marked at two corners: one nodule, of the volume's diameter instead of the estimated 6 mm.
    #[test]
    fn peaks_in_one_body_are_one_nodule() {
        let [d] = with_body(&[([1, 1, 1], 0.8), ([3, 4, 4], 0.7)], [4; 3]).detections()[..] else { panic!() };
        assert_eq!(d.volume_mm3, Some(512.0));
        assert!((d.diameter_mm - (512.0 * 6.0 / std::f64::consts::PI).cbrt()).abs() < 1e-9 && d.confidence > 0.75);
    }

    /// Along a vessel of 20 mm that both belong to.
    #[test]
    fn peaks_that_only_a_vessel_joins_are_two() {
        assert_eq!(with_body(&[([1, 1, 1], 0.8), ([1, 1, 10], 0.7)], [1, 1, 10]).detections().len(), 2);
    }

    /// A large body beside a small nodule must not hide it.
    #[test]
    fn a_peak_beside_a_body_is_not_part_of_it() {
        assert_eq!(with_body(&[([3, 3, 3], 0.8), ([3, 3, 6], 0.7)], [5; 3]).detections().len(), 2);
    }

    #[test]
    fn a_body_larger_than_any_nodule_measures_nothing() {
        let geometry = Geometry::axis_aligned([30, 30, 30], [2.0; 3], [0.0; 3]).unwrap();
        let n = geometry.voxel_count();
        let mut centre = vec![0.0; n];
        centre[n / 2] = 0.9;
        let maps = CentreMaps {
            centre,
            offset: std::array::from_fn(|_| vec![0.0; n]),
            log_diameter: vec![8f32.ln(); n],
            // 60 mm along each side: a sphere of 74 mm.
            segmentation: SegmentationMaps { geometry, voxels: std::array::from_fn(|_| vec![0.9; n]) },
        };
        let [d] = maps.detections()[..] else { panic!() };
        assert!(d.volume_mm3.is_none() && (d.diameter_mm - 8.0).abs() < 1e-5);
    }

    #[test]
    fn near_peaks_merge_and_far_ones_stay_in_order_of_confidence() {
        let found = maps(&[([3, 3, 3], 0.4), ([3, 3, 4], 0.5), ([9, 9, 9], 0.9), ([3, 9, 3], 0.01)]).detections();
        let confidences: Vec<_> = found.iter().map(|d| (d.confidence * 10.0).round()).collect();
        assert_eq!(confidences, [9.0, 5.0]);
    }

    #[test]
    fn equal_neighbours_give_one_detection() {
        assert_eq!(maps(&[([3, 3, 3], 0.4), ([3, 3, 4], 0.4)]).detections().len(), 1);
    }
}
