//! Marking scans: a queue of inferences, one worker at a time, and what physicians say about the findings.
//!
//! The queue is a table, so that it outlives the server; a worker that dies is started again, twice. A result is the
//! content of the worker's `detections.json`, which must be of the very model that was asked for.

mod result;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::{Address, Caller};
use crate::clock::{Clock, Moment};
use crate::data;
use crate::jobs::{Event, Exit, Job, Jobs, Lane, Outcome, Stage, Stop, Work};
use crate::live::Live;
use crate::models;
use crate::store::audit::{self, Action};
use crate::store::events::Audience;
use crate::store::inferences::{self as table, Inference, Mode, NewInference, Review, State};
use crate::store::models::{self as registry, Model};
use crate::store::{StorageError, Store, events, make_private_folder, scans};

/// The most scans of one request.
pub(crate) const MAX_AT_ONCE: usize = 100;
/// The most scans of one user that wait.
pub(crate) const MAX_WAITING: i64 = 500;
/// A worker that dies with a scan so often is not given it again.
const MAX_ATTEMPTS: u32 = 3;
/// Stops of the server, or of the worker by somebody outside, do not count so soon.
const MAX_STARTS: u32 = 20;

/// What somebody wants marked.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) scan_ids: Vec<i64>,
    /// The current model where none is named.
    pub(crate) model_id: Option<i64>,
    pub(crate) mode: Mode,
    /// Weaker findings are left out, 0 to 1.
    pub(crate) threshold: f64,
}

/// How far the inference that is running is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Progress {
    pub(crate) id: i64,
    pub(crate) stage: Stage,
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// Why somebody does not get what they ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// No scan was named, or more than [`MAX_AT_ONCE`].
    Scans,
    /// Not 0 to 1.
    Threshold,
    /// There is no such scan, or it is somebody else's.
    NoSuchScan { id: i64 },
    /// No model was ever made current.
    NoModel,
    /// There is no such model.
    NoSuchModel,
    /// More than [`MAX_WAITING`].
    TooManyWaiting { waiting: i64 },
    /// There is no such inference or finding, or it is somebody else's.
    NotFound,
    /// It has ended already.
    HasEnded,
    /// It has not ended yet.
    NotEnded,
}

/// Why an action did not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InferenceError {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Refusal> for InferenceError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for InferenceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// The queue. Clones are the same.
#[derive(Clone)]
pub(crate) struct Inferences {
    queue: Arc<Queue>,
    lane: Lane,
}

struct Queue {
    store: Arc<Store>,
    clock: Clock,
    live: Live,
    /// The data folder: results lie in `results/{id}/` below it.
    folder: PathBuf,
    progress: Mutex<Option<Progress>>,
}

