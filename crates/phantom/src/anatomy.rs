//! The chest as signed distances: body wall, rib cage, mediastinum, heart, great vessels, diaphragm, lungs and
//! fissures. Everything is written for an adult of about 340 × 230 mm in body coordinates (x to the left, y to the
//! back, z to the head, the origin in the middle of the thorax) and scaled to the patient.

use crate::field::{Field, Lattice};
use crate::random::{Purpose, Stream};
use crate::shapes::{Capsule, ellipse, ellipsoid, rounded_box, smooth_max, smooth_min, smooth_step, superellipse};
use crate::vector::Vec3;

/// Compartments whose distances are tabulated, in the order of [`Chest::organs`].
pub(crate) const ORGANS: usize = 13;

/// Positions in [`Chest::organs`].
pub(crate) mod organ {
    pub(crate) const BODY: usize = 0;
    pub(crate) const MUSCLE: usize = 1;
    pub(crate) const ABDOMEN: usize = 2;
    pub(crate) const VISCERA: usize = 3;
    pub(crate) const MEDIASTINUM: usize = 4;
    pub(crate) const HEART: usize = 5;
    pub(crate) const BLOOD: usize = 6;
    pub(crate) const BONE: usize = 7;
    pub(crate) const LUNG: usize = 8;
    pub(crate) const GAS: usize = 9;
    pub(crate) const CARTILAGE: usize = 10;
    /// Not a body: the signed distance to the oblique fissure, positive above it.
    pub(crate) const OBLIQUE: usize = 11;
    /// Likewise for the right lung's horizontal fissure.
    pub(crate) const HORIZONTAL: usize = 12;
}

/// What differs from patient to patient, besides size.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Millimetres of this patient per millimetre of the model, along x, y, z.
    pub(crate) scale: Vec3,
    fat: f32,
    muscle: f32,
    heart: f32,
    dome_right: f32,
    dome_left: f32,
    rib_shift: f32,
    rib_slope: f32,
    aorta: f32,
    apex_tilt: f32,
    spine_bend: f32,
    arms: f32,
    /// HU of lung tissue half way between front and back, and the rise per model millimetre towards the back.
    pub(crate) parenchyma: (f32, f32),
    pub(crate) emphysema: f32,
}

impl Build {
    pub(crate) fn draw(seed: u64, index: u64, scale: Vec3) -> Self {
        let mut s = Stream::new(seed, index, Purpose::Anatomy, 0);
        Self {
            scale,
            fat: s.range(6.0, 26.0),
            muscle: s.range(0.75, 1.25),
            heart: s.range(0.9, 1.12),
            dome_right: s.range(-52.0, -32.0),
            dome_left: s.range(-62.0, -44.0),
            rib_shift: s.range(-12.0, 12.0),
            rib_slope: s.range(95.0, 125.0),
            aorta: s.range(0.9, 1.2),
            apex_tilt: s.range(-6.0, 8.0),
            spine_bend: s.range(-5.0, 5.0),
            arms: s.range(0.2, 1.0),
            parenchyma: (s.range(-888.0, -835.0), s.range(0.1, 0.42)),
            emphysema: if s.chance(0.25) { s.range(20.0, 70.0) } else { 0.0 },
        }
    }

    /// Mean scale: turns model distances into millimetres.
    pub(crate) fn mean_scale(&self) -> f32 {
        libm::cbrtf(self.scale[0] * self.scale[1] * self.scale[2])
    }

    /// Patient millimetres to model coordinates.
    pub(crate) fn model(&self, p: Vec3) -> Vec3 {
        std::array::from_fn(|i| p[i] / self.scale[i])
    }

    /// Model coordinates to patient millimetres.
    pub(crate) fn patient(&self, p: Vec3) -> Vec3 {
        std::array::from_fn(|i| p[i] * self.scale[i])
    }

