//! Training in one place, without federation: what a site can do alone, and what privacy forbids.

use std::path::Path;

use detector::training::{Trainer, TrainingError, TrainingState};
use detector::{ArchitectureError, Device, Model, ParameterSchema, PreparedScan, Provenance};
use federation::Hyperparameters;
use transport::Stop;

use crate::local::{Task, steps_per_round, training_config};
use crate::signed::LoadError;

/// A training with the steps of a federated session, all at one place.
pub struct CentralRequest<'a> {
    /// What is trained.
    pub task: &'a Task,
    /// Rounds, epochs and patches give the number of steps.
    pub hyperparameters: &'a Hyperparameters,
    /// Patches of a step.
    pub batch_size: usize,
    /// What is trained on.
    pub scans: &'a [PreparedScan],
    /// Keeps the random numbers of several trainings apart.
    pub stream: u64,
    /// Start from this model instead of the session's random weights.
    pub initial: Option<&'a Path>,
    /// The model's name for itself.
    pub name: String,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum CentralError {
    /// The network.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The model to start from.
    #[error(transparent)]
    Initial(#[from] LoadError),
    /// A step.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Optimiser steps of a site in a whole session.
pub fn steps_per_session(h: &Hyperparameters) -> u64 {
    steps_per_round(h) * u64::from(h.rounds)
}

/// Trains from the session's own start. `observer` hears of every step: steps done, steps in all, and the loss.
pub fn train_centrally(
    request: &CentralRequest<'_>,
    observer: &mut dyn FnMut(u64, u64, f64),
    stop: &Stop,
) -> Result<Model, CentralError> {
    let CentralRequest { task, hyperparameters: h, .. } = *request;
    let steps = steps_per_session(h);
    let config = training_config(task, h, request.batch_size, h.seed ^ request.stream, steps);
    let parameters = match request.initial {
        Some(path) => crate::signed::load(path)?.parameters,
        None => ParameterSchema::of(&config.architecture.build(&Device::flex())?).initial(h.seed),
    };
    let state = TrainingState::from_parameters(parameters, config.adamw);
    let mut trainer = Trainer::new(&config, request.scans, &task.device, state)?;
    for done in 1..=steps {
        let report = trainer.step(None)?;
        observer(done, steps, report.loss.total);
        if stop.requested() {
            return Err(CentralError::Stopped);
        }
    }
    Ok(Model {
        architecture: task.architecture.clone(),
        plan: task.plan.clone(),
        parameters: trainer.into_state().parameters,
        provenance: Provenance { session: request.name.clone(), note: task.note.clone(), ..Provenance::default() },
    })
}
