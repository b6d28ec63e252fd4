//! What federation is worth: the federated model against each hospital alone and against all data in one place, on
//! scans that nobody trained on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use detector::PreparedScan;
use detector::inference::{Detection, PredictError, PredictOptions};
use federation::{SessionRecord, SiteId};
use imaging::luna16::TableError;
use imaging::metaimage::{MetaImageError, read_hu};
use imaging::render::{Plane, SliceStyle, slice_at};
use scoring::Evaluation;
use serde::Serialize;
use serde_json::{Value, json};
use transport::{Stop, in_process};

use crate::catalog::Language;
use crate::central::{CentralError, CentralRequest, steps_per_session, train_centrally};
use crate::files::{OutputError, write_together};
use crate::held_out::{HeldOut, HeldOutError};
use crate::predict::{Picture, ScanError, marker, straightened};
use crate::report::comparison::{self, Example, OPERATING_FP_RATE};

use crate::local::{Task, split};
use crate::signed::LoadError;
use crate::site::{Site, SiteError};
use crate::train::{TrainError, TrainEvent, TrainRequest, session_exists, stream, train_or_resume};

/// A comparison.
#[derive(Debug, Clone)]
pub struct StudyRequest {
    /// The federated session; the others take its hyper-parameters.
    pub training: TrainRequest,
    /// Folders with scans and tables that nobody trains on.
    pub held_out: Vec<PathBuf>,
    /// How the held-out scans are searched.
    pub options: PredictOptions,
}

/// Who trained a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "trained_by", content = "site", rename_all = "snake_case")]
pub enum Contender {
    /// All sites, by updates only.
    Federated,
    /// One site on its own data.
    Local(SiteId),
    /// One place with the data of all sites: what privacy forbids.
    Pooled,
}

impl Contender {
    /// In names of files.
    fn file_name(&self) -> String {
        match self {
            Self::Federated => "federated".to_owned(),
            Self::Local(site) => format!("local_{}", site.as_str()),
            Self::Pooled => "pooled".to_owned(),
        }
    }
}

/// One line of the comparison.
#[derive(Debug)]
pub struct StudyRow {
    /// Who trained.
    pub contender: Contender,
    /// The model's file.
    pub model: PathBuf,
    /// Optimiser steps (of each site).
    pub steps: u64,
    /// Patches looked at, by all together.
    pub patches: u64,
    /// Duration of the training, preparation of the scans included; unknown when it was done by an earlier run.
    pub training_s: Option<f64>,
    /// Its marks on the held-out scans, scored.
    pub evaluation: Evaluation,
}

/// The whole comparison.
#[derive(Debug)]
pub struct StudyReport {
    /// Federated, then the sites in order, then pooled.
    pub rows: Vec<StudyRow>,
    /// The federated session's rounds.
    pub session: SessionRecord,
    /// Held-out scans.
    pub scans: usize,
    /// What a reader must know about the data.
    pub note: String,
    /// Patches of a step, the same in every training.
    pub batch_size: usize,
    /// The federated model's confidence at [`OPERATING_FP_RATE`] false positives per scan.
    pub threshold: f64,
    /// One scan of each held-out folder.
    pub examples: Vec<Example>,
}

impl StudyReport {
    /// The line of one contender.
    pub fn row(&self, is: impl Fn(&Contender) -> bool) -> Option<&StudyRow> {
        self.rows.iter().find(|row| is(&row.contender))
    }

    /// Writes `comparison.html`, `froc.svg`, every model's `froc_NAME.csv` and `study.json` into `out`.
    pub fn write(&self, out: &Path, language: Language) -> Result<(), OutputError> {
        let json = serde_json::to_string_pretty(&self.document()).expect("plain data serialises") + "\n";
        let curves: Vec<(String, String)> = self
            .rows
            .iter()
            .map(|row| (format!("froc_{}.csv", row.contender.file_name()), row.evaluation.froc.to_csv()))
            .collect();
        let (html, svg) = (comparison::html(self), comparison::figure(self, language));
        let mut files = vec![("comparison.html", html.as_bytes()), ("froc.svg", svg.as_bytes())];
        files.extend(curves.iter().map(|(name, csv)| (name.as_str(), csv.as_bytes())));
        files.push(("study.json", json.as_bytes()));
        write_together(out, &files)
    }