    /// The inside of the rib cage without the organs.
    fn cage(&self, p: Vec3) -> f32 {
        let [x, y, z] = p;
        let ax = x.abs();
        let u = ((z + 20.0) / 154.0).clamp(0.0, 1.0);
        let u2 = u * u;
        let centre = 50.0 * smooth_step(10.0, 134.0, z);
        let round = (1.0 - u2).max(0.0).sqrt();
        let profile = round * round.sqrt();
        let low = smooth_step(-20.0, -110.0, z);
        // Wider behind than in front.
        let front = 1.0 - 0.13 * smooth_step(0.0, -95.0, y);
        let a = ((133.0 + 5.0 * low) * front - centre) * profile + 1.0;
        let b = 96.0 * (1.0 - u2 * u).max(0.006).sqrt() + 3.0 * low;
        // The spine indents the cage from behind; the apices lean backwards.
        let dent = 17.0 / (1.0 + (x / 34.0) * (x / 34.0)) * smooth_step(0.0, 70.0, y);
        let shift = (10.0 + self.apex_tilt) * u2 - 2.0;
        superellipse((ax - centre).max(-a), y - shift + dent, a, b, 0.28).max(z - 134.0)
    }

    /// Height of the diaphragm and its slope.
    fn diaphragm(&self, p: Vec3) -> f32 {
        let [x, y, z] = p;
        let dome = |top: f32, cx: f32, cy: f32, a: f32, b: f32, drop: f32| {
            let (u, v) = ((x - cx) / a, (y - cy) / b);
            let rho2 = u * u + v * v;
            let height = top - drop * rho2 * (0.72 + 0.28 * rho2);
            let slope = drop * 2.0 * rho2.sqrt() * (0.72 + 0.56 * rho2) / a.min(b) * 0.9;
            (z - height) / (1.0 + slope * slope).sqrt()
        };
        let right = dome(self.dome_right, -66.0, -12.0, 78.0, 108.0, 74.0);
        let left = dome(self.dome_left, 66.0, -8.0, 78.0, 106.0, 66.0);
        smooth_min(right, left, 12.0)
    }

    fn heart_shapes(&self, p: Vec3) -> (f32, f32) {
        let h = self.heart;
        // The long axis points to the left, forwards and down: rotate about z by about 40 degrees.
        let (c, s) = (0.77, 0.64);
        let q = [p[0] - 22.0, p[1] + 40.0, p[2] + 40.0];
        let r = [c * q[0] - s * q[1], s * q[0] + c * q[1], q[2]];
        let ventricles = ellipsoid(r, [4.0, 0.0, -4.0], [60.0 * h, 43.0 * h, 46.0 * h]);
        let atrium_right = ellipsoid(p, [-20.0, -26.0, -28.0], [27.0 * h, 32.0 * h, 34.0 * h]);
        let atrium_left = ellipsoid(p, [4.0, 10.0, -16.0], [38.0 * h, 22.0, 23.0]);
        let muscle = smooth_min(smooth_min(ventricles, atrium_right, 14.0), atrium_left, 8.0);
        // Trabeculae and papillary muscles make the chambers' walls uneven.
        let uneven = 2.4 * libm::sinf(0.19 * p[0] + 0.11 * p[2]) * libm::sinf(0.23 * p[1]) * libm::cosf(0.17 * p[2]);
        let left_chamber = ellipsoid(r, [8.0, 11.0, -2.0], [42.0 * h, 19.0 * h, 27.0 * h]);
        let right_chamber = ellipsoid(r, [-6.0, -24.0, -9.0], [40.0 * h, 14.0 * h, 27.0 * h]).max(-left_chamber + 8.0);
        let chambers = (left_chamber.min(right_chamber) + uneven).min(atrium_right + 3.0).min(atrium_left + 2.0);
        (muscle, chambers)
    }