impl Inferences {
    /// Begins with what waits. What was running when the last server died waits again.
    pub(crate) async fn start(
        store: Arc<Store>,
        clock: Clock,
        live: Live,
        folder: PathBuf,
        jobs: &Jobs,
    ) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue { store, clock, live, folder, progress: Mutex::default() });
        let now = queue.clock.now();
        queue
            .store
            .write(now, move |db| {
                for inference in table::running(db)? {
                    again_or_not(db, &inference, MAX_ATTEMPTS, now)?;
                }
                Ok::<_, StorageError>(())
            })
            .await?;
        let lane = Lane::start(jobs, Arc::clone(&queue));
        Ok(Self { queue, lane })
    }

    /// How far the one that is running is.
    pub(crate) fn progress(&self) -> Option<Progress> {
        *self.queue.progress()
    }

    /// Puts scans at the end of the queue.
    pub(crate) async fn submit(
        &self,
        caller: &Caller,
        wanted: Submission,
        address: Address,
    ) -> Result<Vec<i64>, InferenceError> {
        if wanted.scan_ids.is_empty() || wanted.scan_ids.len() > MAX_AT_ONCE {
            return Err(Refusal::Scans.into());
        }
        if !(0.0..=1.0).contains(&wanted.threshold) {
            return Err(Refusal::Threshold.into());
        }
        let (now, caller) = (self.queue.clock.now(), caller.clone());
        let submit = self.queue.store.write(now, move |db| {
            let id = match wanted.model_id {
                Some(id) => id,
                None => registry::current(db)?.ok_or(Refusal::NoModel)?,
            };
            let model = registry::get(db, id)?.ok_or(Refusal::NoSuchModel)?;
            let waiting = table::count(db, Some(caller.user_id), State::Queued)?;
            if waiting + wanted.scan_ids.len() as i64 > MAX_WAITING {
                return Err(Refusal::TooManyWaiting { waiting }.into());
            }
            let mut ids = Vec::with_capacity(wanted.scan_ids.len());
            for scan_id in wanted.scan_ids {
                let scan = data::scan_for(db, &caller, scan_id)?.ok_or(Refusal::NoSuchScan { id: scan_id })?;
                let new = NewInference {
                    user_id: caller.user_id,
                    scan_id,
                    series_uid: scan.series_uid.clone(),
                    model_id: model.id,
                    model_version: version(&model),
                    model_sha256: model.sha256.clone(),
                    model_note: model.note.clone(),
                    mode: wanted.mode,
                    threshold: wanted.threshold,
                };
                let id = table::insert(db, &new, now)?;
                tell(db, caller.user_id, "inference.queued", json!({ "id": id }), now)?;
                ids.push(id);
            }
            let detail = format!("{} × {}", ids.len(), version(&model));
            audit::append_by(db, Action::InferenceAsked, &caller, address, &detail, now)?;
            Ok::<_, InferenceError>(ids)
        });
        let ids = submit.await?;
        self.lane.wake();
        Ok(ids)
    }

    /// Ends an inference that waits or runs.
    pub(crate) async fn cancel(&self, caller: &Caller, id: i64, address: Address) -> Result<(), InferenceError> {
        let (now, caller) = (self.queue.clock.now(), caller.clone());
        let cancel = self.queue.store.write(now, move |db| {
            let inference = table::of_user(db, caller.user_id, id)?.ok_or(Refusal::NotFound)?;
            match inference.state {
                State::Queued => end(db, &inference, State::Cancelled, None, now)?,
                State::Running => table::cancel_running(db, id)?,
                State::Done | State::Failed | State::Cancelled => return Err(Refusal::HasEnded.into()),
            }
            audit::append_by(db, Action::InferenceCancelled, &caller, address, &id.to_string(), now)?;
            Ok::<_, InferenceError>(())
        });
        cancel.await?;
        self.lane.stop(id, Stop::Cancel);
        Ok(())
    }

    /// Forgets an inference that has ended, with its findings and files.
    pub(crate) async fn remove(&self, caller: &Caller, id: i64, address: Address) -> Result<(), InferenceError> {
        let (now, caller) = (self.queue.clock.now(), caller.clone());
        let remove = self.queue.store.write(now, move |db| {
            let inference = table::of_user(db, caller.user_id, id)?.ok_or(Refusal::NotFound)?;
            if matches!(inference.state, State::Queued | State::Running) {
                return Err(Refusal::NotEnded.into());
            }
            table::remove(db, id)?;
            tell(db, caller.user_id, "inference.removed", json!({ "id": id }), now)?;
            audit::append_by(db, Action::InferenceRemoved, &caller, address, &id.to_string(), now)?;
            Ok::<_, InferenceError>(())
        });
        remove.await?;
        self.queue.remove_files(id).await;
        Ok(())
    }

    /// Keeps what a physician says about a finding.
    pub(crate) async fn review(
        &self,
        caller: &Caller,
        id: i64,
        number: u32,
        review: Option<Review>,
        address: Address,
    ) -> Result<(), InferenceError> {
        let (now, caller) = (self.queue.clock.now(), caller.clone());
        let keep = self.queue.store.write(now, move |db| {
            table::of_user(db, caller.user_id, id)?.ok_or(Refusal::NotFound)?;
            if !table::review(db, id, number, review, &caller.username, now)? {
                return Err(Refusal::NotFound.into());
            }
            let said = review.map_or("undecided", Review::name);
            tell(
                db,
                caller.user_id,
                "inference.reviewed",
                json!({ "id": id, "number": number, "review": review }),
                now,
            )?;
            audit::append_by(db, Action::FindingReviewed, &caller, address, &format!("{id}/{number} {said}"), now)?;
            Ok::<_, InferenceError>(())
        });
        keep.await?;
        Ok(())
    }
}

