//! Scans as training reads them: resampled once, kept on disk, read back box by box, so that a hospital's whole archive
//! need not fit in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use atomic_write_file::AtomicWriteFile;
use imaging::luna16::Finding;
use imaging::metaimage::{DataFile, MetaImageError, read_header, read_hu};
use imaging::{Geometry, GeometryError, lung_mask};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::plan::{AIR_HU, Plan};
use crate::training::PatchNodule;

/// One scan of a training set.
#[derive(Debug, Clone)]
pub struct PreparedScan {
    /// Its name in the annotation tables.
    pub series_uid: String,
    /// Nodules to be found, in voxels of the resampled grid.
    pub nodules: Vec<PatchNodule>,
    /// Findings with a size that count neither way.
    pub ignored: Vec<PatchNodule>,
    stored: Stored,
    voxels: PathBuf,
}

/// What is kept beside the voxels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    geometry: Geometry,
    /// A sample of the voxels inside the lungs, `[z, y, x]`.
    lung_points: Vec<[u16; 3]>,
}

/// Why a scan could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The scan itself cannot be read.
    #[error(transparent)]
    Scan(#[from] MetaImageError),
    /// It cannot be resampled.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The working copy cannot be written or read.
    #[error("the working copy {path} cannot be {action}: {source}; check free space and permissions of its folder")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// How many lung positions are remembered of a scan.
const LUNG_POINTS: usize = 4096;
/// Changes whenever a working copy of an earlier program must not be used.
const CACHE_VERSION: u32 = 2;

impl PreparedScan {
    /// Resamples the scan at `path` by the plan into `cache`, unless a working copy of the same file (size and time of
    /// change) is already there.
    pub fn prepare(path: &Path, plan: &Plan, cache: &Path) -> Result<Self, PrepareError> {
        let series_uid = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{series_uid}-{}", fingerprint(path, plan)?);
        let voxels = cache.join(format!("{name}.i16"));
        let description = cache.join(format!("{name}.json"));
        let stored = match read_description(&description, &voxels) {
            Some(stored) => stored,
            None => store(path, plan, &voxels, &description)?,
        };
        Ok(Self { series_uid, nodules: Vec::new(), ignored: Vec::new(), stored, voxels })
    }

    /// Attaches the truth: the rows of both tables that are this series'. Excluded findings without a size are left out.
    pub fn with_findings(mut self, nodules: &[Finding], excluded: &[Finding]) -> Self {
        let geometry = &self.stored.geometry;
        let own = |findings: &[Finding]| -> Vec<PatchNodule> {
            let of_series = findings.iter().filter(|f| f.series_uid == self.series_uid && f.diameter_mm > 0.0);
            of_series
                .map(|f| PatchNodule {
                    center_zyx: geometry.index_from_world(f.center_mm_xyz),
                    diameter: f.diameter_mm / geometry.spacing_mm_xyz[0],
                })
                .collect()
        };
        (self.nodules, self.ignored) = (own(nodules), own(excluded));
        self
    }

    /// The resampled grid.
    pub fn geometry(&self) -> &Geometry {
        &self.stored.geometry
    }

    /// Some voxels inside the lungs, `[z, y, x]`.
    pub fn lung_points(&self) -> &[[u16; 3]] {
        &self.stored.lung_points
    }

    /// The voxels of a box, air outside the scan.
    ///
    /// # Shapes
    /// `[shape[0], shape[1], shape[2]]` from voxel `start`, which may be negative.
    pub fn read_box(&self, start: [i64; 3], shape: [usize; 3]) -> Result<Vec<i16>, PrepareError> {
        let failed = |source| PrepareError::Io { path: self.voxels.clone(), action: "read", source };
        self.read_box_io(start, shape).map_err(failed)
    }

    fn read_box_io(&self, start: [i64; 3], shape: [usize; 3]) -> io::Result<Vec<i16>> {
        let size = self.stored.geometry.shape_zyx;
        let mut values = vec![AIR_HU; shape.iter().product()];
        // The part of the box that lies in the scan, per axis.
        let inside: [std::ops::Range<i64>; 3] =
            std::array::from_fn(|a| start[a].max(0)..(start[a] + shape[a] as i64).min(size[a] as i64));
        if inside.iter().any(|r| r.is_empty()) {
            return Ok(values);
        }
        let [z_range, y_range, x_range] = inside;
        let mut file = File::open(&self.voxels)?;
        // One read a slice: whole rows, of which the box's columns are kept.
        let rows = (y_range.end - y_range.start) as usize;
        let mut slab = vec![0u8; rows * size[2] * 2];
        let columns = x_range.start as usize..x_range.end as usize;
        let shift = (x_range.start - start[2]) as usize;
        for z in z_range {
            file.seek(SeekFrom::Start(((z as u64 * size[1] as u64) + y_range.start as u64) * size[2] as u64 * 2))?;
            file.read_exact(&mut slab)?;
            for (i, row) in slab.chunks_exact(size[2] * 2).enumerate() {
                let y = (y_range.start - start[1]) as usize + i;
                let target = ((z - start[0]) as usize * shape[1] + y) * shape[2] + shift;
                let source = row[2 * columns.start..2 * columns.end].chunks_exact(2);
                for (value, bytes) in values[target..].iter_mut().zip(source) {
                    *value = i16::from_le_bytes([bytes[0], bytes[1]]);
                }
            }
        }
        Ok(values)
    }
}

/// Hash of everything that decides what a working copy holds: the plan's part in it, and the files as they are now.
fn fingerprint(path: &Path, plan: &Plan) -> Result<String, PrepareError> {
    let mut files = vec![path.to_path_buf()];
    if let DataFile::Named(name) = &read_header(path)?.data_file {
        files.push(path.with_file_name(name));
    }
    // A file that is not there is told when its voxels are read.
    let state = |path: &PathBuf| path.metadata().ok().map(|m| (m.len(), m.modified().ok().map(nanoseconds)));
    let files: Vec<_> = files.iter().map(state).collect();
    let text =
        serde_json::to_vec(&(CACHE_VERSION, plan.spacing_mm, &plan.lungs, files)).expect("plain data serialises");
    Ok(Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Since 1970, or before it.
fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    }
}

fn read_description(description: &Path, voxels: &Path) -> Option<Stored> {
    let stored: Stored = serde_json::from_slice(&std::fs::read(description).ok()?).ok()?;
    let expected = stored.geometry.voxel_count() as u64 * 2;
    (voxels.metadata().ok()?.len() == expected).then_some(stored)
}

fn store(path: &Path, plan: &Plan, voxels: &Path, description: &Path) -> Result<Stored, PrepareError> {
    let volume = plan.resample(&read_hu(path)?)?;
    let lungs = lung_mask::lung_mask(&volume, &plan.lungs)?;
    let stored = Stored { geometry: volume.geometry().clone(), lung_points: sample_points(&lungs.mask) };
    let failed = |path: &Path, source| PrepareError::Io { path: path.to_path_buf(), action: "written", source };
    if let Some(folder) = voxels.parent() {
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    }
    write_atomically(voxels, |file| {
        for slab in volume.voxels().chunks(1 << 20) {
            let bytes: Vec<u8> = slab.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&bytes)?;
        }
        Ok(())
    })
    .map_err(|e| failed(voxels, e))?;
    // The description comes last: where it stands, the voxels are whole.
    let json = serde_json::to_vec(&stored).map_err(io::Error::from);
    json.and_then(|json| write_atomically(description, |file| file.write_all(&json)))
        .map_err(|e| failed(description, e))?;
    Ok(stored)
}

/// Writes a file that is there whole or not at all, also after a power cut.
fn write_atomically(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = AtomicWriteFile::open(path)?;
    write(file.as_file_mut())?;
    file.commit()
}

/// Every n-th voxel of the mask, [`LUNG_POINTS`] at most.
fn sample_points(mask: &imaging::Volume<u8>) -> Vec<[u16; 3]> {
    let inside = mask.voxels().iter().filter(|&&m| m != 0).count();
    let step = inside.div_ceil(LUNG_POINTS).max(1);
    let [_, ny, nx] = mask.geometry().shape_zyx;
    let positions = mask.voxels().iter().enumerate().filter(|(_, m)| **m != 0).step_by(step);
    positions.map(|(i, _)| [i / (ny * nx), i / nx % ny, i % nx].map(|v| v as u16)).collect()
}
