//! Running trainings: the lane's view of them.

use std::ffi::OsString;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use federation::{Purpose, SessionRecord};
use rusqlite::Connection;
use serde_json::json;

use super::monitor::{After, Resumed, SiteOutcome, Stage};
use super::view::algorithm;
use super::{Cause, Inner, Monitor, Running, note};
use crate::clock::Moment;
use crate::data::scans_folder;
use crate::jobs::{Event, Exit, Job, Outcome, Stop, Work};
use crate::models::{self, Found};
use crate::store::audit::{self, Action};
use crate::store::events::Audience;
use crate::store::models as stored_models;
use crate::store::trainings::{self, Change, RoundTime, Site, State, Training};
use crate::store::{StorageError, Store};

/// So many crashes without a round in between are bad luck; then somebody should look.
const MAX_CRASHES: u32 = 3;
/// How long to wait before something that failed in the database is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// The exit code of a worker that could not write.
const OUTPUT: i32 = 4;

/// What an earlier server left in the middle: what ran goes on, what was about to pause is paused.
pub(super) fn recover(db: &Connection, now: Moment) -> Result<(), StorageError> {
    for id in trainings::in_state(db, State::Running)? {
        interrupted(db, id, After::Restart, now)?;
    }
    for id in trainings::in_state(db, State::Pausing)? {
        if let Some(training) = trainings::get(db, id)? {
            paused(db, &training, now)?;
        }
    }
    // A stop that was asked for is carried out by the lane.
    Ok(trainings::forget_crashes(db)?)
}

/// Back to its place in the queue, which is before all that came later.
fn interrupted(db: &Connection, id: i64, after: After, now: Moment) -> Result<(), StorageError> {
    let Some(training) = trainings::get(db, id)? else { return Ok(()) };
    let mut monitor = training.monitor;
    monitor.stand_still();
    monitor.resumed.push(Resumed { at: now.to_string(), after });
    trainings::set_monitor(db, id, &monitor)?;
    trainings::set_state(db, id, &Change { state: State::Queued, cause: None, reason: None }, now)?;
    note(db, id, "interrupted", None, &json!({ "after": after }), now)?;
    Ok(())
}

/// As an administrator wanted it.
fn paused(db: &Connection, training: &Training, now: Moment) -> Result<(), StorageError> {
    still(db, training)?;
    let reason = training.reason.as_deref();
    trainings::set_state(db, training.id, &Change { state: State::Paused, cause: training.cause, reason }, now)?;
    note(db, training.id, "paused", None, &json!({ "by": null, "reason": reason.unwrap_or_default() }), now)?;
    Ok(())
}

fn still(db: &Connection, training: &Training) -> Result<(), StorageError> {
    let mut monitor = training.monitor.clone();
    monitor.stand_still();
    Ok(trainings::set_monitor(db, training.id, &monitor)?)
}

impl Inner {
    /// Whether the session is on the disk, so that it can be gone on with.
    pub(super) fn has_begun(&self, id: i64) -> bool {
        self.folder.join("sessions").join(id.to_string()).join("session.json").is_file()
    }

    pub(super) fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To the site and the administrators.
    fn tell_progress(&self, running: &Running, name: &str) {
        let site = running.sites.iter().find(|site| site.username == name);
        if let (Some(site), Some(now)) = (site, running.monitor.sites.get(name)) {
            let payload = json!({ "training": running.id, "site": name, "now": now });
            self.live.transient(Audience::User(site.user_id), "training.progress", payload);
        }
    }

