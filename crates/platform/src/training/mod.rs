//! Federated trainings: launching, pausing, stopping, resuming, following and remembering them.
//!
//! A training runs in a worker ([`crate::jobs`]); its session has the training's number, its sites the users' names.
//! The session's own truth lies in `sessions/`, where the worker keeps it durable; the tables here say whose turn it is,
//! who wanted what and why, and what was told. An event of the worker, what it changes, and the notice to those who
//! watch are one transaction.

mod actions;
mod export;
mod launch;
mod monitor;
mod readiness;
mod run;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::Invalid;
use crate::clock::{Clock, Moment};
use crate::jobs::{Jobs, Lane};
use crate::live::Live;
use crate::logs;
use crate::store::events::{self, Audience};
use crate::store::names::stored_by_name;
use crate::store::trainings::{self, Site, State};
use crate::store::{StorageError, Store};

pub(crate) use actions::Wish;
pub(crate) use export::csv;
pub(crate) use launch::{ALGORITHMS, Entered, NETWORKS, SAMPLINGS, sentence, text_too_long};
pub(crate) use monitor::Monitor;
pub(crate) use readiness::Candidate;
pub(crate) use view::{Summary, View, summaries};

/// Why a training is paused, failed or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// An administrator wanted it.
    Administrator,
    /// Its worker crashed again and again.
    Crashes,
    /// Its worker ended with a failure.
    Worker,
    /// Nothing more could be written, for instance because the disk is full.
    Output,
    /// The worker could not be started.
    NotStarted,
    /// The session itself failed: too few updates, or no usable model.
    Session,
    /// The model that it made is not what its record says.
    Model,
}

stored_by_name! {
    Cause {
        Administrator "administrator", Crashes "crashes", Worker "worker", Output "output", NotStarted "not_started",
        Session "session", Model "model",
    }
}

/// Why something about a training does not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainingError {
    #[error("some entries cannot be used")]
    Invalid(Vec<Invalid>),
    #[error("there is no such training")]
    None,
    #[error("the training is {0:?}")]
    NotNow(State),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<rusqlite::Error> for TrainingError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// All trainings. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trainings(Arc<Inner>);

pub(crate) struct Inner {
    store: Arc<Store>,
    clock: Clock,
    /// The data folder, as an absolute path.
    folder: PathBuf,
    lane: OnceLock<Lane>,
    live: Live,
    /// What the worker of the running training told, with progress that is not stored.
    running: Mutex<Option<Running>>,
}

/// The training that runs.
#[derive(Debug, Clone)]
struct Running {
    id: i64,
    /// The number of the entry that `monitor` is as new as.
    number: i64,
    monitor: Monitor,
    sites: Arc<Vec<Site>>,
}

impl Trainings {
    /// Takes up what an earlier server left in the middle, then begins with what waits.
    pub(crate) async fn start(
        store: Arc<Store>,
        clock: Clock,
        live: Live,
        folder: &Path,
        jobs: &Jobs,
    ) -> Result<Self, StorageError> {
        let bad = |source| StorageError::Folder { path: folder.to_owned(), source };
        let folder = std::path::absolute(folder).map_err(bad)?;
        let now = clock.now();
        store.write(now, move |db| run::recover(db, now)).await?;
        let inner = Inner { store, clock, folder, lane: OnceLock::new(), live, running: Mutex::default() };
        let trainings = Self(Arc::new(inner));
        let lane = Lane::start(jobs, Arc::clone(&trainings.0));
        trainings.0.lane.set(lane).ok();
        Ok(trainings)
    }

    /// The data folder, as an absolute path.
    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }
}

/// Adds to the time-line and tells those who watch; part of the transaction that does it. What is about a site is told to
/// that site and the administrators, the rest to every site.
fn note(
    db: &Connection,
    id: i64,
    kind: &str,
    site: Option<&str>,
    detail: &Value,
    now: Moment,
) -> Result<i64, StorageError> {
    for known in trainings::sites(db, id)? {
        if site.is_none_or(|site| site == known.username) {
            // Nothing that a page shows: it asks again, for what its reader may see.
            let payload = json!({ "training": id });
            events::append(db, now, Audience::User(known.user_id), "training.changed", &payload)?;
        }
    }
    tracing::info!(target: logs::TRAINING, training = id, site, %detail, "{kind}");
    Ok(trainings::add_entry(db, id, kind, site, detail, now)?)
}

#[cfg(test)]
mod tests;
