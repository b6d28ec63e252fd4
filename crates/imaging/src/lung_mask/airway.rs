//! The trachea and the main bronchi, followed slice by slice from the top until they enter a lung.

use super::grid::{Mask, Parts};
use crate::VoxelBox;

/// Cross-section of a trachea or of both main bronchi together, mm²: normal tracheas have 100 to 400.
const AREA_MM2: std::ops::RangeInclusive<f64> = 50.0..=1000.0;
/// A tip of a lung also looks like a trachea, but not for so long.
const LEAST_LENGTH_MM: f64 = 30.0;
/// A branch whose cross-section grows by more than this factor from one slice to the next has entered a lung.
const LARGEST_GROWTH: f64 = 2.5;

/// Removes the airways from the air inside of the body. `body` bounds the body, voxels have `spacing_mm`.
pub(super) fn remove(air: &mut Mask, body: &VoxelBox, spacing_mm: f64) {
    let [nz, ny, nx] = air.shape_zyx;
    let planes = air.parts(true);
    let Some(bounds) = air.bounds() else { return };
    let middle = (bounds.start_zyx[0] + bounds.end_zyx[0]) / 2;
    let tracker = Tracker { parts: &planes, plane: ny * nx, voxel_mm2: spacing_mm * spacing_mm };
    // From the top, where the trachea is alone; below the middle of the lungs there is none.
    for z in (middle..nz).rev() {
        for start in tracker.candidates(z, nx, body) {
            let airway = tracker.follow(z, start);
            let length_mm = airway.len() as f64 * spacing_mm;
            if length_mm >= LEAST_LENGTH_MM {
                for (slice, branches) in airway {
                    for at in slice * ny * nx..(slice + 1) * ny * nx {
                        air.set[at] &= !branches.contains(&planes.label[at]);
                    }
                }
                return;
            }
        }
    }
}

struct Tracker<'a> {
    parts: &'a Parts,
    plane: usize,
    voxel_mm2: f64,
}

impl Tracker<'_> {
    fn area_mm2(&self, part: u32) -> f64 {
        self.parts.size[part as usize] as f64 * self.voxel_mm2
    }

    fn slice(&self, z: usize) -> &[u32] {
        &self.parts.label[z * self.plane..(z + 1) * self.plane]
    }

    /// Parts of a slice that can be a trachea: of its size, about round, in the middle third of the body; the one
    /// nearest to the midline first.
    fn candidates(&self, z: usize, nx: usize, body: &VoxelBox) -> Vec<u32> {
        let mut seen: Vec<(u32, [usize; 4])> = Vec::new();
        for (at, &part) in self.slice(z).iter().enumerate() {
            if part == 0 || !AREA_MM2.contains(&self.area_mm2(part)) {
                continue;
            }
            let (y, x) = (at / nx, at % nx);
            match seen.iter_mut().find(|(known, _)| *known == part) {
                Some((_, [y0, y1, x0, x1])) => {
                    (*y0, *y1, *x0, *x1) = ((*y0).min(y), (*y1).max(y), (*x0).min(x), (*x1).max(x))
                }
                None => seen.push((part, [y, y, x, x])),
            }
        }
        let midline = (body.start_zyx[2] + body.end_zyx[2]) as f64 / 2.0;
        let third = (body.end_zyx[2] - body.start_zyx[2]) as f64 / 6.0;
        let from_midline = |[_, _, x0, x1]: &[usize; 4]| ((x0 + x1 + 1) as f64 / 2.0 - midline).abs();
        seen.retain(|(part, bounds)| {
            let [y0, y1, x0, x1] = *bounds;
            let (height, width) = ((y1 - y0 + 1) as f64, (x1 - x0 + 1) as f64);
            let filled = self.parts.size[*part as usize] as f64 / (height * width);
            from_midline(bounds) < third && filled > 0.5 && height.max(width) / height.min(width) < 2.5
        });
        seen.sort_by(|(_, a), (_, b)| from_midline(a).total_cmp(&from_midline(b)));
        seen.into_iter().map(|(part, _)| part).collect()
    }

    /// The branches in each slice from `z` down.
    fn follow(&self, z: usize, start: u32) -> Vec<(usize, Vec<u32>)> {
        let mut airway = vec![(z, vec![start])];
        for below in (0..z).rev() {
            let Some((_, branches)) = airway.last() else { break };
            let mut next: Vec<u32> = Vec::new();
            for (&above, &part) in self.slice(below + 1).iter().zip(self.slice(below)) {
                if part != 0 && branches.contains(&above) && !next.contains(&part) {
                    next.push(part);
                }
            }
            let area: f64 = branches.iter().map(|&branch| self.area_mm2(branch)).sum();
            next.retain(|&part| self.area_mm2(part) <= (area * LARGEST_GROWTH).min(*AREA_MM2.end()));
            if next.is_empty() {
                break;
            }
            airway.push((below, next));
        }
        airway
    }
}
