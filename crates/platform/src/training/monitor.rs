//! What a worker told, folded into what people look at: it is stored after every event, so a page that is opened later,
//! or a server that is started again, goes on from it.

use std::collections::BTreeMap;

use federation::{Metrics, Protection, Purpose, RoundRecord, SealedBecause, SiteId, SiteStatus, SumRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Moment;
use crate::jobs::{Event, Task};

/// The state of a session, as its worker told it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Monitor {
    pub(crate) stage: Stage,
    /// The open round, or the last one.
    pub(crate) round: u32,
    pub(crate) device: Option<Device>,
    /// How updates travel; nothing before the first round.
    pub(crate) protected: Option<Protected>,
    /// What each site is doing.
    pub(crate) sites: BTreeMap<String, SiteNow>,
    /// All rounds that began.
    pub(crate) rounds: Vec<Round>,
    /// When it went on after the server or its worker had ended in the middle.
    pub(crate) resumed: Vec<Resumed>,
    /// Why the session itself says that it failed.
    pub(crate) failure: Option<String>,
}

/// What the session as a whole is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TrainingStage")]
pub(crate) enum Stage {
    #[default]
    Waiting,
    Preparing,
    Training,
    Evaluating,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) fallback: Option<String>,
}

/// What keeps the sites' updates from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Protected {
    /// `secure_aggregation` or `sealed`.
    #[schemars(with = "String")]
    pub(crate) protection: Protection,
    /// Why not by secure aggregation: `few_sites` or `chosen`.
    #[schemars(with = "Option<String>")]
    pub(crate) sealed_because: Option<SealedBecause>,
    /// Of the list of those who can take part.
    pub(crate) roster_fingerprint: String,
}

/// A secure sum of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sum {
    /// From 1; above that earlier ones were given up.
    pub(crate) attempt: u32,
    /// Sites that have to work together to take the masks off.
    pub(crate) threshold: usize,
    pub(crate) participants: Vec<String>,
    /// Whose updates are in it, once it is complete.
    pub(crate) survivors: Vec<String>,
    /// Why the newest attempt was given up.
    pub(crate) given_up: Option<String>,
}

impl From<&SumRecord> for Sum {
    fn from(sum: &SumRecord) -> Self {
        let names = |sites: &[SiteId]| sites.iter().map(ToString::to_string).collect();
        Self {
            attempt: sum.attempt + 1,
            threshold: sum.threshold,
            participants: names(&sum.participants),
            survivors: names(&sum.survivors),
            given_up: sum.given_up.clone(),
        }
    }
}

/// An interruption that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Resumed {
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) after: After,
}

/// What interrupted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum After {
    /// The server was started again.
    Restart,
    /// The worker crashed.
    Crash,
    /// Something outside stopped the worker.
    Interruption,
}

/// What a site is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Doing {
    #[default]
    Waiting,
    Preparing,
    Ready,
    Unusable,
    Training,
    Reported,
    Evaluating,
    Evaluated,
    Late,
    Excluded,
    Dropped,
}

/// A site at the moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SiteNow {
    pub(crate) doing: Doing,
    /// Steps of what it is doing.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Lately.
    pub(crate) loss: Option<f64>,
    pub(crate) reason: Option<String>,
    pub(crate) scans: Option<u64>,
    pub(crate) nodules: Option<u64>,
    /// Files that were passed over.
    pub(crate) problems: Option<u64>,
}

/// A round, also while it is open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Round {
    pub(crate) round: u32,
    /// Milliseconds since 1970, as [`Moment`].
    pub(crate) started_at: i64,
    /// How long it took; nothing while it is open.
    pub(crate) ms: Option<u64>,
    /// Whether it was begun more than once: then its time says nothing about others.
    pub(crate) repeated: bool,
    pub(crate) training_loss: Option<f64>,
    pub(crate) evaluation_loss: Option<f64>,
    pub(crate) foreground_probability: Option<f64>,
    /// The secure sum of the updates.
    pub(crate) sum: Option<Sum>,
    pub(crate) sites: BTreeMap<String, SiteRound>,
}

/// A site in a round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SiteRound {
    pub(crate) outcome: SiteOutcome,
    pub(crate) reason: Option<String>,
    pub(crate) examples: Option<u32>,
    pub(crate) training_loss: Option<f64>,
    pub(crate) foreground_probability: Option<f64>,
    pub(crate) evaluation_loss: Option<f64>,
    /// Its share of the new model.
    pub(crate) share: Option<f64>,
    /// What has left it in this round, in bytes, all messages.
    pub(crate) sent_bytes: u64,
    /// Of its masked update.
    pub(crate) masked_sha256: Option<String>,
    /// With differential privacy, what its data have cost up to this round.
    pub(crate) epsilon: Option<f64>,
}

