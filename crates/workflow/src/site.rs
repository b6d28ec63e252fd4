//! A hospital's folder as a training set.

use std::path::{Path, PathBuf};

use detector::{Plan, PrepareError, PreparedScan};
use federation::SiteId;
use imaging::luna16::{DatasetError, DatasetProblem, Finding, TableError, discover, read_findings};

/// Which folder is which hospital's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRequest {
    /// Its name in the session.
    pub id: SiteId,
    /// LUNA16 as it unpacks: `subset0` … `subset9` or flat.
    pub folder: PathBuf,
    /// Its `annotations.csv`, when that is not in the folder.
    pub annotations: Option<PathBuf>,
}

/// A hospital that is ready to train.
#[derive(Debug)]
pub struct Site {
    /// Its name.
    pub id: SiteId,
    /// Its scans, resampled, with their findings.
    pub scans: Vec<PreparedScan>,
    /// What is wrong in the folder, and what to do about it; the scans above are sound.
    pub problems: Vec<DatasetProblem>,
    /// Rows of the annotations whose series has no scan here.
    pub unknown_series: usize,
}

/// Why a hospital cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Its folder.
    #[error("site {site}: {source}")]
    Folder {
        /// Which site.
        site: SiteId,
        /// Why.
        source: DatasetError,
    },
    /// No scan at all.
    #[error(
        "site {site}: no readable scan in {folder} ({problems} unusable file(s)); expected .mhd/.raw pairs in it or in subset0 … subset9 below it"
    )]
    NoScans {
        /// Which site.
        site: SiteId,
        /// Where.
        folder: PathBuf,
        /// Files that were there but could not be used.
        problems: usize,
    },
    /// No table.
    #[error(
        "site {site}: no annotations.csv in {folder}, in its CSVFILES or beside it; put it there or name it with --annotations"
    )]
    NoAnnotations {
        /// Which site.
        site: SiteId,
        /// Where.
        folder: PathBuf,
    },
    /// No nodule in any of its scans.
    #[error(
        "site {site}: none of its {scans} scan(s) has a nodule in {annotations} ({rows} row(s), all of other series); check that the table belongs to these scans and that its seriesuid column holds the file names"
    )]
    NoNodules {
        /// Which site.
        site: SiteId,
        /// How many scans.
        scans: usize,
        /// The table.
        annotations: PathBuf,
        /// Its rows.
        rows: usize,
    },
    /// A table.
    #[error("site {site}: {source}")]
    Table {
        /// Which site.
        site: SiteId,
        /// Why.
        source: TableError,
    },
    /// A scan.
    #[error("site {site}: {source}")]
    Scan {
        /// Which site.
        site: SiteId,
        /// Why.
        source: PrepareError,
    },
}

impl SiteError {
    /// Which hospital cannot take part.
    pub fn site(&self) -> &SiteId {
        match self {
            Self::Folder { site, .. }
            | Self::NoScans { site, .. }
            | Self::NoAnnotations { site, .. }
            | Self::NoNodules { site, .. }
            | Self::Table { site, .. }
            | Self::Scan { site, .. } => site,
        }
    }
}

impl Site {
    /// Reads the folder, prepares every scan into `cache` and attaches the findings. `progress` hears (done, total).
    pub fn load(
        request: &SiteRequest,
        plan: &Plan,
        cache: &Path,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, SiteError> {
        let SiteRequest { id, folder, annotations } = request;
        let dataset = discover(folder).map_err(|source| SiteError::Folder { site: id.clone(), source })?;
        if dataset.series.is_empty() {
            let problems = dataset.problems.len();
            return Err(SiteError::NoScans { site: id.clone(), folder: folder.clone(), problems });
        }
        let annotations = annotations.as_ref().or(dataset.tables.annotations.as_ref());
        let annotations =
            annotations.ok_or_else(|| SiteError::NoAnnotations { site: id.clone(), folder: folder.clone() })?;
        let table =
            |path: &PathBuf| read_findings(path).map_err(|source| SiteError::Table { site: id.clone(), source });
        let nodules = table(annotations)?;
        let excluded = dataset.tables.excluded.as_ref().map(table).transpose()?.unwrap_or_default();

        let here = |f: &&Finding| dataset.series.iter().any(|s| s.series_uid == f.series_uid);
        let known = nodules.iter().filter(here).count();
        if known == 0 {
            return Err(SiteError::NoNodules {
                site: id.clone(),
                scans: dataset.series.len(),
                annotations: annotations.clone(),
                rows: nodules.len(),
            });
        }
        let mut scans = Vec::with_capacity(dataset.series.len());
        for (i, series) in dataset.series.iter().enumerate() {
            progress(i, dataset.series.len());
            let scan = PreparedScan::prepare(&series.path, plan, cache);
            let scan = scan.map_err(|source| SiteError::Scan { site: id.clone(), source })?;
            scans.push(scan.with_findings(&nodules, &excluded));
        }
        progress(scans.len(), scans.len());
        Ok(Self { id: id.clone(), scans, problems: dataset.problems, unknown_series: nodules.len() - known })
    }

    /// Nodules in all its scans.
    pub fn nodules(&self) -> usize {
        self.scans.iter().map(|s| s.nodules.len()).sum()
    }
}
