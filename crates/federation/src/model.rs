//! What travels: the global model to the sites, an update and metrics back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Digest};

/// What makes two parameter vectors compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Hash of the names, shapes and order of the tensors that were flattened; the owner of the network defines it.
    pub hash: Digest,
    /// Length of the vector that travels: of the parameters, and of what goes with them.
    pub parameter_count: usize,
}

/// The parameters that every site trains from.
#[derive(Clone, PartialEq)]
pub struct GlobalModel {
    /// The round that made it; 0 is the initial model.
    pub round: u32,
    /// All parameters, flat.
    pub parameters: Vec<f32>,
    /// SCAFFOLD's `c`, the mean of the sites' gradients in the round before, as long as the parameters; empty with other
    /// algorithms, and behind the last round.
    pub control: Vec<f32>,
    /// [`Schema::hash`] of the parameters.
    pub schema_hash: Digest,
}

impl GlobalModel {
    /// The start of a session from these parameters.
    pub fn initial(parameters: Vec<f32>, schema_hash: Digest, algorithm: &Algorithm) -> Self {
        let control = vec![0.0; parameters.len() * (algorithm.vectors() - 1)];
        Self { round: 0, parameters, control, schema_hash }
    }

    /// The model of a round from what [`GlobalModel::vector`] gave.
    pub fn from_vector(mut vector: Vec<f32>, round: u32, schema: &Schema, algorithm: &Algorithm) -> Self {
        let control = vector.split_off(vector.len().min(schema.parameter_count / algorithm.vectors()));
        Self { round, parameters: vector, control, schema_hash: schema.hash }
    }

    /// Everything that travels: the parameters and, behind them, the control variate.
    pub fn vector(&self) -> Cow<'_, [f32]> {
        if self.control.is_empty() {
            return Cow::Borrowed(&self.parameters);
        }
        Cow::Owned([self.parameters.as_slice(), &self.control].concat())
    }

    /// Hash of [`GlobalModel::vector`]: the model's identity.
    pub fn digest(&self) -> Digest {
        Digest::of_parts([self.parameters.as_slice(), &self.control])
    }

    /// What an update of this model must look like.
    pub fn schema(&self) -> Schema {
        Schema { hash: self.schema_hash, parameter_count: self.parameters.len() + self.control.len() }
    }
}

impl std::fmt::Debug for GlobalModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GlobalModel")
            .field("round", &self.round)
            .field("parameters", &self.parameters.len())
            .finish_non_exhaustive()
    }
}

/// What a site learned in one round.
#[derive(Clone, PartialEq)]
pub struct Update {
    /// Trained parameters minus the global ones, flat; with SCAFFOLD behind them the mean gradient of the round minus the
    /// global control variate.
    pub delta: Vec<f32>,
    /// Number of training samples behind it: its weight.
    pub num_examples: u32,
    /// [`Schema::hash`] of the delta.
    pub schema_hash: Digest,
    /// How the training went.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Update {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the values: an update can reveal training data, a log line must not hold it.
        f.debug_struct("Update")
            .field("delta", &self.delta.len())
            .field("num_examples", &self.num_examples)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// What a site reports about a training or an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean loss.
    pub loss: f64,
    /// Mean predicted probability of "nodule" on voxels that are nodule, 0 to 1; nothing where the site saw none.
    pub foreground_probability: Option<f64>,
}

/// A site's judgement of a global model on its own validation data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Number of validation samples: the weight in the mean over sites.
    pub num_examples: u32,
    /// The result.
    pub metrics: Metrics,
}

/// Why the content of an update or an evaluation cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum UpdateProblem {
    /// Another number of parameters.
    #[error("the update has {found} parameters, the global model {expected}: train the model of this session")]
    Length {
        /// Length of the update.
        found: usize,
        /// Length of the global model.
        expected: usize,
    },
    /// Another network.
    #[error("the update's schema hash is {found}, the global model's {expected}: train the model of this session")]
    SchemaHash {
        /// Hash in the update.
        found: Digest,
        /// Hash of the global model.
        expected: Digest,
    },
    /// NaN or infinite.
    #[error(
        "parameter {index} of the update is {value}, not a finite number: the local training diverged, lower the learning rate"
    )]
    NonFinite {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A weight of zero.
    #[error("the site used 0 samples: give it data or leave it out")]
    NoExamples,
    /// A loss that is NaN or infinite.
    #[error("the reported loss is {0}, not a finite number")]
    Loss(f64),
    /// No probability.
    #[error("the reported foreground probability is {0}, expected 0 to 1")]
    ForegroundProbability(f64),
}

impl Metrics {
    fn check(&self) -> Result<(), UpdateProblem> {
        if !self.loss.is_finite() {
            return Err(UpdateProblem::Loss(self.loss));
        }
        match self.foreground_probability {
            Some(p) if !(0.0..=1.0).contains(&p) => Err(UpdateProblem::ForegroundProbability(p)),
            _ => Ok(()),
        }
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

fn limit_norm(values: &mut [f32], longest: f64) -> f64 {
    let norm = norm(values);
    if norm > longest {
        // A unit in the last place below, so that rounding to f32 does not lift it above again.
        let factor = longest / norm * (1.0 - f64::from(f32::EPSILON));
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
    norm
}

impl Update {
    /// Whether the update can be added to a model of that schema.
    pub fn check(&self, schema: &Schema) -> Result<(), UpdateProblem> {
        if self.schema_hash != schema.hash {
            return Err(UpdateProblem::SchemaHash { found: self.schema_hash, expected: schema.hash });
        }
        if self.delta.len() != schema.parameter_count {
            return Err(UpdateProblem::Length { found: self.delta.len(), expected: schema.parameter_count });
        }
        if let Some(index) = self.delta.iter().position(|v| !v.is_finite()) {
            return Err(UpdateProblem::NonFinite { index, value: self.delta[index] });
        }
        if self.num_examples == 0 {
            return Err(UpdateProblem::NoExamples);
        }
        self.metrics.check()
    }

    /// The Euclidean norm of the delta.
    pub fn norm(&self) -> f64 {
        norm(&self.delta)
    }

    /// Scales the change of the `parameters` parameters down to at most that norm, and what goes with it likewise; the
    /// norm of the change before.
    pub fn limit_norm(&mut self, longest: f64, parameters: usize) -> f64 {
        let mut parts = self.delta.chunks_mut(parameters.max(1));
        let norm = parts.next().map_or(0.0, |part| limit_norm(part, longest));
        for part in parts {
            limit_norm(part, longest);
        }
        norm
    }

    /// The largest absolute value of the delta.
    pub fn magnitude(&self) -> f32 {
        self.delta.iter().fold(0.0, |largest, v| largest.max(v.abs()))
    }
}

impl Evaluation {
    /// Whether the evaluation can enter the mean over sites.
    pub fn check(&self) -> Result<(), UpdateProblem> {
        if self.num_examples == 0 {
            return Err(UpdateProblem::NoExamples);
        }
        self.metrics.check()
    }
}