    /// Aorta with its branches, caval veins and the large pulmonary vessels.
    fn great_vessels(&self, p: Vec3) -> f32 {
        let a = self.aorta;
        let tube = |from: Vec3, to: Vec3, r0: f32, r1: f32| Capsule { a: from, b: to, r0, r1 }.distance(p);
        let aorta = tube([2.0, -20.0, -22.0], [-9.0, -28.0, 18.0], 14.0 * a, 15.5 * a)
            .min(tube([-9.0, -28.0, 18.0], [-4.0, -20.0, 46.0], 15.5 * a, 14.5 * a))
            .min(tube([-4.0, -20.0, 46.0], [10.0, 2.0, 58.0], 14.5 * a, 13.5 * a))
            .min(tube([10.0, 2.0, 58.0], [22.0, 30.0, 48.0], 13.5 * a, 12.5 * a))
            .min(tube([22.0, 30.0, 48.0], [25.0, 42.0, 20.0], 12.5 * a, 12.0 * a))
            .min(tube([25.0, 42.0, 20.0], [21.0, 44.0, -60.0], 12.0 * a, 11.5 * a))
            .min(tube([21.0, 44.0, -60.0], [8.0, 36.0, -160.0], 11.5 * a, 10.0 * a));
        let branches = tube([-4.0, -14.0, 54.0], [-13.0, -14.0, 96.0], 6.5, 6.0)
            .min(tube([-13.0, -14.0, 96.0], [-14.0, -18.0, 150.0], 5.5, 5.0))
            .min(tube([6.0, -4.0, 60.0], [8.0, -9.0, 150.0], 4.2, 4.0))
            .min(tube([16.0, 8.0, 60.0], [15.0, 4.0, 108.0], 5.0, 4.5))
            .min(tube([15.0, 4.0, 108.0], [16.0, -2.0, 150.0], 4.5, 4.2));
        let cava = tube([-27.0, -24.0, -10.0], [-26.0, -22.0, 62.0], 9.5, 8.5)
            .min(tube([-26.0, -22.0, 62.0], [-16.0, -28.0, 112.0], 7.0, 6.0))
            .min(tube([-24.0, -24.0, 68.0], [12.0, -34.0, 94.0], 6.0, 5.0))
            .min(tube([-22.0, -4.0, -40.0], [-24.0, 6.0, -160.0], 11.5, 12.5));
        let pulmonary = tube([18.0, -44.0, -6.0], [20.0, -22.0, 24.0], 13.5, 13.5)
            .min(tube([20.0, -22.0, 24.0], [36.0, 4.0, 26.0], 11.5, 9.5))
            .min(tube([16.0, -16.0, 20.0], [-20.0, -6.0, 16.0], 11.0, 10.0))
            .min(tube([-20.0, -6.0, 16.0], [-36.0, 0.0, 12.0], 10.0, 8.5));
        let veins = tube([20.0, 12.0, -14.0], [36.0, 12.0, -18.0], 7.5, 6.5).min(tube(
            [-16.0, 12.0, -16.0],
            [-34.0, 13.0, -20.0],
            7.5,
            6.5,
        ));
        aorta.min(branches).min(cava).min(pulmonary).min(veins)
    }

