//! Shapes and densities of nodules and of what looks like them.

use crate::anatomy::Chest;
use crate::distribution;
use crate::random::Stream;
use crate::shapes::Capsule;
use crate::vector::{Vec3, add, along, cross, dot, norm, perpendicular, scale, sub};
use serde::{Deserialize, Serialize};

/// Density of a nodule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoduleKind {
    /// Soft tissue throughout.
    Solid,
    /// A solid core in a ground-glass halo.
    PartSolid,
    /// Ground glass: vessels remain visible inside.
    GroundGlass,
    /// Soft tissue with calcium.
    Calcified,
}

impl NoduleKind {
    pub(crate) const ALL: [Self; 4] = [Self::Solid, Self::PartSolid, Self::GroundGlass, Self::Calcified];
}

/// What a nodule touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// Lung tissue all around.
    Isolated,
    /// The pleura.
    Juxtapleural,
    /// A vessel.
    Juxtavascular,
}

/// A part of a lesion: its outline scaled by `size`, filled with `hu`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) size: f32,
    pub(crate) hu: f32,
    /// Brighter layers cover what is darker, air covers what is brighter.
    pub(crate) brightens: bool,
}

#[derive(Debug, Clone, Copy)]
struct Bump {
    direction: Vec3,
    cosine: f32,
    height: f32,
}

/// A star-shaped body: an ellipsoid in its own frame with bumps, in layers, and spicules around it.
#[derive(Debug, Clone)]
pub(crate) struct Lesion {
    pub(crate) centre: Vec3,
    pub(crate) radius: f32,
    frame: [Vec3; 3],
    stretch: Vec3,
    bumps: Vec<Bump>,
    pub(crate) layers: Vec<Layer>,
    /// Width of the edge, mm.
    pub(crate) softness: f32,
    spicules: Vec<(Vec3, f32)>,
    /// Lesions end at the pleura; those of the mediastinum do not.
    pub(crate) within_lung: bool,
}

impl Lesion {
    /// An ellipsoid with half-axes `radius · stretch`, its third axis along `normal`.
    pub(crate) fn lens(centre: Vec3, radius: f32, stretch: Vec3, normal: Vec3, hu: f32) -> Self {
        let u = perpendicular(normal, [0.6, 0.3, 0.74]);
        Self {
            centre,
            radius,
            frame: [u, cross(normal, u), normal],
            stretch,
            bumps: Vec::new(),
            layers: vec![Layer { size: 1.0, hu, brightens: true }],
            softness: 0.6,
            spicules: Vec::new(),
            within_lung: true,
        }
    }

    /// Adds an irregular surface: `lobes` broad bumps of relative height `height` and some fine ones.
    pub(crate) fn roughened(mut self, lobes: usize, height: f32, stream: &mut Stream) -> Self {
        for _ in 0..lobes {
            let cosine = stream.range(0.35, 0.75);
            let height = stream.range(0.4, 1.0) * height;
            self.bumps.push(Bump { direction: stream.direction(), cosine, height });
        }
        for _ in 0..10 {
            let height = stream.range(-0.09, 0.09);
            self.bumps.push(Bump { direction: stream.direction(), cosine: stream.range(0.6, 0.88), height });
        }
        self
    }

    /// A nodule of about the given radius with the shape statistics of LIDC.
    pub(crate) fn nodule(centre: Vec3, radius: f32, kind: NoduleKind, contrast: bool, stream: &mut Stream) -> Self {
        let stretch = [1.0, stream.range(0.78, 1.0), stream.range(0.72, 1.0)];
        let lobulation = distribution::lobulation(stream);
        let spiculation = if kind == NoduleKind::Calcified { 1 } else { distribution::spiculation(stream) };
        let lobes = [1, 3, 5, 7, 9][lobulation - 1];
        let height = [0.08, 0.2, 0.3, 0.38, 0.45][lobulation - 1];
        let tilt = stream.direction();
        let mut lesion = Self::lens(centre, radius, stretch, tilt, 0.0).roughened(lobes, height, stream);
        let soft = stream.range(5.0, 55.0) + if contrast { stream.range(0.0, 45.0) } else { 0.0 };
        let full = |size: f32, hu: f32| Layer { size, hu, brightens: true };
        lesion.layers = match kind {
            NoduleKind::Solid => vec![full(1.0, soft)],
            NoduleKind::PartSolid => {
                vec![full(1.0, stream.range(-640.0, -470.0)), full(stream.range(0.35, 0.68), soft - 30.0)]
            }
            NoduleKind::GroundGlass => vec![full(1.0, stream.range(-690.0, -520.0))],
            NoduleKind::Calcified => {
                let size = stream.range(0.4, 0.95);
                vec![full(1.0, soft + 40.0), full(size, stream.range(220.0, 700.0))]
            }
        };
        if kind == NoduleKind::Solid && radius > 4.0 && stream.chance(0.06) {
            let size = stream.range(0.3, 0.62);
            lesion.layers.push(Layer { size, hu: -940.0, brightens: false });
        }
        lesion.softness = match kind {
            NoduleKind::GroundGlass => stream.range(1.2, 2.4),
            NoduleKind::PartSolid => stream.range(0.9, 1.6),
            _ => stream.range(0.5, 1.1),
        };
        if spiculation > 1 && radius > 2.2 {
            for _ in 0..[0, 5, 9, 14, 20][spiculation - 1] {
                lesion.spicules.push((stream.direction(), stream.range(1.25, 1.9)));
            }
        }
        lesion
    }

