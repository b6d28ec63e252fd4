//! The layers as [`conv3d::inference`] runs them, on the CPU and without gradients.

use burn::nn::BatchNorm;
use burn::nn::conv::ConvTranspose3d;
use conv3d::inference::{Activations, Conv};
use conv3d::{ConvShape, group_norm, transposed};

use super::{Conv3d, GroupNorm, NORM_EPSILON};
use crate::network::host;

impl Conv3d {
    fn shape(&self, input: [usize; 3]) -> ConvShape {
        let [out_channels, in_channels, kernel, ..] = self.weight.dims();
        let (kernel, stride, padding) = ([kernel; 3], [self.stride; 3], [kernel / 2; 3]);
        ConvShape { batch: 1, in_channels, out_channels, input, kernel, stride, padding }
    }

    /// For inputs of `input` voxels.
    pub(crate) fn packed(&self, input: [usize; 3]) -> Conv {
        Conv::new(&self.shape(input), &host(self.weight.val()), &host(self.bias.val()))
    }

    /// The normalisation by running statistics after it multiplied into the weights.
    pub(crate) fn packed_with(&self, norm: &BatchNorm, input: [usize; 3]) -> Conv {
        let (mut weight, mut bias) = (host(self.weight.val()), host(self.bias.val()));
        let [gamma, beta] = [&norm.gamma, &norm.beta].map(|p| host(p.val()));
        let [mean, variance] = [&norm.running_mean, &norm.running_var].map(|s| host(s.value()));
        let rows = weight.len() / bias.len();
        for (c, (weight, bias)) in weight.chunks_exact_mut(rows).zip(&mut bias).enumerate() {
            let scale = f64::from(gamma[c]) / (f64::from(variance[c]) + NORM_EPSILON).sqrt();
            weight.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
            *bias = ((f64::from(*bias) - f64::from(mean[c])) * scale + f64::from(beta[c])) as f32;
        }
        Conv::new(&self.shape(input), &weight, &bias)
    }

    /// Of two output channels, the second minus the first.
    pub(crate) fn packed_difference(&self, input: [usize; 3]) -> Conv {
        let (weight, bias) = (host(self.weight.val()), host(self.bias.val()));
        let (first, second) = weight.split_at(weight.len() / 2);
        let weight: Vec<f32> = first.iter().zip(second).map(|(a, b)| b - a).collect();
        Conv::new(&ConvShape { out_channels: 1, ..self.shape(input) }, &weight, &[bias[1] - bias[0]])
    }
}

/// A 2³ transposed convolution of stride 2, for inputs of `input` voxels.
pub(crate) fn packed_up(up: &ConvTranspose3d, input: [usize; 3]) -> Conv {
    let [in_channels, out_channels, ..] = up.weight.dims();
    let bias = up.bias.as_ref().map_or_else(|| vec![0.0; out_channels], |b| host(b.val()));
    Conv::transposed(&transposed::upsampling(1, in_channels, out_channels, input), &host(up.weight.val()), &bias)
}

/// A convolution, group normalisation and leaky ReLU.
pub(crate) struct PackedUnit {
    conv: Conv,
    norm: group_norm::GroupNorm,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl PackedUnit {
    /// For inputs of `input` voxels. The activation takes place whether or not `norm` has one: where it has none, what
    /// [`run`](Self::run) adds comes before it.
    pub(crate) fn new(conv: &Conv3d, norm: &GroupNorm, input: [usize; 3]) -> Self {
        let shape = conv.shape(input);
        Self {
            conv: conv.packed(input),
            norm: group_norm::GroupNorm {
                batch: 1,
                channels: shape.out_channels,
                spatial: shape.output().iter().product(),
                groups: norm.groups,
                epsilon: NORM_EPSILON as f32,
                slope: Some(super::LEAKY_SLOPE as f32),
            },
            gamma: host(norm.weight.val()),
            beta: host(norm.bias.val()),
        }
    }

    /// From the concatenated channels of `sources`; `residual` is added before the activation.
    pub(crate) fn run(&self, sources: &[&Activations], residual: Option<&Activations>, dst: &mut Activations) {
        let sums = self.conv.run_summing(sources, dst);
        dst.normalise(&self.norm, &sums, [&self.gamma, &self.beta], residual);
    }
}
