//! A slice as a picture for a person: radiological orientation, square millimetres, window, findings and scale.
//!
//! The patient's right is on the left of axial and coronal pictures; the head is up in coronal and sagittal ones;
//! anterior is up in axial and left in sagittal ones.

mod canvas;
mod font;

use serde::{Deserialize, Serialize};

use crate::orient::LpsView;
use crate::{Volume, Window};
use canvas::{Color, text_size};

pub use canvas::RgbImage;

/// Amber, for findings and nothing else.
const FINDING: Color = [0xff, 0xb0, 0x20];
const DARK: Color = [0x10, 0x13, 0x16];
const LABEL: Color = [0xe6, 0xea, 0xee];

/// The three standard planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Across the body; slices count from the feet to the head.
    Axial,
    /// Front view; slices count from the front to the back.
    Coronal,
    /// Side view; slices count from the patient's right to the left.
    Sagittal,
}

impl Plane {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Axial, Self::Coronal, Self::Sagittal];

    /// The world axis (x, y, z) along which slices count, the one to the right of the picture, the one along its
    /// height.
    pub fn axes(self) -> [usize; 3] {
        match self {
            Self::Axial => [2, 0, 1],
            Self::Coronal => [1, 0, 2],
            Self::Sagittal => [0, 1, 2],
        }
    }

    /// What lies to the left, right, top and bottom of the picture.
    fn letters(self) -> [&'static str; 4] {
        match self {
            Self::Axial => ["R", "L", "A", "P"],
            Self::Coronal => ["R", "L", "H", "F"],
            Self::Sagittal => ["A", "P", "H", "F"],
        }
    }
}

/// A finding to be circled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Centre in world coordinates (LPS), millimetres.
    pub center_mm_xyz: [f64; 3],
    /// Diameter, millimetres.
    pub diameter_mm: f64,
    /// Number beside the circle.
    pub number: u32,
}

/// What is to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceStyle {
    /// Grey levels.
    pub window: Window,
    /// Findings; a marker is drawn on the slices that its sphere touches.
    pub markers: Vec<Marker>,
    /// Orientation letters, slice number, window and scale bar.
    pub annotated: bool,
}

impl Default for SliceStyle {
    fn default() -> Self {
        Self { window: Window::LUNG, markers: Vec::new(), annotated: true }
    }
}

/// Why a slice cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// There is no such slice.
    #[error("slice {index} does not exist: the volume has {count} {plane:?} slices, counted from 0")]
    NoSuchSlice {
        /// The plane.
        plane: Plane,
        /// What was asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The grid is rotated against the patient.
    #[error("the volume is oblique: its slices are no axial, coronal or sagittal planes; resample it first")]
    Oblique,
    /// The slice is too large for a picture.
    #[error("the slice would need a picture of {width} x {height} pixels, expected at most {MAX_EDGE} each way")]
    TooLarge {
        /// Pixels in a row.
        width: usize,
        /// Number of rows.
        height: usize,
    },
}

/// Longest edge of a picture, pixels.
const MAX_EDGE: usize = 8192;

/// Number of slices in a plane; `None` for an oblique volume.
pub fn slice_count(volume: &Volume<i16>, plane: Plane) -> Option<usize> {
    LpsView::new(volume).map(|view| view.shape_zyx[2 - plane.axes()[0]])
}

/// The slice nearest to a world position; `None` for an oblique volume and for a place outside of it.
pub fn slice_at(volume: &Volume<i16>, plane: Plane, point_mm_xyz: [f64; 3]) -> Option<usize> {
    let view = LpsView::new(volume)?;
    let axis = plane.axes()[0];
    let index = ((point_mm_xyz[axis] - view.origin_mm_xyz[axis]) / view.spacing_mm_xyz[axis] + 0.5).floor();
    (index >= 0.0 && index < view.shape_zyx[2 - axis] as f64).then_some(index as usize)
}

/// Draws a slice. Slices count along LPS axes from 0 (see [`Plane`]) whatever the order in the file. Pixels are
/// square with the finer of the slice's two spacings; the coarser direction is interpolated linearly.
pub fn render_slice(
    volume: &Volume<i16>,
    plane: Plane,
    index: usize,
    style: &SliceStyle,
) -> Result<RgbImage, RenderError> {
    let view = LpsView::new(volume).ok_or(RenderError::Oblique)?;
    let frame = Frame::new(&view, plane, index, None)?;
    let label = SliceNumber { index, count: frame.count };
    Ok(draw(&view, &frame, label, style))
}

