//! Federated training as values and deterministic state machines: rounds, aggregation, server optimisers.
//!
//! This crate does no I/O, reads no clock, draws no random number and knows neither CT images nor neural networks: an
//! update is a flat vector of `f32` with a schema hash, time arrives as milliseconds. The same inputs give the same
//! bytes. Carrying messages and storing state is the duty of the `transport` crate.
//!
//! # A session
//!
//! ```text
//!                Start             every site answered, or deadline,
//!                                  with the minimum of updates            Aggregated
//! Initialising ─────────▶ Training ──────────────────────▶ Aggregating ──────────────▶ Evaluating ─┐
//!                            ▲                                                                     │
//!                            └────────────────────────── next round ───────────────────────────────┤
//!                                                                                                  │ last round
//!   from every phase: Cancel;  Training: too few updates;                                          ▼
//!   Aggregating: not a finite model;  Evaluating: collapsed ──▶ Failed                         Completed
//! ```
//!
//! [`Session::step`] takes one [`Input`] and the time, and returns [`Output`]s for its driver to carry out, or a
//! [`Rejection`] that left no trace. A session holds no parameter vector, only hashes: its driver stores accepted
//! updates and, when told [`Output::AggregateReady`], streams them through an [`Aggregator`] and a
//! [`ServerOptimizer`]. It is small, serialisable, and cheap to clone, so a driver steps a copy, makes it durable
//! together with what the outputs ask for, and only then lets it replace the original. After a restart
//! [`Input::Resume`] repeats every request that is still unanswered; no list of outgoing messages has to be stored.

mod aggregation;
mod announcement;
mod at_rest;
mod config;
mod digest;
mod history;
mod id;
mod model;
mod optimizer;
mod privacy;
mod protection;
pub mod sealing;
pub mod secagg;
mod session;
mod trainer;

pub use aggregation::{AggregationError, Aggregator, Contribution, MeanDelta, site_weights};
pub use announcement::{Announcement, AnnouncementError, ModelSignature, SignedAnnouncement};
pub use at_rest::StorageKey;
pub use config::{Algorithm, ConfigError, ConfigErrors, Hyperparameters, SessionConfig, UnknownAlgorithm};
pub use digest::{Digest, DigestError, Hasher};
pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use history::{
    HISTORY_SCHEMA_VERSION, HistoryError, MaskedRecord, RoundRecord, SessionRecord, SiteRecord, SiteStatus, SumRecord,
    TrainingHistory, UpdateRecord,
};
pub use id::{IdError, SessionId, SiteId};
pub use model::{Evaluation, GlobalModel, Metrics, Schema, Update, UpdateProblem};
pub use optimizer::{FedAdam, FedAvg, FedAvgM, OptimizerStateError, ServerOptimizer, server_optimizer};
pub use privacy::{
    Accountant, DifferentialPrivacy, LEDGER_SCHEMA_VERSION, Ledger, LedgerEntry, LedgerError, SampledGaussian,
    SampledGaussianError,
};
pub use protection::{Protection, SealedBecause};
pub use session::{FailureReason, Input, Output, Phase, Purpose, Rejection, Session};
pub use trainer::{LocalTrainer, Progress, TrainerError};
