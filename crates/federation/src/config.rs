//! What the creator of a session decides, and its validation.

use serde::{Deserialize, Serialize};

use crate::{DifferentialPrivacy, Protection};

/// How the sites train and how their updates become the next global model. Travels to every site with the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// Global rounds, 1 to 20.
    pub rounds: u32,
    /// Local epochs of every site in every round, 1 to 10.
    pub local_epochs: u32,
    /// Patches that make one local epoch. The same at every site, so that sites take equal numbers of steps whatever
    /// the size of their data.
    pub patches_per_epoch: u32,
    /// Learning rate of the local optimiser, above 0 and at most 1.
    pub learning_rate: f64,
    /// Patches of one local step, 1 to 64.
    pub batch_size: u32,
    /// Edge of the cubic training patch in voxels: a multiple of 16 (the network's coarsest level) from 32 to 160.
    pub patch_size: u32,
    /// The federated algorithm.
    pub algorithm: Algorithm,
    /// Seed of everything random at the sites.
    pub seed: u64,
    /// Longest Euclidean norm of an update, above 0 and at most 10000. A site scales a longer one down before it leaves, so
    /// that none outweighs the others by its length, which nobody can check once it is masked.
    pub max_update_norm: f64,
    /// Patient-level differential privacy of every site; off without it. With secure aggregation only: single metrics would
    /// tell what the noise hides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differential_privacy: Option<DifferentialPrivacy>,
}

/// A federated algorithm with its own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Algorithm {
    /// The weighted mean of the sites' updates (McMahan et al. 2017, arXiv 1602.05629, algorithm 1).
    FedAvg,
    /// FedAvg whose sites add `mu/2 · |w - w_global|²` to their loss (Li et al. 2020, arXiv 1812.06127, equation 2).
    FedProx {
        /// Strength of the proximal term, 0 to 10.
        mu: f64,
    },
    /// Sites correct their gradients by how they differ from everybody's (Karimireddy et al. 2020, arXiv 1910.06378,
    /// algorithm 1), which keeps them together where their data differ. It doubles what travels: see
    /// [`GlobalModel::control`](crate::GlobalModel::control).
    Scaffold,
    /// Momentum at the server (Hsu et al. 2019, arXiv 1909.06335).
    FedAvgM {
        /// Decay of the momentum, 0 to below 1.
        momentum: f64,
        /// Step size at the server, above 0 and at most 10.
        server_lr: f64,
    },
    /// Adam at the server (Reddi et al. 2021, arXiv 2003.00295, algorithm 2).
    FedAdam {
        /// Step size at the server (`η`), above 0 and at most 10.
        server_lr: f64,
        /// Decay of the first moment, 0 to below 1.
        beta1: f64,
        /// Decay of the second moment, 0 to below 1.
        beta2: f64,
        /// Degree of adaptivity (`τ`), above 0 and at most 1.
        tau: f64,
    },
}

impl Algorithm {
    /// Vectors of the model's length that travel each way: the weights, and what goes with them.
    pub fn vectors(&self) -> usize {
        if *self == Self::Scaffold { 2 } else { 1 }
    }
}

/// A name that is no [`Algorithm`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("algorithm {0:?} is not known: choose FedAvg, FedProx, SCAFFOLD, FedAvgM or FedAdam")]
pub struct UnknownAlgorithm(String);

impl std::str::FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// The algorithm of that name, in any case, with the values its paper found to work widely.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name.to_ascii_lowercase().as_str() {
            "fedavg" => Ok(Self::FedAvg),
            "fedprox" => Ok(Self::FedProx { mu: 0.01 }),
            "scaffold" => Ok(Self::Scaffold),
            "fedavgm" => Ok(Self::FedAvgM { momentum: 0.9, server_lr: 1.0 }),
            "fedadam" => Ok(Self::FedAdam { server_lr: 0.01, beta1: 0.9, beta2: 0.99, tau: 1e-3 }),
            _ => Err(UnknownAlgorithm(name.chars().take(40).collect())),
        }
    }
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            rounds: 10,
            local_epochs: 2,
            patches_per_epoch: 400,
            learning_rate: 1e-3,
            batch_size: 4,
            patch_size: 64,
            algorithm: Algorithm::FedAvg,
            seed: 0,
            max_update_norm: 100.0,
            differential_privacy: None,
        }
    }
}