    fn local(&self, p: Vec3) -> Vec3 {
        let q = sub(p, self.centre);
        std::array::from_fn(|i| dot(q, self.frame[i]) / self.stretch[i])
    }

    /// Signed distance to the outline scaled by `size`, millimetres, of first order.
    pub(crate) fn distance(&self, p: Vec3, size: f32) -> f32 {
        let q = self.local(p);
        let k0 = norm(q);
        if k0 < 1e-4 {
            return -self.radius * size * self.stretch[2].min(self.stretch[1]);
        }
        let n = scale(q, 1.0 / k0);
        let mut outline = 1.0;
        for b in &self.bumps {
            let t = (dot(n, b.direction) - b.cosine) / (1.0 - b.cosine);
            if t > 0.0 {
                outline += b.height * t * t * (3.0 - 2.0 * t);
            }
        }
        let slope = norm(std::array::from_fn(|i| n[i] / self.stretch[i]));
        (k0 - self.radius * size * outline) / slope
    }

    /// Half the edge of a cube around the centre that holds the whole outline.
    pub(crate) fn reach(&self) -> f32 {
        let bumps: f32 = self.bumps.iter().map(|b| b.height.max(0.0)).sum();
        let longest = self.stretch.into_iter().fold(0.0, f32::max);
        self.radius * longest * (1.0 + bumps.min(0.9)) + self.softness
    }

    /// Thin strands around the body.
    pub(crate) fn strands(&self) -> impl Iterator<Item = Capsule> + '_ {
        let thick = 0.25 + 0.05 * self.radius;
        self.spicules.iter().map(move |(n, length)| Capsule {
            a: along(self.centre, *n, 0.7 * self.radius),
            b: along(self.centre, *n, self.radius * length),
            r0: thick.min(0.7),
            r1: 0.12,
        })
    }

    /// Volume (mm³) and centroid of the part of the body that lies in the lung, by sampling on a fine grid.
    pub(crate) fn measure(&self, chest: &Chest) -> (f64, Vec3) {
        let reach = self.reach();
        let n = 44usize;
        let step = 2.0 * reach / n as f32;
        let (mut volume, mut moment) = (0.0f64, [0.0f64; 3]);
        for i in 0..n * n * n {
            let at = |k: usize| (k as f32 + 0.5) * step - reach;
            let offset = [at(i % n), at(i / n % n), at(i / (n * n))];
            let p = add(self.centre, offset);
            let mut inside = (0.5 - self.distance(p, 1.0) / step).clamp(0.0, 1.0);
            if inside > 0.0 && self.within_lung {
                inside *= (0.5 - chest.lung().sample(p) / step).clamp(0.0, 1.0);
            }
            volume += f64::from(inside);
            for (m, o) in moment.iter_mut().zip(offset) {
                *m += f64::from(inside) * f64::from(o);
            }
        }
        let centroid = std::array::from_fn(|k| self.centre[k] + (moment[k] / volume.max(1e-9)) as f32);
        (volume * f64::from(step) * f64::from(step) * f64::from(step), centroid)
    }
}

/// Diameter of the sphere of the given volume: `2·(3V/4π)^(1/3)`.
pub(crate) fn equivalent_diameter(volume: f64) -> f64 {
    2.0 * libm::cbrt(3.0 * volume / (4.0 * std::f64::consts::PI))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(mut lesion: Lesion) -> Lesion {
        lesion.within_lung = false;
        lesion
    }

    #[test]
    fn a_ball_has_its_volume_and_an_ellipsoid_too() {
        let chest = crate::anatomy::tests::small_chest();
        for (stretch, factor) in [([1.0, 1.0, 1.0], 1.0), ([1.0, 0.8, 0.5], 0.4)] {
            let normal = crate::vector::unit([0.3, -0.5, 0.8]);
            let lesion = free(Lesion::lens([3.0, 4.0, 5.0], 4.0, stretch, normal, 0.0));
            let (volume, centroid) = lesion.measure(&chest);
            let exact = 4.0 / 3.0 * std::f64::consts::PI * 64.0 * factor;
            // Sampling at a 44th of the cube's edge: half a percent.
            assert!((volume / exact - 1.0).abs() < 5e-3, "{volume} instead of {exact}");
            assert!(norm(sub(centroid, lesion.centre)) < 0.01, "{centroid:?}");
            let diameter = equivalent_diameter(volume);
            assert!((diameter / (8.0 * libm::cbrt(factor)) - 1.0).abs() < 2e-3);
        }
    }

    #[test]
    fn the_pleura_cuts_a_lesion() {
        let chest = crate::anatomy::tests::small_chest();
        // A ball centred on the pleura lies half in the lung, and its centroid 3/8 of the radius inside.
        let (at, normal) = {
            let lung = chest.lung();
            let mut p = [-35.0, 0.0, 0.0];
            for _ in 0..6 {
                p = along(p, lung.normal(p), -lung.sample(p));
            }
            (p, lung.normal(p))
        };
        let ball = Lesion::lens(at, 3.0, [1.0; 3], normal, 0.0);
        let (volume, centroid) = ball.measure(&chest);
        let whole = 4.0 / 3.0 * std::f64::consts::PI * 27.0;
        assert!((volume / whole - 0.5).abs() < 0.06, "{}", volume / whole);
        let depth = -dot(sub(centroid, at), normal);
        assert!((depth - 0.375 * 3.0).abs() < 0.15, "{depth}");
    }
}
