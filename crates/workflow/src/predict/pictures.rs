//! Which slices of a scan are shown, and drawing them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use imaging::render::{Marker, Plane, RenderError, SliceStyle, render_slice, slice_at, slice_count};
use imaging::{Volume, resample};
use rayon::prelude::*;

use super::scan::{MarkedDetection, ScanError};
use detector::inference::Detection;

/// Only so many detections have pictures, the strongest: a report of a hundred would be too large to open.
pub const PICTURED_DETECTIONS: usize = 10;

/// A slice as a PNG.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The plane.
    pub plane: Plane,
    /// Slice number, from 1, as in the picture.
    pub slice: usize,
    /// Slices in this plane.
    pub count: usize,
    /// Detections for which the slice was chosen; none for an overview.
    pub numbers: Vec<u32>,
    /// Width and height, pixels.
    pub size: [usize; 2],
    /// The file.
    pub png: Vec<u8>,
}

impl Picture {
    /// Draws slice `index` (from 0) of a scan whose axes are the body's, see [`straightened`].
    pub(crate) fn draw(
        volume: &Volume<i16>,
        plane: Plane,
        index: usize,
        style: &SliceStyle,
        numbers: Vec<u32>,
    ) -> Result<Self, RenderError> {
        let image = render_slice(volume, plane, index, style)?;
        Ok(Self {
            plane,
            slice: index + 1,
            count: slice_count(volume, plane).unwrap_or_default(),
            numbers,
            size: [image.width, image.height],
            png: image.to_png(),
        })
    }

    /// Its file name: `axial_0091.png`.
    pub fn name(&self) -> String {
        let plane = match self.plane {
            Plane::Axial => "axial",
            Plane::Coronal => "coronal",
            Plane::Sagittal => "sagittal",
        };
        format!("{plane}_{:04}.png", self.slice)
    }
}

/// The scan, resampled where its axes are oblique to the body's.
pub(crate) fn straightened(volume: &Volume<i16>) -> Result<Cow<'_, Volume<i16>>, ScanError> {
    if slice_count(volume, Plane::Axial).is_some() {
        return Ok(Cow::Borrowed(volume));
    }
    let finest = volume.geometry().spacing_mm_xyz.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Cow::Owned(resample::resample_isotropic(volume, finest)?))
}

/// The circle around a detection.
pub(crate) fn marker(number: u32, detection: &Detection) -> Marker {
    Marker { center_mm_xyz: detection.center_mm_xyz, diameter_mm: detection.diameter_mm, number }
}

/// The pictures of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// By plane, then by slice.
    pub all: Vec<Picture>,
    /// Whether the scan had to be resampled to be drawn.
    pub oblique: bool,
}

impl Pictures {
    /// Draws the slices in three planes through each of the strongest detections, or through the middle of the scan
    /// when there is none. Every detection that touches a slice is circled.
    pub fn draw(volume: &Volume<i16>, detections: &[MarkedDetection]) -> Result<Self, ScanError> {
        let straight = straightened(volume)?;
        let oblique = matches!(straight, Cow::Owned(_));
        let volume = &*straight;
        let markers = detections.iter().map(|marked| marker(marked.number, &marked.detection)).collect();
        let style = SliceStyle { markers, ..SliceStyle::default() };

        // A slice through two detections is drawn once.
        let mut wanted: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
        for (plane, name) in Plane::ALL.into_iter().enumerate() {
            for marked in detections.iter().take(PICTURED_DETECTIONS) {
                if let Some(index) = slice_at(volume, name, marked.detection.center_mm_xyz) {
                    wanted.entry((plane, index)).or_default().push(marked.number);
                }
            }
            if detections.is_empty()
                && let Some(count) = slice_count(volume, name)
            {
                wanted.insert((plane, count / 2), Vec::new());
            }
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        let draw = |((plane, index), numbers): ((usize, usize), Vec<u32>)| {
            Picture::draw(volume, Plane::ALL[plane], index, &style, numbers)
        };
        let all = wanted.into_par_iter().map(draw).collect::<Result<_, RenderError>>()?;
        Ok(Self { all, oblique })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Geometry;

    fn marked(number: u32, center_mm_xyz: [f64; 3]) -> MarkedDetection {
        let detection = Detection { center_mm_xyz, diameter_mm: 6.0, confidence: 0.5, volume_mm3: None };
        MarkedDetection { number, detection, voxel_zyx: [0.0; 3], lung: None }
    }

    fn volume(direction: [[f64; 3]; 3]) -> Volume<i16> {
        let geometry =
            Geometry { shape_zyx: [20, 30, 40], spacing_mm_xyz: [1.0; 3], origin_mm_xyz: [0.0; 3], direction };
        Volume::filled(geometry, -800)
    }

    const STRAIGHT: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    #[test]
    fn a_shared_slice_is_drawn_once_and_names_both_detections() {
        let pictures = Pictures::draw(&volume(STRAIGHT), &[marked(1, [9.0, 9.0, 9.0]), marked(2, [30.0, 20.0, 9.0])]);
        let all = pictures.unwrap().all;
        let found: Vec<_> = all.iter().map(|p| (p.name(), p.numbers.clone())).collect();
        assert_eq!(
            found,
            [
                ("axial_0010.png".to_owned(), vec![1, 2]),
                ("coronal_0010.png".to_owned(), vec![1]),
                ("coronal_0021.png".to_owned(), vec![2]),
                ("sagittal_0010.png".to_owned(), vec![1]),
                ("sagittal_0031.png".to_owned(), vec![2]),
            ]
        );
    }

    #[test]
    fn a_scan_without_detections_is_shown_in_its_middle() {
        let all = Pictures::draw(&volume(STRAIGHT), &[]).unwrap().all;
        let slices: Vec<_> = all.iter().map(|p| (p.plane, p.slice, p.count)).collect();
        assert_eq!(slices, [(Plane::Axial, 11, 20), (Plane::Coronal, 16, 30), (Plane::Sagittal, 21, 40)]);
    }

    #[test]
    fn an_oblique_scan_is_resampled_and_says_so() {
        let [c, s] = [0.8, 0.6];
        let pictures = Pictures::draw(&volume([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), &[]).unwrap();
        assert!(pictures.oblique);
        assert_eq!(pictures.all.len(), 3);
    }
}