    fn spine(&self, p: Vec3) -> (f32, f32) {
        let [x, y, z] = p;
        let x = x - self.spine_bend * smooth_step(-100.0, 0.0, z) * smooth_step(110.0, 10.0, z);
        // Kyphosis: the thoracic spine curves backwards in its middle.
        let bend = 0.0009 * (z - 10.0) * (z - 10.0);
        let y = y + bend;
        let period = 24.0;
        let k = ((z + self.rib_shift) / period).round();
        let zl = z + self.rib_shift - k * period;
        // The vertebral body is waisted and flat behind.
        let waist = 1.4 * (1.0 - (zl / 11.0) * (zl / 11.0)).max(0.0);
        let body = smooth_max(ellipse(x, y - 62.0, 18.5 - waist, 16.5 - waist), y - 75.0, 3.0);
        let vertebra = smooth_max(body, zl.abs() - 10.0, 1.5);
        let disc = (body + 1.0).max(zl.abs() - 12.5);
        let tube =
            |from: Vec3, to: Vec3, r0: f32, r1: f32| Capsule { a: from, b: to, r0, r1 }.distance([x.abs(), y, zl]);
        let arch = tube([11.0, 72.0, 2.0], [14.0, 86.0, 0.0], 3.6, 4.0)
            .min(tube([14.0, 86.0, 0.0], [3.0, 96.0, -4.0], 3.4, 3.4))
            .min(tube([14.0, 86.0, 0.0], [33.0, 95.0, 2.0], 4.2, 4.4))
            .min(tube([0.0, 96.0, -3.0], [0.0, 118.0, -11.0], 3.0, 3.4));
        let canal = ellipse(x, y - 84.0, 8.5, 7.5);
        (vertebra.min(arch).max(-canal), disc)
    }

    /// Ribs (first value) and their cartilages (second), on the surface of the cage.
    fn ribs(&self, p: Vec3, cage: f32) -> (f32, f32) {
        if !(-8.0..16.0).contains(&cage) {
            return (20.0, 20.0);
        }
        let [x, y, z] = p;
        // 0 at the spine, 1 at the sternum.
        let turn = libm::atan2f(x.abs(), y - 8.0) / std::f32::consts::PI;
        let fall = self.rib_slope * (turn * 1.7 - 0.75 * turn * turn) - 26.0 * smooth_step(0.72, 1.0, turn);
        let period = 24.0;
        let k = ((z + fall + self.rib_shift) / period).round();
        let zl = z + fall + self.rib_shift - k * period;
        let from_top = 5.0 - k;
        let end = if from_top > 10.5 { 0.45 } else { 0.74 };
        let thick = if from_top < 0.5 { 2.6 } else { 3.4 };
        let (u, v) = (cage - 5.2, zl * 0.86);
        // Ribs are flat towards the lung, high along the wall.
        let section = ellipse(u, v, thick, 6.6);
        let end_distance = (turn - end) * 170.0;
        let rib = if turn < 0.09 { 20.0 } else { smooth_max(section, end_distance, 2.0) };
        let gristle = if from_top > 6.5 && from_top < 10.5 { 0.86 } else { 0.97 };
        let cartilage = section.max(-end_distance).max((turn - gristle) * 170.0);
        (rib, cartilage)
    }

    fn shoulder_girdle(&self, p: Vec3) -> (f32, f32) {
        let [x, y, z] = p;
        let ax = x.abs();
        // The scapula: a thin curved plate behind the upper ribs.
        let (c, s) = (0.80, 0.60);
        let q = [ax - 103.0, y - 68.0 + 0.06 * (z - 60.0), z - 62.0];
        let flat = [c * q[0] + s * q[1], -s * q[0] + c * q[1] + 0.004 * q[0] * q[0], q[2]];
        let blade = ellipsoid(flat, [0.0; 3], [36.0, 3.6, 56.0]);
        let ridge = Capsule { a: [84.0, 84.0, 92.0], b: [132.0, 62.0, 118.0], r0: 3.5, r1: 6.0 }.distance([ax, y, z]);
        let glenoid = ellipsoid([ax, y, z], [130.0, 42.0, 116.0], [9.0, 13.0, 16.0]);
        let humerus = ellipsoid([ax, y, z], [156.0, 30.0, 128.0], [20.0, 20.0, 26.0]);
        let clavicle = Capsule { a: [16.0, -62.0, 108.0], b: [70.0, -46.0, 128.0], r0: 6.5, r1: 5.0 }
            .distance([ax, y, z])
            .min(Capsule { a: [70.0, -46.0, 128.0], b: [132.0, -2.0, 142.0], r0: 5.0, r1: 6.0 }.distance([ax, y, z]));
        let muscle = ellipsoid(flat, [2.0, -1.0, 4.0], [46.0, 17.0 * self.muscle, 66.0])
            .min(ellipsoid([ax, y, z], [140.0, 28.0, 126.0], [36.0, 38.0, 52.0]))
            .min(ellipsoid([ax, y, z], [84.0, -74.0, 72.0], [52.0, 15.0 * self.muscle, 46.0]))
            .min(ellipsoid([ax, y, z], [126.0, -24.0, 84.0], [16.0, 44.0, 40.0]));
        (blade.min(ridge).min(glenoid).min(humerus).min(clavicle), muscle)
    }

