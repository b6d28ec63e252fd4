//! What is remembered of sessions: the content of `training_history.json`.
//!
//! Times are milliseconds since 1970-01-01 UTC, as the driver's clock gave them to the session.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::secagg::Totals;
use crate::{Digest, Evaluation, Metrics, Phase, Protection, SealedBecause, SessionConfig, SessionId, SiteId};

/// Version of the records in this module; raised when a reader of the old one would misunderstand.
pub const HISTORY_SCHEMA_VERSION: u32 = 1;

/// Every session that was recorded, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingHistory {
    /// [`HISTORY_SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// One record for each session id.
    pub sessions: Vec<SessionRecord>,
}

/// A history that this program must not rewrite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the training history has schema version {found}, this program knows {HISTORY_SCHEMA_VERSION}: use a newer program"
)]
pub struct HistoryError {
    found: u32,
}

impl Default for TrainingHistory {
    fn default() -> Self {
        Self { schema_version: HISTORY_SCHEMA_VERSION, sessions: Vec::new() }
    }
}

impl TrainingHistory {
    /// The same history if this program understands it.
    pub fn validated(self) -> Result<Self, HistoryError> {
        if self.schema_version == HISTORY_SCHEMA_VERSION {
            Ok(self)
        } else {
            Err(HistoryError { found: self.schema_version })
        }
    }

    /// Replaces the record of that session, or adds it.
    pub fn record(&mut self, record: SessionRecord) {
        match self.sessions.iter_mut().find(|s| s.session_id == record.session_id) {
            Some(known) => *known = record,
            None => self.sessions.push(record),
        }
    }
}

/// One session, also while it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Name.
    pub session_id: SessionId,
    /// Where it stands.
    pub phase: Phase,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What it was created with.
    pub config: SessionConfig,
    /// How updates travel; nothing before the start.
    #[serde(default)]
    pub protection: Option<Protection>,
    /// Why there is no secure aggregation, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_because: Option<SealedBecause>,
    /// Of the roster of sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<Digest>,
    /// When it was created.
    pub created_ms: u64,
    /// When it was completed or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
    /// Hash of the model that the first round trains from.
    pub initial_model_sha256: Digest,
    /// Hash of the newest global model.
    pub model_sha256: Digest,
    /// All rounds, the open one last.
    pub rounds: Vec<RoundRecord>,
}

/// One round, also while it is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Number, from 1.
    pub round: u32,
    /// When its training began.
    pub started_ms: u64,
    /// Time until the last update was there.
    pub training_ms: Option<u64>,
    /// Time from there to the new model.
    pub aggregation_ms: Option<u64>,
    /// Time from the new model to the last evaluation.
    pub evaluation_ms: Option<u64>,
    /// Everybody who was asked to take part.
    pub sites: BTreeMap<SiteId, SiteRecord>,
    /// The secure sum of the updates, the newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<SumRecord>,
    /// The secure sum of the judgements of the new model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_sum: Option<SumRecord>,
    /// Mean of the sites' training losses, weighted as their updates.
    pub training_loss: Option<f64>,
    /// Mean of the sites' losses of the new model, weighted by validation samples.
    pub evaluation_loss: Option<f64>,
    /// Mean foreground probability on positives: of the new model where sites evaluated it, else of the training.
    pub foreground_probability: Option<f64>,
    /// Hash of the new global model.
    pub model_sha256: Option<Digest>,
}

/// One site in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// How its training went.
    #[serde(flatten)]
    pub status: SiteStatus,
    /// When it was asked to train.
    pub started_ms: u64,
    /// Time until it answered.
    pub training_ms: Option<u64>,
    /// Its accepted update, without the values; nothing under secure aggregation, where nobody knows it.
    pub update: Option<UpdateRecord>,
    /// What it sent under secure aggregation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked: Option<MaskedRecord>,
    /// Upper bound of its samples, a power of two: all that it tells of their number under secure aggregation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples_at_most: Option<u32>,
    /// Whether it has judged the new global model; under secure aggregation the judgement stays its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluated: bool,
    /// Its judgement of the new global model.
    pub evaluation: Option<Evaluation>,
    /// Why there is no such judgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_failure: Option<String>,
}

/// How a site's training went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum SiteStatus {
    /// It has not answered yet.
    Training,
    /// Its update was accepted.
    Trained,
    /// It did not answer before the deadline.
    Late,
    /// It left before it answered.
    Dropped {
        /// What is known about it.
        reason: String,
    },
    /// It could not train.
    Failed {
        /// What it reported.
        reason: String,
    },
    /// Its update was not usable.
    Refused {
        /// What was wrong with it.
        reason: String,
    },
}

/// An accepted update, without its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// Training samples behind it.
    pub num_examples: u32,
    /// Weight in the mean; known when the round's training closes.
    pub weight: Option<u64>,
    /// How the training went.
    pub metrics: Metrics,
    /// Hash of the values.
    pub sha256: Digest,
    /// Largest absolute value.
    pub magnitude: f32,
}

/// A masked update: uniformly random to whoever lacks the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedRecord {
    /// Its size.
    pub bytes: u64,
    /// Of these bytes.
    pub sha256: Digest,
}

/// One attempt to sum what the sites have, by secure aggregation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SumRecord {
    /// From 0.
    pub attempt: u32,
    /// Hash of what everybody has agreed on before.
    pub sid: Digest,
    /// Sites that have to work together to take the masks off.
    pub threshold: usize,
    /// Who was asked.
    pub participants: Vec<SiteId>,
    /// Whose updates are in the sum; nobody's before it is complete.
    pub survivors: Vec<SiteId>,
    /// Sums of their samples and metrics.
    pub totals: Option<Totals>,
    /// Why the attempt was given up; nothing of any update is known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}
