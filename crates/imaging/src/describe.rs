//! What an image file holds, in one record: for a person who wants to know what was sent, and for comparison with
//! another reader voxel for voxel.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::metaimage::{Limits, MetaImageError, Reader};

/// An image file in words and numbers. Two files with the same [`Description::voxels_sha256`] and geometry are the
/// same image, however they are stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The file's stem, which in LUNA16 is the SeriesInstanceUID.
    pub seriesuid: String,
    /// Number of voxels along z, y, x.
    pub shape_zyx: [usize; 3],
    /// Distance between voxel centres, millimetres.
    pub spacing_mm_xyz: [f64; 3],
    /// World position of the centre of the first voxel, LPS, millimetres.
    pub origin_mm_xyz: [f64; 3],
    /// Direction cosines, row-major as ITK's `GetDirection()`.
    pub direction: [[f64; 3]; 3],
    /// Type of the voxels in the file, MetaIO's name.
    pub element_type: String,
    /// Lowest CT value.
    pub hu_min: i16,
    /// Highest CT value.
    pub hu_max: i16,
    /// SHA-256 of the CT values as little-endian int16, x fastest, z slowest.
    pub voxels_sha256: String,
    /// What a reader of this image should be told, in sentences; empty for an ordinary CT.
    pub problems: Vec<String>,
}

/// Reads all of a .mhd or .mha file without keeping its voxels.
pub fn describe(path: &Path) -> Result<Description, MetaImageError> {
    describe_with(path, &Limits::local(), |_, _| {})
}

/// As [`describe`], refusing what `limits` does not allow and showing the voxels as they pass: the number of the first in
/// the order of the file, and their CT values.
pub fn describe_with(
    path: &Path,
    limits: &Limits,
    mut see: impl FnMut(usize, &[i16]),
) -> Result<Description, MetaImageError> {
    let reader = Reader::open(path, limits)?;
    let header = reader.header().clone();
    let (mut hasher, mut bytes, mut seen) = (Sha256::new(), Vec::new(), 0);
    let (mut hu_min, mut hu_max) = (i16::MAX, i16::MIN);
    let saturated = reader.for_each_hu(|piece| {
        bytes.clear();
        bytes.extend(piece.iter().flat_map(|hu| hu.to_le_bytes()));
        hasher.update(&bytes);
        hu_min = piece.iter().fold(hu_min, |low, &hu| low.min(hu));
        hu_max = piece.iter().fold(hu_max, |high, &hu| high.max(hu));
        see(seen, piece);
        seen += piece.len();
    })?;

    let mut problems = Vec::new();
    if !header.spacing_stated {
        problems.push("the header states no ElementSpacing; 1 mm is assumed, as ITK does".to_owned());
    }
    if saturated > 0 {
        problems.push(format!(
            "{saturated} voxels lie outside the range of int16 and were brought to its ends; CT values do not"
        ));
    }
    if hu_min == hu_max {
        problems.push(format!("every voxel is {hu_min}: the image is empty"));
    } else if hu_min >= 0 {
        problems.push(format!(
            "the lowest value is {hu_min}, but air is near -1000 HU: the rescale intercept (often -1024) may be missing"
        ));
    }
    let geometry = header.geometry;
    Ok(Description {
        seriesuid: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        shape_zyx: geometry.shape_zyx,
        spacing_mm_xyz: geometry.spacing_mm_xyz,
        origin_mm_xyz: geometry.origin_mm_xyz,
        direction: geometry.direction,
        element_type: header.element_type.name().to_owned(),
        hu_min,
        hu_max,
        voxels_sha256: hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        problems,
    })
}
