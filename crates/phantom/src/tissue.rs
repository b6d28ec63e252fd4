//! What every compartment looks like in Hounsfield units, before the scanner blurs it.

use crate::anatomy::{Chest, ORGANS, organ};
use crate::field::{Field, Lattice};
use crate::random::{Purpose, Stream};
use crate::raster::Slab;
use crate::vector::Vec3;

/// Textures and densities of one patient.
pub(crate) struct Tissue {
    /// Irregularity of a few millimetres.
    fine: Field,
    /// Irregularity of a centimetre or two.
    broad: Field,
    pub(crate) blood_hu: f32,
    liver_hu: f32,
    bone_hu: f32,
    fine_hu: f32,
    broad_hu: f32,
    table_y: f32,
}

const AIR: f32 = -1000.0;

impl Tissue {
    pub(crate) fn new(seed: u64, index: u64, low: Vec3, high: Vec3, contrast: bool, back: f32) -> Self {
        let mut s = Stream::new(seed, index, Purpose::Texture, 0);
        let field = |step: f32, part: u64| {
            Field::white(Lattice::covering(low, high, step), &mut Stream::new(seed, index, Purpose::Texture, part))
        };
        Self {
            fine: field(2.3, 1),
            broad: field(11.0, 2),
            blood_hu: if contrast { s.range(130.0, 290.0) } else { s.range(34.0, 48.0) },
            liver_hu: if contrast { s.range(75.0, 115.0) } else { s.range(46.0, 66.0) },
            bone_hu: s.range(520.0, 900.0),
            fine_hu: s.range(14.0, 26.0),
            broad_hu: s.range(7.0, 16.0),
            table_y: back + s.range(4.0, 9.0),
        }
    }

    /// HU of the slab without vessels and lesions.
    pub(crate) fn render(&self, chest: &Chest, slab: &Slab) -> Vec<f32> {
        let [nx, ny, nz] = slab.shape;
        let lattice = chest.lung().lattice;
        let cells = |l: &Lattice| -> Vec<(usize, f32)> {
            (0..nx).map(|x| l.cell(0, slab.origin[0] + slab.step[0] * x as f32)).collect()
        };
        let (organ_cells, fine_cells, broad_cells) =
            (cells(&lattice), cells(&self.fine.lattice), cells(&self.broad.lattice));
        let mut rows: [Vec<f32>; ORGANS] = std::array::from_fn(|_| vec![0.0; lattice.shape[0]]);
        let mut fine = vec![0.0; self.fine.lattice.shape[0]];
        let mut broad = vec![0.0; self.broad.lattice.shape[0]];
        let mut out = vec![AIR; nx * ny * nz];
        let w = slab.edge();
        let build = &chest.build;
        for z in 0..nz {
            let pz = slab.origin[2] + slab.step[2] * z as f32;
            for y in 0..ny {
                let py = slab.origin[1] + slab.step[1] * y as f32;
                for (row, field) in rows.iter_mut().zip(&chest.organs) {
                    field.row(py, pz, row);
                }
                self.fine.row(py, pz, &mut fine);
                self.broad.row(py, pz, &mut broad);
                let gravity = build.parenchyma.0 + build.parenchyma.1 * (py / build.scale[1]);
                let line = &mut out[(z * ny + y) * nx..][..nx];
                for (x, hu) in line.iter_mut().enumerate() {
                    let (i, t) = organ_cells[x];
                    let at = |n: usize| rows[n][i] + (rows[n][i + 1] - rows[n][i]) * t;
                    let body = at(organ::BODY);
                    if body > w {
                        *hu = self.outside(slab.origin[0] + slab.step[0] * x as f32, py, build.scale);
                        continue;
                    }
                    let (i, t) = fine_cells[x];
                    let grain = fine[i] + (fine[i + 1] - fine[i]) * t;
                    let (i, t) = broad_cells[x];
                    let patch = broad[i] + (broad[i + 1] - broad[i]) * t;
                    let lung = at(organ::LUNG);
                    let aerated = cover(lung, w);
                    let mut value = 0.0;
                    if aerated < 1.0 {
                        let outside = self.outside(slab.origin[0] + slab.step[0] * x as f32, py, build.scale);
                        value = self.solid(&at, w, grain, patch, outside);
                    }
                    if aerated > 0.0 {
                        let holes = build.emphysema * (patch - 0.4).max(0.0);
                        let mut tissue = gravity + self.fine_hu * grain + self.broad_hu * patch - holes;
                        let side = at(organ::OBLIQUE).abs();
                        let other = if slab.origin[0] + slab.step[0] * (x as f32) < 0.0 && at(organ::OBLIQUE) > 0.0 {
                            at(organ::HORIZONTAL).abs()
                        } else {
                            f32::MAX
                        };
                        // A fissure is two layers of pleura, a third of a millimetre together.
                        tissue += 280.0 * (1.0 - side.min(other) / (0.5 * w + 0.45)).max(0.0) * (0.3 / w).min(0.6);
                        value += (tissue - value) * aerated;
                    }
                    *hu = value;
                }
            }
        }
        out
    }

