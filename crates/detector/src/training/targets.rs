//! What the detection network should say about a patch.

use crate::network::DetectionMaps;

/// A nodule in the coordinates of a patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchNodule {
    /// Centre in voxels, `[z, y, x]`; voxel centres are integers.
    pub center_zyx: [f64; 3],
    /// Diameter in voxels (the voxels are 1 mm).
    pub diameter: f64,
}

/// Target maps of one cubic patch. Cells are the network's output cells of 2³ voxels; arrays are `[z, y, x]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Cells along each side.
    pub cells: usize,
    /// Gaussian centre heat-map per cell, 1 exactly at [`Positive::cell`].
    pub centre: Vec<f32>,
    /// 0 where a finding that counts neither way lies, 1 elsewhere; per cell.
    pub centre_weight: Vec<f32>,
    /// Nodule occupancy of each cell's eight voxels, `[8, cells³]` in the order of the segmentation channels.
    pub segmentation: Vec<f32>,
    /// Weight of each of these voxels: 0 in the shell around a nodule's surface and in ignored findings.
    pub segmentation_weight: Vec<f32>,
    /// Cells that hold a nodule's centre.
    pub positives: Vec<Positive>,
}

/// The cell in which a nodule's centre lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Positive {
    /// Flat cell index.
    pub cell: usize,
    /// Centre of the nodule from the centre of the cell, in cells.
    pub offset_zyx: [f32; 3],
    /// ln(diameter / mm).
    pub log_diameter: f32,
}

/// Half thickness of the ignored shell at a nodule's surface, voxels: readers differ by about a voxel there.
const SHELL: f64 = 0.5;
/// Findings that count neither way are ignored to this far beyond their radius, voxels.
const IGNORE_MARGIN: f64 = 2.0;

impl Targets {
    /// Targets of a patch of `side` voxels: σ = clip(d/6, 1, 3) mm for the heat-map, the sphere of the annotated diameter
    /// for the segmentation; voxels of a small nodule weigh ~ V^-1/2 relative to one of 10 mm.
    pub fn new(side: usize, nodules: &[PatchNodule], ignored: &[PatchNodule]) -> Self {
        let cells = side / 2;
        let count = cells * cells * cells;
        let mut targets = Self {
            cells,
            centre: vec![0.0; count],
            centre_weight: vec![1.0; count],
            segmentation: vec![0.0; 8 * count],
            segmentation_weight: vec![1.0; 8 * count],
            positives: Vec::new(),
        };
        for finding in ignored {
            targets.ignore(finding);
        }
        for nodule in nodules {
            targets.add(nodule);
        }
        targets
    }

    fn ignore(&mut self, finding: &PatchNodule) {
        let reach = finding.diameter / 2.0 + IGNORE_MARGIN;
        let count = self.centre.len();
        for (cell, position) in cells_near(self.cells, finding.center_zyx, reach + 2.0) {
            if distance(position, finding.center_zyx) < reach {
                self.centre_weight[cell] = 0.0;
            }
            for (sub, voxel) in sub_voxels(position) {
                if distance(voxel, finding.center_zyx) < reach {
                    self.segmentation_weight[sub * count + cell] = 0.0;
                }
            }
        }
    }

    fn add(&mut self, nodule: &PatchNodule) {
        let PatchNodule { center_zyx, diameter } = *nodule;
        let radius = diameter / 2.0;
        let sigma = (diameter / 6.0).clamp(1.0, 3.0);
        let volume_ratio = (diameter / 10.0).powi(3);
        let voxel_weight = (1.0 / volume_ratio.sqrt()).clamp(0.25, 8.0) as f32;
        let count = self.centre.len();
        for (cell, position) in cells_near(self.cells, center_zyx, (4.0 * sigma).max(radius + 3.0)) {
            let r = distance(position, center_zyx);
            let heat = (-r * r / (2.0 * sigma * sigma)).exp() as f32;
            self.centre[cell] = self.centre[cell].max(heat.min(0.99));
            for (sub, voxel) in sub_voxels(position) {
                let depth = radius - distance(voxel, center_zyx);
                if depth <= -SHELL {
                    continue;
                }
                let i = sub * count + cell;
                self.segmentation[i] = self.segmentation[i].max((depth + 0.5).clamp(0.0, 1.0) as f32);
                self.segmentation_weight[i] = if depth < SHELL { 0.0 } else { voxel_weight };
            }
        }
        // The centre's own cell, when the centre lies in the patch.
        let at = center_zyx.map(|c| ((c + 0.5) / 2.0).floor());
        if at.iter().all(|&a| a >= 0.0 && a < self.cells as f64) {
            let [z, y, x] = at.map(|a| a as usize);
            let cell = (z * self.cells + y) * self.cells + x;
            let offset_zyx = std::array::from_fn(|i| ((center_zyx[i] - (2.0 * at[i] + 0.5)) / 2.0) as f32);
            self.centre[cell] = 1.0;
            self.centre_weight[cell] = 1.0;
            self.positives.push(Positive { cell, offset_zyx, log_diameter: diameter.ln() as f32 });
        }
    }
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
}

