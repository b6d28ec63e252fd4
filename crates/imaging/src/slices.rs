//! Slices of a scan without the whole scan in memory: what is stored plainly is read where it lies.
//!
//! A block of voxels is addressed along LPS axes, whatever the order in the file, so that a slice is a block one voxel
//! thick: axial `[i, .., ..]`, coronal `[.., i, ..]`, sagittal `[.., .., i]`.

use std::path::Path;

use crate::metaimage::{Limits, MetaImageError, PlainInt16, Reader};
use crate::orient::{LpsView, to_lps};
use crate::resample::resample;
use crate::{Geometry, GeometryError, Volume, VoxelBox};

/// Why a scan cannot be cut.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] MetaImageError),
    /// It is oblique, and the grid along the patient's axes around it cannot be made.
    #[error("the oblique scan cannot be resampled along the patient's axes")]
    Grid(#[from] GeometryError),
    /// There are no such voxels.
    #[error("the block {found:?} is empty or reaches beyond the scan's {shape_zyx:?} voxels (z, y, x)")]
    Outside {
        /// What was asked for.
        found: VoxelBox,
        /// Voxels along LPS axes.
        shape_zyx: [usize; 3],
    },
}

/// An open scan.
#[derive(Debug)]
pub struct SliceReader {
    geometry: Geometry,
    resampled: bool,
    source: Source,
}

enum Source {
    /// In the file, whose axes are those of the patient, some of them backwards.
    File { voxels: PlainInt16, backwards_zyx: [bool; 3] },
    /// In memory, along LPS axes.
    Memory(Vec<i16>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::File { .. }) { "File" } else { "Memory" })
    }
}

impl SliceReader {
    /// Opens a .mhd or .mha file. Uncompressed `MET_SHORT` along the patient's axes stays in the file; everything else is
    /// decoded, and an oblique scan is resampled along LPS axes with its own spacings.
    ///
    /// # Errors
    /// When the file is not readable or breaks the limits.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, SliceError> {
        let mut reader = Reader::open(path, limits)?;
        let stored = reader.header().geometry.clone();
        if let Some(backwards_zyx) = only_backwards(&stored)
            && let Some(geometry) = LpsView::<i16>::of(&[], &stored).map(|view| view.geometry())
            && let Some(voxels) = reader.plain_int16()?
        {
            return Ok(Self { geometry, resampled: false, source: Source::File { voxels, backwards_zyx } });
        }
        Self::of(reader.read_hu()?.0)
    }

    /// Cuts voxels that are in memory already.
    ///
    /// # Errors
    /// When the volume is oblique and cannot be resampled.
    pub fn of(volume: Volume<i16>) -> Result<Self, SliceError> {
        let upright = if only_backwards(volume.geometry()) == Some([false; 3]) {
            LpsView::new(&volume).map(|view| view.geometry())
        } else {
            None
        };
        let (volume, geometry, resampled) = match (upright, to_lps(&volume)) {
            (Some(geometry), _) => (volume, geometry, false),
            (None, Some(turned)) => {
                let geometry = turned.geometry().clone();
                (turned, geometry, false)
            }
            (None, None) => {
                let along = resample(&volume, spacings_along_the_patient(volume.geometry()))?;
                let geometry = along.geometry().clone();
                (along, geometry, true)
            }
        };
        Ok(Self { geometry, resampled, source: Source::Memory(volume.into_voxels()) })
    }

    /// The grid along LPS axes that blocks are taken from.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether the scan is oblique and what is shown was interpolated.
    pub fn is_resampled(&self) -> bool {
        self.resampled
    }

    /// Bytes of voxels that it keeps in memory.
    pub fn memory_bytes(&self) -> usize {
        match &self.source {
            Source::File { .. } => 0,
            Source::Memory(voxels) => size_of_val(voxels.as_slice()),
        }
    }

    /// The CT values of a block along LPS axes, x fastest.
    ///
    /// # Errors
    /// When the block is empty or reaches outside, and when the file cannot be read any more.
    pub fn read(&self, block: &VoxelBox) -> Result<Volume<i16>, SliceError> {
        let shape_zyx = self.geometry.shape_zyx;
        if block.intersection(&VoxelBox::whole(shape_zyx)) != Some(*block) {
            return Err(SliceError::Outside { found: *block, shape_zyx });
        }
        let mut voxels = Vec::with_capacity(block.voxel_count());
        match &self.source {
            Source::File { voxels: file, backwards_zyx } => {
                read_file(file, *backwards_zyx, shape_zyx, block, &mut voxels)?;
            }
            Source::Memory(all) => {
                let [_, ny, nx] = shape_zyx;
                let ([z0, y0, x0], [z1, y1, x1]) = (block.start_zyx, block.end_zyx);
                for row in (z0..z1).flat_map(|z| (y0..y1).map(move |y| (z * ny + y) * nx)) {
                    voxels.extend_from_slice(&all[row + x0..row + x1]);
                }
            }
        }
        let origin_mm_xyz = self.geometry.world_from_index(block.start_zyx.map(|index| index as f64));
        let geometry = Geometry { shape_zyx: block.shape_zyx(), origin_mm_xyz, ..self.geometry.clone() };
        Ok(Volume::new(geometry, voxels))
    }
}

/// Reads one piece of every slice of the file: the rows of the block from end to end, of which it keeps its columns.
fn read_file(
    file: &PlainInt16,
    backwards_zyx: [bool; 3],
    shape_zyx: [usize; 3],
    block: &VoxelBox,
    out: &mut Vec<i16>,
) -> Result<(), MetaImageError> {
    let [nz, ny, nx] = shape_zyx;
    let ([z0, y0, x0], [z1, y1, x1]) = (block.start_zyx, block.end_zyx);
    let [z_back, y_back, x_back] = backwards_zyx;
    let first_row = if y_back { ny - y1 } else { y0 };
    let columns = if x_back { nx - x1..nx - x0 } else { x0..x1 };
    let columns = columns.start * 2..columns.end * 2;
    let mut bytes = vec![0; (y1 - y0) * nx * 2];
    let mut source = file.open()?;
    for z in z0..z1 {
        let slice = if z_back { nz - 1 - z } else { z };
        file.read(&mut source, (slice * ny + first_row) * nx, &mut bytes)?;
        for y in 0..y1 - y0 {
            let row = if y_back { y1 - y0 - 1 - y } else { y };
            let (pairs, _) = bytes[row * nx * 2..][columns.clone()].as_chunks::<2>();
            if x_back {
                out.extend(pairs.iter().rev().map(|&pair| file.value(pair)));
            } else {
                out.extend(pairs.iter().map(|&pair| file.value(pair)));
            }
        }
    }
    Ok(())
}

/// Which axes run against LPS where the file's x, y, z are the patient's.
fn only_backwards(geometry: &Geometry) -> Option<[bool; 3]> {
    LpsView::<i16>::of(&[], geometry)?;
    let diagonal: [f64; 3] = std::array::from_fn(|axis| geometry.direction[axis][axis]);
    diagonal.iter().all(|cosine| cosine.abs() > 0.5).then(|| std::array::from_fn(|axis| diagonal[2 - axis] < 0.0))
}

/// For each axis of the patient the spacing of the grid axis that runs along it most.
fn spacings_along_the_patient(geometry: &Geometry) -> [f64; 3] {
    geometry.direction.map(|row| {
        let along = (0..3).max_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs())).unwrap_or_default();
        geometry.spacing_mm_xyz[along]
    })
}
