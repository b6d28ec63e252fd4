//! From bodies to voxels: partial volume by distance on the fine grid (before slices are averaged).

use crate::anatomy::Chest;
use crate::lesion::Lesion;
use crate::shapes::Capsule;
use crate::vector::Vec3;

/// A stack of fine slices in patient millimetres.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slab {
    /// Centre of voxel `[0, 0, 0]`.
    pub(crate) origin: Vec3,
    pub(crate) step: Vec3,
    /// Voxels along x, y, z.
    pub(crate) shape: [usize; 3],
}

impl Slab {
    /// Width over which a boundary changes from outside to inside: about a voxel.
    pub(crate) fn edge(&self) -> f32 {
        (self.step[0] + self.step[0] + self.step[2]) / 3.0
    }

    /// Voxels whose centres lie in `low..=high`, along one axis.
    fn range(&self, axis: usize, low: f32, high: f32) -> std::ops::Range<usize> {
        let n = self.shape[axis] as f32;
        let first = ((low - self.origin[axis]) / self.step[axis]).ceil().clamp(0.0, n);
        let last = ((high - self.origin[axis]) / self.step[axis]).floor().clamp(-1.0, n - 1.0);
        first as usize..(last + 1.0) as usize
    }

    /// Calls `f(offset, position)` for every voxel in the box `low..=high`.
    fn each(&self, low: Vec3, high: Vec3, mut f: impl FnMut(usize, Vec3)) {
        let (rx, ry, rz) =
            (self.range(0, low[0], high[0]), self.range(1, low[1], high[1]), self.range(2, low[2], high[2]));
        for z in rz {
            let pz = self.origin[2] + self.step[2] * z as f32;
            for y in ry.clone() {
                let py = self.origin[1] + self.step[1] * y as f32;
                let row = (z * self.shape[1] + y) * self.shape[0];
                for x in rx.clone() {
                    f(row + x, [self.origin[0] + self.step[0] * x as f32, py, pz]);
                }
            }
        }
    }

    /// Raises `cover` to the share of each voxel that the capsule fills, its radius widened by `grow`.
    ///
    /// The profile is linear over an edge of width w; its area, π(r² + w²/12), is scaled to πr², so that a vessel
    /// thinner than a voxel keeps its mass.
    pub(crate) fn cover(&self, cover: &mut [f32], capsule: &Capsule, grow: f32) {
        let w = self.edge();
        let reach = (capsule.max_radius() + grow).max(0.5 * w) + 0.5 * w;
        let low = std::array::from_fn(|i| capsule.a[i].min(capsule.b[i]) - reach);
        let high = std::array::from_fn(|i| capsule.a[i].max(capsule.b[i]) + reach);
        self.each(low, high, |o, p| {
            let (d, r) = capsule.axis_distance(p);
            let r = r + grow;
            let drawn = r.max(0.5 * w);
            let share = (0.5 - (d - drawn) / w).clamp(0.0, 1.0);
            if share > 0.0 {
                let mass = if r < w { r * r / (drawn * drawn + w * w / 12.0) } else { 1.0 };
                cover[o] = cover[o].max(share * mass.min(1.0));
            }
        });
    }

    /// Paints a lesion and its strands over `hu`.
    pub(crate) fn paint(&self, hu: &mut [f32], lesion: &Lesion, chest: &Chest) {
        // A lesion may reach a little into the wall, so that no dark seam is left between them.
        let overlap = 1.2;
        let within =
            |p: Vec3| if lesion.within_lung { (0.5 - (chest.lung().sample(p) - overlap)).clamp(0.0, 1.0) } else { 1.0 };
        let reach = lesion.reach() + self.edge();
        let low = lesion.centre.map(|c| c - reach);
        let high = lesion.centre.map(|c| c + reach);
        let width = lesion.softness.max(self.edge());
        self.each(low, high, |o, p| {
            for layer in &lesion.layers {
                let share = (0.5 - lesion.distance(p, layer.size) / width).clamp(0.0, 1.0);
                if share <= 0.0 {
                    continue;
                }
                let mixed = hu[o] + (layer.hu - hu[o]) * share * within(p);
                hu[o] = if layer.brightens { hu[o].max(mixed) } else { hu[o].min(mixed) };
            }
        });
        for strand in lesion.strands() {
            self.strand(hu, &strand, lesion.layers[0].hu, chest);
        }
    }

    /// Paints a thin line within the lung.
    pub(crate) fn strand(&self, hu: &mut [f32], capsule: &Capsule, tissue: f32, chest: &Chest) {
        let w = self.edge();
        let reach = capsule.max_radius().max(0.5 * w) + 0.5 * w;
        let low = std::array::from_fn(|i| capsule.a[i].min(capsule.b[i]) - reach);
        let high = std::array::from_fn(|i| capsule.a[i].max(capsule.b[i]) + reach);
        self.each(low, high, |o, p| {
            let (d, r) = capsule.axis_distance(p);
            let drawn = r.max(0.5 * w);
            let share = (0.5 - (d - drawn) / w).clamp(0.0, 1.0);
            if share > 0.0 && chest.lung().sample(p) < 1.0 {
                let mass = (r * r / (drawn * drawn + w * w / 12.0)).min(1.0);
                hu[o] = hu[o].max(hu[o] + (tissue - hu[o]) * share * mass);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vessel keeps its mass, π r² l, whether it is thinner or thicker than a voxel.
    #[test]
    fn capsules_keep_their_mass() {
        let slab = Slab { origin: [-10.0, -10.0, -20.0], step: [0.7, 0.7, 0.8], shape: [30, 30, 51] };
        for r in [0.15f32, 0.3, 0.6, 1.2, 3.0] {
            let capsule = Capsule { a: [0.13, -0.21, -30.0], b: [0.4, 0.33, 30.0], r0: r, r1: r };
            let mut cover = vec![0.0; 30 * 30 * 51];
            slab.cover(&mut cover, &capsule, 0.0);
            let mass: f32 = cover.iter().sum::<f32>() * 0.7 * 0.7 * 0.8;
            let expected = std::f32::consts::PI * r * r * 51.0 * 0.8;
            // Sampling the linear edge on voxel centres: a few percent.
            assert!((mass / expected - 1.0).abs() < 0.06, "radius {r}: {mass} instead of {expected}");
        }
    }
}
