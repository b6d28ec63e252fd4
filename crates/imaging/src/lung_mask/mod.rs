//! Where the lungs are: which tiles of a scan are worth a look.
//!
//! The mask only *skips* tiles. Voxels outside of it must never be blanked: nodules at the pleura live there. It is
//! made at 2 mm by threshold and shape, is checked for plausibility, and gives way to the box around the body when
//! it is not plausible: a slow result is better than one that misses half a lung.

mod airway;
mod grid;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::resample::{resample_isotropic, resample_nearest};
use crate::{Geometry, GeometryError, Volume, VoxelBox};
use grid::Mask;

/// Spacing at which the mask is made, millimetres.
const SPACING_MM: f64 = 2.0;
const VOXEL_ML: f64 = SPACING_MM * SPACING_MM * SPACING_MM / 1000.0;

/// How a lung mask is made and what is believed of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LungMaskConfig {
    /// CT values below are air or lung.
    pub threshold_hu: i16,
    /// Vessels, hilum and nodules at the pleura narrower than twice this are filled, millimetres.
    pub closing_mm: f64,
    /// Width of the rim that is added around, millimetres.
    pub dilation_mm: f64,
    /// Plausible volume of both lungs, closed but without the rim, millilitres.
    pub volume_ml: RangeInclusive<f64>,
    /// Plausible volume of the left lung divided by that of the right.
    pub left_right_ratio: RangeInclusive<f64>,
}

impl Default for LungMaskConfig {
    fn default() -> Self {
        Self {
            threshold_hu: -400,
            closing_mm: 9.0,
            dilation_mm: 9.0,
            volume_ml: 1500.0..=9000.0,
            left_right_ratio: 0.5..=2.0,
        }
    }
}

/// What a mask shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LungSource {
    /// Both lungs, plausible.
    Lungs {
        /// The patient's right lung with its rim.
        right: VoxelBox,
        /// The patient's left lung with its rim.
        left: VoxelBox,
        /// Volume of the right lung, closed but without the rim, millilitres.
        right_ml: f64,
        /// Volume of the left lung, likewise.
        left_ml: f64,
    },
    /// The box around the body, because no plausible lungs were found.
    BodyBox {
        /// The box.
        body: VoxelBox,
        /// What was found and what was expected: to be shown with the result.
        reason: String,
    },
}

/// One of the two, from the patient's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LungSide {
    /// The right one.
    Right,
    /// The left one.
    Left,
}

/// The part of a scan that is to be searched, on the scan's own grid.
#[derive(Debug, Clone)]
pub struct LungMask {
    /// 0 outside; inside a sum of [`LungMask::RIGHT`] and [`LungMask::LEFT`], both of them for the body box.
    pub mask: Volume<u8>,
    /// What the mask shows.
    pub source: LungSource,
}

impl LungMask {
    /// Bit of the patient's right lung.
    pub const RIGHT: u8 = 1;
    /// Bit of the patient's left lung.
    pub const LEFT: u8 = 2;

    /// The lung that a place lies in: the patient's, with its rim. `None` outside, where the rims of both meet, and where
    /// no lungs were found.
    ///
    /// # Shapes
    /// `index_zyx`: continuous voxel index on the mask's grid.
    pub fn lung_at(&self, index_zyx: [f64; 3]) -> Option<LungSide> {
        let shape = self.mask.geometry().shape_zyx;
        let mut offset = 0;
        for (at, size) in index_zyx.map(f64::round).into_iter().zip(shape) {
            if !(0.0..size as f64).contains(&at) {
                return None;
            }
            offset = offset * size + at as usize;
        }
        match self.mask.voxels()[offset] {
            Self::RIGHT => Some(LungSide::Right),
            Self::LEFT => Some(LungSide::Left),
            _ => None,
        }
    }

    /// The boxes to search: one per lung, or the body's.
    pub fn boxes(&self) -> Vec<VoxelBox> {
        match &self.source {
            LungSource::Lungs { right, left, .. } => vec![*right, *left],
            LungSource::BodyBox { body, .. } => vec![*body],
        }
    }
}

