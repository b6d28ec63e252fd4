//! Data sets on disk: one folder a hospital, each laid out exactly as LUNA16.

use crate::scan::{Phantom, PhantomSpec, generate};
use crate::style::{HospitalStyle, Size};
use crate::{Excluded, NoduleTruth};
use imaging::luna16::{Finding, TableError, write_findings, write_series_uids};
use imaging::metaimage::{self, Compression, MetaImageError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Goes into every series UID: scans of another version of this generator are other scans.
const VERSION: u32 = 1;
/// LUNA16 spreads its scans over this many folders.
const SUBSETS: usize = 10;
/// Where the truth of each scan is kept beside LUNA16's own files, so that an interrupted run can go on.
const TRUTH_FOLDER: &str = ".phantom";

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// One hospital per entry; a style may occur more than once.
    pub sites: Vec<HospitalStyle>,
    /// Scans of every hospital.
    pub scans: usize,
    /// Size of the patients.
    pub size: Size,
    /// Seed of everything.
    pub seed: u64,
    /// Whether arteries and veins are drawn.
    pub vessels: bool,
}

impl DatasetSpec {
    /// `sites` hospitals that take the styles in the order of [`HospitalStyle::ALL`], over and over.
    pub fn new(sites: usize, scans: usize, size: Size, seed: u64) -> Self {
        let sites = HospitalStyle::ALL.into_iter().cycle().take(sites).collect();
        Self { sites, scans, size, seed, vessels: true }
    }

    /// The scan `scan` (from 0) of site `site` (from 0).
    pub fn scan(&self, site: usize, scan: usize) -> PhantomSpec {
        PhantomSpec {
            seed: self.seed,
            // A million scans a site keep the numbers apart.
            index: site as u64 * 1_000_000 + scan as u64,
            style: self.sites[site],
            size: self.size,
            vessels: self.vessels,
            labels: false,
        }
    }

    /// Folder name of a site (from 0): `site1_thin_soft`.
    pub fn site_name(&self, site: usize) -> String {
        format!("site{}_{}", site + 1, self.sites[site].name())
    }
}

/// How far [`write_dataset`] is. Reported after every scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Scans that are on disk now.
    pub done: usize,
    /// Scans of the whole data set.
    pub total: usize,
    /// Folder of the site.
    pub site: String,
    /// The scan.
    pub series_uid: String,
    /// Whether the scan was there already.
    pub kept: bool,
}

/// What [`write_dataset`] has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Folders of the sites.
    pub sites: Vec<PathBuf>,
    /// Scans that were generated.
    pub generated: usize,
    /// Scans that were there already.
    pub kept: usize,
    /// Rows of all `annotations.csv`.
    pub nodules: usize,
    /// Rows of all `annotations_excluded.csv`.
    pub excluded: usize,
}