    /// All compartments at a model point, model millimetres.
    fn organs(&self, p: Vec3) -> [f32; ORGANS] {
        let [x, y, z] = p;
        let shoulders = smooth_step(20.0, 125.0, z) * self.arms;
        let a = 150.0 + self.fat * 0.7 + 26.0 * shoulders;
        let b = 112.0 + self.fat * 0.55 - 20.0 * smooth_step(40.0, 145.0, z);
        let trunk = superellipse(x, y - 4.0, a, b, 0.22);
        if trunk > 12.0 {
            return [trunk; ORGANS];
        }
        let cage = self.cage(p);
        let body = smooth_min(trunk, cage - 19.0 - self.fat * 0.5, 14.0);

        let (shoulder_bone, shoulder_muscle) = self.shoulder_girdle(p);
        let (vertebra, disc) = self.spine(p);
        let erector = ellipse(x.abs() - 27.0, y - 99.0 + 0.0009 * z * z, 24.0, 13.0 * self.muscle);
        let neck = ellipsoid(p, [0.0, 24.0, 150.0], [58.0, 50.0, 40.0]);
        let lateral = 11.0 + 7.0 * self.muscle * smooth_step(40.0, 120.0, x.abs()) * smooth_step(-120.0, 0.0, z);
        let wall = smooth_min(cage - lateral, shoulder_muscle, 5.0);
        let muscle = smooth_min(smooth_min(wall, erector, 4.0), neck, 8.0).max(body + 2.5);

        let diaphragm = self.diaphragm(p);
        let abdomen = diaphragm.max(cage + 1.0);
        let liver = smooth_max(diaphragm + 3.0, ellipsoid(p, [-52.0, -8.0, -112.0], [96.0, 92.0, 84.0]), 6.0);
        let left_lobe = smooth_max(diaphragm + 3.0, ellipsoid(p, [18.0, -50.0, -98.0], [58.0, 34.0, 46.0]), 6.0);
        let spleen = smooth_max(diaphragm + 3.0, ellipsoid(p, [88.0, 48.0, -112.0], [34.0, 42.0, 44.0]), 4.0);
        let stomach = smooth_max(diaphragm + 4.0, ellipsoid(p, [62.0, -12.0, -102.0], [42.0, 48.0, 40.0]), 5.0);
        let viscera = liver.min(left_lobe).min(spleen).min(stomach).max(cage + 3.0);
        let gas = (stomach + 4.0).max(y + 32.0);

        let (heart, chambers) = self.heart_shapes(p);
        let vessels = self.great_vessels(p);
        let hilum = ellipsoid([x.abs(), y, z], [35.0, 8.0, 2.0], [11.0, 17.0, 24.0]);
        // Narrow in front and behind, widest at the great vessels.
        let width = 31.0 - 14.0 * smooth_step(30.0, 110.0, z) - 6.0 * smooth_step(0.0, -70.0, z);
        let narrow = 0.86 - 0.34 * smooth_step(10.0, -50.0, z);
        let waist = (1.0 - narrow * smooth_step(14.0, 74.0, -y - 8.0)) * (1.0 - 0.35 * smooth_step(20.0, 60.0, y));
        let middle = (x.abs() - width * waist).max(-y - 110.0) * 0.9;
        let core = smooth_min(middle, hilum + 4.0, 12.0).max(-6.0 - diaphragm);
        let mediastinum = smooth_min(smooth_min(core, heart - 4.0, 10.0), vessels - 2.5, 6.0).max(cage - 1.0);
        let oesophagus = ellipse(x - 6.0, y - 40.0, 8.0, 6.0);
        let spine_bed = smooth_min(vertebra, disc, 3.0) - 4.0;

        let mut lung = smooth_max(cage, -mediastinum, 5.0);
        lung = smooth_max(lung, -diaphragm, 2.0);
        lung = smooth_max(lung, -spine_bed, 6.0);

        let (rib, cartilage) = self.ribs(p, cage);
        let front = Capsule { a: [0.0, -92.0, -60.0], b: [0.0, -70.0, 100.0], r0: 0.0, r1: 0.0 };
        let breastbone = {
            let t = ((z + 60.0) / 160.0).clamp(0.0, 1.0);
            let centre_y = front.a[1] + (front.b[1] - front.a[1]) * t * t - 11.0;
            let half = 13.0 + 9.0 * smooth_step(60.0, 95.0, z);
            rounded_box([x, y - centre_y, z], [0.0, 0.0, 18.0], [half, 5.6, 84.0], 4.0)
        };
        // From high behind to low in front, slightly domed.
        let side = x.abs() - 70.0;
        let oblique = (z - (18.0 + 0.95 * (y - 12.0)) + 0.0022 * side * side - 3.0) * 0.72;
        let horizontal = z - (6.0 + 0.22 * (y + 40.0)) + 0.0035 * side * side;

        let bone = vertebra.min(rib).min(breastbone).min(shoulder_bone).max(body + 4.0);
        let blood = vessels.min(chambers);
        let soft = heart.min(oesophagus.max(z - 130.0)).min(vessels - 1.2);
        [
            body,
            muscle,
            abdomen,
            viscera,
            mediastinum,
            soft,
            blood,
            bone,
            lung,
            gas,
            cartilage.min(disc),
            oblique,
            horizontal,
        ]
    }
}

