//! What somebody may see of trainings. An institution sees the ones in which it takes part, the global values, and of the
//! sites only itself: neither names nor numbers of others, not even how many have answered; only in how large a sum its
//! own update was hidden. Under secure aggregation an administrator does not see an institution's own figures, unless it
//! shares them.

use std::collections::BTreeMap;

use federation::{Algorithm, SessionConfig};
use rusqlite::Connection;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::monitor::{Device, Protected, Resumed, Round, SiteNow, SiteRound, Stage, Sum};
use super::{Cause, Monitor, Trainings};
use crate::accounts::{Caller, Role};
use crate::clock::Moment;
use crate::store::events;
use crate::store::trainings::{self, Entry, Site, State, Training};
use crate::store::{StorageError, models, sharing};

/// Entries of the time-line in one answer.
const ENTRIES: u32 = 200;
/// What may be told to every site that takes part.
const FOR_ALL: [&str; 21] = [
    "queued",
    "running",
    "pausing",
    "paused",
    "stopping",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
    "device",
    "protected",
    "sum_started",
    "sum_given_up",
    "sum_completed",
    "round_started",
    "aggregated",
    "round_completed",
    "session_completed",
    "session_failed",
    "history_kept_aside",
    "note",
];

/// A training in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "TrainingSummary")]
pub(crate) struct Summary {
    pub(crate) id: i64,
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<String>,
    pub(crate) network: String,
    pub(crate) algorithm: &'static str,
    pub(crate) rounds: u32,
    /// Rounds that are over.
    pub(crate) completed_rounds: u32,
    /// Whose names the caller may see.
    pub(crate) participants: Vec<Participant>,
    pub(crate) loss: Option<f64>,
    pub(crate) foreground_probability: Option<f64>,
    pub(crate) initial_model: Option<i64>,
    pub(crate) model: Option<i64>,
    pub(crate) note: String,
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) resumed: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Participant {
    pub(crate) site: String,
    pub(crate) institution: String,
    pub(crate) scans: u32,
    pub(crate) nodules: u32,
}

/// All about a training.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Training")]
pub(crate) struct View {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// The session as the coordinator knows it.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub(crate) config: SessionConfig,
    pub(crate) stage: Stage,
    /// The open round, or the last one.
    pub(crate) round: u32,
    pub(crate) device: Option<Device>,
    /// How updates travel; nothing before the first round.
    pub(crate) protected: Option<Protected>,
    /// Whose own figures the caller may see besides its own: these sites share them.
    pub(crate) sharing: Vec<String>,
    pub(crate) sites: BTreeMap<String, SiteNow>,
    pub(crate) round_records: Vec<Round>,
    pub(crate) resumed_at: Vec<Resumed>,
    /// Milliseconds until it is done, and what that is estimated from: `session`, or `earlier` trainings.
    pub(crate) eta_ms: Option<u64>,
    pub(crate) eta_from: Option<&'static str>,
    /// Its place in the queue, from 1.
    pub(crate) place: Option<usize>,
    /// The number of the newest event of the server, as `GET /api/events` counts: this is as new.
    pub(crate) number: i64,
    /// The newest first.
    pub(crate) timeline: Vec<Entry>,
    /// RFC 3339; what times are counted from.
    pub(crate) now: String,
}

/// Whom a caller may see among those who take part; `None` where the training is none of its business.
fn visible(caller: &Caller, sites: &[Site]) -> Option<Vec<String>> {
    let names = sites.iter().map(|site| site.username.clone());
    match caller.role {
        Role::Server => Some(names.collect()),
        Role::Client if sites.iter().any(|site| site.user_id == caller.user_id) => Some(vec![caller.username.clone()]),
        Role::Client => None,
    }
}

/// What was said, where it names nobody else: a session's failure may name a site.
fn discreet(reason: Option<String>, seen: &[String], sites: &[Site]) -> Option<String> {
    reason.filter(|reason| {
        let others = sites.iter().filter(|site| !seen.contains(&site.username));
        others.into_iter().all(|site| !reason.contains(&site.username) && !reason.contains(&site.institution))
    })
}

pub(super) fn algorithm(algorithm: &Algorithm) -> &'static str {
    match algorithm {
        Algorithm::FedAvg => "FedAvg",
        Algorithm::FedProx { .. } => "FedProx",
        Algorithm::FedAvgM { .. } => "FedAvgM",
        Algorithm::Scaffold => "SCAFFOLD",
        Algorithm::FedAdam { .. } => "FedAdam",
    }
}

