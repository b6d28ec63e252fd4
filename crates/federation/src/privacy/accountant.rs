//! Rényi differential privacy of the Poisson-subsampled Gaussian mechanism, composed and converted to (ε, δ).
//!
//! The moments are those of Mironov, Talwar and Zhang 2019 (arXiv 1908.10530, section 3.3), the conversion is that of
//! Canonne, Kamath and Steinke 2020 (arXiv 2004.00010, proposition 12). Both, and the orders, as in the
//! `RdpAccountant` of Google's dp-accounting, which the tests compare with. Neighbouring data sets differ in one
//! patient, who is there or is not.

use std::f64::consts::{LN_2, PI, SQRT_2};

use libm::{erfc, exp, expm1, lgamma, log, log1p, sqrt};
use serde::{Deserialize, Serialize};

/// What so many steps of DP-SGD release: at each, every patient is drawn with the same probability, and the sum of what
/// the drawn ones contribute gets Gaussian noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct SampledGaussian {
    sampling_probability: f64,
    noise_multiplier: f64,
    steps: u64,
}

/// Values that describe no mechanism.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "sampling probability {sampling_probability} with noise multiplier {noise_multiplier} is no mechanism that can be accounted for: the first must lie from 0 to 1, the second above 0"
)]
pub struct SampledGaussianError {
    sampling_probability: f64,
    noise_multiplier: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    sampling_probability: f64,
    noise_multiplier: f64,
    steps: u64,
}

impl TryFrom<Unchecked> for SampledGaussian {
    type Error = SampledGaussianError;
    fn try_from(unchecked: Unchecked) -> Result<Self, SampledGaussianError> {
        let Unchecked { sampling_probability, noise_multiplier, steps } = unchecked;
        Self::new(sampling_probability, noise_multiplier, steps)
    }
}

impl SampledGaussian {
    /// `sampling_probability` (q) from 0 to 1; `noise_multiplier` (σ) is the noise's standard deviation divided by the
    /// largest contribution of a patient, finite and above 0.
    pub fn new(sampling_probability: f64, noise_multiplier: f64, steps: u64) -> Result<Self, SampledGaussianError> {
        let is_probability = (0.0..=1.0).contains(&sampling_probability);
        if is_probability && noise_multiplier > 0.0 && noise_multiplier.is_finite() {
            Ok(Self { sampling_probability, noise_multiplier, steps })
        } else {
            Err(SampledGaussianError { sampling_probability, noise_multiplier })
        }
    }

    /// Chance of every patient to be drawn for a step (q).
    pub fn sampling_probability(&self) -> f64 {
        self.sampling_probability
    }

    /// Standard deviation of the noise, in units of a patient's largest contribution (σ).
    pub fn noise_multiplier(&self) -> f64 {
        self.noise_multiplier
    }

    /// Number of steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The same with so many steps more.
    pub(super) fn and(self, steps: u64) -> Self {
        Self { steps: self.steps.saturating_add(steps), ..self }
    }

    /// Rényi divergence of order `alpha` > 1 that one step costs.
    fn divergence(&self, alpha: f64) -> f64 {
        let (q, sigma) = (self.sampling_probability, self.noise_multiplier);
        if q == 0.0 {
            0.0
        } else if q == 1.0 {
            alpha / (2.0 * sigma * sigma)
        } else if alpha.fract() == 0.0 {
            log_moment_integer(q, sigma, alpha) / (alpha - 1.0)
        } else {
            log_moment_fractional(q, sigma, alpha) / (alpha - 1.0)
        }
    }
}

/// The orders of dp-accounting's `DEFAULT_RDP_ORDERS`: 1.1 to 10.9 by tenths, 11 to 63, 128, 256, 512, 1024.
fn orders() -> impl Iterator<Item = f64> {
    let tenths = (1..100).map(|x| 1.0 + f64::from(x) / 10.0);
    tenths.chain((11..64).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0])
}

/// What several mechanisms on the same data cost together.
#[derive(Debug, Clone, PartialEq)]
pub struct Accountant {
    /// Rényi divergence by order.
    divergences: Vec<f64>,
}

impl Default for Accountant {
    fn default() -> Self {
        Self { divergences: orders().map(|_| 0.0).collect() }
    }
}

impl Accountant {
    /// Adds a mechanism: Rényi divergences add up, even when a mechanism is chosen by what the earlier ones gave
    /// (Mironov 2017, arXiv 1702.07476, proposition 1).
    pub fn compose(&mut self, mechanism: &SampledGaussian) {
        if mechanism.steps > 0 {
            let steps = mechanism.steps as f64;
            self.divergences.iter_mut().zip(orders()).for_each(|(d, alpha)| *d += steps * mechanism.divergence(alpha));
        }
    }