    /// Everything but the lung. `at` gives the distance to each compartment.
    fn solid(&self, at: &impl Fn(usize) -> f32, w: f32, grain: f32, patch: f32, outside: f32) -> f32 {
        let mix = |from: f32, to: f32, d: f32| from + (to - from) * cover(d, w);
        let body = at(organ::BODY);
        let fat = -104.0 + 5.0 * grain + 4.0 * patch;
        let mut hu = mix(outside, if body > -1.8 { 10.0 } else { fat }, body);
        let muscle = at(organ::MUSCLE);
        if muscle < w {
            // Septa of fat run between the muscles.
            let septum = (1.0 - (patch + 0.25 * grain).abs() * 4.5).max(0.0) * ((-muscle - 1.0) * 0.3).clamp(0.0, 1.0);
            hu = mix(hu, 56.0 + 5.0 * grain - 120.0 * septum, muscle);
        }
        let abdomen = at(organ::ABDOMEN);
        if abdomen < w {
            let lining = if abdomen > -2.2 { 48.0 } else { -100.0 + 8.0 * grain + 30.0 * patch.max(0.8) };
            hu = mix(hu, lining, abdomen);
            hu = mix(hu, self.liver_hu + 4.0 * grain + 5.0 * patch, at(organ::VISCERA));
            hu = mix(hu, -960.0, at(organ::GAS));
        }
        let mediastinum = at(organ::MEDIASTINUM);
        if mediastinum < w {
            // Fat with small nodes and vessels in it; a thin pleura around.
            let node = ((patch + 0.4 * grain - 0.75) * 2.2).clamp(0.0, 1.0);
            let content = if mediastinum > -1.0 { 10.0 } else { -92.0 + 10.0 * grain + 125.0 * node };
            hu = mix(hu, content, mediastinum);
            hu = mix(hu, 42.0 + 4.0 * grain + 0.35 * (self.blood_hu - 40.0), at(organ::HEART));
        }
        hu = mix(hu, self.blood_hu + 3.0 * grain, at(organ::BLOOD));
        hu = mix(hu, 92.0 + 8.0 * grain, at(organ::CARTILAGE));
        let bone = at(organ::BONE);
        if bone < w {
            let marrow = 175.0 + 55.0 * grain + 25.0 * patch;
            let cortex = cover(-bone - 2.2, w + 0.4);
            hu = mix(hu, marrow + (self.bone_hu - marrow) * cortex, bone);
        }
        hu
    }

    /// Air and the patient table.
    fn outside(&self, x: f32, y: f32, patient: Vec3) -> f32 {
        let bend = 0.00075 * x * x / patient[0];
        let top = y - (self.table_y - bend);
        let half_width = 215.0 * patient[0];
        if x.abs() > half_width {
            return AIR;
        }
        let shell = |d: f32, thick: f32| (1.0 - (d.abs() - 0.5 * thick).max(0.0)).clamp(0.0, 1.0);
        let foam = if top > 0.0 && top < 26.0 * patient[1] + 2.0 * bend { 0.045 } else { 0.0 };
        let under = y - (self.table_y + 26.0 * patient[1] + bend);
        let cover = (0.62 * shell(top, 1.0)).max(0.75 * shell(under, 1.4)).max(foam);
        AIR + 1000.0 * cover
    }
}

/// Share of a voxel inside a boundary at signed distance `d`.
fn cover(d: f32, w: f32) -> f32 {
    (0.5 - d / w).clamp(0.0, 1.0)
}