/// Everything a session is created with. Unknown keys are refused, missing ones take their default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionConfig {
    /// How sites train and how updates are combined.
    pub hyperparameters: Hyperparameters,
    /// A round counts only with at least so many updates, 1 to 1000.
    pub minimum_sites: u32,
    /// Longest time for the sites to train, and again to evaluate, in seconds, 1 to 2 592 000 (30 days). Without it a
    /// round waits for every site.
    pub round_deadline_s: Option<u32>,
    /// How updates are protected; by default masked from three sites on and sealed with fewer.
    pub protection: Option<Protection>,
    /// Longest time for each exchange of a secure sum, in seconds, 1 to 86400: all of them together take seconds.
    pub exchange_deadline_s: u32,
    /// Whether the weight of the largest of three or more sites is limited to one half of the total; see
    /// [`site_weights`](crate::site_weights). It needs the single sites' sample counts, so it goes with sealed updates only.
    pub cap_largest_site: bool,
    /// A session fails when the mean foreground probability on positive voxels, from [`SessionConfig::collapse_round`]
    /// on, is below this: such a model answers "all background". 0 to below 1; 0 never fails.
    pub collapse_threshold: f64,
    /// First round whose foreground probability is judged, 1 to 20.
    pub collapse_round: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            hyperparameters: Hyperparameters::default(),
            minimum_sites: 2,
            round_deadline_s: None,
            protection: None,
            exchange_deadline_s: 300,
            cap_largest_site: false,
            collapse_threshold: 0.05,
            collapse_round: 3,
        }
    }
}

/// One value out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {found}, allowed is {allowed}: {advice}")]
pub struct ConfigError {
    /// The field, with its path.
    pub field: &'static str,
    /// The value that was found.
    pub found: String,
    /// The values that are possible.
    pub allowed: &'static str,
    /// What to do.
    pub advice: &'static str,
}

/// All problems of a configuration at once, so that they can be corrected at once.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the session's configuration has {} problem(s):{}", .0.len(), .0.iter().map(|e| format!("\n  {e}")).collect::<String>())]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl SessionConfig {
    /// Checks every value. The error names all problems.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut checks = Checks::default();
        let h = &self.hyperparameters;
        checks.within("hyperparameters.rounds", h.rounds, 1..=20, "1 to 20", "choose the number of global rounds");
        checks.within(
            "hyperparameters.local_epochs",
            h.local_epochs,
            1..=10,
            "1 to 10",
            "choose how often a site goes through its patches in a round",
        );
        checks.within(
            "hyperparameters.patches_per_epoch",
            h.patches_per_epoch,
            1..=100_000,
            "1 to 100000",
            "400 patches with 2 epochs and batches of 4 make 200 steps a round",
        );
        checks.number(
            "hyperparameters.learning_rate",
            h.learning_rate,
            h.learning_rate > 0.0 && h.learning_rate <= 1.0,
            "above 0, at most 1",
            "0.001 is a good start",
        );
        checks.within("hyperparameters.batch_size", h.batch_size, 1..=64, "1 to 64", "4 to 8 fits most machines");
        let patch_fits = (32..=160).contains(&h.patch_size) && h.patch_size.is_multiple_of(16);
        checks.check(
            patch_fits,
            "hyperparameters.patch_size",
            h.patch_size,
            "a multiple of 16 from 32 to 160",
            "64 on a CPU, 96 to 128 on a GPU",
        );
        checks.number(
            "hyperparameters.max_update_norm",
            h.max_update_norm,
            h.max_update_norm > 0.0 && h.max_update_norm <= 1e4,
            "above 0, at most 10000",
            "100 is far above what a healthy round moves",
        );
        checks.algorithm(&h.algorithm);
        if let Some(privacy) = &h.differential_privacy {
            privacy.check(&mut checks);
            checks.check(
                self.protection != Some(Protection::Sealed),
                "differential_privacy",
                "on",
                "with secure aggregation only",
                "sealed updates come with metrics that are not private: leave protection or privacy out",
            );
            checks.check(
                h.algorithm != Algorithm::Scaffold,
                "hyperparameters.algorithm.Scaffold",
                "on with differential_privacy",
                "SCAFFOLD without differential privacy only",
                "SCAFFOLD corrects by the sites' mean gradients, in which the noise would be far larger than what is corrected: \
                 choose another algorithm",
            );
        }
        checks.within(
            "minimum_sites",
            self.minimum_sites,
            1..=1000,
            "1 to 1000",
            "a round with fewer updates does not count",
        );
        if let Some(deadline) = self.round_deadline_s {
            checks.within(
                "round_deadline_s",
                deadline,
                1..=2_592_000,
                "1 to 2592000 seconds, or nothing",
                "give the time in which every site can train a round, or leave it out to wait for every site",
            );
        }
        checks.within(
            "exchange_deadline_s",
            self.exchange_deadline_s,
            1..=86_400,
            "1 to 86400 seconds",
            "a site that does not answer in this time is left out of the sum",
        );
        checks.check(
            !self.cap_largest_site || self.protection == Some(Protection::Sealed),
            "cap_largest_site",
            self.cap_largest_site,
            "true with protection sealed only",
            "limiting the largest site needs every site's own sample count, which secure aggregation hides: leave it off",
        );
        checks.number(
            "collapse_threshold",
            self.collapse_threshold,
            (0.0..1.0).contains(&self.collapse_threshold),
            "0 to below 1",
            "0.05 is recommended, 0 switches the check off",
        );
        checks.within("collapse_round", self.collapse_round, 1..=20, "1 to 20", "3 is recommended");
        checks.finish()
    }
}