impl Queue {
    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn results(&self, id: i64) -> PathBuf {
        self.folder.join("results").join(id.to_string())
    }

    async fn remove_files(&self, id: i64) {
        let folder = self.results(id);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, inference = id, "the files of an inference could not be removed");
        }
    }

    /// The command for an inference whose turn it is; a failure in words for its owner where there is none.
    async fn command(&self, inference: &Inference) -> Result<Vec<OsString>, Value> {
        let Inference { id, scan_id, user_id, model_id, mode, threshold, .. } = *inference;
        let read = self.store.read(move |db| {
            Ok::<_, StorageError>((scans::of_user(db, user_id, scan_id)?, registry::get(db, model_id)?))
        });
        let (scan, model) = read.await.map_err(|_| failure("internal"))?;
        let scan = scan.ok_or_else(|| failure("scan_gone"))?;
        let model = model.ok_or_else(|| failure("model_gone"))?;
        let model_path = models::verify(&self.folder, &model).await.map_err(|error| {
            tracing::error!(%error, "a model cannot be used");
            failure("model_damaged")
        })?;
        let (scan_path, out) = (scan.header_path(&self.folder), self.results(id));
        let made = out.clone();
        let made = tokio::task::spawn_blocking(move || make_private_folder(&made)).await;
        if !matches!(made, Ok(Ok(()))) {
            return Err(failure("no_space"));
        }
        let mut command: Vec<OsString> = vec!["predict".into(), "--model".into(), model_path.into()];
        command.extend(["--out".into(), out.into(), "--mode".into(), mode.name().into()]);
        command.extend(["--threshold".into(), threshold.to_string().into(), scan_path.into()]);
        Ok(command)
    }

    /// Stores how a worker ended.
    async fn store_end(&self, id: i64, outcome: Outcome) -> Result<(), StorageError> {
        let now = self.clock.now();
        let folder = self.results(id);
        let Some(inference) = self.store.read(move |db| table::by_id(db, id).map_err(StorageError::from)).await? else {
            return Ok(());
        };
        let found = match outcome.exit {
            Exit::Completed => Some(read_result(folder, &inference.model_sha256).await),
            _ => None,
        };
        self.store
            .write(now, move |db| {
                match (found, outcome.exit) {
                    (Some(Ok(found)), _) => {
                        table::finish(db, id, &found.details, &found.findings, now)?;
                        let payload = json!({ "id": id, "findings": found.findings.len() });
                        tell(db, inference.user_id, "inference.done", payload, now)?;
                    }
                    _ if inference.cancelling => end(db, &inference, State::Cancelled, None, now)?,
                    (Some(Err(())), _) => end(db, &inference, State::Failed, Some(failure("bad_result")), now)?,
                    // The server stops: it goes on when it is started again, and that was not the scan's fault.
                    (None, Exit::Suspended) => again_or_not(db, &inference, MAX_STARTS, now)?,
                    (None, Exit::Crashed) => again_or_not(db, &inference, MAX_ATTEMPTS, now)?,
                    (None, Exit::NotStarted) => end(db, &inference, State::Failed, Some(failure("no_worker")), now)?,
                    (None, Exit::Failed(_) | Exit::Completed) => {
                        let said = outcome.failure.map(|failure| {
                            json!({ "kind": failure.kind, "message": failure.message, "advice": failure.advice })
                        });
                        end(db, &inference, State::Failed, Some(said.unwrap_or_else(|| failure("crashed"))), now)?;
                    }
                }
                Ok::<_, StorageError>(())
            })
            .await
    }
}

/// What people call a model.
fn version(model: &Model) -> String {
    format!("v{}", model.id)
}