/// Flat index and centre (in voxels) of every cell within a box of half side `reach` voxels.
fn cells_near(cells: usize, center_zyx: [f64; 3], reach: f64) -> impl Iterator<Item = (usize, [f64; 3])> {
    let range = move |c: f64| {
        let low = ((c - reach) / 2.0).floor().max(0.0) as usize;
        let high = (((c + reach) / 2.0).ceil().max(-1.0) + 1.0) as usize;
        low..high.min(cells)
    };
    let [rz, ry, rx] = center_zyx.map(range);
    rz.flat_map(move |z| {
        let rx = rx.clone();
        ry.clone().flat_map(move |y| {
            rx.clone().map(move |x| {
                let index = (z * cells + y) * cells + x;
                (index, [z, y, x].map(|i| 2.0 * i as f64 + 0.5))
            })
        })
    })
}

/// The eight voxels of a cell, in the order of the segmentation channels.
fn sub_voxels(cell_center: [f64; 3]) -> impl Iterator<Item = (usize, [f64; 3])> {
    let channels = DetectionMaps::CHANNELS - DetectionMaps::SEGMENTATION;
    (0..channels).map(move |sub| {
        let shift = |bit: usize| if sub >> bit & 1 == 1 { 0.5 } else { -0.5 };
        (sub, [cell_center[0] + shift(2), cell_center[1] + shift(1), cell_center[2] + shift(0)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodule_marks_its_cell_its_offset_and_its_volume() {
        let nodule = PatchNodule { center_zyx: [15.2, 14.0, 17.7], diameter: 12.0 };
        let t = Targets::new(32, &[nodule], &[]);
        let [p] = t.positives[..] else { panic!("one positive, got {:?}", t.positives) };
        // Cell (7, 7, 9): its centre is voxel (14.5, 14.5, 18.5).
        assert_eq!(p.cell, (7 * 16 + 7) * 16 + 9);
        let back: [f64; 3] = std::array::from_fn(|i| [14.5, 14.5, 18.5][i] + 2.0 * f64::from(p.offset_zyx[i]));
        assert!(distance(back, nodule.center_zyx) < 1e-5);
        assert_eq!(t.centre.iter().filter(|&&c| c == 1.0).count(), 1);
        let volume: f32 = t.segmentation.iter().sum();
        let sphere = std::f32::consts::PI / 6.0 * 12f32.powi(3);
        assert!((volume / sphere - 1.0).abs() < 0.02, "{volume} voxels for a sphere of {sphere}");
    }

    #[test]
    fn an_ignored_finding_has_no_weight_but_does_not_silence_a_nodule_in_it() {
        let finding = PatchNodule { center_zyx: [16.0; 3], diameter: 8.0 };
        let alone = Targets::new(32, &[], &[finding]);
        assert!(alone.centre_weight.contains(&0.0) && alone.segmentation_weight.contains(&0.0));
        assert!(alone.positives.is_empty() && alone.centre.iter().all(|&c| c == 0.0));
        let both = Targets::new(32, &[finding], &[finding]);
        assert_eq!(both.centre_weight[both.positives[0].cell], 1.0);
    }

    #[test]
    fn nodules_outside_the_patch_add_no_positive_and_do_not_panic() {
        for c in [-40.0, -1.0, 32.5, 90.0] {
            let t = Targets::new(32, &[PatchNodule { center_zyx: [c, 16.0, 16.0], diameter: 20.0 }], &[]);
            assert!(t.positives.is_empty());
        }
    }
}