fn summary(db: &Connection, training: &Training, seen: &[String], sites: Vec<Site>) -> Result<Summary, StorageError> {
    let last = training.monitor.completed().last();
    let is_own_word = matches!(training.cause, Some(Cause::Administrator));
    let everything = seen.len() == sites.len();
    let reason =
        training.reason.clone().filter(|_| is_own_word || everything || training.cause == Some(Cause::Session));
    let reason = discreet(reason, seen, &sites);
    let participants = sites.into_iter().filter(|site| seen.contains(&site.username)).map(|site| Participant {
        site: site.username,
        institution: site.institution,
        scans: site.scans,
        nodules: site.nodules,
    });
    let completed = training.monitor.completed().count();
    Ok(Summary {
        id: training.id,
        state: training.state,
        cause: training.cause,
        reason,
        network: training.network.clone(),
        algorithm: algorithm(&training.config.hyperparameters.algorithm),
        rounds: training.config.hyperparameters.rounds,
        completed_rounds: u32::try_from(completed).unwrap_or(u32::MAX),
        participants: participants.collect(),
        loss: last.and_then(|round| round.evaluation_loss.or(round.training_loss)),
        foreground_probability: last.and_then(|round| round.foreground_probability),
        initial_model: training.initial_model,
        model: models::of_training(db, training.id)?.map(|model| model.id),
        note: training.note.clone(),
        created_at: training.created_at.to_string(),
        started_at: training.started_at.map(|at| at.to_string()),
        finished_at: training.finished_at.map(|at| at.to_string()),
        resumed: !training.monitor.resumed.is_empty(),
    })
}

/// The trainings that a caller may see, the newest first.
pub(crate) fn summaries(db: &Connection, caller: &Caller) -> Result<Vec<Summary>, StorageError> {
    let of = (caller.role == Role::Client).then_some(caller.user_id);
    let mut found = Vec::new();
    for training in trainings::all(db, of)? {
        let sites = trainings::sites(db, training.id)?;
        if let Some(seen) = visible(caller, &sites) {
            found.push(summary(db, &training, &seen, sites)?);
        }
    }
    Ok(found)
}

impl Trainings {
    /// A training, as new as its worker's last word; `None` where the caller may not see it.
    pub(crate) async fn view(&self, caller: Caller, id: i64) -> Result<Option<View>, StorageError> {
        let (running, now) = (self.0.running().clone().filter(|running| running.id == id), self.0.clock.now());
        let read = self.0.store.read(move |db| {
            let progress = running.as_ref().map(|running| (running.number, &running.monitor));
            view(db, &caller, id, progress, now)
        });
        read.await
    }
}

/// `progress` is what is not stored yet, with the number of the entry that it is as new as.
fn view(
    db: &Connection,
    caller: &Caller,
    id: i64,
    progress: Option<(i64, &Monitor)>,
    now: Moment,
) -> Result<Option<View>, StorageError> {
    let Some(mut training) = trainings::get(db, id)? else { return Ok(None) };
    let sites = trainings::sites(db, id)?;
    let Some(seen) = visible(caller, &sites) else { return Ok(None) };
    let number = trainings::last_entry(db, id)?;
    if let Some((_, monitor)) = progress.filter(|(as_new_as, _)| *as_new_as >= number && !training.state.is_over()) {
        training.monitor = monitor.clone();
    }
    let timeline = trainings::entries(db, id, ENTRIES)?.into_iter();
    let timeline = timeline.filter_map(|entry| for_eyes(entry, caller, &seen, &sites)).collect();
    let (eta_ms, eta_from) = match eta(db, &training, sites.len(), now)? {
        Some((ms, from)) => (Some(ms), Some(from)),
        None => (None, None),
    };
    let place = (training.state == State::Queued).then(|| trainings::in_state(db, State::Queued)).transpose()?;
    let place = place.and_then(|queue| Some(queue.iter().position(|waiting| *waiting == id)? + 1));
    let shared = sharing::everybody(db)?;
    // Under secure aggregation a site's figures are its own, unless it shares them.
    let shares = |site: &&Site| site.user_id == caller.user_id || shared.contains(&site.user_id);
    let open: Vec<String> = sites.iter().filter(shares).map(|site| site.username.clone()).collect();
    let open = |name: &str| !training.monitor.is_private() || open.iter().any(|site| site == name);
    let sharing = sites.iter().filter(|site| shared.contains(&site.user_id) && seen.contains(&site.username));
    let sharing = sharing.map(|site| site.username.clone()).collect();
    let hidden: Vec<String> = seen.iter().filter(|name| !open(name)).cloned().collect();
    let summary = summary(db, &training, &seen, sites)?;
    let Training { config, monitor, .. } = training;
    let Monitor { stage, round, device, protected, sites, rounds, resumed, .. } = monitor;
    let own = |(name, _): &(String, SiteRound)| seen.contains(name);
    let discreet = |(name, place): (String, SiteRound)| {
        let place = if hidden.contains(&name) { place.public() } else { place };
        (name, place)
    };
    let rounds = rounds.into_iter().map(|round| Round {
        sites: round.sites.into_iter().filter(own).map(discreet).collect(),
        sum: round.sum.map(|sum| seen_of(sum, &seen)),
        ..round
    });
    let sites = sites.into_iter().filter(|(name, _)| seen.contains(name)).map(|(name, now)| {
        let loss = now.loss.filter(|_| !hidden.contains(&name));
        (name, SiteNow { loss, ..now })
    });
    Ok(Some(View {
        summary,
        config,
        stage,
        round,
        device,
        protected,
        sharing,
        round_records: rounds.collect(),
        sites: sites.collect(),
        resumed_at: resumed,
        eta_ms,
        eta_from,
        place,
        number: events::bounds(db)?.1,
        timeline,
        now: now.to_string(),
    }))
}

