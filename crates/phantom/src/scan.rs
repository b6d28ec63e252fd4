//! One phantom: from a seed to voxels and truth.

use crate::anatomy::{Build, Chest, Lobe, organ};
use crate::distractor::Distractors;
use crate::lesion::{Attachment, Lesion, NoduleKind};
use crate::placement::{Site, place_nodules};
use crate::random::{Purpose, Stream};
use crate::raster::Slab;
use crate::scanner::{Scanner, slice_profile};
use crate::style::{Acquisition, HospitalStyle, Size};
use crate::tissue::Tissue;
use crate::tree::Trees;
use crate::vector::Vec3;
use imaging::{Geometry, Volume};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What to generate. Equal specifications give equal bytes on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhantomSpec {
    /// Seed of the whole data set.
    pub seed: u64,
    /// Number of the scan in the data set.
    pub index: u64,
    /// Hospital.
    pub style: HospitalStyle,
    /// Size of the patient.
    pub size: Size,
    /// Whether the arteries and veins are drawn; without them the scan is far too easy, which is measured.
    pub vessels: bool,
    /// Whether to make the label map of the lobes too.
    pub labels: bool,
}

impl PhantomSpec {
    /// A scan with vessels and without labels.
    pub fn new(seed: u64, index: u64, style: HospitalStyle, size: Size) -> Self {
        Self { seed, index, style, size, vessels: true, labels: false }
    }
}

/// A nodule that a detector has to find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoduleTruth {
    /// Centroid in world coordinates (LPS), millimetres.
    pub center_mm_xyz: [f64; 3],
    /// Diameter of the sphere of equal volume, millimetres.
    pub diameter_mm: f64,
    /// Density.
    pub kind: NoduleKind,
    /// Neighbourhood.
    pub attachment: Attachment,
}

/// Why a finding neither counts as a nodule nor against a detector, as in LUNA16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExcludedKind {
    /// Not a nodule, but like one.
    NonNodule,
    /// A nodule below 3 mm.
    SmallNodule,
    /// What only one or two of four readers would call a nodule.
    FewReaders,
}

/// An ambiguous finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Excluded {
    /// Centroid in world coordinates (LPS), millimetres.
    pub center_mm_xyz: [f64; 3],
    /// Diameter of the sphere of equal volume, millimetres; nothing where LUNA16 writes −1.
    pub diameter_mm: Option<f64>,
    /// Why it is excluded.
    pub kind: ExcludedKind,
}

/// A synthetic chest CT (合成体模) with its exact truth.
#[derive(Debug, Clone)]
pub struct Phantom {
    /// Hounsfield units.
    pub volume: Volume<i16>,
    /// All nodules of 3 mm and more.
    pub nodules: Vec<NoduleTruth>,
    /// Ambiguous findings.
    pub excluded: Vec<Excluded>,
    /// Lobes on the same grid, if asked for: 1 right upper, 2 right middle, 3 right lower, 4 left upper, 5 left lower,
    /// 0 elsewhere.
    pub lobes: Option<Volume<u8>>,
}

/// Everything that is drawn, and the grid it is drawn on.
struct Scene {
    chest: Chest,
    trees: Trees,
    tissue: Tissue,
    lesions: Vec<Lesion>,
    distractors: Distractors,
    vessels: bool,
}

/// Fine slices rendered together; a memory bound, part of no result.
const SLAB: usize = 36;
/// Slices thicker than this (mm) are averaged from finer ones.
const FINEST: f32 = 1.05;

