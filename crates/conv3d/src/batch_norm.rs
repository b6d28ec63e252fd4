//! Batch normalisation (Ioffe and Szegedy 2015) with affine parameters and a fused ReLU, in training: with the
//! statistics of the batch itself.
//!
//! `x̂ = (x − mean) / √(variance + ε)` with each channel's mean and biased variance over samples and voxels,
//! `z = γ x̂ + β`, `y = max(z, 0)`. Sums are in double precision over a fixed partition.

use crate::kernel::Isa;
use crate::planes::{add_by, channel_sums, for_each_run, map, sum, sum2};

/// A batch normalisation layer's sizes and constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Voxels of a channel.
    pub spatial: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// The statistics and affine parameters of a normalisation, `[channels]` each.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// Means of the batch.
    pub mean: &'a [f32],
    /// Biased variances of the batch.
    pub variance: &'a [f32],
    /// Scale γ.
    pub gamma: &'a [f32],
    /// Shift β.
    pub beta: &'a [f32],
}

impl BatchNorm {
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

    /// Mean and biased variance of every channel.
    ///
    /// # Shapes
    /// `x`: `[batch, channels, spatial]`; `mean`, `variance`: `[channels]`, overwritten (with NaN where there is no element).
    ///
    /// # Panics
    /// Where a length differs from its shape.
    pub fn statistics(&self, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
        self.check(&[("x", x.len())], &[mean.len(), variance.len()]);
        if self.is_empty() {
            mean.fill(f32::NAN);
            variance.fill(f32::NAN);
            return;
        }
        let isa = Isa::detect();
        let sums = channel_sums(self.batch * self.channels, self.spatial, |plane, run| {
            let x = &x[plane * self.spatial..][run];
            isa.vectorised(
                #[inline(always)]
                || sum(x, |x| [x, x * x]),
            )
        });
        let n = (self.batch * self.spatial) as f64;
        for (c, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
            let [total, squares] = add_by(sums.iter().skip(c).step_by(self.channels), |_| 1.0);
            let m = total / n;
            // f64 leaves about 1e-16 · mean² of error; rounding must not make it negative, and a NaN stays one
            let v = squares / n - m * m;
            *mean = m as f32;
            *variance = if v < 0.0 { 0.0 } else { v as f32 };
        }
    }

    /// Normalises with the given statistics and applies the ReLU.
    ///
    /// # Shapes
    /// `x`, `y`: `[batch, channels, spatial]`; `y` is overwritten.
    ///
    /// # Panics
    /// Where a length differs from its shape.
    pub fn forward(&self, x: &[f32], p: Parameters<'_>, y: &mut [f32]) {
        self.check(&[("x", x.len()), ("y", y.len())], &p.lens());
        if self.is_empty() {
            return;
        }
        let isa = Isa::detect();
        for_each_run(self.spatial, y, |plane, start, y| {
            let channel = self.channel(plane, p);
            let x = &x[plane * self.spatial + start..][..y.len()];
            isa.vectorised(
                #[inline(always)]
                || map(x, y, |x| unless_negative(channel.z(x), channel.z(x))),
            );
        });
    }

    /// The gradients of the input and of the affine parameters, where the statistics are those of `x`.
    ///
    /// # Shapes
    /// `x`: `[batch, channels, spatial]`; `gradient`: the same, on entry the output's gradient, on return the input's;
    /// `dgamma`, `dbeta`: `[channels]`, overwritten.
    ///
    /// # Panics
    /// Where a length differs from its shape.
    pub fn backward(&self, x: &[f32], p: Parameters<'_>, gradient: &mut [f32], dgamma: &mut [f32], dbeta: &mut [f32]) {
        self.check(&[("x", x.len()), ("gradient", gradient.len())], &p.lens());
        self.check(&[], &[dgamma.len(), dbeta.len()]);
        dgamma.fill(0.0);
        dbeta.fill(0.0);
        if self.is_empty() {
            return;
        }
        let isa = Isa::detect();
        let dy = &*gradient;
        let sums = channel_sums(self.batch * self.channels, self.spatial, |plane, run| {
            let channel = self.channel(plane, p);
            let at = plane * self.spatial;
            let (x, dy) = (&x[at..][run.clone()], &dy[at..][run]);
            isa.vectorised(
                #[inline(always)]
                || {
                    sum2(x, dy, |x, dy| {
                        let dz = unless_negative(channel.z(x), dy);
                        [dz, dz * (x - channel.mean)]
                    })
                },
            )
        });
        let n = (self.batch * self.spatial) as f64;
        let mut means = vec![[0.0f32; 2]; self.channels];
        for (c, ((dgamma, dbeta), means)) in dgamma.iter_mut().zip(dbeta).zip(&mut means).enumerate() {
            let [dz, dz_centred] = add_by(sums.iter().skip(c).step_by(self.channels), |_| 1.0);
            let rstd = f64::from(self.channel(c, p).rstd);
            (*dbeta, *dgamma) = (dz as f32, (dz_centred * rstd) as f32);
            *means = [(dz / n) as f32, (dz_centred * rstd * rstd / n) as f32];
        }
        for_each_run(self.spatial, gradient, |plane, start, gradient| {
            let channel = self.channel(plane, p);
            let [mean_dz, slope] = means[plane % self.channels];
            let x = &x[plane * self.spatial + start..][..gradient.len()];
            isa.vectorised(
                #[inline(always)]
                || {
                    for (d, &x) in gradient.iter_mut().zip(x) {
                        let dz = unless_negative(channel.z(x), *d);
                        *d = channel.scale * (dz - mean_dz - (x - channel.mean) * slope);
                    }
                },
            );
        });
    }

    fn check(&self, arrays: &[(&str, usize)], per_channel: &[usize]) {
        for (name, len) in arrays {
            assert_eq!(*len, self.len(), "{name} has {len} elements where {self:?} needs {}", self.len());
        }
        assert!(
            per_channel.iter().all(|&n| n == self.channels),
            "statistics, affine parameters or their gradients are not [{}]",
            self.channels
        );
    }

    fn channel(&self, plane: usize, p: Parameters<'_>) -> Channel {
        let c = plane % self.channels;
        let rstd = (1.0 / (f64::from(p.variance[c]) + f64::from(self.epsilon)).sqrt()) as f32;
        Channel { mean: p.mean[c], rstd, scale: p.gamma[c] * rstd, beta: p.beta[c] }
    }
}

impl Parameters<'_> {
    fn lens(&self) -> [usize; 4] {
        [self.mean.len(), self.variance.len(), self.gamma.len(), self.beta.len()]
    }
}

/// What a channel's voxels go through.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    rstd: f32,
    scale: f32,
    beta: f32,
}

impl Channel {
    /// Its sign decides the ReLU's branch, forward and backward alike.
    #[inline(always)]
    fn z(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.beta
    }
}

/// The ReLU's choice as PyTorch makes it: `value` where `z` is positive or NaN. In bits, so that it stays free of branches.
#[inline(always)]
fn unless_negative(z: f32, value: f32) -> f32 {
    let mask = if z <= 0.0 { 0 } else { u32::MAX };
    f32::from_bits(value.to_bits() & mask)
}
