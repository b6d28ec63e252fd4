//! From CT files and a model to marked scans: tables, pictures and a report for each scan, and one table for all.

mod pictures;
mod scan;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use detector::inference::PredictOptions;
use detector::{DeviceChoice, DeviceError};
use imaging::luna16::{DatasetError, Mark, TableError, discover, write_marks, write_series_uids};

pub use crate::files::OutputError;
pub use pictures::{PICTURED_DETECTIONS, Picture, Pictures};
pub use scan::{LoadedModel, MarkedDetection, PredictStage, ScanError, ScanResult};

use crate::files::writable_folder;
use crate::signed::LoadError;
pub(crate) use pictures::{marker, straightened};

/// A batch of scans.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictRequest {
    /// Files and folders of files, in any number.
    pub scans: Vec<PathBuf>,
    /// The model file.
    pub model: PathBuf,
    /// Folder of the results.
    pub out: PathBuf,
    /// Care and threshold.
    pub options: PredictOptions,
    /// Where the arithmetic runs.
    pub device: DeviceChoice,
}

/// What happens during a batch.
#[derive(Debug)]
pub enum PredictEvent<'a> {
    /// The model is ready.
    ModelLoaded(&'a LoadedModel),
    /// A scan begins.
    ScanStarted {
        /// Its file.
        path: &'a Path,
        /// Its number, from 1.
        number: usize,
        /// Scans of the batch.
        total: usize,
    },
    /// A scan is on its way.
    Progress {
        /// What is being done.
        stage: PredictStage,
        /// Steps done.
        done: usize,
        /// Steps of the stage.
        total: usize,
    },
    /// A scan is done or has failed.
    ScanFinished(&'a ScanOutcome),
}

/// Hears of everything and can stop the batch by `Break`.
pub type PredictObserver<'a> = dyn FnMut(PredictEvent<'_>) -> ControlFlow<()> + 'a;

/// How one scan ended.
#[derive(Debug)]
pub enum ScanOutcome {
    /// Its results are on disk.
    Done(Box<ScanResult>),
    /// There are none; the others go on.
    Failed {
        /// Its file.
        path: PathBuf,
        /// Why.
        error: ScanError,
    },
}

/// How a batch ended.
#[derive(Debug)]
pub struct PredictReport {
    /// Every scan, in the order in which they were named.
    pub scans: Vec<ScanOutcome>,
    /// The table of all detections, `predictions.csv`.
    pub predictions: PathBuf,
}

impl PredictReport {
    /// Number of scans that failed.
    pub fn failed(&self) -> usize {
        self.scans.iter().filter(|scan| matches!(scan, ScanOutcome::Failed { .. })).count()
    }
}

/// Why there is no batch, or it ended early. Results of scans that were done before stay, each complete.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The model.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model's network cannot be built.
    #[error("the model in {} cannot be used", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// Why.
        source: detector::inference::PredictError,
    },
    /// A folder that was named.
    #[error(transparent)]
    Folder(#[from] DatasetError),
    /// No scan was found.
    #[error("no .mhd or .mha file in {}", folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoScans {
        /// Where.
        folders: Vec<PathBuf>,
    },
    /// The results cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The table of all detections cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The observer asked to stop.
    #[error("stopped before the batch was done")]
    Stopped,
}

/// Marks every scan of the batch.
///
/// Each scan gets a folder of its own in `out`, which appears whole or not at all; a scan that cannot be read or
/// processed is reported and the others go on. At the end `predictions.csv` holds all detections as a LUNA16
/// submission and `predictions_seriesuids.csv` the scans that were processed.
///
/// # Errors
/// [`PredictError`]; a place that cannot be written to ends the batch.
pub fn predict(request: &PredictRequest, observer: &mut PredictObserver<'_>) -> Result<PredictReport, PredictError> {
    let inputs = inputs(&request.scans)?;
    let model = LoadedModel::open(&request.model, request.device)?;
    writable_folder(&request.out)?;
    tell(observer, PredictEvent::ModelLoaded(&model))?;

    let mut uids = BTreeSet::new();
    let mut scans = Vec::with_capacity(inputs.len());
    let total = inputs.len();
    for (position, (path, found)) in inputs.into_iter().enumerate() {
        tell(observer, PredictEvent::ScanStarted { path: &path, number: position + 1, total })?;
        let result = found.and_then(|()| {
            let uid = scan::series_uid(&path);
            if !uids.insert(uid.clone()) {
                return Err(ScanError::Duplicate { seriesuid: uid });
            }
            let mut progress =
                |stage, done, total| observer(PredictEvent::Progress { stage, done, total }).is_continue();
            model.predict(&path, &uid, &request.options, &request.out, &mut progress)
        });
        let outcome = match result {
            Ok(result) => ScanOutcome::Done(Box::new(result)),
            Err(ScanError::Output(error)) => return Err(error.into()),
            Err(ScanError::Predict(detector::inference::PredictError::Stopped)) => return Err(PredictError::Stopped),
            Err(error) => ScanOutcome::Failed { path, error },
        };
        tell(observer, PredictEvent::ScanFinished(&outcome))?;
        scans.push(outcome);
    }

    let done: Vec<&ScanResult> = scans
        .iter()
        .filter_map(|scan| match scan {
            ScanOutcome::Done(result) => Some(&**result),
            ScanOutcome::Failed { .. } => None,
        })
        .collect();
    let marks: Vec<Mark> = done.iter().flat_map(|result| result.marks()).collect();
    let predictions = request.out.join("predictions.csv");
    write_marks(&predictions, &marks)?;
    let uids: Vec<String> = done.iter().map(|result| result.seriesuid.clone()).collect();
    write_series_uids(&request.out.join("predictions_seriesuids.csv"), &uids)?;
    Ok(PredictReport { scans, predictions })
}

fn tell(observer: &mut PredictObserver<'_>, event: PredictEvent<'_>) -> Result<(), PredictError> {
    if observer(event).is_continue() { Ok(()) } else { Err(PredictError::Stopped) }
}

/// Every file that was named or found, with what is already known to be wrong with it.
type Input = (PathBuf, Result<(), ScanError>);

fn inputs(named: &[PathBuf]) -> Result<Vec<Input>, PredictError> {
    let mut inputs = Vec::new();
    for path in named {
        if !path.is_dir() {
            inputs.push((path.clone(), Ok(())));
            continue;
        }
        let dataset = discover(path)?;
        inputs.extend(dataset.series.into_iter().map(|series| (series.path, Ok(()))));
        let problems = dataset.problems.into_iter();
        inputs.extend(problems.map(|problem| (problem.path, Err(ScanError::Unusable { message: problem.message }))));
    }
    if inputs.is_empty() { Err(PredictError::NoScans { folders: named.to_vec() }) } else { Ok(inputs) }
}