/// Finds the lungs in a CT on any grid. The answer is deterministic and always usable; [`LungMask::source`] says
/// whether it shows lungs.
///
/// # Errors
/// Only when the volume cannot be resampled to 2 mm, which no valid CT provokes.
pub fn lung_mask(volume: &Volume<i16>, config: &LungMaskConfig) -> Result<LungMask, GeometryError> {
    let coarse = resample_isotropic(volume, SPACING_MM)?;
    let shape_zyx = coarse.geometry().shape_zyx;
    let air = Mask { shape_zyx, set: coarse.voxels().iter().map(|&hu| hu < config.threshold_hu).collect() };
    let body = largest_part(&air.clone().inverted());
    let body_box = body.bounds().unwrap_or(VoxelBox::whole(shape_zyx));
    let found = find_lungs(air, body, &body_box).and_then(|lungs| plausible(lungs, config));
    Ok(match found {
        Ok([right, left]) => lungs_result(volume.geometry(), coarse.geometry(), &right, &left, config),
        Err(reason) => body_result(volume.geometry(), coarse.geometry(), &body_box, reason),
    })
}

/// A lung, cropped with a margin, closed.
struct Lung {
    mask: Mask,
    /// Where the crop starts in the coarse grid; the margin may lie outside.
    start_zyx: [isize; 3],
    volume_ml: f64,
}

fn largest_part(mask: &Mask) -> Mask {
    let parts = mask.parts(false);
    let largest = (1..parts.size.len()).max_by_key(|&part| (parts.size[part], std::cmp::Reverse(part)));
    mask.of_part(&parts, largest.map_or(u32::MAX, |part| part as u32))
}

/// Right and left lung without airways, not yet closed.
fn find_lungs(air: Mask, body: Mask, body_box: &VoxelBox) -> Result<[Mask; 2], String> {
    let mut inside = air_inside(air, body);
    airway::remove(&mut inside, body_box, SPACING_MM);
    let parts = inside.parts(false);
    let mut by_size: Vec<u32> = (1..parts.size.len() as u32).collect();
    by_size.sort_by_key(|&part| (std::cmp::Reverse(parts.size[part as usize]), part));
    let size = |rank: usize| by_size.get(rank).map_or(0, |&part| parts.size[part as usize]);
    if size(0) == 0 {
        return Err("no air was found inside of the body".to_owned());
    }
    let mut lungs = if size(1) * 6 > size(0) {
        [inside.of_part(&parts, by_size[0]), inside.of_part(&parts, by_size[1])]
    } else {
        split(&inside.of_part(&parts, by_size[0])).ok_or_else(|| {
            format!(
                "one connected air space of {:.0} ml could not be divided into two lungs",
                size(0) as f64 * VOXEL_ML
            )
        })?
    };
    // LPS: x grows to the patient's left.
    if mean_x(&lungs[0]) > mean_x(&lungs[1]) {
        lungs.swap(0, 1);
    }
    adopt(&mut lungs, &inside, &parts, &by_size);
    Ok(lungs)
}

/// Air that the body encloses in its axial slice: neither the room, nor the table and its foam.
fn air_inside(air: Mask, body: Mask) -> Mask {
    let [_, ny, nx] = air.shape_zyx;
    let around = body.inverted();
    let parts = around.parts(true);
    let mut outside = vec![false; parts.size.len()];
    for (at, &part) in parts.label.iter().enumerate() {
        let (y, x) = (at / nx % ny, at % nx);
        outside[part as usize] |= y == 0 || x == 0 || y + 1 == ny || x + 1 == nx;
    }
    let set = air.set.iter().zip(&parts.label).map(|(&air, &part)| air && !outside[part as usize]).collect();
    Mask { shape_zyx: air.shape_zyx, set }
}

fn mean_x(mask: &Mask) -> f64 {
    let nx = mask.shape_zyx[2];
    let sum: usize = mask.set.iter().enumerate().filter(|&(_, &set)| set).map(|(at, _)| at % nx).sum();
    sum as f64 / mask.count().max(1) as f64
}

