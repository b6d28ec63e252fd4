//! Patient-level DP-SGD (Abadi et al. 2016, arXiv 1607.00133, algorithm 1, with whole patients in place of examples): what
//! a step needs besides gradients. What it protects, and what not, stands in `docs/design/privacy.md`; what it costs is
//! counted elsewhere.
//!
//! A patient is one scan. Everything random about a patient follows from a secret of the site and the scan's name, never
//! from its position or from another scan: taking a patient away changes no other patient's part in the sum.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::random::{Stream, normal};

/// Settings of patient-level DP-SGD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatientPrivacy {
    /// Standard deviation of the noise in units of `clip_norm` (σ), above 0.
    pub noise_multiplier: f64,
    /// Longest gradient (L2) that a patient contributes to a step, above 0.
    pub clip_norm: f64,
}

/// Where a site's noise comes from: 32 uniform bytes that never leave it. Whoever has them can take the noise away again.
///
/// One secret serves one session. The noise also depends on the step, on the weights before it and on the sum that it
/// hides, so that different sums never get the same noise, whatever is done again.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NoiseSecret([u8; 32]);

impl NoiseSecret {
    /// From bytes of the system's random number generator, or derived from such for a session.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for NoiseSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoiseSecret(…)")
    }
}

/// The chance (q) of each of `scans` patients to be drawn for a step: `batch_size` are drawn on average, or all.
pub fn sampling_probability(batch_size: usize, scans: usize) -> f64 {
    (batch_size as f64 / scans as f64).min(1.0)
}

/// The secret of one step.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct StepSecret([u8; 32]);

impl StepSecret {
    pub(super) fn new(secret: &NoiseSecret, step: u64, parameters: &[f32]) -> Self {
        let hasher = Sha256::new_with_prefix(b"fednodule patient privacy 1: step").chain_update(secret.0);
        Self(absorb(hasher.chain_update(step.to_le_bytes()), parameters.iter().map(|p| p.to_le_bytes())))
    }

    /// Decides about a patient: whether it is drawn, and how its patch is.
    pub(super) fn patient(&self, series_uid: &str) -> Stream {
        let hasher = Sha256::new_with_prefix(b"patient").chain_update(self.0).chain_update(series_uid);
        Stream::from_key(hasher.finalize().into())
    }

    /// Adds noise N(0, `deviation`²) to every coordinate of `sum`; the same bits for any number of threads.
    ///
    /// Doubles are no reals: the set of values that a Box–Muller deviate can take may betray what it was added to (Jin et
    /// al. 2022, arXiv 2112.05307). Half the sum of four deviates makes that search infeasible (Holohan & Braghin 2021,
    /// arXiv 2107.10138), and only the single precision of the result leaves the site. Deviates end at 8.6, which
    /// one in 10¹⁷ would exceed.
    pub(super) fn add_noise(&self, sum: &mut [f64], deviation: f64) {
        const CHUNK: usize = 4096;
        let hasher = Sha256::new_with_prefix(b"noise").chain_update(self.0).chain_update(deviation.to_le_bytes());
        let key = absorb(hasher, sum.iter().map(|s| s.to_le_bytes()));
        sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let mut rng = ChaCha20Rng::from_seed(key);
            rng.set_stream(chunk as u64);
            for value in values {
                *value += deviation * 0.5 * (0..4).map(|_| normal(&mut rng)).sum::<f64>();
            }
        });
    }
}

/// The hash, once it has taken in all values.
fn absorb<const N: usize>(mut hasher: Sha256, values: impl Iterator<Item = [u8; N]>) -> [u8; 32] {
    values.for_each(|bytes| hasher.update(bytes));
    hasher.finalize().into()
}

