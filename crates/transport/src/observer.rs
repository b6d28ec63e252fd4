//! What a terminal, a web page or a recorder can follow, and how they can ask to stop.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use federation::{Digest, Evaluation, Metrics, RoundRecord, SiteId};
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

/// Something that happened in a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
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