/// Divides lungs that touch in front of or behind the heart: eroded until they part, then grown back into the whole.
fn split(both: &Mask) -> Option<[Mask; 2]> {
    const DEEPEST: usize = 16;
    let bounds = both.bounds()?;
    let cropped = both.cropped(&bounds, 1);
    let depth = cropped.clone().inverted().squared_distance();
    let (cores, parts, first, second) = (1..=DEEPEST).find_map(|radius| {
        let set = depth.iter().map(|&d| d > (radius * radius) as f32).collect();
        let cores = Mask { shape_zyx: cropped.shape_zyx, set };
        let parts = cores.parts(false);
        let mut order: Vec<usize> = (1..parts.size.len()).collect();
        order.sort_by_key(|&part| (std::cmp::Reverse(parts.size[part]), part));
        let (&first, &second) = (order.first()?, order.get(1)?);
        (parts.size[second] * 4 > parts.size[first]).then_some((cores, parts, first as u32, second as u32))
    })?;
    let halves = [first, second].map(|part| cores.of_part(&parts, part).squared_distance());
    let half = |own: usize| {
        let mut mask = Mask { shape_zyx: both.shape_zyx, set: vec![false; both.set.len()] };
        let [_, ny, nx] = both.shape_zyx;
        let [_, cy, cx] = cropped.shape_zyx;
        for (at, _) in cropped.set.iter().enumerate().filter(|&(_, &set)| set) {
            let nearer = if own == 0 { halves[0][at] <= halves[1][at] } else { halves[1][at] < halves[0][at] };
            if nearer {
                // The crop has a margin of one voxel.
                let [z, y, x] = [at / (cy * cx), at / cx % cy, at % cx].map(|i| i - 1);
                let to = ((bounds.start_zyx[0] + z) * ny + bounds.start_zyx[1] + y) * nx + bounds.start_zyx[2] + x;
                mask.set[to] = true;
            }
        }
        mask
    };
    Some([half(0), half(1)])
}

/// Adds what disease has cut off: smaller air spaces that lie within the bounds of the lungs go to the nearer one.
fn adopt(lungs: &mut [Mask; 2], inside: &Mask, parts: &grid::Parts, by_size: &[u32]) {
    const LEAST_ML: f64 = 5.0;
    let Some(bounds) = [&lungs[0], &lungs[1]].map(|lung| lung.bounds()).into_iter().flatten().reduce(|a, b| VoxelBox {
        start_zyx: std::array::from_fn(|d| a.start_zyx[d].min(b.start_zyx[d])),
        end_zyx: std::array::from_fn(|d| a.end_zyx[d].max(b.end_zyx[d])),
    }) else {
        return;
    };
    let middles = [mean_x(&lungs[0]), mean_x(&lungs[1])];
    for &part in by_size.iter().take_while(|&&part| parts.size[part as usize] as f64 * VOXEL_ML >= LEAST_ML) {
        let piece = inside.of_part(parts, part);
        let Some(extent) = piece.bounds() else { continue };
        let taken = piece.set.iter().zip(&lungs[0].set).zip(&lungs[1].set).any(|((&p, &a), &b)| p && (a || b));
        if taken || extent.intersection(&bounds) != Some(extent) {
            continue;
        }
        let x = mean_x(&piece);
        let side = usize::from((x - middles[1]).abs() < (x - middles[0]).abs());
        lungs[side].set.iter_mut().zip(&piece.set).for_each(|(lung, &piece)| *lung |= piece);
    }
}

