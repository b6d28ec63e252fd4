//! What goes into a session and what comes out of it.

use serde::{Deserialize, Serialize};

use crate::secagg::{CoordinationError, Reply, Totals};
use crate::{Contribution, Digest, Evaluation, Protection, RoundRecord, SessionId, SiteId, SumRecord, Update};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sites join.
    Initialising,
    /// Sites train the open round.
    Training,
    /// The driver combines the accepted updates.
    Aggregating,
    /// Sites judge the new global model.
    Evaluating,
    /// All rounds are done.
    Completed,
    /// The session ended early; see [`Session::failure`](crate::Session::failure).
    Failed,
}

impl Phase {
    /// Whether nothing can happen any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Initialising => "initialising",
            Self::Training => "training",
            Self::Aggregating => "aggregating",
            Self::Evaluating => "evaluating",
            Self::Completed => "completed",
            Self::Failed => "failed",
        })
    }
}

/// What is summed, in the order of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The sites' updates, with the metrics of their training.
    Training,
    /// The sites' judgements of the new model.
    Evaluation,
}

/// Why a session ended early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FailureReason {
    /// Somebody decided so.
    #[error("the session was cancelled")]
    Cancelled,
    /// Too few usable updates.
    #[error(
        "round {round} has {found} usable update(s), {minimum} are needed: see the sites' reasons, bring them back or lower minimum_sites"
    )]
    TooFewSites {
        /// The round.
        round: u32,
        /// Accepted updates.
        found: usize,
        /// The session's minimum.
        minimum: u32,
    },
    /// The model learned to answer "background" everywhere.
    #[error(
        "the model has collapsed to background: after round {round} its mean probability on nodule voxels is {found:.4}, below {threshold}; raise the learning rate or the number of steps, or start from a trained model"
    )]
    Collapsed {
        /// The round.
        round: u32,
        /// Mean foreground probability on positives.
        found: f64,
        /// The session's threshold.
        threshold: f64,
    },
    /// The updates could not be combined.
    #[error("round {round} could not be aggregated: {reason}")]
    Aggregation {
        /// The round.
        round: u32,
        /// What happened.
        reason: String,
    },
}

/// What happened outside.
#[derive(Debug, Clone)]
pub enum Input {
    /// A site is there, for the first time or again.
    SiteJoined {
        /// Who.
        site: SiteId,
    },
    /// A site is gone, or can no longer be reached.
    SiteLeft {
        /// Who.
        site: SiteId,
        /// Why.
        reason: String,
    },
    /// Begin the first round with the sites that are present.
    Start,
    /// A site trained.
    UpdateReceived {
        /// Who.
        site: SiteId,
        /// The round it trained.
        round: u32,
        /// The result.
        update: Update,
    },
    /// A site trained and keeps its update for a secure sum.
    SiteTrained {
        /// Who.
        site: SiteId,
        /// The round it trained.
        round: u32,
        /// Upper bound of its samples, a power of two up to 2²⁴.
        samples_at_most: u32,
    },
    /// A site judged the new global model and keeps the judgement for a secure sum.
    SiteEvaluated {
        /// Who.
        site: SiteId,
        /// The round that made the model.
        round: u32,
    },
    /// A site's part in a secure sum.
    Replied {
        /// Who.
        site: SiteId,
        /// The message.
        reply: Reply,
        /// The words of [`Reply::Masked`].
        words: Vec<u32>,
    },
    /// The driver unmasked a sum of updates and stored the new global model.
    Summed {
        /// Hash of the new model.
        model: Digest,
        /// The sites' metrics.
        totals: Totals,
    },
    /// The driver unmasked a sum of judgements.
    EvaluationSummed {
        /// The sites' metrics.
        totals: Totals,
    },
    /// A site could not do its task of the current phase, but is still there.
    SiteFailed {
        /// Who.
        site: SiteId,
        /// The round of the task.
        round: u32,
        /// Why.
        reason: String,
    },
    /// The driver combined the updates and stored the new global model.
    Aggregated {
        /// Hash of the new model.
        model: Digest,
    },
    /// The driver could not combine the updates.
    AggregationFailed {
        /// Why.
        reason: String,
    },
    /// A site judged the new global model, or has no data to do so.
    EvaluationReceived {
        /// Who.
        site: SiteId,
        /// The round that made the model.
        round: u32,
        /// The result.
        evaluation: Option<Evaluation>,
    },
    /// Time passed; due at [`Session::deadline_ms`](crate::Session::deadline_ms).
    Tick,
    /// The driver was restarted from a stored session: deadlines start anew, unanswered requests are repeated.
    Resume,
    /// End the session.
    Cancel,
}