/// Which slice of how many, both as the whole scan counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceNumber {
    /// From 0.
    pub index: usize,
    /// All slices of the plane.
    pub count: usize,
}

/// Draws the first slice of a part of a scan, for instance of a [`SliceReader::read`](crate::slices::SliceReader::read)
/// around a finding. Pixels have `pixel_mm` or, where that is `None`, the size that [`render_slice`] chooses.
///
/// # Errors
/// When the part is oblique or the picture would be too large.
pub fn render_part(
    part: &Volume<i16>,
    plane: Plane,
    number: SliceNumber,
    pixel_mm: Option<f64>,
    style: &SliceStyle,
) -> Result<RgbImage, RenderError> {
    let view = LpsView::new(part).ok_or(RenderError::Oblique)?;
    let frame = Frame::new(&view, plane, 0, pixel_mm)?;
    Ok(draw(&view, &frame, number, style))
}

fn draw(view: &LpsView<'_, i16>, frame: &Frame, number: SliceNumber, style: &SliceStyle) -> RgbImage {
    let mut image = frame.image(view, &style.window);
    // Letters and lines grow with the picture.
    let scale = ((image.width.min(image.height) + 120) / 240).max(1);
    for marker in &style.markers {
        frame.mark(&mut image, marker, scale);
    }
    if style.annotated {
        frame.annotate(&mut image, &style.window, number, scale);
    }
    image
}

/// How the pixels of a picture lie in the world.
struct Frame {
    plane: Plane,
    index: usize,
    count: usize,
    pixel_mm: f64,
    /// Pixels along the width and the height.
    size: [usize; 2],
    /// Voxels, spacing and origin along the width, the height and across.
    voxels: [usize; 3],
    spacing_mm: [f64; 3],
    origin_mm: [f64; 3],
    /// Whether the head is up: rows run against z.
    upright: bool,
}

impl Frame {
    fn new(view: &LpsView<'_, i16>, plane: Plane, index: usize, pixel_mm: Option<f64>) -> Result<Self, RenderError> {
        let [across, right, down] = plane.axes();
        let axes = [right, down, across];
        let voxels = axes.map(|axis| view.shape_zyx[2 - axis]);
        let spacing_mm = axes.map(|axis| view.spacing_mm_xyz[axis]);
        let count = voxels[2];
        if index >= count {
            return Err(RenderError::NoSuchSlice { plane, index, count });
        }
        let pixel_mm = pixel_mm.unwrap_or(spacing_mm[0].min(spacing_mm[1]));
        let edge = |i: usize| (voxels[i] as f64 * spacing_mm[i] / pixel_mm).round().max(1.0) as usize;
        let size @ [width, height] = [edge(0), edge(1)];
        if width > MAX_EDGE || height > MAX_EDGE {
            return Err(RenderError::TooLarge { width, height });
        }
        let origin_mm = axes.map(|axis| view.origin_mm_xyz[axis]);
        Ok(Self { plane, index, count, pixel_mm, size, voxels, spacing_mm, origin_mm, upright: down == 2 })
    }

    /// Continuous voxel index along the width (0) or the height (1) of the centre of a pixel.
    fn voxel(&self, side: usize, pixel: usize) -> f64 {
        let last = (self.voxels[side] - 1) as f64;
        let along = (pixel as f64 + 0.5) * self.pixel_mm / self.spacing_mm[side] - 0.5;
        let along = along.clamp(0.0, last);
        if side == 1 && self.upright { last - along } else { along }
    }

    /// Pixel position of a world position.
    fn pixel(&self, point_mm_xyz: [f64; 3]) -> [f32; 2] {
        let [_, right, down] = self.plane.axes();
        let at = |side: usize, axis: usize| {
            let along = (point_mm_xyz[axis] - self.origin_mm[side]) / self.spacing_mm[side];
            let along = if side == 1 && self.upright { (self.voxels[1] - 1) as f64 - along } else { along };
            ((along + 0.5) * self.spacing_mm[side] / self.pixel_mm - 0.5) as f32
        };
        [at(0, right), at(1, down)]
    }