/// Collects what is wrong with a configuration.
#[derive(Default)]
pub(crate) struct Checks(Vec<ConfigError>);

impl Checks {
    pub(crate) fn finish(self) -> Result<(), ConfigErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigErrors(self.0)) }
    }

    fn check(
        &mut self,
        ok: bool,
        field: &'static str,
        found: impl ToString,
        allowed: &'static str,
        advice: &'static str,
    ) {
        if !ok {
            self.0.push(ConfigError { field, found: found.to_string(), allowed, advice });
        }
    }

    fn within(
        &mut self,
        field: &'static str,
        found: u32,
        range: std::ops::RangeInclusive<u32>,
        allowed: &'static str,
        advice: &'static str,
    ) {
        self.check(range.contains(&found), field, found, allowed, advice);
    }

    /// A NaN makes every comparison false, so it is refused with the rest.
    pub(crate) fn number(
        &mut self,
        field: &'static str,
        found: f64,
        ok: bool,
        allowed: &'static str,
        advice: &'static str,
    ) {
        self.check(ok, field, found, allowed, advice);
    }

    fn algorithm(&mut self, algorithm: &Algorithm) {
        let mut decay = |field, value: f64| {
            self.number(field, value, (0.0..1.0).contains(&value), "0 to below 1", "0.9 is a good start");
        };
        match *algorithm {
            Algorithm::FedAvgM { momentum, .. } => decay("hyperparameters.algorithm.FedAvgM.momentum", momentum),
            Algorithm::FedAdam { beta1, beta2, .. } => {
                decay("hyperparameters.algorithm.FedAdam.beta1", beta1);
                decay("hyperparameters.algorithm.FedAdam.beta2", beta2);
            }
            Algorithm::FedAvg | Algorithm::FedProx { .. } | Algorithm::Scaffold => {}
        }
        let mut positive = |field, value: f64, most: f64, allowed, advice| {
            self.number(field, value, value > 0.0 && value <= most, allowed, advice);
        };
        match *algorithm {
            Algorithm::FedAvg | Algorithm::Scaffold => {}
            Algorithm::FedProx { mu } => self.number(
                "hyperparameters.algorithm.FedProx.mu",
                mu,
                (0.0..=10.0).contains(&mu),
                "0 to 10",
                "0.001 to 1 is usual; 0 is FedAvg",
            ),
            Algorithm::FedAvgM { server_lr, .. } => positive(
                "hyperparameters.algorithm.FedAvgM.server_lr",
                server_lr,
                10.0,
                "above 0, at most 10",
                "1 with momentum 0.9 is a good start",
            ),
            Algorithm::FedAdam { server_lr, tau, .. } => {
                positive(
                    "hyperparameters.algorithm.FedAdam.server_lr",
                    server_lr,
                    10.0,
                    "above 0, at most 10",
                    "0.01 is a good start",
                );
                positive(
                    "hyperparameters.algorithm.FedAdam.tau",
                    tau,
                    1.0,
                    "above 0, at most 1",
                    "0.001 is a good start",
                );
            }
        }
    }
}