    /// The content of `study.json`.
    pub fn document(&self) -> Value {
        let federated = self.row(|c| *c == Contender::Federated);
        let row = |row: &StudyRow| {
            json!({
                "contender": row.contender, "model": row.model, "steps": row.steps, "patches": row.patches,
                "training_s": row.training_s, "evaluation": row.evaluation.summary,
                "federated_less_this": federated.and_then(|f| f.evaluation.cpm_difference(&row.evaluation)),
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({
            "note": self.note, "held_out_scans": self.scans, "threshold_at_1_fp_per_scan": self.threshold,
            "rows": rows, "session": self.session,
        })
    }
}

/// What the study is doing.
#[derive(Debug)]
pub enum StudyEvent<'a> {
    /// In the federated session, or preparing scans.
    Training(TrainEvent<'a>),
    /// A local or pooled training.
    Step {
        /// Whose.
        contender: &'a Contender,
        /// Steps done.
        done: u64,
        /// Steps of it.
        total: u64,
        /// Loss of the step.
        loss: f64,
    },
    /// Searching the held-out scans.
    Scoring {
        /// Whose model.
        contender: &'a Contender,
        /// Scans done.
        done: usize,
        /// Scans.
        total: usize,
    },
    /// A line is ready.
    Scored(&'a StudyRow),
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The federated training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// It did not reach its end.
    #[error("the federated session did not complete: {0}")]
    NotCompleted(String),
    /// A site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Local or pooled training.
    #[error(transparent)]
    Central(#[from] CentralError),
    /// A model's file.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// Judging a model on the held-out scans.
    #[error(transparent)]
    HeldOut(#[from] HeldOutError),
    /// The marks of a judged model.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An example's scan.
    #[error(transparent)]
    Scan(#[from] MetaImageError),
    /// Drawing an example.
    #[error(transparent)]
    Picture(#[from] ScanError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Trains all contenders with the same steps from the same start and scores them on the same scans. A study that was
/// stopped goes on with the session and the models that are there.
pub fn study(
    request: &StudyRequest,
    observer: &mut dyn FnMut(StudyEvent<'_>),
    stop: &Stop,
) -> Result<StudyReport, StudyError> {
    let training = &request.training;
    let batch = training.config.hyperparameters.batch_size as usize;
    let held_out = HeldOut::read(&request.held_out)?;
    let resumed = session_exists(&training.out, &training.session);
    let start = Instant::now();
    let mut forward = |event: TrainEvent<'_>| observer(StudyEvent::Training(event));
    let report = train_or_resume(training, &mut forward, stop)?;
    let federated = match report.outcome {
        in_process::Outcome::Completed { model } => model,
        in_process::Outcome::Suspended => return Err(StudyError::Stopped),
        in_process::Outcome::Failed { reason } => return Err(StudyError::NotCompleted(reason.to_string())),
    };
    let training_s = (!resumed).then(|| start.elapsed().as_secs_f64());

    let task = training.task().map_err(TrainError::from)?;
    let mut study = Study { request, task, held_out, observer, stop };
    let mut rows = vec![study.judge(Contender::Federated, federated, training_s)?];
    let mut pooled = Vec::new();
    for (i, site) in training.sites.iter().enumerate() {
        let cache = training.out.join("work").join(site.id.as_str());
        let site = Site::load(site, &study.task.plan, &cache, &mut |_, _| ())?;
        // Nobody trains on more than the federation does.
        let (scans, _) = split(site.scans);
        rows.push(study.alone(Contender::Local(site.id), &scans, stream(i))?);
        pooled.extend(scans);
    }
    rows.push(study.alone(Contender::Pooled, &pooled, 0)?);
    let threshold = rows[0].evaluation.threshold_at(OPERATING_FP_RATE).min(1.0);
    let examples = study.examples(&rows[0], threshold)?;
    Ok(StudyReport {
        rows,
        session: report.record,
        scans: study.held_out.len(),
        note: training.note.clone(),
        batch_size: batch,
        threshold,
        examples,
    })
}

struct Study<'a> {
    request: &'a StudyRequest,
    task: Task,
    held_out: HeldOut,
    observer: &'a mut dyn FnMut(StudyEvent<'_>),
    stop: &'a Stop,
}

impl Study<'_> {
    /// Trains without federation, from the session's own start, and scores the result.
    fn alone(&mut self, contender: Contender, scans: &[PreparedScan], stream: u64) -> Result<StudyRow, StudyError> {
        let name = contender.file_name();
        let training = &self.request.training;
        let session = training.session.as_str();
        let path = training.out.join("models").join(format!("session_{session}_{name}_model.safetensors"));
        if path.exists() {
            return self.judge(contender, path, None);
        }
        let start = Instant::now();
        let request = CentralRequest {
            task: &self.task,
            hyperparameters: &training.config.hyperparameters,
            batch_size: training.config.hyperparameters.batch_size as usize,
            scans,
            stream,
            initial: training.initial.as_deref(),
            name: format!("{session}: {name}"),
        };
        let observer = &mut *self.observer;
        let mut step = |done, total, loss| observer(StudyEvent::Step { contender: &contender, done, total, loss });
        let model = match train_centrally(&request, &mut step, self.stop) {
            Err(CentralError::Stopped) => return Err(StudyError::Stopped),
            other => other?,
        };
        let training_s = start.elapsed().as_secs_f64();
        model.save(&path, weights::Overwrite::Refuse).map_err(LoadError::from)?;
        self.judge(contender, path, Some(training_s))
    }

    /// Searches the held-out scans with a model and scores its marks, which are kept beside the models.
    fn judge(&mut self, contender: Contender, model: PathBuf, training_s: Option<f64>) -> Result<StudyRow, StudyError> {
        let total = self.held_out.len();
        let observer = &mut *self.observer;
        let mut scoring = |done| observer(StudyEvent::Scoring { contender: &contender, done, total });
        let judged = self.held_out.judge(&model, &self.task.device, &self.request.options, &mut scoring, self.stop);
        let evaluation = match judged {
            Err(HeldOutError::Predict(PredictError::Stopped)) => return Err(StudyError::Stopped),
            other => other?,
        };
        let TrainRequest { config, sites, .. } = &self.request.training;
        let steps = steps_per_session(&config.hyperparameters);
        let places = if contender == Contender::Federated { sites.len() as u64 } else { 1 };
        let patches = steps * u64::from(config.hyperparameters.batch_size) * places;
        let row = StudyRow { contender, model, steps, patches, training_s, evaluation };
        (self.observer)(StudyEvent::Scored(&row));
        Ok(row)
    }
}

impl Study<'_> {
    /// The slice through the largest nodule of each folder's first scan, with the federated model's stronger marks.
    fn examples(&self, federated: &StudyRow, threshold: f64) -> Result<Vec<Example>, StudyError> {
        let marks = self.held_out.marks(&federated.model)?;
        let mut examples = Vec::new();
        for (series_uid, path) in self.held_out.first.iter().filter_map(|&i| self.held_out.scans.get(i)) {
            let nodules = federated.evaluation.nodules.iter().filter(|n| n.nodule.series_uid == *series_uid);
            let Some(largest) = nodules.max_by(|a, b| a.nodule.diameter_mm.total_cmp(&b.nodule.diameter_mm)) else {
                continue;
            };
            let detections: Vec<Detection> = marks
                .iter()
                .filter(|mark| mark.series_uid == *series_uid && mark.probability >= threshold)
                .map(|mark| Detection {
                    center_mm_xyz: mark.center_mm_xyz,
                    diameter_mm: mark.diameter_mm.unwrap_or_default(),
                    confidence: mark.probability,
                    volume_mm3: None,
                })
                .collect();
            let volume = read_hu(path)?;
            let volume = straightened(&volume)?;
            let Some(slice) = slice_at(&volume, Plane::Axial, largest.nodule.center_mm_xyz) else { continue };
            let markers = (1..).zip(&detections).map(|(number, detection)| marker(number, detection)).collect();
            let style = SliceStyle { markers, ..SliceStyle::default() };
            examples.push(Example {
                path: path.clone(),
                series_uid: series_uid.clone(),
                diameter_mm: largest.nodule.diameter_mm,
                confidence: largest.probability,
                detections,
                picture: Picture::draw(&volume, Plane::Axial, slice, &style, Vec::new()).map_err(ScanError::from)?,
            });
        }
        Ok(examples)
    }
}
