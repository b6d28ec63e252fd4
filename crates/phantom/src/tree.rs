//! Arteries, veins and airways: space-filling trees grown towards random points of each lobe (after Tawhai et al.,
//! J Appl Physiol 97:2310, 2004), with calibres by Murray's law.

use crate::anatomy::{Chest, HILAR_VESSELS, Lobe, organ};
use crate::field::Field;
use crate::random::{Purpose, Stream};
use crate::shapes::Capsule;
use crate::vector::{Vec3, add, along, cross, dot, norm, perpendicular, scale, sub, unit};

/// Murray's exponent: `r_parent^γ = Σ r_child^γ`; 3 in his law.
const MURRAY: f32 = 3.1;
/// Radius of a terminal branch, millimetres.
const TERMINAL_RADIUS: f32 = 0.42;
/// Terminal branches per millilitre of lung: arteries and veins.
const DENSITY: [f32; 2] = [1.9, 1.5];
/// Airways are drawn as long as the artery beside them is thicker than this (radius, mm).
const AIRWAY_FROM: f32 = 1.25;

/// One airway segment: its lumen, and the wall around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Airway {
    pub(crate) lumen: Capsule,
    pub(crate) wall: f32,
}

/// A place where a vessel divides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BranchPoint {
    pub(crate) at: Vec3,
    pub(crate) radius: f32,
    pub(crate) direction: Vec3,
}

/// All trees of both lungs.
#[derive(Default)]
pub(crate) struct Trees {
    pub(crate) vessels: Vec<Capsule>,
    pub(crate) airways: Vec<Airway>,
    pub(crate) branch_points: Vec<BranchPoint>,
}

struct Branch {
    from: Vec3,
    to: Vec3,
    direction: Vec3,
    terminals: usize,
    parent_terminals: usize,
}

impl Trees {
    /// Grows all trees of a chest.
    pub(crate) fn grow(seed: u64, index: u64, chest: &Chest) -> Self {
        let mut trees = Trees::default();
        for (kind, density) in DENSITY.into_iter().enumerate() {
            let mut stream = Stream::new(seed, index, Purpose::Vessels, kind as u64);
            let points = terminals(chest, density, &mut stream);
            for lobe in Lobe::ALL {
                let mut own: Vec<Vec3> = points.iter().filter(|(l, _)| *l == lobe).map(|(_, p)| *p).collect();
                if own.len() < 8 {
                    continue;
                }
                let root = chest.build.patient(root(lobe, kind == 1));
                let branches = grow_tree(root, entry_direction(lobe), &mut own, &mut stream);
                trees.add_vessels(&branches, &mut stream);
                if kind == 0 {
                    trees.add_airways(&branches, &mut stream);
                }
            }
        }
        // A branch that would cross the diaphragm is not there.
        let abdomen = &chest.organs[organ::ABDOMEN];
        let above = |c: &Capsule| abdomen.sample(c.a).min(abdomen.sample(c.b)) > 1.0;
        trees.vessels.retain(above);
        trees.airways.retain(|a| above(&a.lumen));
        let k = chest.build.mean_scale();
        trees.vessels.extend(HILAR_VESSELS.iter().map(|c| Capsule {
            a: chest.build.patient(c.a),
            b: chest.build.patient(c.b),
            r0: c.r0 * k,
            r1: c.r1 * k,
        }));
        trees.add_central_airways(chest);
        trees
    }

    fn add_vessels(&mut self, branches: &[Branch], stream: &mut Stream) {
        for b in branches {
            let (r0, r1) = calibre(b);
            let length = norm(sub(b.to, b.from));
            // A branch bends: its middle is displaced by up to a tenth of its length.
            let bow = scale(perpendicular(b.direction, stream.direction()), length * stream.range(0.0, 0.11));
            let middle = add(scale(add(b.from, b.to), 0.5), bow);
            let rm = 0.5 * (r0 + r1);
            self.vessels.push(Capsule { a: b.from, b: middle, r0, r1: rm });
            self.vessels.push(Capsule { a: middle, b: b.to, r0: rm, r1 });
            if r1 > 0.55 && r1 < 2.2 {
                self.branch_points.push(BranchPoint { at: b.to, radius: r1, direction: b.direction });
            }
        }
    }

    /// The bronchus runs beside its artery, slightly thinner.
    fn add_airways(&mut self, branches: &[Branch], stream: &mut Stream) {
        let hint = stream.direction();
        for b in branches {
            let (r0, r1) = calibre(b);
            if r1 < AIRWAY_FROM {
                continue;
            }
            let side = perpendicular(b.direction, hint);
            let wall = |r: f32| 0.28 + 0.14 * r;
            let offset = |r: f32| r * 1.85 + wall(r) + 0.15;
            let lumen = Capsule {
                a: along(b.from, side, offset(r0)),
                b: along(b.to, side, offset(r1)),
                r0: r0 * 0.82,
                r1: r1 * 0.78,
            };
            self.airways.push(Airway { lumen, wall: wall(r1) });
        }
    }

