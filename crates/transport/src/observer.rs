//! What a terminal, a web page or a recorder can follow, and how they can ask to stop.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use federation::sealing::Sealed;
use federation::secagg::Reply;
use federation::{Digest, Evaluation, Metrics, Protection, Purpose, RoundRecord, SealedBecause, SiteId, SumRecord};
use serde::Serialize;

/// What a site is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Train a round.
    Training,
    /// Judge the new global model.
    Evaluation,
}

/// What has left a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Which message.
    pub kind: &'static str,
    /// Its size, words included.
    pub bytes: u64,
    /// SHA-256 of the masked words.
    pub words_sha256: Option<Digest>,
}

impl Sent {
    pub(crate) fn sealed(sealed: &Sealed) -> Self {
        Self { kind: "sealed", bytes: sealed.to_bytes().len() as u64, words_sha256: None }
    }

    pub(crate) fn of(reply: &Reply, words: &[u32]) -> Self {
        let (kind, words_sha256) = match reply {
            Reply::Advertisement(_) => ("keys", None),
            Reply::Shares(_) => ("shares", None),
            Reply::Masked(message) => ("masked_update", Some(Digest::from(message.digest))),
            Reply::Agreement(_) => ("agreement", None),
            Reply::Unmasking(_) => ("unmasking", None),
            Reply::Refused { .. } => ("refusal", None),
        };
        Self { kind, bytes: (reply.to_bytes().len() + 4 * words.len()) as u64, words_sha256 }
    }
}

/// Something that happened in a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// How updates travel in this session.
    Protected {
        /// How.
        protection: Protection,
        /// Why not by secure aggregation.
        sealed_because: Option<SealedBecause>,
        /// Of the roster, in groups that people can read to each other.
        roster_fingerprint: String,
    },
    /// A round began, or goes on after a restart.
    RoundStarted {
        /// Its number.
        round: u32,
    },
    /// A site began its task.
    SiteStarted {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Which task.
        task: Task,
    },
    /// A site is on its way.
    SiteProgress {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Which task.
        task: Task,
        /// Steps done.
        done: u64,
        /// Steps of the whole task.
        total: u64,
        /// Mean loss lately, where known.
        loss: Option<f64>,
    },
    /// A site's update was accepted.
    SiteTrained {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Its training samples.
        num_examples: u32,
        /// How the training went.
        metrics: Metrics,
        /// Euclidean norm of the update before it was limited.
        norm: f64,
        /// ε that the site's data have cost so far, with differential privacy.
        epsilon: Option<f64>,
    },
    /// A site waits for the secure sum; its update is still its own.
    SiteAwaitsSum {
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
        /// Who was asked.
        sum: Box<SumRecord>,
    },
    /// A message with what a site has learned, or of a secure sum, left it and was taken.
    SiteReplied {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// What has left it.
        message: Sent,
    },
    /// A secure sum was given up; nothing of any update is known.
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
    /// A site judged the new global model, or has no data to do so.
    SiteEvaluated {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// The result.
        evaluation: Option<Evaluation>,
    },
    /// A site failed or its result was not usable; the round goes on without it.
    SiteExcluded {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
        /// Why.
        reason: String,
    },
    /// A site missed the deadline.
    SiteLate {
        /// Who.
        site: SiteId,
        /// The round.
        round: u32,
    },
    /// A site left.
    SiteDropped {
        /// Who.
        site: SiteId,
        /// Why.
        reason: String,
    },
    /// A site's answer was not taken.
    SiteRejected {
        /// Who.
        site: SiteId,
        /// Why.
        reason: String,
    },
    /// There is a new global model.
    Aggregated {
        /// The round.
        round: u32,
        /// Its hash.
        model_sha256: Digest,
    },
    /// A round is over.
    RoundCompleted {
        /// All about it.
        record: Box<RoundRecord>,
    },
    /// All rounds are done.
    SessionCompleted {
        /// Hash of the final model.
        model_sha256: Digest,
        /// Its file.
        path: PathBuf,
    },
    /// The session ended early.
    SessionFailed {
        /// Why.
        reason: String,
    },
    /// The training history could not be read and was moved there.
    HistoryKeptAside {
        /// Where it is now.
        path: PathBuf,
    },
}

/// Follows a session. All events come from one thread, in order.
pub trait Observer {
    /// Something happened.
    fn observe(&mut self, event: &Event);
}

impl<F: FnMut(&Event)> Observer for F {
    fn observe(&mut self, event: &Event) {
        self(event);
    }
}

/// Asks a running session to stop, from any thread. Sites stop at their next step.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    const SUSPEND: u8 = 1;
    const CANCEL: u8 = 2;

    /// Stop now; the session can be resumed.
    pub fn suspend(&self) {
        self.0.fetch_max(Self::SUSPEND, Ordering::Relaxed);
    }

    /// End the session for good.
    pub fn cancel(&self) {
        self.0.store(Self::CANCEL, Ordering::Relaxed);
    }

    /// Whether it should stop either way.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::CANCEL
    }
}
