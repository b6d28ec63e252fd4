//! AdamW on the flat parameter vector.
//!
//! Burn has an AdamW on modules; ours is one fused pass over memory, its state is two vectors that a checkpoint stores
//! as they are, and the clipping sees the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_` does.

use serde::{Deserialize, Serialize};

use crate::network::ParameterSchema;

/// Settings of [`AdamW`]; the learning rate comes with every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of the convolutions' weights; biases and normalisations do not decay.
    pub weight_decay: f64,
    /// The gradient is scaled down to this norm when it is longer.
    pub clip_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01, clip_norm: 1.0 }
    }
}

/// Loshchilov & Hutter 2019, algorithm 2, as `torch.optim.AdamW` computes it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    pub(crate) config: AdamWConfig,
    /// Steps done.
    pub step: u64,
    /// Running mean of the gradients.
    pub first_moment: Vec<f32>,
    /// Running mean of the squared gradients.
    pub second_moment: Vec<f32>,
}

impl AdamW {
    /// A fresh state for `len` parameters.
    pub fn new(config: AdamWConfig, len: usize) -> Self {
        Self { config, step: 0, first_moment: vec![0.0; len], second_moment: vec![0.0; len] }
    }

    /// Number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.first_moment.len()
    }

    /// One step. Returns the gradient's norm before clipping; a norm that is not finite changes nothing.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn step(&mut self, schema: &ParameterSchema, parameters: &mut [f32], gradient: &[f32], rate: f64) -> f64 {
        assert_eq!(parameters.len(), gradient.len());
        assert_eq!(parameters.len(), self.first_moment.len());
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let AdamWConfig { beta1, beta2, epsilon, weight_decay, clip_norm } = self.config;
        self.step += 1;
        let scale = if norm > clip_norm { clip_norm / norm } else { 1.0 } as f32;
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        let step_size = (rate / (1.0 - beta1.powi(step))) as f32;
        let second_scale = (1.0 / (1.0 - beta2.powi(step)).sqrt()) as f32;
        let (b1, b2, epsilon) = (beta1 as f32, beta2 as f32, epsilon as f32);
        let mut start = 0;
        for entry in &schema.parameters {
            let range = start..start + entry.len();
            start = range.end;
            if !entry.trainable {
                continue;
            }
            let keep = if entry.shape.len() > 1 { 1.0 - rate * weight_decay } else { 1.0 } as f32;
            let moments = self.first_moment[range.clone()].iter_mut().zip(&mut self.second_moment[range.clone()]);
            for ((p, &g), (m, v)) in parameters[range.clone()].iter_mut().zip(&gradient[range]).zip(moments) {
                let g = g * scale;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *p = *p * keep - step_size * *m / (v.sqrt() * second_scale + epsilon);
            }
        }
        norm
    }
}

/// Learning rate of step `step` of `total`: linear warm-up over `warmup` steps, then a half cosine down to a hundredth
/// (Loshchilov & Hutter 2017).
pub fn cosine_rate(base: f64, step: u64, total: u64, warmup: u64) -> f64 {
    const FLOOR: f64 = 0.01;
    if step < warmup {
        return base * (step + 1) as f64 / warmup as f64;
    }
    let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
    base * (FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()))
}