/// A reason that pages put into words; `kind` is the last part of its key in the catalogue.
fn failure(kind: &str) -> Value {
    json!({ "kind": kind })
}

/// It waits again, unless it was begun too often or somebody asked for its end.
fn again_or_not(db: &Connection, inference: &Inference, most: u32, now: Moment) -> Result<(), StorageError> {
    if inference.cancelling {
        end(db, inference, State::Cancelled, None, now)
    } else if inference.attempts >= most {
        end(db, inference, State::Failed, Some(failure("crashed")), now)
    } else {
        Ok(table::requeue(db, inference.id)?)
    }
}

fn end(
    db: &Connection,
    inference: &Inference,
    state: State,
    failure: Option<Value>,
    now: Moment,
) -> Result<(), StorageError> {
    table::end(db, inference.id, state, failure.as_ref(), now)?;
    let payload = json!({ "id": inference.id, "state": state, "failure": failure });
    tell(db, inference.user_id, "inference.ended", payload, now)
}

fn tell(db: &Connection, user_id: i64, kind: &str, payload: Value, now: Moment) -> Result<(), StorageError> {
    events::append(db, now, Audience::Owner(user_id), kind, &payload)?;
    Ok(())
}

/// What a worker left: one folder with its document. Where it makes no sense, the log says so and the owner hears of it.
async fn read_result(folder: PathBuf, model_sha256: &str) -> Result<result::Found, ()> {
    let model = model_sha256.to_owned();
    let read = move || {
        let mut documents = fs::read_dir(&folder).map_err(|error| error.kind().to_string())?;
        let document = documents.find_map(|entry| fs::read(entry.ok()?.path().join("detections.json")).ok());
        let document = document.ok_or("there is no detections.json")?;
        result::read(&document, &model).map_err(|error| error.to_string())
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(error, "a worker's result cannot be used");
            Err(())
        }
        Err(_) => Err(()),
    }
}

impl Work for Queue {
    const NICE: u8 = 5;

    async fn next(&self) -> Option<Job> {
        loop {
            let now = self.clock.now();
            let begin = self.store.write(now, move |db| {
                let next = table::next(db)?;
                if let Some(inference) = &next {
                    table::start(db, inference.id, now)?;
                    tell(db, inference.user_id, "inference.started", json!({ "id": inference.id }), now)?;
                }
                Ok::<_, StorageError>(next)
            });
            let inference = match begin.await {
                Ok(inference) => inference?,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the queue of inferences cannot be read");
                    return None;
                }
            };
            let id = inference.id;
            *self.progress() = Some(Progress { id, stage: Stage::Loading, done: 0, total: 1 });
            match self.command(&inference).await {
                Ok(arguments) => return Some(Job { id, arguments }),
                Err(reason) => {
                    *self.progress() = None;
                    let ended = self.store.write(now, move |db| end(db, &inference, State::Failed, Some(reason), now));
                    if let Err(error) = ended.await {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "an inference's end cannot be stored"
                        );
                        return None;
                    }
                }
            }
        }
    }

    async fn stop_asked(&self, job: i64) -> Option<Stop> {
        let read = self.store.read(move |db| table::by_id(db, job).map_err(StorageError::from)).await;
        read.ok()?.filter(|inference| inference.cancelling).map(|_| Stop::Cancel)
    }

    async fn observe(&self, job: i64, event: Event) {
        let Event::Progress { stage, done, total } = event else { return };
        let progress = Progress { id: job, stage, done, total };
        *self.progress() = Some(progress);
        let read = self.store.read(move |db| table::by_id(db, job).map_err(StorageError::from)).await;
        if let Ok(Some(inference)) = read {
            self.live.transient(Audience::Owner(inference.user_id), "inference.progress", json!(progress));
        }
    }

    async fn ended(&self, job: i64, outcome: Outcome) {
        *self.progress() = None;
        if let Err(error) = self.store_end(job, outcome).await {
            tracing::error!(error = &error as &dyn std::error::Error, "an inference's end cannot be stored");
        }
    }
}
