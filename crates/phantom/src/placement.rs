//! Where nodules lie, and the truth about them.

use crate::anatomy::Chest;
use crate::distribution;
use crate::lesion::{Attachment, Lesion, NoduleKind, equivalent_diameter};
use crate::random::{Purpose, Stream};
use crate::style::{HospitalStyle, Size};
use crate::tree::Trees;
use crate::vector::{Vec3, add, along, norm, perpendicular, scale, sub, unit};

/// What is already in the lungs, so that new things keep clear of it.
pub(crate) struct Site<'a> {
    pub(crate) chest: &'a Chest,
    pub(crate) trees: &'a Trees,
    /// Lattice points inside the lungs.
    interior: Vec<usize>,
    taken: Vec<(Vec3, f32)>,
}

/// A nodule with its measured truth, patient millimetres.
pub(crate) struct Placed {
    pub(crate) lesion: Lesion,
    pub(crate) centroid: Vec3,
    pub(crate) diameter: f64,
    pub(crate) kind: NoduleKind,
    pub(crate) attachment: Attachment,
}

const TRIES: usize = 400;

impl<'a> Site<'a> {
    pub(crate) fn new(chest: &'a Chest, trees: &'a Trees) -> Self {
        let interior = chest.lung().values.iter().enumerate().filter(|(_, d)| **d < -0.5).map(|(i, _)| i).collect();
        Self { chest, trees, interior, taken: Vec::new() }
    }

    /// A random point in the lungs.
    pub(crate) fn anywhere(&self, stream: &mut Stream) -> Vec3 {
        let lattice = &self.chest.lung().lattice;
        let i = self.interior[stream.count(0, self.interior.len() - 1)];
        let jitter = [stream.unit() - 0.5, stream.unit() - 0.5, stream.unit() - 0.5];
        add(lattice.point(i), scale(jitter, lattice.step))
    }

    /// Moves `p` along the lung's normal until it lies `depth` millimetres below the pleura.
    pub(crate) fn below_pleura(&self, p: Vec3, depth: f32) -> (Vec3, Vec3) {
        let lung = self.chest.lung();
        let mut q = p;
        let mut normal = lung.normal(q);
        for _ in 0..4 {
            q = along(q, normal, (-depth - lung.sample(q)).clamp(-8.0, 8.0));
            normal = lung.normal(q);
        }
        (q, normal)
    }

    /// Whether a body of this size may lie at `p`; if so it is remembered.
    pub(crate) fn claim(&mut self, p: Vec3, radius: f32, margin: f32) -> bool {
        let free = self.taken.iter().all(|(q, r)| norm(sub(p, *q)) > radius + r + margin);
        if free {
            self.taken.push((p, radius));
        }
        free
    }

    fn clear_of_vessels(&self, p: Vec3, radius: f32) -> bool {
        let thick = 0.35 + 0.12 * radius;
        self.trees.vessels.iter().all(|v| {
            let (d, r) = v.axis_distance(p);
            r < thick || d - r > 0.8 * radius
        })
    }

    /// Away from the large airways.
    fn clear_of_airways(&self, p: Vec3, radius: f32) -> bool {
        self.trees.airways.iter().all(|a| a.lumen.distance(p) > radius + a.wall)
    }

    fn find(&mut self, radius: f32, attachment: Attachment, stream: &mut Stream) -> Option<Vec3> {
        for _ in 0..TRIES {
            let p = match attachment {
                Attachment::Isolated => self.anywhere(stream),
                Attachment::Juxtapleural => {
                    let depth = radius * stream.range(0.25, 0.85);
                    let start = self.anywhere(stream);
                    if self.chest.lung().sample(start) < -4.0 * radius - 8.0 {
                        continue;
                    }
                    self.below_pleura(start, depth).0
                }
                Attachment::Juxtavascular => {
                    let vessel = self.trees.vessels[stream.count(0, self.trees.vessels.len() - 1)];
                    let r = vessel.r0;
                    let side = perpendicular(unit(sub(vessel.b, vessel.a)), stream.direction());
                    if !(0.6..2.4).contains(&r) || r > 0.8 * radius {
                        continue;
                    }
                    along(vessel.a, side, 0.4 * r + stream.range(0.5, 0.9) * radius)
                }
            };
            let depth = -self.chest.lung().sample(p);
            let deep_enough = match attachment {
                Attachment::Isolated => depth > radius + 2.0,
                Attachment::Juxtapleural => depth > 0.15 * radius && depth < radius,
                Attachment::Juxtavascular => depth > 0.9 * radius,
            };
            let clear = deep_enough
                && self.clear_of_airways(p, radius)
                && (attachment != Attachment::Isolated || self.clear_of_vessels(p, radius));
            if clear && self.claim(p, radius, 5.0) {
                return Some(p);
            }
        }
        None
    }
}

/// Draws the nodules of a scan.
pub(crate) fn place_nodules(
    seed: u64,
    index: u64,
    style: HospitalStyle,
    size: Size,
    contrast: bool,
    site: &mut Site,
) -> Vec<Placed> {
    let mut stream = Stream::new(seed, index, Purpose::Nodules, 0);
    let (count, largest) = match size {
        Size::Full => (distribution::nodule_count(&mut stream), 32.3),
        Size::Small => (stream.count(3, 6), 20.0),
    };
    let mut wanted: Vec<f32> = (0..count).map(|_| distribution::diameter(&mut stream, 3.0, largest)).collect();
    // The largest first: they are the hardest to place.
    wanted.sort_by(|a, b| b.total_cmp(a));
    let mut placed = Vec::new();
    for diameter in wanted {
        let kind = NoduleKind::ALL[stream.pick(&style.parameters().nodule_mix)];
        let first = stream.pick(&[0.5, 0.25, 0.25]);
        let all = [Attachment::Isolated, Attachment::Juxtapleural, Attachment::Juxtavascular];
        let radius = 0.5 * diameter;
        let found = (0..3).map(|k| all[(first + k) % 3]).find_map(|a| Some((a, site.find(radius, a, &mut stream)?)));
        let Some((attachment, centre)) = found else { continue };
        let mut lesion = Lesion::nodule(centre, radius, kind, contrast, &mut stream);
        // Lobes and the pleura change the volume: scale until the equivalent diameter is the drawn one.
        for _ in 0..3 {
            let (volume, _) = lesion.measure(site.chest);
            let ratio = diameter / equivalent_diameter(volume) as f32;
            lesion.radius *= ratio.clamp(0.6, 1.6);
        }
        let (volume, centroid) = lesion.measure(site.chest);
        placed.push(Placed { lesion, centroid, diameter: equivalent_diameter(volume), kind, attachment });
    }
    placed
}
