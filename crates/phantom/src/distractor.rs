//! What is not a nodule but looks like one: the reason why a detector has to learn.

use crate::field::Field;
use crate::lesion::{Lesion, equivalent_diameter};
use crate::placement::Site;
use crate::random::{Purpose, Stream};
use crate::shapes::Capsule;
use crate::style::Size;
use crate::vector::{Vec3, add, along, cross, norm, perpendicular, scale, sub, unit};
use crate::{Excluded, ExcludedKind};

/// A thin line of soft tissue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strand {
    pub(crate) capsule: Capsule,
    pub(crate) hu: f32,
}

/// Everything of a scan that imitates nodules.
#[derive(Default)]
pub(crate) struct Distractors {
    pub(crate) lesions: Vec<Lesion>,
    /// Thickened places where vessels divide; they come and go with the vessels.
    pub(crate) bulges: Vec<Lesion>,
    pub(crate) strands: Vec<Strand>,
    /// The ambiguous ones, in patient millimetres.
    pub(crate) excluded: Vec<Excluded>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Bulge,
    Scar,
    FissureThickening,
    PerifissuralNode,
    HilarNode,
    ApicalCap,
    PleuralBump,
    MucusPlug,
    Band,
    Micronodule,
    GlassPatch,
}

const MIX: [(Kind, f32); 11] = [
    (Kind::Bulge, 0.40),
    (Kind::Scar, 0.10),
    (Kind::FissureThickening, 0.07),
    (Kind::PerifissuralNode, 0.09),
    (Kind::HilarNode, 0.06),
    (Kind::ApicalCap, 0.08),
    (Kind::PleuralBump, 0.12),
    (Kind::MucusPlug, 0.06),
    (Kind::Band, 0.07),
    (Kind::Micronodule, 0.12),
    (Kind::GlassPatch, 0.03),
];

impl Distractors {
    pub(crate) fn draw(seed: u64, index: u64, size: Size, blood_hu: f32, site: &mut Site) -> Self {
        let mut s = Stream::new(seed, index, Purpose::Distractors, 0);
        let count = match size {
            Size::Full => s.count(20, 60),
            Size::Small => s.count(10, 20),
        };
        let weights = MIX.map(|(_, w)| w);
        let mut all = Distractors::default();
        for _ in 0..count {
            let kind = MIX[s.pick(&weights)].0;
            // A kind may find no place in a small chest; a few tries are enough.
            for _ in 0..12 {
                if all.add(kind, blood_hu, site, &mut s) {
                    break;
                }
            }
        }
        all
    }

    fn exclude(&mut self, lesion: &Lesion, kind: ExcludedKind, with_diameter: bool, site: &Site) {
        let (volume, centroid) = lesion.measure(site.chest);
        self.excluded.push(Excluded {
            center_mm_xyz: centroid.map(f64::from),
            diameter_mm: with_diameter.then(|| equivalent_diameter(volume)),
            kind,
        });
    }