/// Why a data set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// Nothing to write.
    #[error("a data set of {sites} sites with {scans} scans each is empty: ask for at least one of both")]
    Empty {
        /// Number of sites.
        sites: usize,
        /// Scans of each.
        scans: usize,
    },
    /// More scans than a site can number.
    #[error("{0} scans a site are too many: at most 1000000 are possible")]
    TooManyScans(usize),
    /// The folder holds scans of something else.
    #[error(
        "{path} is not a scan of the data set asked for: another seed, size, number of scans or real data lies in this \
         folder; choose an empty folder"
    )]
    Foreign {
        /// The file that does not belong.
        path: PathBuf,
    },
    /// A file or folder cannot be written or read.
    #[error("cannot write {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A scan cannot be written.
    #[error(transparent)]
    Image(#[from] MetaImageError),
    /// A table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// What is kept of a scan beside its voxels.
#[derive(Debug, Serialize, Deserialize)]
struct Truth {
    spec: PhantomSpec,
    nodules: Vec<NoduleTruth>,
    excluded: Vec<Excluded>,
}

/// The series UID of a scan: below the root 2.25 for UUIDs (DICOM PS3.5 B.2), derived from the specification, so no
/// real patient's and always the same.
pub fn series_uid(spec: &PhantomSpec) -> String {
    let mut hash = Sha256::new();
    hash.update(b"fednodule phantom");
    hash.update(VERSION.to_le_bytes());
    hash.update(spec.seed.to_le_bytes());
    hash.update(spec.index.to_le_bytes());
    hash.update(spec.style.name());
    hash.update(spec.size.name());
    hash.update([u8::from(spec.vessels)]);
    let mut id = [0u8; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    // Version 8 (own scheme) and variant of RFC 9562.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    format!("2.25.{}", u128::from_be_bytes(id))
}

/// Writes a data set: `out/site1_<style>/` with `subset0` … `subset9`, `annotations.csv`, `annotations_excluded.csv`
/// and `seriesuids.csv`, as LUNA16 has them, and a `README.txt` that says that all is synthetic.
///
/// Scans that are there already and belong to the data set are kept, so that an interrupted run can be started again
/// and a data set can grow. Every file appears complete or not at all; the tables come last.
///
/// # Errors
/// [`PhantomError`].
pub fn write_dataset(
    out: &Path,
    spec: &DatasetSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<DatasetSummary, PhantomError> {
    if spec.sites.is_empty() || spec.scans == 0 {
        return Err(PhantomError::Empty { sites: spec.sites.len(), scans: spec.scans });
    }
    if spec.scans > 1_000_000 {
        return Err(PhantomError::TooManyScans(spec.scans));
    }
    let folders: Vec<PathBuf> = (0..spec.sites.len()).map(|site| out.join(spec.site_name(site))).collect();
    for (site, folder) in folders.iter().enumerate() {
        refuse_foreign(folder, spec, site)?;
    }
    let mut summary = DatasetSummary { sites: folders.clone(), generated: 0, kept: 0, nodules: 0, excluded: 0 };
    for (site, folder) in folders.iter().enumerate() {
        let mut scans = Vec::with_capacity(spec.scans);
        for scan in 0..spec.scans {
            let phantom_spec = spec.scan(site, scan);
            let uid = series_uid(&phantom_spec);
            let (truth, kept) = write_scan(folder, &phantom_spec, &uid, scan)?;
            summary.generated += usize::from(!kept);
            summary.kept += usize::from(kept);
            progress(Progress {
                done: site * spec.scans + scan + 1,
                total: spec.sites.len() * spec.scans,
                site: spec.site_name(site),
                series_uid: uid.clone(),
                kept,
            });
            scans.push((uid, truth));
        }
        // LUNA16's tables are sorted by series.
        scans.sort_by(|a, b| a.0.cmp(&b.0));
        let (nodules, excluded) = write_tables(folder, &scans)?;
        summary.nodules += nodules;
        summary.excluded += excluded;
        let readme = folder.join("README.txt");
        write_whole(&readme, README.as_bytes())?;
    }
    Ok(summary)
}

const README: &str = "合成体模（synthetic phantoms）\n\
    本文件夹中的所有 CT 均由 fednodule 按种子生成，不含任何真实患者的数据；\n\
    由它们得到的一切结果都应标明“合成体模结果”。\n\n\
    Every CT in this folder is synthetic, generated from a seed by fednodule; no data of a real patient is in it.\n\
    Say so wherever results from it are shown. The layout is LUNA16's.\n";

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> PhantomError + '_ {
    |source| PhantomError::Io { path: path.to_path_buf(), source }
}

/// Fails if a subset folder holds a scan that is not of this data set.
fn refuse_foreign(folder: &Path, spec: &DatasetSpec, site: usize) -> Result<(), PhantomError> {
    let expected: BTreeSet<String> = (0..spec.scans).map(|scan| series_uid(&spec.scan(site, scan))).collect();
    for subset in 0..SUBSETS {
        let path = folder.join(format!("subset{subset}"));
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(io_error(&path)(e)),
        };
        for entry in entries {
            let file = entry.map_err(io_error(&path))?.path();
            let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            if file.extension().is_some_and(|e| e == "mhd") && !expected.contains(stem) {
                return Err(PhantomError::Foreign { path: file });
            }
        }
    }
    Ok(())
}

/// Writes a scan unless it is there; gives its truth and whether it was there.
fn write_scan(folder: &Path, spec: &PhantomSpec, uid: &str, scan: usize) -> Result<(Truth, bool), PhantomError> {
    let subset = folder.join(format!("subset{}", scan % SUBSETS));
    let truths = folder.join(TRUTH_FOLDER);
    for path in [&subset, &truths] {
        std::fs::create_dir_all(path).map_err(io_error(path))?;
    }
    let header = subset.join(format!("{uid}.mhd"));
    let truth_path = truths.join(format!("{uid}.json"));
    if let Some(truth) = complete(&header, &truth_path, spec) {
        return Ok((truth, true));
    }
    let Phantom { volume, nodules, excluded, .. } = generate(spec);
    let truth = Truth { spec: *spec, nodules, excluded };
    let text = serde_json::to_vec(&truth).map_err(|e| io_error(&truth_path)(e.into()))?;
    let unfinished = truths.join(format!("{uid}.json.tmp"));
    write_whole(&unfinished, &text)?;
    std::fs::rename(&unfinished, &truth_path).map_err(io_error(&truth_path))?;
    // The header is written last: where it is, the scan is complete. Without it the truth is of no use.
    metaimage::write(&header, &volume, Compression::None).inspect_err(|_| remove(&truth_path))?;
    Ok((truth, false))
}

/// Writes a file, of which nothing stays when the disk is full.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), PhantomError> {
    std::fs::write(path, bytes).inspect_err(|_| remove(path)).map_err(io_error(path))
}

/// After a failure, which is told whether or not this works.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// The truth of a scan that is on disk completely.
fn complete(header: &Path, truth_path: &Path, spec: &PhantomSpec) -> Option<Truth> {
    let truth: Truth = serde_json::from_slice(&std::fs::read(truth_path).ok()?).ok()?;
    let expected = metaimage::read_header(header).ok()?.data_file_bytes()?;
    let bytes = std::fs::metadata(header.with_extension("raw")).ok()?.len();
    (truth.spec == *spec && bytes == expected).then_some(truth)
}

fn write_tables(folder: &Path, scans: &[(String, Truth)]) -> Result<(usize, usize), PhantomError> {
    // A micrometre is far below what a scan resolves.
    let short = |v: f64| (v * 1e6).round() / 1e6;
    let row = |uid: &str, centre: [f64; 3], diameter: f64| Finding {
        series_uid: uid.to_owned(),
        center_mm_xyz: centre.map(short),
        diameter_mm: short(diameter),
    };
    let mut nodules = Vec::new();
    let mut excluded = Vec::new();
    for (uid, truth) in scans {
        nodules.extend(truth.nodules.iter().map(|n| row(uid, n.center_mm_xyz, n.diameter_mm)));
        excluded.extend(truth.excluded.iter().map(|e| row(uid, e.center_mm_xyz, e.diameter_mm.unwrap_or(-1.0))));
    }
    write_findings(&folder.join("annotations.csv"), &nodules)?;
    write_findings(&folder.join("annotations_excluded.csv"), &excluded)?;
    let uids: Vec<String> = scans.iter().map(|(uid, _)| uid.clone()).collect();
    write_series_uids(&folder.join("seriesuids.csv"), &uids)?;
    Ok((nodules.len(), excluded.len()))
}