/// Generates one scan.
pub fn generate(spec: &PhantomSpec) -> Phantom {
    let PhantomSpec { seed, index, style, size, .. } = *spec;
    let acquisition = Acquisition::draw(seed, index, style, size);
    let build = Build::draw(seed, index, acquisition.patient);
    let [ny, nx] = size.plane();
    let (bottom, top) = (-146.0 * build.scale[2], 146.0 * build.scale[2]);
    let nz = ((top - bottom) / acquisition.spacing_z) as usize;
    let sub = (acquisition.spacing_z / FINEST).ceil().max(1.0) as usize;
    let fine = acquisition.spacing_z / sub as f32;

    let half = [0.5 * (nx - 1) as f32 * acquisition.spacing_xy, 0.5 * (ny - 1) as f32 * acquisition.spacing_xy];
    // The table takes room behind the patient.
    let origin = [-half[0], -half[1] + 12.0 * build.scale[1], bottom];
    let low = [origin[0], origin[1], bottom - 8.0];
    let high = [-origin[0], origin[1] + 2.0 * half[1], top + 8.0];
    let step = match size {
        Size::Full => 2.4,
        Size::Small => 1.5,
    };
    let chest = Chest::new(seed, index, build, low, high, step);
    let back = back_of(&chest, low, high);
    let tissue = Tissue::new(seed, index, low, high, acquisition.contrast, back);
    let trees = Trees::grow(seed, index, &chest);
    let (placed, distractors) = {
        let mut site = Site::new(&chest, &trees);
        let placed = place_nodules(seed, index, style, size, acquisition.contrast, &mut site);
        let distractors = Distractors::draw(seed, index, size, tissue.blood_hu, &mut site);
        (placed, distractors)
    };
    let lesions = placed.iter().map(|p| p.lesion.clone()).collect();
    let scene = Scene { chest, trees, tissue, lesions, distractors, vessels: spec.vessels };

    let profile = slice_profile(acquisition.thickness, fine, sub);
    let scanner = Scanner::new(seed, index, [ny, nx], acquisition);
    let mut voxels = vec![0i16; nx * ny * nz];
    let per_slab = (SLAB / sub).max(1);
    voxels.par_chunks_mut(per_slab * nx * ny).enumerate().for_each(|(k, out)| {
        let first = k * per_slab;
        let count = out.len() / (nx * ny);
        // The fine slices whose weights fall on the slab's slices.
        let before = (profile.len() - sub) / 2;
        let slab = Slab {
            origin: [origin[0], origin[1], bottom + (first * sub) as f32 * fine - before as f32 * fine],
            step: [acquisition.spacing_xy, acquisition.spacing_xy, fine],
            shape: [nx, ny, (count - 1) * sub + profile.len()],
        };
        let hu = scene.render(&slab);
        let mut slice = vec![0.0f32; nx * ny];
        let mut depth = vec![0.0f32; nx * ny];
        for (j, image) in out.chunks_exact_mut(nx * ny).enumerate() {
            slice.fill(0.0);
            for (i, w) in profile.iter().enumerate() {
                for (v, h) in slice.iter_mut().zip(&hu[(j * sub + i) * nx * ny..][..nx * ny]) {
                    *v += w * h;
                }
            }
            let z = first + j;
            let centre = bottom + (z as f32 * sub as f32 + 0.5 * (sub as f32 - 1.0)) * fine;
            scene.noise_amplitude(&slab, centre, &mut depth);
            scanner.image(&mut slice, &depth, z, z as f32 / nz as f32, image);
        }
    });

    // Where the scanner's origin lies is arbitrary, as in real scans.
    let mut s = Stream::new(seed, index, Purpose::Acquisition, 1);
    let couch: [f64; 3] = [
        f64::from(s.range(-20.0, 20.0).round()),
        f64::from(s.range(-40.0, 40.0).round()) - 150.0,
        f64::from(s.range(-320.0, 120.0).round()),
    ];
    let first_centre = bottom + 0.5 * (sub as f32 - 1.0) * fine;
    let world = |p: [f64; 3]| -> [f64; 3] { std::array::from_fn(|i| p[i] + couch[i]) };
    let spacing = [acquisition.spacing_xy, acquisition.spacing_xy, acquisition.spacing_z].map(decimal);
    let corner = world([f64::from(origin[0]), f64::from(origin[1]), f64::from(first_centre)]);
    let mut geometry = Geometry {
        shape_zyx: [nz, ny, nx],
        spacing_mm_xyz: spacing,
        origin_mm_xyz: corner.map(|v| (v * 1e6).round() / 1e6),
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    };
    let mut lobes = spec.labels.then(|| scene.lobes(&geometry, couch));
    if acquisition.flipped {
        voxels.par_chunks_mut(nx * ny).for_each(|slice| slice.reverse());
        if let Some(l) = &mut lobes {
            l.par_chunks_mut(nx * ny).for_each(|slice| slice.reverse());
        }
        geometry.origin_mm_xyz[0] += spacing[0] * (nx - 1) as f64;
        geometry.origin_mm_xyz[1] += spacing[1] * (ny - 1) as f64;
        geometry.direction = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
    }

    let nodules = placed
        .iter()
        .map(|p| NoduleTruth {
            center_mm_xyz: world(p.centroid.map(f64::from)),
            diameter_mm: p.diameter,
            kind: p.kind,
            attachment: p.attachment,
        })
        .collect();
    let excluded = scene
        .distractors
        .excluded
        .iter()
        .map(|e| Excluded { center_mm_xyz: world(e.center_mm_xyz), ..e.clone() })
        .collect();
    Phantom {
        lobes: lobes.map(|l| Volume::new(geometry.clone(), l)),
        volume: Volume::new(geometry, voxels),
        nodules,
        excluded,
    }
}

