//! What travels: the global model to the sites, an update and metrics back.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What makes two parameter vectors compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Hash of the names, shapes and order of the tensors that were flattened; the owner of the network defines it.
    pub hash: Digest,
    /// Length of the flat vector.
    pub parameter_count: usize,
}

/// The parameters that every site trains from.
#[derive(Clone, PartialEq)]
pub struct GlobalModel {
    /// The round that made it; 0 is the initial model.
    pub round: u32,
    /// All parameters, flat.
    pub parameters: Vec<f32>,
    /// [`Schema::hash`] of the parameters.
    pub schema_hash: Digest,
}

impl GlobalModel {
    /// Hash of the parameters: the model's identity.
    pub fn digest(&self) -> Digest {
        Digest::of_values(&self.parameters)
    }

    /// What an update of this model must look like.
    pub fn schema(&self) -> Schema {
        Schema { hash: self.schema_hash, parameter_count: self.parameters.len() }
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
    /// Trained parameters minus the global ones, flat.
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
        self.delta.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
    }

    /// Scales the delta down to at most that norm; its norm before.
    pub fn limit_norm(&mut self, longest: f64) -> f64 {
        let norm = self.norm();
        if norm > longest {
            // A unit in the last place below, so that rounding to f32 does not lift it above again.
            let factor = longest / norm * (1.0 - f64::from(f32::EPSILON));
            self.delta.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
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