/// The vessels of the hila, between mediastinum and lobes, in model coordinates. They belong to the vessel trees.
pub(crate) const HILAR_VESSELS: [Capsule; 8] = {
    const fn tube(a: Vec3, b: Vec3, r0: f32, r1: f32) -> Capsule {
        Capsule { a, b, r0, r1 }
    }
    [
        tube([36.0, 4.0, 26.0], [42.0, 10.0, 24.0], 9.5, 8.5),
        tube([42.0, 10.0, 24.0], [48.0, 18.0, 4.0], 8.5, 6.5),
        tube([-36.0, 0.0, 12.0], [-46.0, 4.0, 8.0], 8.5, 7.5),
        tube([-46.0, 4.0, 8.0], [-52.0, 14.0, -12.0], 7.5, 6.0),
        tube([34.0, 12.0, -17.0], [46.0, 13.0, -22.0], 6.5, 5.0),
        tube([-32.0, 13.0, -19.0], [-44.0, 14.0, -24.0], 6.5, 5.0),
        tube([22.0, 6.0, -8.0], [45.0, -9.0, 7.0], 6.0, 4.8),
        tube([-20.0, 4.0, -8.0], [-42.0, -11.0, 1.0], 6.0, 4.8),
    ]
};

/// One patient's chest: where the compartments are and where the trees enter the lungs.
pub(crate) struct Chest {
    pub(crate) build: Build,
    pub(crate) organs: [Field; ORGANS],
}

/// The lobes in the order of their labels 1..=5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lobe {
    RightUpper = 1,
    RightMiddle = 2,
    RightLower = 3,
    LeftUpper = 4,
    LeftLower = 5,
}

impl Lobe {
    pub(crate) const ALL: [Lobe; 5] =
        [Lobe::RightUpper, Lobe::RightMiddle, Lobe::RightLower, Lobe::LeftUpper, Lobe::LeftLower];