/// The decimal number that a protocol would state: 0.703, not the nearest `f32`.
fn decimal(v: f32) -> f64 {
    (f64::from(v) * 1000.0).round() / 1000.0
}

/// The rearmost point of the body, where the table begins.
fn back_of(chest: &Chest, low: Vec3, high: Vec3) -> f32 {
    let body = &chest.organs[organ::BODY];
    let steps = |a: f32, b: f32| (0..60).map(move |i| a + (b - a) * i as f32 / 59.0);
    let mut back = 0.0f32;
    for z in steps(low[2], high[2]) {
        for y in steps(0.0, high[1]) {
            if body.sample([0.35 * low[0], y, z]) < 0.0 || body.sample([0.0, y, z]) < 0.0 {
                back = back.max(y);
            }
        }
    }
    back
}

impl Scene {
    /// Exact densities of a slab: tissue, then vessels, airway walls, lumina, and lesions over them.
    fn render(&self, slab: &Slab) -> Vec<f32> {
        let mut hu = self.tissue.render(&self.chest, slab);
        let mut cover = vec![0.0f32; hu.len()];
        let mut apply = |cover: &mut Vec<f32>, density: f32| {
            for (h, c) in hu.iter_mut().zip(cover.iter_mut()) {
                *h += (density - *h) * *c;
                *c = 0.0;
            }
        };
        if self.vessels {
            for capsule in &self.trees.vessels {
                slab.cover(&mut cover, capsule, 0.0);
            }
            apply(&mut cover, self.tissue.blood_hu);
        }
        for airway in &self.trees.airways {
            slab.cover(&mut cover, &airway.lumen, airway.wall);
        }
        apply(&mut cover, 25.0);
        for airway in &self.trees.airways {
            slab.cover(&mut cover, &airway.lumen, 0.0);
        }
        apply(&mut cover, -985.0);
        for strand in &self.distractors.strands {
            slab.strand(&mut hu, &strand.capsule, strand.hu, &self.chest);
        }
        let bulges = self.distractors.bulges.iter().filter(|_| self.vessels);
        for lesion in bulges.chain(&self.distractors.lesions).chain(&self.lesions) {
            slab.paint(&mut hu, lesion, &self.chest);
        }
        hu
    }

    /// Relative noise of every pixel of a slice: more behind more tissue.
    fn noise_amplitude(&self, slab: &Slab, z: f32, out: &mut [f32]) {
        let body = &self.chest.organs[organ::BODY];
        let thick = 75.0 * self.chest.build.mean_scale();
        let mut row = vec![0.0; body.lattice.shape[0]];
        for (y, line) in out.chunks_exact_mut(slab.shape[0]).enumerate() {
            body.row(slab.origin[1] + slab.step[1] * y as f32, z, &mut row);
            for (x, v) in line.iter_mut().enumerate() {
                let (i, t) = body.lattice.cell(0, slab.origin[0] + slab.step[0] * x as f32);
                let d = row[i] + (row[i + 1] - row[i]) * t;
                *v = if d > 0.0 { 0.45 } else { 0.62 + 0.42 * (-d / thick).min(1.0) };
            }
        }
    }

    fn lobes(&self, geometry: &Geometry, couch: [f64; 3]) -> Vec<u8> {
        let [_, ny, nx] = geometry.shape_zyx;
        let mut labels = vec![0u8; geometry.voxel_count()];
        labels.par_chunks_mut(nx).enumerate().for_each(|(r, line)| {
            for (x, label) in line.iter_mut().enumerate() {
                let world = geometry.world_from_index([(r / ny) as f64, (r % ny) as f64, x as f64]);
                let p: Vec3 = std::array::from_fn(|i| (world[i] - couch[i]) as f32);
                if self.chest.lung().sample(p) < 0.0 {
                    let lobe: Lobe = self.chest.lobe(p);
                    *label = lobe as u8;
                }
            }
        });
        labels
    }
}