    /// Writes, and where that fails tries again until it works: what a worker told cannot be asked for a second time.
    async fn write<T: Send + 'static>(
        &self,
        now: Moment,
        job: impl Fn(&Connection) -> Result<T, StorageError> + Clone + Send + 'static,
    ) -> T {
        loop {
            match Store::write(&self.store, now, job.clone()).await {
                Ok(done) => return done,
                Err(error) => {
                    tracing::error!(%error, "the course of a training could not be stored");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn arguments(&self, training: &Training, sites: &[Site], initial: Option<&str>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["train".into(), "--out".into(), self.folder.clone().into()];
        let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        let id = training.id.to_string();
        if self.has_begun(training.id) {
            add("--resume", id.into());
            return arguments;
        }
        add("--session", id.into());
        for site in sites {
            let mut value = OsString::from(format!("{}=", site.username));
            value.push(scans_folder(&self.folder, &site.username));
            add("--site", value);
        }
        let h = &training.config.hyperparameters;
        add("--rounds", h.rounds.to_string().into());
        add("--local-epochs", h.local_epochs.to_string().into());
        add("--patches-per-epoch", h.patches_per_epoch.to_string().into());
        add("--learning-rate", h.learning_rate.to_string().into());
        add("--batch-size", h.batch_size.to_string().into());
        add("--patch-size", h.patch_size.to_string().into());
        add("--algorithm", algorithm(&h.algorithm).into());
        add("--seed", h.seed.to_string().into());
        add("--network", training.network.clone().into());
        add("--min-lung-ml", training.preparation.min_lung_ml.to_string().into());
        add("--sampling", training.preparation.sampling.clone().into());
        add("--min-sites", training.config.minimum_sites.to_string().into());
        if let Some(privacy) = &h.differential_privacy {
            add("--privacy-noise", privacy.noise_multiplier.to_string().into());
            add("--privacy-clip", privacy.clip_norm.to_string().into());
            add("--privacy-epsilon", privacy.epsilon.to_string().into());
            add("--privacy-delta", privacy.delta.to_string().into());
        }
        if let Some(seconds) = training.config.round_deadline_s {
            add("--round-deadline", seconds.to_string().into());
        }
        if let Some(file) = initial {
            add("--initial", self.folder.join(file).into());
        }
        if !training.note.is_empty() {
            add("--note", training.note.clone().into());
        }
        arguments
    }
}

/// What the lane takes from the queue.
struct Taken {
    training: Training,
    sites: Vec<Site>,
    initial: Option<stored_models::Model>,
    number: i64,
}

/// The next in the queue, from now on running; one that is to end for good comes first.
fn take(db: &Connection, now: Moment) -> Result<Option<Taken>, StorageError> {
    let stopping = trainings::in_state(db, State::Stopping)?.first().copied();
    let queued = trainings::in_state(db, State::Queued)?.first().copied();
    let Some(id) = stopping.or(queued) else { return Ok(None) };
    if stopping.is_none() {
        trainings::set_state(db, id, &Change { state: State::Running, cause: None, reason: None }, now)?;
        note(db, id, "running", None, &json!({}), now)?;
    }
    let Some(training) = trainings::get(db, id)? else { return Ok(None) };
    let initial = training.initial_model.map(|model| stored_models::get(db, model)).transpose()?.flatten();
    let (sites, number) = (trainings::sites(db, id)?, trainings::last_entry(db, id)?);
    Ok(Some(Taken { training, sites, initial, number }))
}

impl Work for Inner {
    const NICE: u8 = 10;

    async fn next(&self) -> Option<Job> {
        loop {
            let now = self.clock.now();
            let Taken { training, sites, initial, number } = self.write(now, move |db| take(db, now)).await?;
            let id = training.id;
            let needed = initial.filter(|_| !self.has_begun(id));
            if let Some(model) = &needed
                && let Err(error) = models::verify(&self.folder, model).await
            {
                tracing::error!(%error, "the model that a training starts from cannot be used");
                let said = error.to_string();
                self.write(now, move |db| end(db, id, State::Failed, Some(Cause::Model), Some(&said), now)).await;
                continue;
            }
            let arguments = self.arguments(&training, &sites, needed.as_ref().map(|model| model.file.as_str()));
            *self.running() = Some(Running { id, number, monitor: training.monitor, sites: Arc::new(sites) });
            return Some(Job { id, arguments });
        }
    }

    async fn stop_asked(&self, job: i64) -> Option<Stop> {
        let state = self.store.read(move |db| Ok::<_, StorageError>(trainings::get(db, job)?.map(|t| t.state))).await;
        match state {
            Ok(Some(State::Pausing)) => Some(Stop::Suspend),
            Ok(Some(State::Stopping)) => Some(Stop::Cancel),
            _ => None,
        }
    }

    async fn observe(&self, job: i64, event: Event) {
        let now = self.clock.now();
        let Some(mut running) = self.running().clone().filter(|running| running.id == job) else { return };
        let is_round = match &event {
            Event::RoundCompleted { record } => Some(record.round),
            _ => None,
        };
        let site = event.site().map(ToString::to_string);
        let audited = audited(job, &event);
        let told = running.monitor.fold(event, now);
        if let Some(told) = told {
            let monitor = running.monitor.clone();
            running.number = self
                .write(now, move |db| {
                    trainings::set_monitor(db, job, &monitor)?;
                    if let Some(round) = is_round {
                        trainings::set_crashes(db, job, 0)?;
                        remember_time(db, job, &monitor, round)?;
                    }
                    if let Some((action, detail)) = &audited {
                        let target = told.site.as_deref();
                        let entry = audit::Event { action: *action, actor: None, target, address: None, detail };
                        audit::append(db, &entry, now)?;
                    }
                    note(db, job, told.kind, told.site.as_deref(), &told.detail, now)
                })
                .await;
        } else if let Some(name) = site {
            self.tell_progress(&running, &name);
        }
        *self.running() = Some(running);
    }

    async fn ended(&self, job: i64, outcome: Outcome) {
        let now = self.clock.now();
        let record = outcome
            .document
            .as_ref()
            .and_then(|document| serde_json::from_value::<SessionRecord>(document.get("session")?.clone()).ok());
        let record = record.filter(|record| record.session_id.as_str() == job.to_string());
        let file_sha256 = outcome.document.as_ref().and_then(|document| document.get("model_file_sha256")?.as_str());
        let model = match (&outcome.exit, &record) {
            (Exit::Completed, Some(record)) => Some(
                models::find(&self.folder, record, file_sha256.map(str::to_owned)).await.map_err(|e| e.to_string()),
            ),
            _ => None,
        };
        let begun = self.has_begun(job);
        self.write(now, move |db| settle(db, job, &outcome, record.as_ref(), model.as_ref(), begun, now)).await;
        *self.running() = None;
    }
}

/// What the audit log says about an event: how updates travel, which sums there were, and whose answer was not taken.
fn audited(training: i64, event: &Event) -> Option<(Action, String)> {
    Some(match event {
        Event::Protected { protection, roster_fingerprint, .. } => (
            Action::UpdatesProtected,
            json!({ "training": training, "protection": protection, "roster": roster_fingerprint }),
        ),
        Event::SumCompleted { round, purpose: Purpose::Training, sum } => {
            let names: Vec<&str> = sum.survivors.iter().map(|site| site.as_str()).collect();
            (Action::SumCompleted, json!({ "training": training, "round": round, "sid": sum.sid, "sites": names }))
        }
        Event::SumGivenUp { round, reason, .. } => {
            (Action::SumGivenUp, json!({ "training": training, "round": round, "reason": reason }))
        }
        Event::SiteRejected { reason, .. } => {
            (Action::AnswerRefused, json!({ "training": training, "reason": reason }))
        }
        Event::SiteExcluded { round, reason, .. } => {
            (Action::AnswerRefused, json!({ "training": training, "round": round, "reason": reason }))
        }
        _ => return None,
    })
    .map(|(action, detail)| (action, detail.to_string()))
}

/// Keeps how long a round took, where nothing interrupted it.
fn remember_time(db: &Connection, id: i64, monitor: &Monitor, round: u32) -> Result<(), StorageError> {
    let Some(training) = trainings::get(db, id)? else { return Ok(()) };
    let Some(found) = monitor.rounds.iter().find(|known| known.round == round && !known.repeated) else {
        return Ok(());
    };
    let h = &training.config.hyperparameters;
    let trained = found.sites.values().filter(|site| site.outcome == SiteOutcome::Trained).count() as u64;
    let patches = trained * u64::from(h.local_epochs) * u64::from(h.patches_per_epoch);
    let ms = found.ms.unwrap_or_default();
    let (network, patch_size) = (training.network.as_str(), h.patch_size);
    Ok(trainings::add_round_time(db, &RoundTime { training_id: id, round, network, patch_size, patches, ms })?)
}

fn end(
    db: &Connection,
    id: i64,
    state: State,
    cause: Option<Cause>,
    reason: Option<&str>,
    now: Moment,
) -> Result<(), StorageError> {
    trainings::set_state(db, id, &Change { state, cause, reason }, now)?;
    let detail = json!({ "by": null, "cause": cause, "reason": reason.unwrap_or_default() });
    note(db, id, state.name(), None, &detail, now)?;
    Ok(())
}

/// What becomes of a training whose worker has ended.
fn settle(
    db: &Connection,
    id: i64,
    outcome: &Outcome,
    record: Option<&SessionRecord>,
    model: Option<&Result<Found, String>>,
    begun: bool,
    now: Moment,
) -> Result<(), StorageError> {
    let Some(mut training) = trainings::get(db, id)? else { return Ok(()) };
    if let Some(record) = record {
        // The session's own record has the last word.
        record.rounds.iter().for_each(|round| training.monitor.record(round, None));
        if record.phase.is_over() {
            training.monitor.stage = Stage::Done;
        }
        trainings::set_monitor(db, id, &training.monitor)?;
    }
    let failure = outcome.failure.as_ref().map(|failure| failure.message.clone());
    match (training.state, outcome.exit) {
        (_, Exit::Completed) => match (record, model) {
            (Some(record), Some(Ok(found))) => {
                let version = models::register(db, &training, record, found, now)?;
                trainings::set_state(db, id, &Change { state: State::Completed, cause: None, reason: None }, now)?;
                note(db, id, "completed", None, &json!({ "model": version }), now)?;
                Ok(())
            }
            (_, Some(Err(problem))) => end(db, id, State::Failed, Some(Cause::Model), Some(problem), now),
            _ => end(db, id, State::Failed, Some(Cause::Worker), failure.as_deref(), now),
        },
        (State::Stopping, _) => {
            still(db, &training)?;
            let reason = training.reason.clone();
            end(db, id, State::Cancelled, training.cause, reason.as_deref(), now)
        }
        _ if training.monitor.failure.is_some() => {
            let reason = training.monitor.failure.clone();
            end(db, id, State::Failed, Some(Cause::Session), reason.as_deref(), now)
        }
        (State::Pausing, _) => paused(db, &training, now),
        (_, Exit::Suspended) if outcome.server_stops => interrupted(db, id, After::Restart, now),
        (_, Exit::Suspended | Exit::Crashed) if training.crashes < MAX_CRASHES => {
            trainings::set_crashes(db, id, training.crashes + 1)?;
            let crashed = outcome.exit == Exit::Crashed;
            interrupted(db, id, if crashed { After::Crash } else { After::Interruption }, now)
        }
        (_, exit) => {
            still(db, &training)?;
            let (cause, state) = match exit {
                Exit::Crashed | Exit::Suspended => (Cause::Crashes, State::Paused),
                Exit::NotStarted => (Cause::NotStarted, State::Paused),
                Exit::Failed(OUTPUT) => (Cause::Output, State::Paused),
                // Before there is a session nothing is lost: the form can be filled in again.
                _ if !begun => (Cause::Worker, State::Failed),
                _ => (Cause::Worker, State::Paused),
            };
            end(db, id, state, Some(cause), failure.as_deref(), now)
        }
    }
}
