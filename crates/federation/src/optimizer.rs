//! How the mean update changes the global model. State is kept in `f32`, computed in `f64`.

use crate::{AggregationError, Algorithm, GlobalModel, MeanDelta};

/// A server optimiser. `Δ` is the weighted mean of the sites' updates, `x` the global model's parameters; what lies behind
/// them in `Δ` is not the optimiser's.
pub trait ServerOptimizer: Send {
    /// Moves the parameters by one round.
    ///
    /// # Panics
    /// When `mean_delta` is shorter than `parameters`, or the state has another length: that is a bug of the caller.
    fn step(&mut self, parameters: &mut [f32], mean_delta: &MeanDelta);

    /// The state to be stored between rounds, to be given to [`server_optimizer`] again.
    fn state(&self) -> Vec<&[f32]>;
}

/// A stored state that does not belong to the algorithm or the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored optimiser state has vectors of lengths {found:?}, expected {expected} of length {parameter_count}")]
pub struct OptimizerStateError {
    found: Vec<usize>,
    expected: usize,
    parameter_count: usize,
}

/// The server optimiser of an algorithm for a model of `parameter_count` parameters; `state` is empty at the start of
/// a session and what [`ServerOptimizer::state`] gave afterwards.
pub fn server_optimizer(
    algorithm: &Algorithm,
    parameter_count: usize,
    state: Vec<Vec<f32>>,
) -> Result<Box<dyn ServerOptimizer>, OptimizerStateError> {
    let found: Vec<usize> = state.iter().map(Vec::len).collect();
    let expect = |expected: usize| {
        if found.len() == expected && found.iter().all(|&n| n == parameter_count) || found.is_empty() {
            Ok(())
        } else {
            Err(OptimizerStateError { found: found.clone(), expected, parameter_count })
        }
    };
    let mut vectors = state.into_iter();
    Ok(match *algorithm {
        Algorithm::FedAvg | Algorithm::FedProx { .. } | Algorithm::Scaffold => {
            expect(0)?;
            Box::new(FedAvg)
        }
        Algorithm::FedAvgM { momentum, server_lr } => {
            expect(1)?;
            let velocity = vectors.next().unwrap_or_else(|| vec![0.0; parameter_count]);
            Box::new(FedAvgM { momentum, server_lr, velocity })
        }
        Algorithm::FedAdam { server_lr, beta1, beta2, tau } => {
            expect(2)?;
            let m = vectors.next().unwrap_or_else(|| vec![0.0; parameter_count]);
            // The paper asks for v₋₁ ≥ τ².
            let v = vectors.next().unwrap_or_else(|| vec![(tau * tau) as f32; parameter_count]);
            Box::new(FedAdam { server_lr, beta1, beta2, tau, m, v })
        }
    })
}

/// `x ← x + Δ` (McMahan et al. 2017, algorithm 1). FedProx and SCAFFOLD, with its `η_g` of 1, differ at the sites only.
pub struct FedAvg;

impl ServerOptimizer for FedAvg {
    fn step(&mut self, parameters: &mut [f32], mean_delta: &MeanDelta) {
        assert!(parameters.len() <= mean_delta.parameter_count(), "the update is shorter than the model");
        for (x, delta) in parameters.iter_mut().zip(mean_delta.iter()) {
            *x = (f64::from(*x) + delta) as f32;
        }
    }

    fn state(&self) -> Vec<&[f32]> {
        Vec::new()
    }
}

/// `v ← βv + Δ`, `x ← x + ηv` (Hsu et al. 2019, section 4.3, where `η` is 1).
pub struct FedAvgM {
    momentum: f64,
    server_lr: f64,
    velocity: Vec<f32>,
}

impl ServerOptimizer for FedAvgM {
    fn step(&mut self, parameters: &mut [f32], mean_delta: &MeanDelta) {
        assert!(parameters.len() <= mean_delta.parameter_count(), "the update is shorter than the model");
        assert_eq!(parameters.len(), self.velocity.len(), "model and state differ in length");
        for ((x, v), delta) in parameters.iter_mut().zip(&mut self.velocity).zip(mean_delta.iter()) {
            *v = (self.momentum * f64::from(*v) + delta) as f32;
            *x = (f64::from(*x) + self.server_lr * f64::from(*v)) as f32;
        }
    }

    fn state(&self) -> Vec<&[f32]> {
        vec![&self.velocity]
    }
}

/// `m ← β₁m + (1-β₁)Δ`, `v ← β₂v + (1-β₂)Δ²`, `x ← x + η·m/(√v + τ)` (Reddi et al. 2021, algorithm 2: without bias
/// correction).
pub struct FedAdam {
    server_lr: f64,
    beta1: f64,
    beta2: f64,
    tau: f64,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl ServerOptimizer for FedAdam {
    fn step(&mut self, parameters: &mut [f32], mean_delta: &MeanDelta) {
        assert!(parameters.len() <= mean_delta.parameter_count(), "the update is shorter than the model");
        assert_eq!(parameters.len(), self.m.len(), "model and state differ in length");
        let moments = self.m.iter_mut().zip(&mut self.v);
        for ((x, (m, v)), delta) in parameters.iter_mut().zip(moments).zip(mean_delta.iter()) {
            *m = (self.beta1 * f64::from(*m) + (1.0 - self.beta1) * delta) as f32;
            *v = (self.beta2 * f64::from(*v) + (1.0 - self.beta2) * delta * delta) as f32;
            *x = (f64::from(*x) + self.server_lr * f64::from(*m) / (f64::from(*v).sqrt() + self.tau)) as f32;
        }
    }

    fn state(&self) -> Vec<&[f32]> {
        vec![&self.m, &self.v]
    }
}

impl GlobalModel {
    /// Becomes the model of the next round, in place. `share` of the session's sites are in the mean: so far SCAFFOLD's
    /// control variate follows them, `c ← c + |S|/N · Δc` (algorithm 1, line 17; the mean weights sites by their samples,
    /// as that of the parameters does). After an error the model is not usable.
    ///
    /// # Panics
    /// When the mean is not as long as the model's vector: that is a bug of the caller.
    pub fn advance(
        &mut self,
        optimizer: &mut dyn ServerOptimizer,
        mean_delta: &MeanDelta,
        share: f64,
    ) -> Result<(), AggregationError> {
        let parameters = self.parameters.len();
        assert_eq!(parameters + self.control.len(), mean_delta.parameter_count(), "model and update differ in length");
        optimizer.step(&mut self.parameters, mean_delta);
        for (c, delta) in self.control.iter_mut().zip(mean_delta.iter_from(parameters)) {
            *c = (f64::from(*c) + share * delta) as f32;
        }
        self.round += 1;
        match self.parameters.iter().chain(&self.control).enumerate().find(|(_, value)| !value.is_finite()) {
            Some((index, &value)) => Err(AggregationError::NonFiniteModel { index, value }),
            None => Ok(()),
        }
    }
}
