//! LUNA16's evaluation from tables on disk to numbers, a curve and a figure on disk.

use std::path::{Path, PathBuf};

use imaging::luna16::{TableError, read_findings, read_marks, read_series_uids};
use scoring::{Evaluation, FigureCurve, FigureLabels, Options, ScoringError, Summary, Unlisted, froc_svg};
use serde::{Deserialize, Serialize};

use crate::catalog::{Language, Message};
use crate::files::{OutputError, write_together};

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
    let svg = froc_figure(&[(Message::FrocCurve.text(language), evaluation)], language);
    let csv = evaluation.froc.to_csv();
    let files = [("froc.csv", csv.as_bytes()), ("froc.svg", svg.as_bytes()), ("evaluation.json", json.as_bytes())];
    Ok(write_together(out, &files)?)
}

/// The FROC curves of detectors on the same scans, by name, as SVG.
pub(crate) fn froc_figure(curves: &[(String, &Evaluation)], language: Language) -> String {
    let labels = FigureLabels {
        title: Message::FrocTitle.text(language),
        x_axis: Message::FrocX.text(language),
        y_axis: Message::FrocY.text(language),
        band: Message::FrocBand.text(language),
    };
    let curves: Vec<_> = curves.iter().map(|(label, evaluation)| FigureCurve { label, evaluation }).collect();
    froc_svg(&curves, &labels)
}