/// Closes the lungs and checks volume and balance.
fn plausible([right, left]: [Mask; 2], config: &LungMaskConfig) -> Result<[Lung; 2], String> {
    let (right, left) = rayon::join(|| closed(&right, config), || closed(&left, config));
    let (right, left) = right.zip(left).ok_or("one lung is empty")?;
    let total = right.volume_ml + left.volume_ml;
    if !config.volume_ml.contains(&total) {
        let (low, high) = (config.volume_ml.start(), config.volume_ml.end());
        return Err(format!("the lungs would have {total:.0} ml, expected {low:.0} to {high:.0} ml"));
    }
    let ratio = left.volume_ml / right.volume_ml;
    if !config.left_right_ratio.contains(&ratio) {
        let (low, high) = (config.left_right_ratio.start(), config.left_right_ratio.end());
        return Err(format!(
            "the left lung would have {ratio:.2} times the volume of the right, expected {low:.2} to {high:.2}"
        ));
    }
    Ok([right, left])
}

fn closed(lung: &Mask, config: &LungMaskConfig) -> Option<Lung> {
    let bounds = lung.bounds()?;
    let radius = config.closing_mm / SPACING_MM;
    let margin = (radius + config.dilation_mm / SPACING_MM).ceil() as usize + 1;
    let mask = lung.cropped(&bounds, margin).dilated(radius as f32).eroded(radius as f32);
    let volume_ml = mask.count() as f64 * VOXEL_ML;
    Some(Lung { mask, start_zyx: bounds.start_zyx.map(|start| start as isize - margin as isize), volume_ml })
}

fn lungs_result(target: &Geometry, coarse: &Geometry, right: &Lung, left: &Lung, config: &LungMaskConfig) -> LungMask {
    let radius = (config.dilation_mm / SPACING_MM) as f32;
    let (right_rim, left_rim) = rayon::join(|| right.mask.dilated(radius), || left.mask.dilated(radius));
    let mut labels = Volume::filled(coarse.clone(), 0u8);
    paint(&mut labels, &right_rim, right.start_zyx, LungMask::RIGHT);
    paint(&mut labels, &left_rim, left.start_zyx, LungMask::LEFT);
    let mask = resample_nearest(&labels, target, 0);
    let bounds = |bit: u8| VoxelBox::around(target.shape_zyx, mask.voxels(), |label| label & bit != 0);
    let whole = VoxelBox::whole(target.shape_zyx);
    let source = LungSource::Lungs {
        // A grid so coarse that it misses a lung altogether is searched as a whole.
        right: bounds(LungMask::RIGHT).unwrap_or(whole),
        left: bounds(LungMask::LEFT).unwrap_or(whole),
        right_ml: right.volume_ml,
        left_ml: left.volume_ml,
    };
    LungMask { mask, source }
}

/// Sets `bit` where a crop that starts at `start_zyx` is set, as far as it lies in the volume.
fn paint(labels: &mut Volume<u8>, crop: &Mask, start_zyx: [isize; 3], bit: u8) {
    let shape = labels.geometry().shape_zyx;
    let [_, cy, cx] = crop.shape_zyx;
    for (at, _) in crop.set.iter().enumerate().filter(|&(_, &set)| set) {
        let index = [at / (cy * cx), at / cx % cy, at % cx];
        let to: [isize; 3] = std::array::from_fn(|d| start_zyx[d] + index[d] as isize);
        if (0..3).all(|d| to[d] >= 0 && (to[d] as usize) < shape[d]) {
            let offset = labels.offset(to.map(|i| i as usize));
            labels.voxels_mut()[offset] |= bit;
        }
    }
}

fn body_result(target: &Geometry, coarse: &Geometry, body: &VoxelBox, reason: String) -> LungMask {
    let inside = LungMask::RIGHT | LungMask::LEFT;
    let mut labels = Volume::filled(coarse.clone(), 0u8);
    for z in body.start_zyx[0]..body.end_zyx[0] {
        for y in body.start_zyx[1]..body.end_zyx[1] {
            let row = labels.offset([z, y, 0]);
            labels.voxels_mut()[row + body.start_zyx[2]..row + body.end_zyx[2]].fill(inside);
        }
    }
    let mask = resample_nearest(&labels, target, 0);
    let body = VoxelBox::around(target.shape_zyx, mask.voxels(), |label| label != 0);
    let body = body.unwrap_or(VoxelBox::whole(target.shape_zyx));
    LungMask { mask, source: LungSource::BodyBox { body, reason } }
}