    fn add_central_airways(&mut self, chest: &Chest) {
        let at = |p: Vec3| chest.build.patient(p);
        let k = chest.build.mean_scale();
        let mut tube = |a: Vec3, b: Vec3, r0: f32, r1: f32| {
            let lumen = Capsule { a: at(a), b: at(b), r0: r0 * k, r1: r1 * k };
            self.airways.push(Airway { lumen, wall: 1.1 * k.max(0.7) });
        };
        tube([0.0, 6.0, 160.0], [-1.0, 12.0, 100.0], 8.6, 8.6);
        tube([-1.0, 12.0, 100.0], [1.0, 16.0, 42.0], 8.6, 9.0);
        let carina = [1.0, 17.0, 36.0];
        tube([1.0, 16.0, 42.0], carina, 9.0, 8.6);
        for (b, r) in [([-26.0, 17.0, 22.0], 7.2), ([30.0, 20.0, 14.0], 6.4)] {
            tube(carina, b, r + 0.8, r);
        }
        tube([-26.0, 17.0, 22.0], [-50.0, 15.0, 28.0], 5.0, 3.8);
        tube([-26.0, 17.0, 22.0], [-40.0, 19.0, -8.0], 5.6, 4.8);
        tube([-40.0, 19.0, -8.0], [-48.0, 24.0, -30.0], 4.4, 3.2);
        tube([-40.0, 19.0, -8.0], [-54.0, 2.0, -16.0], 3.4, 2.4);
        tube([30.0, 20.0, 14.0], [48.0, 12.0, 16.0], 4.8, 3.6);
        tube([30.0, 20.0, 14.0], [44.0, 24.0, -8.0], 5.0, 4.4);
        tube([44.0, 24.0, -8.0], [52.0, 28.0, -32.0], 4.2, 3.0);
    }
}

/// Where the tree of a lobe starts, in model coordinates.
fn root(lobe: Lobe, vein: bool) -> Vec3 {
    let artery = match lobe {
        Lobe::RightUpper => [-38.0, 2.0, 16.0],
        Lobe::RightMiddle => [-46.0, 2.0, -8.0],
        Lobe::RightLower => [-50.0, 12.0, -10.0],
        Lobe::LeftUpper => [44.0, 8.0, 22.0],
        Lobe::LeftLower => [48.0, 18.0, 4.0],
    };
    match (vein, lobe) {
        (false, _) => artery,
        (true, Lobe::RightUpper) => [-40.0, -10.0, 2.0],
        (true, Lobe::RightMiddle) => [-40.0, -10.0, -10.0],
        (true, Lobe::RightLower) => [-42.0, 14.0, -24.0],
        (true, Lobe::LeftUpper) => [44.0, -9.0, 8.0],
        (true, Lobe::LeftLower) => [44.0, 14.0, -22.0],
    }
}

fn entry_direction(lobe: Lobe) -> Vec3 {
    unit(match lobe {
        Lobe::RightUpper => [-0.7, -0.1, 0.7],
        Lobe::RightMiddle => [-0.7, -0.6, -0.3],
        Lobe::RightLower => [-0.4, 0.4, -0.8],
        Lobe::LeftUpper => [0.6, -0.3, 0.7],
        Lobe::LeftLower => [0.4, 0.4, -0.8],
    })
}

/// Random points in the lungs, each with its lobe, away from pleura and fissures.
fn terminals(chest: &Chest, density: f32, stream: &mut Stream) -> Vec<(Lobe, Vec3)> {
    let lung: &Field = chest.lung();
    let l = lung.lattice;
    let cell_ml = l.step * l.step * l.step / 1000.0;
    let clear = 1.6 * chest.build.mean_scale();
    let mut points = Vec::new();
    for (i, &d) in lung.values.iter().enumerate() {
        // One draw a cell, so that a change of the shape moves no other point.
        let expected = density * cell_ml;
        let draw = stream.unit();
        let jitter = [stream.unit(), stream.unit(), stream.unit()];
        if d > -1.5 || draw >= expected {
            continue;
        }
        let p = add(l.point(i), scale(sub(jitter, [0.5; 3]), l.step));
        let (oblique, horizontal) = chest.fissures(p);
        let lobe = chest.lobe(p);
        let near_horizontal = matches!(lobe, Lobe::RightUpper | Lobe::RightMiddle) && horizontal.abs() < clear;
        if oblique.abs() >= clear && !near_horizontal {
            points.push((lobe, p));
        }
    }
    points
}