/// A sum as somebody sees it who may not know the others' names: how many they are stays.
fn seen_of(sum: Sum, seen: &[String]) -> Sum {
    let of = |names: Vec<String>| {
        let name = |name: String| if seen.contains(&name) { name } else { String::new() };
        names.into_iter().map(name).collect()
    };
    Sum { participants: of(sum.participants), survivors: of(sum.survivors), ..sum }
}

/// An entry as a caller may see it.
fn for_eyes(mut entry: Entry, caller: &Caller, seen: &[String], sites: &[Site]) -> Option<Entry> {
    if caller.role == Role::Server {
        return Some(entry);
    }
    // Gaps would tell how busy the others are.
    entry.number = None;
    if let Some(site) = &entry.site {
        return seen.contains(site).then_some(entry);
    }
    if !FOR_ALL.contains(&entry.kind.as_str()) {
        return None;
    }
    // What an administrator says is for everybody; what a worker says may be about anybody.
    let by_a_person = entry.detail["by"].is_string();
    let reason = entry.detail["reason"].as_str().map(str::to_owned);
    if let Some(reason) = reason
        && (discreet(Some(reason), seen, sites).is_none() || (!by_a_person && entry.kind != "session_failed"))
        && let Value::Object(detail) = &mut entry.detail
    {
        detail.insert("reason".to_owned(), json!(""));
    }
    if entry.kind == "note" {
        let text = entry.detail["text"].as_str().map(str::to_owned);
        discreet(text, seen, sites)?;
    }
    Some(entry)
}

/// Milliseconds until a training is done: from its own rounds, else from earlier ones of the same network and patch.
fn eta(
    db: &Connection,
    training: &Training,
    sites: usize,
    now: Moment,
) -> Result<Option<(u64, &'static str)>, StorageError> {
    if !matches!(training.state, State::Running | State::Queued) {
        return Ok(None);
    }
    let h = &training.config.hyperparameters;
    let own: Vec<u64> =
        training.monitor.completed().filter(|round| !round.repeated).filter_map(|round| round.ms).collect();
    let (round_ms, from) = if own.is_empty() {
        let speeds = trainings::speeds(db)?;
        let like = speeds.iter().find(|known| known.network == training.network && known.patch_size == h.patch_size);
        let Some(speed) = like else { return Ok(None) };
        let patches = sites as f64 * f64::from(h.local_epochs) * f64::from(h.patches_per_epoch);
        (speed.ms_per_patch * patches, "earlier")
    } else {
        (own.iter().sum::<u64>() as f64 / own.len() as f64, "session")
    };
    let left = f64::from(h.rounds) - training.monitor.completed().count() as f64;
    // The open round has used up some of its time already.
    let open = training.monitor.rounds.iter().find(|round| round.ms.is_none());
    let used = open.map_or(0.0, |round| ((now.0 - round.started_at).max(0) as f64).min(round_ms));
    let running = training.state == State::Running;
    let ms = (left * round_ms - if running { used } else { 0.0 }).max(0.0);
    Ok(Some((ms.round() as u64, from)))
}
