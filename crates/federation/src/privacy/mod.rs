//! Differential privacy of a site's patients: the settings, what a release costs, and what a site has spent so far.
//!
//! Pure values: noise is drawn where the gradients are, in the site's trainer. This module only counts. What is
//! protected, and what is not, stands in `docs/design/privacy.md`.

mod accountant;
mod ledger;

use serde::{Deserialize, Serialize};

use crate::config::{Checks, ConfigErrors};

pub use accountant::{Accountant, SampledGaussian, SampledGaussianError};
pub use ledger::{LEDGER_SCHEMA_VERSION, Ledger, LedgerEntry, LedgerError};

/// Patient-level DP-SGD (Abadi et al. 2016, arXiv 1607.00133, algorithm 1) at a site, and how much it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferentialPrivacy {
    /// Standard deviation of the noise in units of `clip_norm` (σ), 0.1 to 100.
    pub noise_multiplier: f64,
    /// Longest gradient (L2) that a patient contributes to a step, above 0 and at most 1000.
    pub clip_norm: f64,
    /// Largest ε that a site's data may cost over all sessions, above 0 and at most 100.
    pub epsilon: f64,
    /// The δ that goes with it, above 0 and at most 0.01.
    pub delta: f64,
}

impl DifferentialPrivacy {
    /// Checks every value. The error names all problems.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        checks.finish()
    }

    /// Adds what is wrong to `checks`.
    pub(crate) fn check(&self, checks: &mut Checks) {
        let mut check = |field, value: f64, ok, allowed, advice| checks.number(field, value, ok, allowed, advice);
        check(
            "differential_privacy.noise_multiplier",
            self.noise_multiplier,
            (0.1..=100.0).contains(&self.noise_multiplier),
            "0.1 to 100",
            "1 is a good start; more noise costs less privacy and teaches less",
        );
        check(
            "differential_privacy.clip_norm",
            self.clip_norm,
            self.clip_norm > 0.0 && self.clip_norm <= 1000.0,
            "above 0, at most 1000",
            "the median length of a patient's gradient is a good start",
        );
        check(
            "differential_privacy.epsilon",
            self.epsilon,
            self.epsilon > 0.0 && self.epsilon <= 100.0,
            "above 0, at most 100",
            "below 1 is strong, above 10 says little; those responsible for the data decide",
        );
        check(
            "differential_privacy.delta",
            self.delta,
            self.delta > 0.0 && self.delta <= 0.01,
            "above 0, at most 0.01",
            "choose less than one divided by the site's number of patients, for example 0.00001",
        );
    }
}
