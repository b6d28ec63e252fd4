//! LUNA16's evaluation from tables on disk to numbers, a curve and a figure on disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use imaging::luna16::{TableError, read_findings, read_marks, read_series_uids};
use scoring::{Evaluation, FigureLabels, Options, ScoringError, Summary, Unlisted, froc_svg};
use serde::{Deserialize, Serialize};

use crate::catalog::{Language, Message};
use crate::files::OutputError;

/// The tables of an evaluation, plain or gzip-compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluateRequest {
    /// What a detector marked.
    pub submission: PathBuf,
    /// Nodules.
    pub annotations: PathBuf,
    /// Findings that count neither way.
    pub excluded: Option<PathBuf>,
    /// The scans that count.
    pub series_uids: PathBuf,
}

/// The content of `evaluation.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// The numbers.
    #[serde(flatten)]
    pub summary: Summary,
    /// Rows that did not count because their scan is not listed.
    pub unlisted: Unlisted,
}

impl From<&Evaluation> for EvaluationRecord {
    fn from(evaluation: &Evaluation) -> Self {
        Self { summary: evaluation.summary.clone(), unlisted: evaluation.unlisted }
    }
}

/// Why there is no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The tables do not make an evaluation.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
    /// The results cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Reads the tables and evaluates as [`scoring::evaluate`] does, with the script's 1000 resamples.
pub fn evaluate(request: &EvaluateRequest) -> Result<Evaluation, EvaluateError> {
    let marks = read_marks(&request.submission)?;
    let included = read_findings(&request.annotations)?;
    let excluded = request.excluded.as_deref().map(read_findings).transpose()?.unwrap_or_default();
    let series_uids = read_series_uids(&request.series_uids)?;
    Ok(scoring::evaluate(&marks, &included, &excluded, &series_uids, &Options::default())?)
}

/// Writes `froc.csv`, `froc.svg` and `evaluation.json` into the folder `out`: each whole, and none unless there is room
/// for all.
pub fn write_evaluation(out: &Path, evaluation: &Evaluation, language: Language) -> Result<(), EvaluateError> {
    let record = EvaluationRecord::from(evaluation);
    let json = serde_json::to_string_pretty(&record).expect("plain data serialises") + "\n";
    let labels = FigureLabels {
        title: Message::FrocTitle.text(language),
        x_axis: Message::FrocX.text(language),
        y_axis: Message::FrocY.text(language),
        curve: Message::FrocCurve.text(language),
        band: Message::FrocBand.text(language),
    };
    let files = [
        ("froc.csv", evaluation.froc.to_csv()),
        ("froc.svg", froc_svg(evaluation, &labels)),
        ("evaluation.json", json),
    ];
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| OutputError::Write { path, source }
    };
    fs::create_dir_all(out).map_err(failed(out))?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = out.join(name);
        let write = || -> std::io::Result<AtomicWriteFile> {
            let mut file = AtomicWriteFile::open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(file)
        };
        written.push((write().map_err(failed(&path))?, path));
    }
    for (file, path) in written {
        file.commit().map_err(failed(&path))?;
    }
    Ok(())
}
