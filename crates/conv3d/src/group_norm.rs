//! Group normalisation (Wu and He 2018) with affine parameters and a fused leaky ReLU, forward and backward.
//!
//! `x̂ = (x − mean) · rstd` with the mean and the biased variance of each sample's group of channels,
//! `z = γ x̂ + β`, `y = z` where positive and `slope · z` elsewhere. Sums are in double precision over a fixed partition.

use crate::kernel::Isa;
use crate::planes::{add, add_by, channel_sums, for_each_run, map, sum, sum2};

/// A group normalisation layer's sizes and constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Samples.
    pub batch: usize,
    /// Channels; a multiple of `groups`.
    pub channels: usize,
    /// Voxels of a channel.
    pub spatial: usize,
    /// Groups of channels that share mean and variance.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Slope of the fused activation for negative values: 0 for ReLU, `None` for no activation.
    pub slope: Option<f32>,
}

impl GroupNorm {
    /// Means and reciprocal standard deviations that [`forward`](Self::forward) saves.
    #[must_use]
    pub fn statistics_len(&self) -> usize {
        self.batch * self.groups
    }

    /// Elements of the input.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.spatial
    }

    /// Whether the input has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Normalises, and saves mean and reciprocal standard deviation for [`backward`](Self::backward).
    ///
    /// # Shapes
    /// `x`, `y`: `[batch, channels, spatial]`; `gamma`, `beta`: `[channels]`; `mean`, `rstd`: `[batch, groups]`.
    /// `y`, `mean` and `rstd` are overwritten.
    ///
    /// # Panics
    /// Where a length differs from its shape, or `groups` does not divide `channels`.
    pub fn forward(&self, x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32], mean: &mut [f32], rstd: &mut [f32]) {
        self.check(&[("x", x.len()), ("y", y.len())], &[gamma.len(), beta.len()], &[mean.len(), rstd.len()]);
        if self.is_empty() {
            return;
        }
        let isa = Isa::detect();
        let sums = channel_sums(self.batch * self.channels, self.spatial, |channel, run| {
            let x = &x[channel * self.spatial..][run];
            isa.vectorised(
                #[inline(always)]
                || sum(x, |x| [x, x * x]),
            )
        });
        self.statistics(&sums, mean, rstd);
        let (mean, rstd) = (&*mean, &*rstd);
        for_each_run(self.spatial, y, |channel, start, y| {
            let norm = self.affine(channel, mean, rstd, gamma, beta);
            let x = &x[channel * self.spatial + start..][..y.len()];
            isa.vectorised(
                #[inline(always)]
                || match self.slope {
                    Some(slope) => map(x, y, |x| norm.z(x) * leaky_factor(norm.z(x), slope)),
                    None => map(x, y, |x| norm.z(x)),
                },
            );
        });
    }

    /// The gradients of the input and of the affine parameters.
    ///
    /// # Shapes
    /// `x`, `dy`, `dx`: `[batch, channels, spatial]`; `gamma`, `beta`, `dgamma`, `dbeta`: `[channels]`; `mean`, `rstd`:
    /// `[batch, groups]` from [`forward`](Self::forward). `dx`, `dgamma` and `dbeta` are overwritten.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    #[expect(clippy::too_many_arguments, reason = "the operands of the operation")]
    pub fn backward(
        &self,
        x: &[f32],
        dy: &[f32],
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        rstd: &[f32],
        dx: &mut [f32],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) {
        self.check(
            &[("x", x.len()), ("dy", dy.len()), ("dx", dx.len())],
            &[gamma.len(), beta.len(), dgamma.len(), dbeta.len()],
            &[mean.len(), rstd.len()],
        );
        dgamma.fill(0.0);
        dbeta.fill(0.0);
        if self.is_empty() {
            return;
        }
        let isa = Isa::detect();
        // no activation is a slope of 1: dz = dy either way
        let slope = self.slope.unwrap_or(1.0);
        let sums = channel_sums(self.batch * self.channels, self.spatial, |channel, run| {
            let norm = self.affine(channel, mean, rstd, gamma, beta);
            let (x, dy) = (&x[channel * self.spatial..][run.clone()], &dy[channel * self.spatial..][run]);
            isa.vectorised(
                #[inline(always)]
                || {
                    sum2(x, dy, |x, dy| {
                        let dz = norm.dz(x, dy, slope);
                        [dz, dz * norm.x_hat(x)]
                    })
                },
            )
        });
        for (c, (dgamma, dbeta)) in dgamma.iter_mut().zip(dbeta).enumerate() {
            let [dz, dz_x_hat] = add_by(sums.iter().skip(c).step_by(self.channels), |_| 1.0);
            (*dbeta, *dgamma) = (dz as f32, dz_x_hat as f32);
        }
        let per_group = self.channels / self.groups;
        let n = (per_group * self.spatial) as f64;
        let means: Vec<[f32; 2]> = sums
            .chunks_exact(per_group)
            .enumerate()
            .map(|(g, sums)| {
                let gamma = &gamma[g % self.groups * per_group..];
                add_by(sums.iter(), |c| f64::from(gamma[c])).map(|s| (s / n) as f32)
            })
            .collect();
        for_each_run(self.spatial, dx, |channel, start, dx| {
            let norm = self.affine(channel, mean, rstd, gamma, beta);
            let [mean_dz, mean_dz_x_hat] = means[channel / per_group];
            let gamma = gamma[channel % self.channels];
            let at = channel * self.spatial + start;
            let (x, dy) = (&x[at..][..dx.len()], &dy[at..][..dx.len()]);
            isa.vectorised(
                #[inline(always)]
                || {
                    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
                        let dz = norm.dz(x, dy, slope);
                        *dx = norm.rstd * (gamma * dz - mean_dz - norm.x_hat(x) * mean_dz_x_hat);
                    }
                },
            );
        });
    }

    fn check(&self, arrays: &[(&str, usize)], per_channel: &[usize], statistics: &[usize]) {
        assert!(
            self.groups > 0 && self.channels.is_multiple_of(self.groups),
            "{} channels do not divide into {} groups",
            self.channels,
            self.groups
        );
        for (name, len) in arrays {
            assert_eq!(*len, self.len(), "{name} has {len} elements where {self:?} needs {}", self.len());
        }
        assert!(per_channel.iter().all(|&n| n == self.channels), "the affine parameters are not [{}]", self.channels);
        assert!(
            statistics.iter().all(|&n| n == self.statistics_len()),
            "mean and rstd are not [{}, {}]",
            self.batch,
            self.groups
        );
    }

    /// Means and reciprocal standard deviations from every channel's sum and sum of squares.
    fn statistics(&self, sums: &[[f64; 2]], mean: &mut [f32], rstd: &mut [f32]) {
        let n = (self.channels / self.groups * self.spatial) as f64;
        for (g, sums) in sums.chunks_exact(self.channels / self.groups).enumerate() {
            let [total, squares] = add(sums);
            let m = total / n;
            // f64 leaves about 1e-16 · mean² of error; rounding must not make it negative
            let variance = (squares / n - m * m).max(0.0);
            // `max` would turn a NaN into 0
            let variance = if squares.is_nan() { f64::NAN } else { variance };
            mean[g] = m as f32;
            rstd[g] = (1.0 / (variance + f64::from(self.epsilon)).sqrt()) as f32;
        }
    }

    /// What each sample's channels go through, given their sums and sums of squares.
    pub(crate) fn affine_of(&self, sums: &[[f64; 2]], gamma: &[f32], beta: &[f32]) -> Vec<Affine> {
        let (mut mean, mut rstd) = (vec![0.0; self.statistics_len()], vec![0.0; self.statistics_len()]);
        self.check(&[], &[gamma.len(), beta.len()], &[mean.len(), rstd.len()]);
        self.statistics(sums, &mut mean, &mut rstd);
        (0..sums.len()).map(|channel| self.affine(channel, &mean, &rstd, gamma, beta)).collect()
    }

    fn affine(&self, channel: usize, mean: &[f32], rstd: &[f32], gamma: &[f32], beta: &[f32]) -> Affine {
        let group = channel / (self.channels / self.groups);
        let c = channel % self.channels;
        Affine { mean: mean[group], rstd: rstd[group], scale: gamma[c] * rstd[group], beta: beta[c] }
    }
}

/// What a channel's voxels go through.
#[derive(Clone, Copy, Default)]
pub(crate) struct Affine {
    mean: f32,
    rstd: f32,
    scale: f32,
    beta: f32,
}

impl Affine {
    /// The normalised value after the affine map; its sign decides the activation's branch, forward and backward alike.
    #[inline(always)]
    pub(crate) fn z(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.beta
    }

    #[inline(always)]
    fn x_hat(self, x: f32) -> f32 {
        (x - self.mean) * self.rstd
    }

    #[inline(always)]
    fn dz(self, x: f32, dy: f32, slope: f32) -> f32 {
        leaky_factor(self.z(x), slope) * dy
    }
}

/// The derivative of the leaky ReLU. A choice of factors becomes a blend; a choice of products became a branch,
/// mispredicted half the time, that made the gradient 16 times slower.
#[inline(always)]
pub(crate) fn leaky_factor(z: f32, slope: f32) -> f32 {
    if z > 0.0 { 1.0 } else { slope }
}