/// Adds a patient's gradient, scaled down to the norm `clip_norm` if it is longer. One that is not finite adds nothing:
/// a single scan must neither spoil the sum nor stop the training.
pub(super) fn add_clipped(sum: &mut [f64], gradient: &[f32], clip_norm: f64) {
    let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    if norm.is_finite() {
        let scale = (clip_norm / norm).min(1.0);
        sum.iter_mut().zip(gradient).for_each(|(s, &g)| *s += scale * f64::from(g));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(values: &[f64]) -> f64 {
        values.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    #[test]
    fn nobody_adds_more_than_the_norm() {
        let mut sum = vec![0.0; 3];
        add_clipped(&mut sum, &[3.0, 0.0, 4.0], 2.5);
        assert_eq!(sum, [1.5, 0.0, 2.0], "long ones are scaled");
        add_clipped(&mut sum, &[0.25, 0.0, -0.5], 2.5);
        assert_eq!(sum, [1.75, 0.0, 1.5], "short ones are not");
        for odd in [[0.0; 3], [f32::NAN, 0.0, 0.0], [0.0, f32::INFINITY, 1.0]] {
            add_clipped(&mut sum, &odd, 2.5);
            assert_eq!(sum, [1.75, 0.0, 1.5]);
        }
        // Squares of f32 do not overflow f64.
        let mut sum = vec![0.0; 2];
        add_clipped(&mut sum, &[f32::MAX, f32::MAX], 1.0);
        assert!((norm(&sum) - 1.0).abs() < 1e-12);
    }

    /// Moments of 2²⁰ deviates; their standard errors are 1e-3 (mean), 1.4e-3 (variance) and 4.8e-3 (fourth moment), the
    /// limits four times as much. Chunks and coordinates must not repeat each other.
    #[test]
    fn noise_is_normal_and_has_the_deviation() {
        let step = StepSecret::new(&NoiseSecret::new([7; 32]), 3, &[1.0, 2.0]);
        let mut values = vec![0.0; 1 << 20];
        step.add_noise(&mut values, 2.5);
        values.iter_mut().for_each(|v| *v /= 2.5);
        let moment = |k: i32| values.iter().map(|v| v.powi(k)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 4e-3, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 6e-3, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 4.0 * (96.0f64 / 1048576.0).sqrt(), "{}", moment(4));
        let beyond = |limit: f64| values.iter().filter(|v| v.abs() > limit).count() as f64 / values.len() as f64;
        assert!((beyond(1.0) - 0.3173).abs() < 2e-3 && (beyond(3.0) - 0.0027).abs() < 3e-4);
        let mut sorted: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), values.len());
    }

    /// Equal noise under two different sums would give their difference away.
    #[test]
    fn noise_depends_on_everything_that_it_hides() {
        let noise = |secret: u8, step: u64, weight: f32, sum: f64, deviation: f64| -> f64 {
            let mut values = vec![sum; 4];
            StepSecret::new(&NoiseSecret::new([secret; 32]), step, &[weight]).add_noise(&mut values, deviation);
            (values[0] - sum) / deviation
        };
        let base = noise(1, 2, 3.0, 4.0, 1.0);
        assert_eq!(base, noise(1, 2, 3.0, 4.0, 1.0));
        for other in [
            noise(0, 2, 3.0, 4.0, 1.0),
            noise(1, 3, 3.0, 4.0, 1.0),
            noise(1, 2, 3.5, 4.0, 1.0),
            noise(1, 2, 3.0, 4.5, 1.0),
            noise(1, 2, 3.0, 4.0, 1.5),
        ] {
            assert!((other - base).abs() > 1e-6);
        }
    }

    #[test]
    fn patients_are_drawn_independently_with_the_probability() {
        assert_eq!(sampling_probability(4, 16), 0.25);
        assert_eq!(sampling_probability(4, 3), 1.0);
        let secret = NoiseSecret::new([9; 32]);
        let drawn = |step: u64, patient: &str| StepSecret::new(&secret, step, &[]).patient(patient).chance(0.25);
        let (mut a, mut both) = (0, 0);
        for step in 0..10_000 {
            let is_drawn = drawn(step, "a");
            a += usize::from(is_drawn);
            both += usize::from(is_drawn && drawn(step, "b"));
        }
        // Standard errors 43 and 24.
        assert!((2330..2670).contains(&a) && (530..720).contains(&both), "{a} {both}");
        assert!((0..100).all(|step| StepSecret::new(&secret, step, &[]).patient("a").chance(1.0)));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", NoiseSecret::new([7; 32])), "NoiseSecret(…)");
    }
}