/// What the driver has to do, or may want to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask the site to train this round from the newest global model.
    StartRound {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
    },
    /// Store the update's values: they are needed when the round is aggregated.
    UpdateAccepted {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Hash of the values.
        update: Digest,
    },
    /// The site has trained and waits for the sum.
    SiteReady {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
    },
    /// A secure sum began.
    SumStarted {
        /// The round.
        round: u32,
        /// Of what.
        purpose: Purpose,
        /// What everybody agrees on.
        sum: Box<SumRecord>,
    },
    /// Pass this request of a secure sum on. The session keeps it: [`Session::request`](crate::Session::request).
    Ask {
        /// Who.
        site: SiteId,
    },
    /// Store these words of a site: they are needed when the sum is unmasked.
    WordsAccepted {
        /// Whose.
        site: SiteId,
        /// The round.
        round: u32,
        /// Hash of the words.
        words: Digest,
    },
    /// Unmask the sum of the stored words, then report [`Input::Summed`] or [`Input::EvaluationSummed`].
    SumReady {
        /// The round.
        round: u32,
        /// Of what.
        purpose: Purpose,
    },
    /// A secure sum was given up. Nothing of any update is known.
    SumGivenUp {
        /// The round.
        round: u32,
        /// Of what.
        purpose: Purpose,
        /// Why.
        reason: String,
    },
    /// A secure sum is complete.
    SumCompleted {
        /// The round.
        round: u32,
        /// Of what.
        purpose: Purpose,
        /// Who is in it.
        sum: Box<SumRecord>,
    },
    /// The site's task failed or its result was not usable; the round goes on without it.
    SiteExcluded {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Why.
        reason: String,
    },
    /// The site missed the deadline.
    SiteLate {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
    },
    /// The site left.
    SiteDropped {
        /// Who.
        site: SiteId,
        /// Why.
        reason: String,
    },
    /// Combine these stored updates, store the new global model, then report [`Input::Aggregated`].
    AggregateReady {
        /// The round.
        round: u32,
        /// The updates, in order of the sites' names.
        contributions: Vec<Contribution>,
    },
    /// There is a new global model.
    Aggregated {
        /// The round.
        round: u32,
        /// Its hash.
        model: Digest,
    },
    /// Ask the site to judge the newest global model.
    Evaluate {
        /// Who.
        site: SiteId,
        /// The round that made it.
        round: u32,
    },
    /// A round is over.
    RoundCompleted {
        /// All about it.
        record: Box<RoundRecord>,
    },
    /// All rounds are done.
    SessionCompleted {
        /// Hash of the final model.
        model: Digest,
    },
    /// The session ended early.
    SessionFailed {
        /// Why.
        reason: FailureReason,
    },
}

/// Why an input was not taken. It left no trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nothing more can happen.
    #[error("session {session} is {phase}")]
    SessionOver {
        /// The session.
        session: SessionId,
        /// How it ended.
        phase: Phase,
    },
    /// The input belongs to another phase.
    #[error("session {session} is {found}, this needs {expected}")]
    WrongPhase {
        /// The session.
        session: SessionId,
        /// Where it stands.
        found: Phase,
        /// Where it should stand.
        expected: Phase,
    },
    /// Too few sites to start.
    #[error("{joined} site(s) have joined, {minimum} are needed to start: wait for more or lower minimum_sites")]
    TooFewSites {
        /// Sites that are present.
        joined: usize,
        /// The session's minimum.
        minimum: u32,
    },
    /// A site that the roster does not name.
    #[error("site {site} is not in the roster of session {session}: have it added to the roster first")]
    Stranger {
        /// Who.
        site: SiteId,
        /// The session.
        session: SessionId,
    },
    /// The session protects updates otherwise.
    #[error("site {site} answers as if updates were not protected by {expected:?}: use a program that does so")]
    Protection {
        /// Who.
        site: SiteId,
        /// How the session protects them.
        expected: Protection,
    },
    /// A message of a sum that the coordinator does not accept.
    #[error("a message of site {site} was not taken: {source}")]
    Sum {
        /// Who.
        site: SiteId,
        /// Why.
        source: CoordinationError,
    },
    /// The site never joined.
    #[error("site {site} is not part of session {session}: join first")]
    UnknownSite {
        /// Who.
        site: SiteId,
        /// The session.
        session: SessionId,
    },
    /// The answer is about a round that is closed or was never opened.
    #[error(
        "site {site} answers round {found}, but the session is {phase} round {current}: join again to take part in the next"
    )]
    WrongRound {
        /// Who.
        site: SiteId,
        /// The round of the answer.
        found: u32,
        /// The newest round, 0 before the first.
        current: u32,
        /// Where the session stands.
        phase: Phase,
    },
    /// The answer came after the deadline.
    #[error("site {site} answers round {round} {late_ms} ms after the deadline: join again to take part in the next")]
    Late {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Time since the deadline.
        late_ms: u64,
    },
    /// The site has answered differently, or was not asked.
    #[error(
        "site {site} is not awaited in round {round}: it has answered or left; it is asked again in the next round"
    )]
    NotAwaited {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
    },
}
