//! The model registry: every completed training leaves a version; a person decides which one is in use.
//!
//! A file is taken in only when it is what the session's record says, and its hash is checked before every use: a model
//! that was changed on the disk is never used.

mod file;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use federation::SessionRecord;
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::{Address, Caller, Invalid, Role};
use crate::catalog::Message;
use crate::clock::Moment;
use crate::jobs::{Exit, Jobs};
use crate::store::audit::{self, Action};
use crate::store::models::{self as stored, Model, Promotion};
use crate::store::trainings::Training;
use crate::store::{StorageError, trainings};
use crate::training::{sentence, text_too_long};

pub(crate) use file::{FileError, Found, find, verify};

/// Below the server in priority, as an inference is.
const NICE: u8 = 5;
/// Times when the model in use changed, that are shown.
const PROMOTIONS: u32 = 50;

/// Why something about a model does not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error("some entries cannot be used")]
    Invalid(Vec<Invalid>),
    #[error("there is no such model")]
    None,
    #[error("this model is in use already")]
    Current,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the .pth could not be made")]
    Export,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<rusqlite::Error> for ModelError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// A version as pages and the API show it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ModelVersion")]
pub(crate) struct Version {
    pub(crate) version: i64,
    pub(crate) training: i64,
    pub(crate) parent: Option<i64>,
    /// From the first ancestor to the parent.
    pub(crate) lineage: Vec<i64>,
    pub(crate) network: String,
    pub(crate) created_at: String,
    pub(crate) bytes: i64,
    pub(crate) sha256: String,
    pub(crate) weights_sha256: String,
    pub(crate) note: String,
    pub(crate) metrics: Value,
    pub(crate) is_current: bool,
    /// Whether it was in use before, so that going to it is going back.
    pub(crate) was_current: bool,
}

/// The registry as a caller sees it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Registry {
    pub(crate) current: Option<i64>,
    /// The newest first.
    pub(crate) versions: Vec<Version>,
    /// Administrators' only.
    pub(crate) promotions: Vec<Promotion>,
}

/// All versions. Institutions see what a model is and how good, not who put it in use.
pub(crate) fn registry(db: &Connection, caller: &Caller) -> Result<Registry, StorageError> {
    let (models, current) = (stored::all(db)?, stored::current(db)?);
    let promotions = stored::promotions(db, PROMOTIONS)?;
    let parent = |id: i64| models.iter().find(|model| model.id == id).and_then(|model| model.parent_id);
    let version = |model: &Model| {
        let mut lineage: Vec<i64> = std::iter::successors(model.parent_id, |id| parent(*id)).collect();
        lineage.reverse();
        Version {
            version: model.id,
            training: model.training_id,
            parent: model.parent_id,
            lineage,
            network: model.network.clone(),
            created_at: model.created_at.to_string(),
            bytes: model.bytes,
            sha256: model.sha256.clone(),
            weights_sha256: model.weights_sha256.clone(),
            note: model.note.clone(),
            metrics: model.metrics.clone(),
            is_current: current == Some(model.id),
            was_current: promotions.iter().any(|promotion| promotion.model == model.id),
        }
    };
    let versions = models.iter().map(version).collect();
    let promotions = if caller.role == Role::Server { promotions } else { Vec::new() };
    Ok(Registry { current, versions, promotions })
}

/// Takes a model in and says its version; part of the transaction that completes its training.
pub(crate) fn register(
    db: &Connection,
    training: &Training,
    record: &SessionRecord,
    found: &Found,
    now: Moment,
) -> Result<i64, StorageError> {
    let last = record.rounds.last();
    let sites = trainings::sites(db, training.id)?;
    let metrics = json!({
        "rounds": record.rounds.len(),
        "sites": sites.len(),
        "training_loss": last.and_then(|round| round.training_loss),
        "evaluation_loss": last.and_then(|round| round.evaluation_loss),
        "foreground_probability": last.and_then(|round| round.foreground_probability),
    });
    let model = Model {
        id: 0,
        training_id: training.id,
        parent_id: training.initial_model,
        file: found.file.clone(),
        bytes: i64::try_from(found.bytes).unwrap_or(i64::MAX),
        sha256: found.sha256.clone(),
        weights_sha256: record.model_sha256.to_string(),
        network: training.network.clone(),
        created_at: now,
        note: training.note.clone(),
        metrics,
    };
    Ok(stored::insert(db, &model)?)
}