    /// The lobe at `x` (negative on the patient's right) and the given fissure distances.
    pub(crate) fn of(x: f32, oblique: f32, horizontal: f32) -> Lobe {
        match (x < 0.0, oblique > 0.0, horizontal > 0.0) {
            (true, true, true) => Lobe::RightUpper,
            (true, true, false) => Lobe::RightMiddle,
            (true, false, _) => Lobe::RightLower,
            (false, true, _) => Lobe::LeftUpper,
            (false, false, _) => Lobe::LeftLower,
        }
    }
}

impl Chest {
    /// Tabulates the compartments over the box `low..high` (patient millimetres).
    pub(crate) fn new(seed: u64, index: u64, build: Build, low: Vec3, high: Vec3, step: f32) -> Self {
        let coarse = Lattice::covering([-220.0; 3], [220.0; 3], 44.0);
        // A displacement of the model coordinates makes the shapes irregular.
        let warp: [Field; 3] =
            std::array::from_fn(|i| Field::white(coarse, &mut Stream::new(seed, index, Purpose::Warp, i as u64)));
        let to_mm = build.mean_scale();
        let organs = Field::evaluate(Lattice::covering(low, high, step), |p| {
            build.organs(warped(&warp, build.model(p))).map(|d| d * to_mm)
        });
        Self { build, organs }
    }

    pub(crate) fn lung(&self) -> &Field {
        &self.organs[organ::LUNG]
    }

    /// Signed distances (mm) to the oblique and the horizontal fissure; positive above.
    pub(crate) fn fissures(&self, p: Vec3) -> (f32, f32) {
        (self.organs[organ::OBLIQUE].sample(p), self.organs[organ::HORIZONTAL].sample(p))
    }

    pub(crate) fn lobe(&self, p: Vec3) -> Lobe {
        let (oblique, horizontal) = self.fissures(p);
        Lobe::of(p[0], oblique, horizontal)
    }
}

fn warped(warp: &[Field; 3], p: Vec3) -> Vec3 {
    std::array::from_fn(|i| p[i] + 2.6 * warp[i].sample_smooth(p))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A child-sized chest on a coarse grid.
    pub(crate) fn small_chest() -> Chest {
        let build = Build::draw(1, 1, [0.5, 0.56, 0.43]);
        Chest::new(1, 1, build, [-100.0, -80.0, -70.0], [100.0, 90.0, 70.0], 1.5)
    }

    #[test]
    fn the_lungs_of_an_adult_hold_litres_on_both_sides() {
        let chest = Chest::new(3, 0, Build::draw(3, 0, [1.0; 3]), [-180.0, -130.0, -146.0], [180.0, 140.0, 146.0], 4.0);
        let lung = chest.lung();
        let cell = f64::from(lung.lattice.step).powi(3) / 1e6;
        let side = |left: bool| {
            let inside = |(i, d): &(usize, &f32)| **d < 0.0 && (lung.lattice.point(*i)[0] > 0.0) == left;
            lung.values.iter().enumerate().filter(inside).count() as f64 * cell
        };
        let (right, left) = (side(false), side(true));
        assert!((1.5..=9.0).contains(&(right + left)), "{right} + {left} litres");
        assert!((0.6..=1.1).contains(&(left / right)), "left {left}, right {right} litres");
    }

    #[test]
    fn compartments_are_nested() {
        let chest = small_chest();
        for i in 0..chest.lung().values.len() {
            let at = |n: usize| chest.organs[n].values[i];
            if at(organ::LUNG) < -0.5 {
                assert!(at(organ::BODY) < -3.0, "lung {} mm deep, body {}", at(organ::LUNG), at(organ::BODY));
                assert!(at(organ::ABDOMEN) > 0.0, "lung {} mm deep, abdomen {}", at(organ::LUNG), at(organ::ABDOMEN));
            }
        }
    }
}
