//! What a site must be able to do; the network's owner implements it.

use std::ops::ControlFlow;

use crate::{Evaluation, GlobalModel, Hyperparameters, Update};

/// How far a local training or evaluation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps of the whole task.
    pub total: u64,
    /// Mean loss lately, where known.
    pub loss: Option<f64>,
}

/// Why a site has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// The progress callback asked to stop.
    #[error("the task was interrupted")]
    Interrupted,
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Trains and evaluates on the data of one site.
///
/// After a crash a task is done again, and the result must be the same: evaluation depends on its arguments alone,
/// training also on what the site itself has durably kept from the rounds before (its optimiser's moments, say), never
/// on a part of a round. `progress` is called at least once per step and asks
/// to stop by `Break`, whereupon the task returns [`TrainerError::Interrupted`] soon.
pub trait LocalTrainer {
    /// Trains `hyperparameters.local_epochs` from `global` in round `round` (counted from 1).
    fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Update, TrainerError>;

    /// Judges `global` on the site's validation data; nothing where it has none.
    fn evaluate(
        &mut self,
        global: &GlobalModel,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Evaluation>, TrainerError>;

    /// ε that the site's data have cost after the newest round, where it trains with differential privacy.
    fn privacy_spent(&self) -> Option<f64> {
        None
    }
}