    fn add(&mut self, kind: Kind, blood_hu: f32, site: &mut Site, s: &mut Stream) -> bool {
        let tissue = s.range(-30.0, 50.0);
        let lung = |site: &Site, p: Vec3| site.chest.lung().sample(p);
        match kind {
            Kind::Bulge => {
                let points = &site.trees.branch_points;
                if points.is_empty() {
                    return false;
                }
                let b = points[s.count(0, points.len() - 1)];
                let radius = (b.radius * s.range(1.25, 1.9)).clamp(1.0, 3.2);
                if lung(site, b.at) > -radius || !site.claim(b.at, radius, 2.0) {
                    return false;
                }
                let stretch = [s.range(0.8, 1.0), s.range(0.7, 1.0), s.range(1.1, 1.7)];
                self.bulges.push(Lesion::lens(b.at, radius, stretch, b.direction, blood_hu).roughened(2, 0.15, s));
            }
            Kind::Scar => {
                let (p, normal) = site.below_pleura(site.anywhere(s), s.range(1.0, 9.0));
                let radius = s.range(1.8, 4.0);
                if lung(site, p) > 0.0 || !site.claim(p, 2.0 * radius, 2.0) {
                    return false;
                }
                let across = perpendicular(normal, s.direction());
                let lesion =
                    Lesion::lens(p, radius, [1.0, s.range(0.3, 0.6), s.range(1.2, 2.2)], across, tissue - 40.0)
                        .roughened(4, 0.5, s);
                for _ in 0..s.count(2, 5) {
                    let way = unit(add(scale(normal, s.range(-0.4, 1.0)), s.direction()));
                    let capsule =
                        Capsule { a: p, b: along(p, way, radius * s.range(2.0, 4.5)), r0: s.range(0.4, 0.9), r1: 0.25 };
                    self.strands.push(Strand { capsule, hu: tissue });
                }
                if s.chance(0.8) {
                    self.exclude(&lesion, ExcludedKind::NonNodule, false, site);
                }
                self.lesions.push(lesion);
            }
            Kind::FissureThickening | Kind::PerifissuralNode => {
                let Some((p, normal)) = on_fissure(site, s) else { return false };
                let node = kind == Kind::PerifissuralNode;
                let radius = if node { s.range(1.6, 3.6) } else { s.range(3.0, 9.0) };
                let flat = if node { s.range(0.4, 0.7) } else { s.range(0.10, 0.28) };
                if lung(site, p) > -radius || !site.claim(p, radius, 3.0) {
                    return false;
                }
                let lesion = Lesion::lens(p, radius, [1.0, s.range(0.6, 1.0), flat], normal, tissue).roughened(
                    if node { 3 } else { 5 },
                    0.3,
                    s,
                );
                if node {
                    self.exclude(&lesion, ExcludedKind::FewReaders, true, site);
                }
                self.lesions.push(lesion);
            }
            Kind::HilarNode => {
                let k = site.chest.build.mean_scale();
                let side = if s.chance(0.5) { 1.0 } else { -1.0 };
                let hilum = site.chest.build.patient([side * 48.0, 10.0, 2.0]);
                let p = add(hilum, scale(s.direction(), s.range(4.0, 22.0) * k));
                let radius = s.range(2.5, 5.5) * (0.6 + 0.4 * k);
                if lung(site, p) > 0.5 * radius || !site.claim(p, radius, 1.0) {
                    return false;
                }
                let stretch = [1.0, s.range(0.6, 0.9), s.range(1.1, 1.6)];
                let mut lesion = Lesion::lens(p, radius, stretch, s.direction(), tissue + 10.0).roughened(3, 0.2, s);
                lesion.within_lung = false;
                self.exclude(&lesion, ExcludedKind::NonNodule, false, site);
                self.lesions.push(lesion);
            }
            Kind::ApicalCap | Kind::PleuralBump => {
                let start = site.anywhere(s);
                let apex = kind == Kind::ApicalCap;
                let model = site.chest.build.model(start);
                if apex && model[2] < 85.0 || -lung(site, start) > 25.0 || model[0].abs() < 38.0 {
                    return false;
                }
                let (p, normal) = site.below_pleura(start, s.range(-0.5, 0.6));
                let radius = if apex { s.range(3.0, 9.0) } else { s.range(2.0, 6.0) };
                if !site.claim(p, radius, 2.0) {
                    return false;
                }
                let flat = if apex { s.range(0.25, 0.5) } else { s.range(0.28, 0.75) };
                let lesion =
                    Lesion::lens(p, radius, [1.0, s.range(0.6, 1.0), flat], normal, tissue).roughened(6, 0.35, s);
                if flat > 0.4 {
                    self.exclude(&lesion, ExcludedKind::NonNodule, false, site);
                }
                self.lesions.push(lesion);
            }
            Kind::MucusPlug => {
                let small: Vec<usize> =
                    (0..site.trees.airways.len()).filter(|i| site.trees.airways[*i].lumen.r0 < 2.2).collect();
                if small.is_empty() {
                    return false;
                }
                let airway = site.trees.airways[small[s.count(0, small.len() - 1)]].lumen;
                let middle = scale(add(airway.a, airway.b), 0.5);
                let radius = airway.r0 * s.range(1.2, 1.8);
                if lung(site, middle) > -3.0 || !site.claim(middle, radius, 3.0) {
                    return false;
                }
                let way = unit(sub(airway.b, airway.a));
                let long = (0.5 * norm(sub(airway.b, airway.a)) / radius).clamp(1.2, 3.0);
                let lesion = Lesion::lens(middle, radius, [1.0, 0.9, long], way, tissue - 20.0).roughened(3, 0.25, s);
                self.exclude(&lesion, ExcludedKind::NonNodule, false, site);
                self.lesions.push(lesion);
            }
            Kind::Band => {
                let p = site.anywhere(s);
                let model = site.chest.build.model(p);
                if model[2] > 10.0 && model[1] < 40.0 {
                    return false;
                }
                let radius = s.range(7.0, 20.0) * (0.5 + 0.5 * site.chest.build.mean_scale());
                if !site.claim(p, 0.4 * radius, 2.0) {
                    return false;
                }
                let tilt = unit([s.range(-0.4, 0.4), s.range(-0.5, 0.2), 1.0]);
                let stretch = [1.0, s.range(0.25, 0.6), s.range(0.05, 0.11)];
                self.lesions.push(Lesion::lens(p, radius, stretch, tilt, tissue - 60.0).roughened(5, 0.3, s));
            }
            Kind::Micronodule => {
                let p = site.anywhere(s);
                let radius = s.range(0.8, 1.35);
                if lung(site, p) > -radius || !site.claim(p, radius, 3.0) {
                    return false;
                }
                let lesion = Lesion::lens(p, radius, [1.0, 0.9, 0.9], s.direction(), tissue + 20.0);
                self.exclude(&lesion, ExcludedKind::SmallNodule, false, site);
                self.lesions.push(lesion);
            }
            Kind::GlassPatch => {
                let p = site.anywhere(s);
                let radius = s.range(2.5, 7.0);
                if lung(site, p) > -radius || !site.claim(p, radius, 4.0) {
                    return false;
                }
                let stretch = [1.0, s.range(0.6, 1.0), s.range(0.5, 1.0)];
                let mut lesion =
                    Lesion::lens(p, radius, stretch, s.direction(), s.range(-760.0, -640.0)).roughened(8, 0.5, s);
                lesion.softness = s.range(1.5, 3.0);
                self.exclude(&lesion, ExcludedKind::FewReaders, true, site);
                self.lesions.push(lesion);
            }
        }
        true
    }
}

/// A point on a fissure and the fissure's normal there.
fn on_fissure(site: &Site, s: &mut Stream) -> Option<(Vec3, Vec3)> {
    use crate::anatomy::organ::{HORIZONTAL, OBLIQUE};
    let start = site.anywhere(s);
    let horizontal = start[0] < 0.0 && s.chance(0.35);
    let field: &Field = &site.chest.organs[if horizontal { HORIZONTAL } else { OBLIQUE }];
    let mut p = start;
    if field.sample(p).abs() > 25.0 {
        return None;
    }
    for _ in 0..4 {
        p = along(p, field.normal(p), -field.sample(p));
    }
    // The horizontal fissure ends at the oblique one.
    let valid = !horizontal || site.chest.organs[OBLIQUE].sample(p) > 4.0;
    let normal = field.normal(p);
    let tilted = unit(add(normal, scale(cross(normal, s.direction()), 0.15)));
    valid.then_some((p, tilted))
}