    fn image(&self, view: &LpsView<'_, i16>, window: &Window) -> RgbImage {
        let [width, height] = self.size;
        let [across, right, down] = self.plane.axes();
        let columns: Vec<f64> = (0..width).map(|pixel| self.voxel(0, pixel)).collect();
        let mut pixels = Vec::with_capacity(width * height * 3);
        for row in 0..height {
            let v = self.voxel(1, row);
            for &u in &columns {
                let at = |side: usize, floor: f64, step: usize| (floor as usize + step).min(self.voxels[side] - 1);
                let value = |du: usize, dv: usize| {
                    let mut index_zyx = [0; 3];
                    index_zyx[2 - across] = self.index;
                    index_zyx[2 - right] = at(0, u, du);
                    index_zyx[2 - down] = at(1, v, dv);
                    f32::from(view.at(index_zyx))
                };
                let (fu, fv) = (u.fract() as f32, v.fract() as f32);
                let low = value(0, 0) * (1.0 - fu) + value(1, 0) * fu;
                let high = value(0, 1) * (1.0 - fu) + value(1, 1) * fu;
                pixels.extend([window.gray(low * (1.0 - fv) + high * fv); 3]);
            }
        }
        RgbImage { width, height, pixels }
    }

    fn mark(&self, image: &mut RgbImage, marker: &Marker, scale: usize) {
        let across = self.plane.axes()[0];
        let slice_mm = self.origin_mm[2] + self.index as f64 * self.spacing_mm[2];
        let away_mm = (marker.center_mm_xyz[across] - slice_mm).abs();
        // A sphere that touches the slice's thickness is seen in it.
        if away_mm > marker.diameter_mm / 2.0 + self.spacing_mm[2] / 2.0 {
            return;
        }
        // Drawn outside of the finding, not upon it.
        let radius = (marker.diameter_mm / 2.0 / self.pixel_mm) as f32 + 3.0 * scale as f32;
        let center = self.pixel(marker.center_mm_xyz);
        let thickness = 1.5 * scale as f32;
        image.ring(center, radius, thickness + 2.0 * scale as f32, DARK);
        image.ring(center, radius, thickness, FINDING);
        let number = marker.number.to_string();
        let diagonal = radius * std::f32::consts::FRAC_1_SQRT_2 + 2.0 * scale as f32;
        let [text_width, text_height] = text_size(&number, scale).map(|length| length as f32);
        // To the upper right, or to whichever side has room.
        let mut x = center[0] + diagonal;
        let mut y = center[1] - diagonal - text_height;
        if x + text_width > image.width as f32 {
            x = center[0] - diagonal - text_width;
        }
        if y < 0.0 {
            y = center[1] + diagonal;
        }
        image.text([x as isize, y as isize], &number, scale, FINDING, DARK);
    }

    fn annotate(&self, image: &mut RgbImage, window: &Window, number: SliceNumber, scale: usize) {
        let margin = 4 * scale;
        let (width, height) = (image.width, image.height);
        let mut put = |text: &str, x: usize, y: usize| {
            image.text([x as isize, y as isize], text, scale, LABEL, DARK);
        };
        let [letter_width, letter_height] = text_size("R", scale);
        let (middle_x, middle_y) = ((width.saturating_sub(letter_width)) / 2, height.saturating_sub(letter_height) / 2);
        let right = |text: &str| width.saturating_sub(text_size(text, scale)[0] + margin);
        let bottom = height.saturating_sub(letter_height + margin);
        let [l, r, t, b] = self.plane.letters();
        put(l, margin, middle_y);
        put(r, right(r), middle_y);
        put(t, middle_x, margin);
        put(b, middle_x, bottom);
        put(&format!("{}/{}", number.index + 1, number.count), margin, margin);
        let levels = format!("W {} L {}", window.width_hu, window.center_hu);
        put(&levels, right(&levels), margin);

        // The longest round length within a third of the width.
        let third_mm = width as f64 * self.pixel_mm / 3.0;
        let Some(bar_mm) = [100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0].into_iter().find(|&mm| mm <= third_mm) else {
            return;
        };
        let bar = (bar_mm / self.pixel_mm).round() as usize;
        put(&format!("{bar_mm} mm"), margin, bottom.saturating_sub(letter_height));
        let top = (height.saturating_sub(margin + 2 * scale)) as isize;
        image.block([margin as isize - 1, top - 1], [bar + 2, scale + 2], DARK);
        image.block([margin as isize, top], [bar, scale], LABEL);
    }
}
