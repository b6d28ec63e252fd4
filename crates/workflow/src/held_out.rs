//! Scans that nobody trains on: what a model marks in them, scored as LUNA16 scores it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use detector::Device;
use detector::inference::{PredictError, PredictOptions};
use imaging::luna16::{DatasetError, Finding, Mark, TableError, discover, read_findings, read_marks, write_marks};
use imaging::metaimage::{MetaImageError, read_hu};
use scoring::{Evaluation, Options, ScoringError, evaluate};
use transport::Stop;

use crate::signed::LoadError;

/// Held-out scans and their truth.
pub struct HeldOut {
    pub(crate) scans: Vec<(String, PathBuf)>,
    /// The first scan of each folder.
    pub(crate) first: Vec<usize>,
    nodules: Vec<Finding>,
    excluded: Vec<Finding>,
}

/// Why a model could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum HeldOutError {
    /// A folder.
    #[error(transparent)]
    Folder(#[from] DatasetError),
    /// A folder without its truth.
    #[error("no annotations.csv in {0}: the held-out scans cannot be scored without it")]
    NoAnnotations(PathBuf),
    /// The model's file.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// A scan.
    #[error(transparent)]
    Scan(#[from] MetaImageError),
    /// Searching it.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Scoring.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
}

impl HeldOut {
    /// All scans of folders that are laid out as LUNA16 is.
    pub fn read(folders: &[PathBuf]) -> Result<Self, HeldOutError> {
        let mut all = Self { scans: Vec::new(), first: Vec::new(), nodules: Vec::new(), excluded: Vec::new() };
        for folder in folders {
            let dataset = discover(folder)?;
            let annotations = dataset.tables.annotations.ok_or_else(|| HeldOutError::NoAnnotations(folder.clone()))?;
            // The same table may serve several folders: each takes its own rows.
            let here = |f: &Finding| dataset.series.iter().any(|s| s.series_uid == f.series_uid);
            all.nodules.extend(read_findings(&annotations)?.into_iter().filter(here));
            if let Some(excluded) = &dataset.tables.excluded {
                all.excluded.extend(read_findings(excluded)?.into_iter().filter(here));
            }
            if !dataset.series.is_empty() {
                all.first.push(all.scans.len());
            }
            all.scans.extend(dataset.series.into_iter().map(|s| (s.series_uid, s.path)));
        }
        Ok(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.scans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scans.is_empty()
    }

    /// Searches every scan with a model and scores its marks, which are kept beside the model. `observer` hears how many
    /// scans are done; a request to stop ends in [`PredictError::Stopped`].
    pub fn judge(
        &self,
        model: &Path,
        device: &Device,
        options: &PredictOptions,
        observer: &mut dyn FnMut(usize),
        stop: &Stop,
    ) -> Result<Evaluation, HeldOutError> {
        let predictor = crate::signed::load(model)?.predictor(device)?;
        let mut marks = Vec::new();
        for (done, (series_uid, path)) in self.scans.iter().enumerate() {
            observer(done);
            let mut go_on = |_| if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let prediction = predictor.predict(&read_hu(path)?, options, &mut go_on)?;
            marks.extend(prediction.detections.iter().map(|d| Mark {
                series_uid: series_uid.clone(),
                center_mm_xyz: d.center_mm_xyz,
                probability: d.confidence,
                diameter_mm: Some(d.diameter_mm),
            }));
        }
        write_marks(&marks_path(model), &marks)?;
        let series: Vec<String> = self.scans.iter().map(|(uid, _)| uid.clone()).collect();
        Ok(evaluate(&marks, &self.nodules, &self.excluded, &series, &Options::default())?)
    }

    /// The marks of a model that has been judged.
    pub(crate) fn marks(&self, model: &Path) -> Result<Vec<Mark>, TableError> {
        read_marks(&marks_path(model))
    }
}

/// Where a model's marks are kept.
fn marks_path(model: &Path) -> PathBuf {
    model.with_extension("marks.csv")
}