/// Radius at both ends by Murray's law.
fn calibre(b: &Branch) -> (f32, f32) {
    let radius = |n: usize| TERMINAL_RADIUS * libm::powf(n as f32, 1.0 / MURRAY);
    let own = radius(b.terminals);
    // A branch starts a little wider than it continues, never wider than its parent.
    ((own * 1.12).min(radius(b.parent_terminals)), own * 0.97)
}

fn grow_tree(root: Vec3, direction: Vec3, points: &mut [Vec3], stream: &mut Stream) -> Vec<Branch> {
    struct Task {
        from: Vec3,
        direction: Vec3,
        range: std::ops::Range<usize>,
        parent_terminals: usize,
    }
    let mut branches = Vec::with_capacity(points.len() * 2);
    let all = points.len();
    let mut tasks = vec![Task { from: root, direction, range: 0..all, parent_terminals: all }];
    while let Some(task) = tasks.pop() {
        let set = &mut points[task.range.clone()];
        let n = set.len();
        let centre = scale(set.iter().fold([0.0; 3], |s, p| add(s, *p)), 1.0 / n as f32);
        let target = if n == 1 { set[0] } else { centre };
        let wish = sub(target, task.from);
        let distance = norm(wish);
        // Vessels turn gradually; terminal twigs may turn as they like.
        let keep = if n > 40 { 0.45 } else { 0.25 };
        let heading = unit(add(scale(unit(wish), 1.0 - keep), scale(task.direction, keep)));
        // Stems give off branches often; twigs divide late.
        let step = if n > 20 { stream.range(0.18, 0.38) } else { stream.range(0.36, 0.56) };
        let length = if n == 1 { (distance * 0.8).min(9.0) } else { (distance * step).max(0.5) };
        let to = along(task.from, heading, length);
        branches.push(Branch {
            from: task.from,
            to,
            direction: heading,
            terminals: n,
            parent_terminals: task.parent_terminals,
        });
        if n == 1 {
            continue;
        }
        let normal = widest_direction(set, centre, heading);
        set.sort_by(|a, b| dot(*a, normal).total_cmp(&dot(*b, normal)));
        // Unequal division keeps a main stem with side branches.
        let share = if n > 6 { stream.range(0.1, 0.5) } else { 0.5 };
        let share = if stream.chance(0.5) { share } else { 1.0 - share };
        let cut = ((n as f32 * share) as usize).clamp(1, n - 1);
        let middle = task.range.start + cut;
        for range in [task.range.start..middle, middle..task.range.end] {
            tasks.push(Task { from: to, direction: heading, range, parent_terminals: n });
        }
    }
    branches
}

/// Across `heading`, the direction in which the points spread most.
fn widest_direction(points: &[Vec3], centre: Vec3, heading: Vec3) -> Vec3 {
    let u = perpendicular(heading, [0.31, 0.52, 0.79]);
    let v = cross(heading, u);
    let (mut uu, mut uv, mut vv) = (0.0f32, 0.0f32, 0.0f32);
    for p in points {
        let q = sub(*p, centre);
        let (a, b) = (dot(q, u), dot(q, v));
        uu += a * a;
        uv += a * b;
        vv += b * b;
    }
    let angle = 0.5 * libm::atan2f(2.0 * uv, uu - vv);
    add(scale(u, libm::cosf(angle)), scale(v, libm::sinf(angle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_fill_the_lungs_and_taper() {
        let chest = crate::anatomy::tests::small_chest();
        let trees = Trees::grow(1, 1, &chest);
        assert!(trees.vessels.iter().all(|v| v.r1 <= v.r0 && v.r1 > 0.3 && v.r0 < 9.0));
        let mut stream = Stream::new(1, 1, Purpose::Vessels, 0);
        let points = terminals(&chest, DENSITY[0], &mut stream);
        let gap = |p: &Vec3| trees.vessels.iter().map(|v| v.distance(*p)).fold(f32::MAX, f32::min);
        let far = points.iter().filter(|(_, p)| gap(p) > 5.0).count();
        // Every part of the lung is near a vessel; a few lone points at the rim are too far from the last branch.
        assert!(far * 25 < points.len(), "{far} of {} points have no vessel near", points.len());
    }

    #[test]
    fn calibres_follow_murray() {
        let branch = |terminals: usize| Branch {
            from: [0.0; 3],
            to: [0.0, 0.0, 5.0],
            direction: [0.0, 0.0, 1.0],
            terminals,
            parent_terminals: 1000,
        };
        let cube = |n: usize| libm::powf(calibre(&branch(n)).1, MURRAY);
        let (parent, children) = (cube(90), cube(30) + cube(60));
        assert!((parent / children - 1.0).abs() < 1e-4);
    }
}