/// Puts a version in use; going to one that was in use before is a roll-back. `folder` is the data folder; the file was
/// checked before.
pub(crate) fn promote(
    db: &Connection,
    caller: &Caller,
    version: i64,
    reason: &str,
    address: Address,
    now: Moment,
) -> Result<(), ModelError> {
    let reason = sentence(reason)
        .ok_or_else(|| ModelError::Invalid(vec![Invalid { field: "reason", message: text_too_long() }]))?;
    let model = stored::get(db, version)?.ok_or(ModelError::None)?;
    let current = stored::current(db)?;
    if current == Some(version) {
        return Err(ModelError::Current);
    }
    let is_rollback = current.is_some_and(|current| version < current);
    if is_rollback && reason.is_empty() {
        return Err(ModelError::Invalid(vec![Invalid { field: "reason", message: Message::ReasonMissing }]));
    }
    stored::promote(db, version, caller.user_id, is_rollback, &reason, now)?;
    let action = if is_rollback { Action::ModelRolledBack } else { Action::ModelPromoted };
    let before = current.map(|current| format!(" (v{current})")).unwrap_or_default();
    let detail = format!("v{}{before} {reason}", model.id);
    Ok(enter(db, caller, action, detail.trim_end(), address, now)?)
}

/// Writes down what people should know about a version.
pub(crate) fn set_note(
    db: &Connection,
    caller: &Caller,
    version: i64,
    note: &str,
    address: Address,
    now: Moment,
) -> Result<(), ModelError> {
    let note =
        sentence(note).ok_or_else(|| ModelError::Invalid(vec![Invalid { field: "note", message: text_too_long() }]))?;
    stored::get(db, version)?.ok_or(ModelError::None)?;
    stored::set_note(db, version, &note)?;
    Ok(enter(db, caller, Action::ModelNoted, &format!("v{version}"), address, now)?)
}

/// Writes down that a version leaves the server.
pub(crate) fn downloaded(
    db: &Connection,
    caller: &Caller,
    what: &str,
    address: Address,
    now: Moment,
) -> Result<(), ModelError> {
    Ok(enter(db, caller, Action::ModelDownloaded, what, address, now)?)
}

fn enter(
    db: &Connection,
    caller: &Caller,
    action: Action,
    detail: &str,
    address: Address,
    now: Moment,
) -> rusqlite::Result<()> {
    let address = address.shown();
    let actor = Some(caller.username.as_str());
    audit::append(db, &audit::Event { action, actor, target: None, address: Some(&address), detail }, now)
}

/// The version's weights for PyTorch; made once and kept.
pub(crate) async fn pth(folder: &Path, model: &Model, jobs: &Jobs) -> Result<PathBuf, ModelError> {
    let source = verify(folder, model).await?;
    // Named after its source: another source is another file.
    let target = folder.join("models").join("pth").join(format!("{}.pth", model.sha256));
    if target.is_file() {
        return Ok(target);
    }
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a model could not be exported");
        ModelError::Export
    };
    let parent = target.parent().unwrap_or(folder);
    tokio::fs::create_dir_all(parent).await.map_err(|error| failed(&error))?;
    let unfinished = tempfile_name(&target)?;
    let arguments: Vec<OsString> =
        vec!["export".into(), "--model".into(), source.into(), "--to".into(), unfinished.clone().into()];
    let outcome = jobs.run(NICE, &arguments).await;
    if outcome.exit != Exit::Completed {
        tokio::fs::remove_file(&unfinished).await.ok();
        return Err(failed(&format_args!("the worker ended with {:?}", outcome.exit)));
    }
    tokio::fs::rename(&unfinished, &target).await.map_err(|error| failed(&error))?;
    Ok(target)
}

/// A name of its own for every attempt: two may be made at once.
fn tempfile_name(target: &Path) -> Result<PathBuf, ModelError> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|_| ModelError::Export)?;
    Ok(target.with_extension(format!("{}.unfinished.pth", crate::token::hex(&random))))
}