    /// The smallest ε of all orders; infinite for a δ that is not above 0, unless nothing was released.
    pub fn epsilon(&self, delta: f64) -> f64 {
        if self.divergences.iter().all(|d| *d == 0.0) {
            return 0.0;
        }
        if delta.is_nan() || delta <= 0.0 {
            return f64::INFINITY;
        }
        let epsilon = |(alpha, divergence): (f64, f64)| {
            // δ ≤ √(1 − e^−KL), and the divergence of any order above 1 bounds the KL divergence.
            if delta * delta + expm1(-divergence) > 0.0 {
                0.0
            } else {
                divergence + log1p(-1.0 / alpha) - log(delta * alpha) / (alpha - 1.0)
            }
        };
        orders().zip(self.divergences.iter().copied()).map(epsilon).fold(f64::INFINITY, f64::min).max(0.0)
    }
}

/// ln(eˣ + eʸ).
fn log_add(x: f64, y: f64) -> f64 {
    let (low, high) = (x.min(y), x.max(y));
    if low == f64::NEG_INFINITY { high } else { log1p(exp(low - high)) + high }
}

/// ln |n over k|, for any real n.
fn log_binomial(n: f64, k: f64) -> f64 {
    lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0)
}

/// ln erfc(x). Where erfc underflows, its asymptotic series (DLMF 7.12.1), whose first missing term is below 1e-13 there.
fn log_erfc(x: f64) -> f64 {
    if x < 25.0 {
        return log(erfc(x));
    }
    let y = 1.0 / (2.0 * x * x);
    -x * x - log(x * sqrt(PI)) + log1p(-y * (1.0 - 3.0 * y * (1.0 - 5.0 * y * (1.0 - 7.0 * y))))
}

/// ln A(α) for integer α: the binomial sum of section 3.3. 0 < q < 1.
fn log_moment_integer(q: f64, sigma: f64, alpha: f64) -> f64 {
    let term = |i: f64| {
        let weight = log_binomial(alpha, i) + i * log(q) + (alpha - i) * log1p(-q);
        weight + (i * i - i) / (2.0 * sigma * sigma)
    };
    (0..=alpha as u32).map(|i| term(f64::from(i))).fold(f64::NEG_INFINITY, log_add)
}

/// ln A(α) for fractional α: the two series of section 3.3, left and right of z₀. All terms count as positive, which
/// bounds the moment from above. Infinite when they do not converge: that order is not used then. 0 < q < 1.
fn log_moment_fractional(q: f64, sigma: f64, alpha: f64) -> f64 {
    /// Terms, at most.
    const TERMS: u32 = 1000;
    /// The last term is so much smaller than the sum, as a logarithm.
    const NEGLIGIBLE: f64 = 30.0;
    let variance = sigma * sigma;
    let z0 = variance * log(1.0 / q - 1.0) + 0.5;
    let (log_q, log_p) = (log(q), log1p(-q));
    let (mut total, mut last) = (f64::NEG_INFINITY, [f64::NEG_INFINITY; 2]);
    for i in (0..TERMS).map(f64::from) {
        let j = alpha - i;
        let weight = log_binomial(alpha, i) - LN_2;
        let scale = 1.0 / (SQRT_2 * sigma);
        let terms = [
            weight + i * log_q + j * log_p + (i * i - i) / (2.0 * variance) + log_erfc((i - z0) * scale),
            weight + j * log_q + i * log_p + (j * j - j) / (2.0 * variance) + log_erfc((z0 - j) * scale),
        ];
        total = terms.into_iter().fold(total, log_add);
        if (0..2).all(|side| terms[side] < last[side] && terms[side] < total - NEGLIGIBLE) {
            return total;
        }
        last = terms;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The asymptotic series meets the function where it takes over, and goes on as DLMF 7.12.1 says.
    #[test]
    fn the_tail_of_erfc_is_continuous() {
        let (below, above) = (log_erfc(25.0 - 1e-9), log_erfc(25.0));
        assert!((below - above - 2.0 * 25.0 * 1e-9).abs() < 1e-9, "{below} {above}");
        assert!((log_erfc(100.0) + 1e4 + (100.0 * PI.sqrt()).ln()).abs() < 1e-4);
    }

    /// Between the integers the moments lie between theirs: both series compute the same function.
    #[test]
    fn fractional_orders_lie_between_integer_ones() {
        for (q, sigma) in [(0.01, 0.8), (0.1, 1.0), (0.5, 2.0), (0.9, 4.0)] {
            let step = SampledGaussian::new(q, sigma, 1).unwrap();
            for alpha in 2..10 {
                let [low, middle, high] = [0.0, 0.5, 1.0].map(|d| step.divergence(f64::from(alpha) + d));
                assert!(low < middle && middle < high, "{low} {middle} {high}");
            }
            // As close to an integer as a fraction may be: the same value.
            let near = log_moment_fractional(q, sigma, 4.0 + 1e-9);
            let at = log_moment_integer(q, sigma, 4.0);
            assert!((near - at).abs() < 1e-6 * at, "{near} {at}");
        }
    }
}