impl SiteRound {
    /// Without what is the site's own.
    pub(crate) fn public(self) -> Self {
        Self { examples: None, training_loss: None, foreground_probability: None, evaluation_loss: None, ..self }
    }
}

/// How a round went for a site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SiteOutcome {
    #[default]
    Open,
    Trained,
    Late,
    Excluded,
    Dropped,
}

/// What an event leaves in the time-line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) kind: &'static str,
    pub(crate) site: Option<String>,
    pub(crate) detail: Value,
}

impl Monitor {
    pub(crate) fn new<'a>(sites: impl Iterator<Item = &'a str>) -> Self {
        let sites = sites.map(|site| (site.to_owned(), SiteNow::default())).collect();
        Self { sites, ..Self::default() }
    }

    /// Whether a site's own figures are its own: nobody else is told.
    pub(crate) fn is_private(&self) -> bool {
        self.protected.as_ref().is_some_and(|protected| protected.protection == Protection::SecureAggregation)
    }

    /// Takes an event in. `None` for mere progress, which need not be stored.
    pub(crate) fn fold(&mut self, event: Event, now: Moment) -> Option<Told> {
        let told = |kind, site: Option<&str>, detail| Some(Told { kind, site: site.map(str::to_owned), detail });
        match event {
            Event::Device { name, fallback } => {
                let detail = json!({ "name": name, "fallback": fallback });
                self.device = Some(Device { name, fallback });
                told("device", None, detail)
            }
            Event::Note { text } => told("note", None, json!({ "text": text })),
            Event::Warning { text } => told("warning", None, json!({ "text": text })),
            Event::Error(failure) => {
                told("error", None, json!({ "message": failure.message, "advice": failure.advice }))
            }
            Event::Preparing { site, done, total } => {
                self.stage = Stage::Preparing;
                *self.site(site.as_str()) = SiteNow { doing: Doing::Preparing, done, total, ..SiteNow::default() };
                None
            }
            Event::SiteReady { site, scans, nodules, problems, unknown_series } => {
                let (scans_, nodules_, problems_) = (Some(scans), Some(nodules), Some(problems));
                *self.site(site.as_str()) = SiteNow {
                    doing: Doing::Ready,
                    scans: scans_,
                    nodules: nodules_,
                    problems: problems_,
                    ..SiteNow::default()
                };
                let detail = json!({ "scans": scans, "nodules": nodules, "problems": problems, "unknown_series": unknown_series });
                told("site_ready", Some(site.as_str()), detail)
            }
            Event::SiteUnusable { site, error } => {
                let reason = [error.message.as_str(), error.advice.as_str()].join(" ").trim().to_owned();
                self.out(site.as_str(), Doing::Unusable, Some(&reason));
                told("site_unusable", Some(site.as_str()), json!({ "reason": reason }))
            }
            Event::Protected { protection, sealed_because, roster_fingerprint } => {
                let protected = Protected { protection, sealed_because, roster_fingerprint };
                if self.protected.as_ref() == Some(&protected) {
                    return None;
                }
                let detail = json!(protected);
                self.protected = Some(protected);
                told("protected", None, detail)
            }
            Event::SumStarted { round, purpose: Purpose::Training, sum } => {
                let sum = Sum::from(sum.as_ref());
                let (attempt, threshold, sites) = (sum.attempt, sum.threshold, sum.participants.len());
                self.at(round).sum = Some(sum);
                let detail = json!({ "round": round, "attempt": attempt, "threshold": threshold, "sites": sites });
                told("sum_started", None, detail)
            }
            Event::SumGivenUp { round, purpose: Purpose::Training, reason } => {
                if let Some(sum) = &mut self.at(round).sum {
                    sum.given_up = Some(reason.clone());
                }
                told("sum_given_up", None, json!({ "round": round, "reason": reason }))
            }
            Event::SumCompleted { round, purpose: Purpose::Training, sum } => {
                let (sid, sites) = (sum.sid, sum.survivors.len());
                self.at(round).sum = Some(Sum::from(sum.as_ref()));
                told("sum_completed", None, json!({ "round": round, "sites": sites, "sid": sid }))
            }
            // Sums of judgements: the global curve shows what comes of them.
            Event::SumStarted { .. } | Event::SumGivenUp { .. } | Event::SumCompleted { .. } => None,
            Event::SiteReplied { site, round, message } => {
                let place = self.site_round(round, site.as_str());
                place.sent_bytes += message.bytes;
                // The masked judgement comes later and is smaller: what counts is the update.
                if place.masked_sha256.is_none() {
                    place.masked_sha256 = message.words_sha256.map(|digest| digest.to_string());
                }
                None
            }
            Event::RoundStarted { round } => {
                self.stage = Stage::Training;
                self.round = round;
                // One that goes on after an interruption begins anew.
                let repeated = self.rounds.iter().any(|known| known.round == round);
                self.rounds.retain(|known| known.round < round);
                self.rounds.push(Round { round, started_at: now.0, repeated, ..Round::default() });
                for site in self.sites.values_mut().filter(|site| !site.doing.is_gone()) {
                    site.rest(Doing::Waiting);
                }
                told("round_started", None, json!({ "round": round }))
            }
            Event::SiteStarted { site, task, .. } => {
                let doing = match task {
                    Task::Training => Doing::Training,
                    Task::Evaluation => Doing::Evaluating,
                };
                if task == Task::Evaluation {
                    self.stage = Stage::Evaluating;
                }
                self.site(site.as_str()).rest(doing);
                told("site_started", Some(site.as_str()), json!({ "task": task }))
            }
            Event::SiteProgress { site, task, done, total, loss, .. } => {
                let site = self.site(site.as_str());
                site.doing = if task == Task::Training { Doing::Training } else { Doing::Evaluating };
                (site.done, site.total) = (done, total);
                site.loss = loss.or(site.loss);
                None
            }
            Event::SiteTrained { site, round, num_examples, metrics, epsilon } => {
                self.site(site.as_str()).rest(Doing::Reported);
                self.site(site.as_str()).loss = Some(metrics.loss);
                let Metrics { loss, foreground_probability } = metrics;
                let private = self.is_private();
                let place = self.site_round(round, site.as_str());
                let sent_bytes = place.sent_bytes;
                *place = SiteRound {
                    outcome: SiteOutcome::Trained,
                    examples: Some(num_examples),
                    training_loss: Some(loss),
                    foreground_probability,
                    sent_bytes,
                    epsilon,
                    ..SiteRound::default()
                };
                let loss = Some(loss).filter(|_| !private);
                told("site_trained", Some(site.as_str()), json!({ "round": round, "loss": loss }))
            }
            Event::SiteEvaluated { site, round, evaluation } => {
                self.site(site.as_str()).rest(Doing::Evaluated);
                let loss = evaluation.map(|evaluation| evaluation.metrics.loss);
                self.site_round(round, site.as_str()).evaluation_loss = loss;
                let loss = loss.filter(|_| !self.is_private());
                told("site_evaluated", Some(site.as_str()), json!({ "round": round, "loss": loss }))
            }
            Event::SiteExcluded { site, round, reason } => {
                self.out(site.as_str(), Doing::Excluded, Some(&reason));
                let place = self.site_round(round, site.as_str());
                // Also a site whose evaluation fails is told of like this; its update counts all the same.
                if place.outcome != SiteOutcome::Trained {
                    place.outcome = SiteOutcome::Excluded;
                }
                place.reason = Some(reason.clone());
                told("site_excluded", Some(site.as_str()), json!({ "round": round, "reason": reason }))
            }
            Event::SiteLate { site, round } => {
                self.out(site.as_str(), Doing::Late, None);
                let place = self.site_round(round, site.as_str());
                if place.outcome != SiteOutcome::Trained {
                    place.outcome = SiteOutcome::Late;
                }
                told("site_late", Some(site.as_str()), json!({ "round": round }))
            }
            Event::SiteDropped { site, reason } => {
                self.out(site.as_str(), Doing::Dropped, Some(&reason));
                let round = self.round;
                if round > 0 {
                    let place = self.site_round(round, site.as_str());
                    if place.outcome != SiteOutcome::Trained {
                        place.outcome = SiteOutcome::Dropped;
                    }
                    place.reason = Some(reason.clone());
                }
                told("site_dropped", Some(site.as_str()), json!({ "reason": reason }))
            }
            Event::SiteRejected { site, reason } => {
                told("site_rejected", Some(site.as_str()), json!({ "reason": reason }))
            }
            Event::Aggregated { round, model_sha256 } => {
                self.stage = Stage::Evaluating;
                told("aggregated", None, json!({ "round": round, "model_sha256": model_sha256 }))
            }
            Event::RoundCompleted { record } => {
                self.record(&record, Some(now));
                let round = self.rounds.last();
                let loss = round.and_then(|round| round.evaluation_loss.or(round.training_loss));
                let probability = round.and_then(|round| round.foreground_probability);
                let detail = json!({ "round": record.round, "loss": loss, "foreground_probability": probability });
                told("round_completed", None, detail)
            }
            Event::SessionCompleted { model_sha256, .. } => {
                self.stage = Stage::Done;
                told("session_completed", None, json!({ "model_sha256": model_sha256 }))
            }
            Event::SessionFailed { reason } => {
                self.stage = Stage::Done;
                self.failure = Some(reason.clone());
                told("session_failed", None, json!({ "reason": reason }))
            }
            Event::HistoryKeptAside { .. } => told("history_kept_aside", None, json!({})),
            // Of predictions, or of newer workers.
            Event::ScanStarted { .. }
            | Event::Progress { .. }
            | Event::ScanFinished { .. }
            | Event::ScanFailed { .. }
            | Event::Unknown => None,
        }
    }

    /// Puts the record of a round in the place of what was heard of it.
    pub(crate) fn record(&mut self, record: &RoundRecord, now: Option<Moment>) {
        let begun = i64::try_from(record.started_ms).unwrap_or(i64::MAX);
        let known = self.rounds.iter().find(|round| round.round == record.round);
        let measured = [record.training_ms, record.aggregation_ms, record.evaluation_ms];
        let took = measured.iter().flatten().sum();
        let total: u64 = record.sites.values().filter_map(|site| site.update.as_ref()?.weight).sum();
        let sites = record.sites.iter().map(|(name, site)| {
            let update = site.update.as_ref();
            // What a record does not hold because it is the site's own was heard before.
            let heard = known.and_then(|round| round.sites.get(name.as_str())).cloned().unwrap_or_default();
            let (outcome, reason) = match &site.status {
                SiteStatus::Training => (SiteOutcome::Open, None),
                SiteStatus::Trained => (SiteOutcome::Trained, site.evaluation_failure.clone()),
                SiteStatus::Late => (SiteOutcome::Late, None),
                SiteStatus::Dropped { reason } => (SiteOutcome::Dropped, Some(reason.clone())),
                SiteStatus::Failed { reason } | SiteStatus::Refused { reason } => {
                    (SiteOutcome::Excluded, Some(reason.clone()))
                }
            };
            let place = SiteRound {
                outcome,
                reason,
                examples: update.map(|update| update.num_examples).or(heard.examples),
                training_loss: update.map(|update| update.metrics.loss).or(heard.training_loss),
                foreground_probability: match update {
                    Some(update) => update.metrics.foreground_probability,
                    None => heard.foreground_probability,
                },
                evaluation_loss: site.evaluation.map(|evaluation| evaluation.metrics.loss).or(heard.evaluation_loss),
                sent_bytes: heard.sent_bytes,
                epsilon: heard.epsilon,
                masked_sha256: site.masked.map(|masked| masked.sha256.to_string()).or(heard.masked_sha256),
                share: update
                    .and_then(|update| update.weight)
                    .filter(|_| total > 0)
                    .map(|weight| weight as f64 / total as f64),
            };
            (name.as_str().to_owned(), place)
        });
        let is_over = now.is_some() || record.model_sha256.is_some();
        let round = Round {
            round: record.round,
            started_at: known.map_or(begun, |known| known.started_at),
            ms: is_over.then_some(took),
            repeated: known.is_some_and(|known| known.repeated),
            training_loss: record.training_loss,
            evaluation_loss: record.evaluation_loss,
            foreground_probability: record.foreground_probability,
            sum: record.sum.as_ref().map(Sum::from),
            sites: sites.collect(),
        };
        self.rounds.retain(|known| known.round != round.round);
        self.rounds.push(round);
        self.rounds.sort_by_key(|round| round.round);
        self.round = self.round.max(record.round);
    }

    /// Nothing moves while no worker is there.
    pub(crate) fn stand_still(&mut self) {
        if self.stage != Stage::Done {
            self.stage = Stage::Waiting;
        }
        for site in self.sites.values_mut().filter(|site| site.doing.is_busy()) {
            site.rest(Doing::Waiting);
        }
    }

    /// Rounds that are over.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(|round| round.ms.is_some())
    }

    fn site(&mut self, name: &str) -> &mut SiteNow {
        self.sites.entry(name.to_owned()).or_default()
    }

    fn out(&mut self, name: &str, doing: Doing, reason: Option<&str>) {
        let site = self.site(name);
        site.rest(doing);
        site.reason = reason.map(str::to_owned);
    }

    fn at(&mut self, round: u32) -> &mut Round {
        let at = match self.rounds.iter().position(|known| known.round == round) {
            Some(at) => at,
            None => {
                self.rounds.push(Round { round, ..Round::default() });
                self.rounds.len() - 1
            }
        };
        &mut self.rounds[at]
    }

    fn site_round(&mut self, round: u32, site: &str) -> &mut SiteRound {
        self.at(round).sites.entry(site.to_owned()).or_default()
    }
}

impl Doing {
    /// Whether it takes no further part.
    fn is_gone(self) -> bool {
        matches!(self, Self::Unusable | Self::Dropped)
    }

    fn is_busy(self) -> bool {
        matches!(self, Self::Preparing | Self::Training | Self::Evaluating)
    }
}

impl SiteNow {
    /// From now on it does something else.
    fn rest(&mut self, doing: Doing) {
        (self.doing, self.done, self.total, self.reason) = (doing, 0, 0, None);
    }
}
