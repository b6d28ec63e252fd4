//! From complete files to a scan: every voxel is looked at once, on the way to its hash, its range and a small picture.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use imaging::metaimage::{Limits, MetaImageError, Problem, Reader};
use imaging::render::{Plane, SliceNumber, SliceStyle, render_part};
use imaging::{Description, Geometry, Volume, describe_with};

use super::pairing::in_words;
use crate::catalog::Message;
use crate::store::uploads::Upload;

/// The small picture of a scan, in its folder.
pub(crate) const THUMBNAIL: &str = "thumbnail.png";
/// Its longer edge, pixels.
const THUMBNAIL_EDGE: f64 = 160.0;

/// Why files do not become a scan.
#[derive(Debug)]
pub(super) enum Failure {
    /// They are none.
    Refused(Message),
    /// The machine fails; they may be one.
    System(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}

impl From<MetaImageError> for Failure {
    fn from(error: MetaImageError) -> Self {
        match &error.problem {
            Problem::Io { .. } | Problem::Memory { .. } => {
                let cause = std::error::Error::source(&error).map(|cause| cause.to_string());
                Self::System(cause.unwrap_or_else(|| error.problem.to_string()))
            }
            problem => Self::Refused(in_words(problem)),
        }
    }
}

/// What was found in the files.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) about: Description,
    pub(super) geometry: Geometry,
    /// Of the files that make the scan.
    pub(super) bytes: u64,
}

/// The name of an upload's header in its folder.
pub(super) fn header_file(upload: &Upload) -> String {
    if upload.header.is_empty() { upload.data_file.clone() } else { format!("{}.mhd", upload.series_uid) }
}

/// Reads an upload's files and puts them where scans are: `incoming` becomes `home` as a whole. Doing it again after an
/// interruption ends the same.
pub(super) fn examine(incoming: &Path, home: &Path, upload: &Upload) -> Result<Examined, Failure> {
    let moved = home.is_dir();
    let folder = if moved { home } else { incoming };
    let header = folder.join(header_file(upload));
    if !upload.header.is_empty() {
        write_durably(&header, upload.header.as_bytes())?;
    }
    let limits = Limits::strangers();
    let geometry = Reader::open(&header, &limits)?.header().geometry.clone();
    let mut middle = Middle::of(&geometry);
    let about = describe_with(&header, &limits, |first, voxels| middle.see(first, voxels))?;
    if about.hu_min == about.hu_max {
        return Err(Failure::Refused(Message::UploadEmpty { hu: about.hu_min.to_string() }));
    }
    if let Some(png) = middle.picture() {
        write_durably(&folder.join(THUMBNAIL), &png)?;
    }
    if !moved {
        sync_folder(incoming)?;
        let parent = home.parent().unwrap_or(home);
        crate::store::make_private_folder(parent)?;
        fs::rename(incoming, home)?;
        sync_folder(parent)?;
        incoming.parent().map_or(Ok(()), sync_folder)?;
    }
    Ok(Examined { about, geometry, bytes: upload.bytes + upload.header.len() as u64 })
}

fn write_durably(path: &PathBuf, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes names in a folder durable, where a system can.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The middle slice of a file, collected as the voxels pass.
struct Middle {
    geometry: Geometry,
    /// The number of its first voxel in the file.
    first: usize,
    voxels: Vec<i16>,
}

impl Middle {
    fn of(whole: &Geometry) -> Self {
        let [nz, ny, nx] = whole.shape_zyx;
        let geometry = Geometry {
            shape_zyx: [1, ny, nx],
            origin_mm_xyz: whole.world_from_index([(nz / 2) as f64, 0.0, 0.0]),
            ..whole.clone()
        };
        Self { geometry, first: nz / 2 * ny * nx, voxels: Vec::new() }
    }

    fn see(&mut self, first: usize, voxels: &[i16]) {
        let wanted = self.first + self.voxels.len();
        let missing = self.geometry.voxel_count() - self.voxels.len();
        let Some(skipped) = wanted.checked_sub(first).filter(|skipped| *skipped < voxels.len()) else { return };
        let end = voxels.len().min(skipped + missing);
        self.voxels.extend_from_slice(&voxels[skipped..end]);
    }

    /// As a PNG; nothing where there is no picture of a slice so thin.
    fn picture(self) -> Option<Vec<u8>> {
        let Self { mut geometry, voxels, .. } = self;
        // The axis of the patient along which the file's slices count.
        let along = |axis: usize| geometry.direction[axis][2].abs();
        let plane = match (0..3).max_by(|a, b| along(*a).total_cmp(&along(*b))) {
            Some(0) => Plane::Sagittal,
            Some(1) => Plane::Coronal,
            _ => Plane::Axial,
        };
        let [_, ny, nx] = geometry.shape_zyx;
        let [sx, sy, _] = geometry.spacing_mm_xyz;
        let pixel_mm = (nx as f64 * sx).max(ny as f64 * sy) / THUMBNAIL_EDGE;
        let style = SliceStyle { annotated: false, ..SliceStyle::default() };
        let draw = |geometry: &Geometry, plane| {
            let part = Volume::new(geometry.clone(), voxels.clone());
            render_part(&part, plane, SliceNumber { index: 0, count: 1 }, Some(pixel_mm), &style).ok()
        };
        let drawn = draw(&geometry, plane).or_else(|| {
            // Oblique: as it lies in the file.
            geometry.direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            draw(&geometry, Plane::Axial)
        });
        drawn.map(|image| image.to_png())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_slice_is_collected_whatever_the_pieces() {
        let whole = Geometry::axis_aligned([5, 3, 4], [1.0; 3], [10.0, 20.0, 30.0]).unwrap();
        let voxels: Vec<i16> = (0..60).collect();
        for piece in [1, 7, 12, 25, 60] {
            let mut middle = Middle::of(&whole);
            for (number, voxels) in voxels.chunks(piece).enumerate() {
                middle.see(number * piece, voxels);
            }
            assert_eq!(middle.voxels, (24..36).collect::<Vec<i16>>(), "{piece}");
            assert_eq!(middle.geometry.origin_mm_xyz, [10.0, 20.0, 32.0]);
            assert!(middle.picture().unwrap().starts_with(b"\x89PNG"));
        }
    }
}
