//! The layers of both networks. Each one's `forward` is the same mathematics on every device: on the CPU through our
//! own kernels ([`ops`]), elsewhere through Burn's operations. [`packed`] is what inference on the CPU makes of them.
//!
//! Parameter names and shapes are PyTorch's (`weight`, `bias`), so that a state dict needs no translation.

mod ops;
mod packed;

use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::ConvTranspose3d;
use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm_train, conv3d as burn_conv3d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

use crate::device::has_kernels;

pub(crate) use ops::KeptMemory;
pub(crate) use packed::{PackedUnit, packed_up};

/// Slope of the leaky ReLU for negative values, as in nnU-Net.
pub(crate) const LEAKY_SLOPE: f64 = 0.01;
/// Added to the variance in every normalisation, PyTorch's default.
pub(crate) const NORM_EPSILON: f64 = 1e-5;

fn parameter<const D: usize>(shape: [usize; D], value: f64, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

/// 3D convolution with a cubic kernel, zero padding `kernel / 2` and a bias (`torch.nn.Conv3d`).
#[derive(Module, Debug)]
pub(crate) struct Conv3d {
    /// `[out, in, k, k, k]`
    pub weight: Param<Tensor<5>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    stride: usize,
}

impl Conv3d {
    /// All-zero weights: [`crate::Network::initialise`] draws the real ones.
    pub(crate) fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let [input, output] = channels;
        Self {
            weight: parameter([output, input, kernel, kernel, kernel], 0.0, device),
            bias: parameter([output], 0.0, device),
            stride,
        }
    }

    /// # Shapes
    /// `[n, in, d, h, w]` → `[n, out, ⌈d/stride⌉, ⌈h/stride⌉, ⌈w/stride⌉]`
    pub(crate) fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let padding = self.weight.dims()[2] / 2;
        if has_kernels(&x.device()) {
            ops::conv3d(x, self.weight.val(), self.bias.val(), ops::Stride(self.stride, padding))
        } else {
            let options = ConvOptions::new([self.stride; 3], [padding; 3], [1; 3], 1);
            burn_conv3d(x, self.weight.val(), Some(self.bias.val()), options)
        }
    }
}

/// Group normalisation (`torch.nn.GroupNorm`) followed by a leaky ReLU, or by nothing.
#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    /// Scale, `[channels]`
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`
    pub bias: Param<Tensor<1>>,
    groups: usize,
    slope: Option<f64>,
}

impl GroupNorm {
    /// `channels / group_channels` groups (at least one), then an activation of [`LEAKY_SLOPE`] if `activate`.
    pub(crate) fn new(channels: usize, group_channels: usize, activate: bool, device: &Device) -> Self {
        Self {
            weight: parameter([channels], 1.0, device),
            bias: parameter([channels], 0.0, device),
            groups: (channels / group_channels).max(1),
            slope: activate.then_some(LEAKY_SLOPE),
        }
    }

    /// # Shapes
    /// `[n, channels, d, h, w]` → the same
    pub(crate) fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        if has_kernels(&x.device()) {
            let o = ops::GroupNormAct {
                groups: self.groups,
                epsilon: NORM_EPSILON as f32,
                slope: self.slope.map(|s| s as f32),
            };
            return ops::group_norm_act(x, self.weight.val(), self.bias.val(), o);
        }
        let [n, c, d, h, w] = x.dims();
        let grouped: Tensor<3> = x.reshape([n, self.groups, c / self.groups * d * h * w]);
        let mean = grouped.clone().mean_dim(2);
        let centred = grouped - mean;
        let variance = centred.clone().powi_scalar(2).mean_dim(2);
        let normal: Tensor<5> = (centred / (variance + NORM_EPSILON).sqrt()).reshape([n, c, d, h, w]);
        let y = normal * self.weight.val().reshape([1, c, 1, 1, 1]) + self.bias.val().reshape([1, c, 1, 1, 1]);
        match self.slope {
            Some(slope) => burn::tensor::activation::leaky_relu(y, slope),
            None => y,
        }
    }
}

/// Leaky ReLU of [`LEAKY_SLOPE`].
pub(crate) fn activate(x: Tensor<5>) -> Tensor<5> {
    burn::tensor::activation::leaky_relu(x, LEAKY_SLOPE)
}

/// Trilinear up-sampling by two, `torch.nn.functional.interpolate(scale_factor=2, mode="trilinear",
/// align_corners=False)`: every output is ¾ of the nearer and ¼ of the farther input, per axis, edges repeated.
///
/// # Shapes
/// `[n, c, d, h, w]` → `[n, c, 2d, 2h, 2w]`
pub(crate) fn upsample2(x: Tensor<5>) -> Tensor<5> {
    if has_kernels(&x.device()) {
        return ops::upsample2(x);
    }
    (2..5).fold(x, upsample2_axis)
}

fn upsample2_axis(x: Tensor<5>, axis: usize) -> Tensor<5> {
    let mut dims = x.dims();
    let n = dims[axis];
    let first = x.clone().narrow(axis, 0, 1);
    let last = x.clone().narrow(axis, n - 1, 1);
    let before = Tensor::cat(vec![first, x.clone().narrow(axis, 0, n - 1)], axis);
    let after = Tensor::cat(vec![x.clone().narrow(axis, 1, n - 1), last], axis);
    let near = x * 0.75;
    let pair: Tensor<6> = Tensor::stack(vec![near.clone() + before * 0.25, near + after * 0.25], axis + 1);
    dims[axis] = 2 * n;
    pair.reshape(dims)
}

/// Blocks of 2×2×2 voxels to channels: `torch.nn.functional.pixel_unshuffle` in 3D. Channel `c·8 + 4·dz + 2·dy + dx`.
///
/// # Shapes
/// `[n, c, 2d, 2h, 2w]` → `[n, 8c, d, h, w]`
pub(crate) fn space_to_depth(x: Tensor<5>) -> Tensor<5> {
    if has_kernels(&x.device()) {
        return ops::space_to_depth(x);
    }
    let [n, c, d, h, w] = x.dims();
    let (d, h, w) = (d / 2, h / 2, w / 2);
    x.reshape([n, c, d, 2, h, 2, w, 2]).permute([0, 1, 3, 5, 7, 2, 4, 6]).reshape([n, 8 * c, d, h, w])
}

/// Max-pooling (`torch.nn.MaxPool3d(2)`).
///
/// # Shapes
/// `[n, c, 2d, 2h, 2w]` → `[n, c, d, h, w]`
pub(crate) fn max_pool2(x: Tensor<5>) -> Tensor<5> {
    if has_kernels(&x.device()) {
        return ops::max_pool2(x);
    }
    let [n, c, d, h, w] = x.dims();
    let (d, h, w) = (d / 2, h / 2, w / 2);
    let cells: Tensor<8> = x.reshape([n, c, d, 2, h, 2, w, 2]);
    let cells = cells.permute([0, 1, 2, 4, 6, 3, 5, 7]).reshape([n, c, d, h, w, 8]);
    let pooled: Tensor<6> = cells.max_dim(5);
    pooled.reshape([n, c, d, h, w])
}

/// The skip connection's channels, then those of a 2³ transposed convolution of stride 2 (`torch.nn.ConvTranspose3d`).
///
/// # Shapes
/// `skip`: `[n, skip, 2d, 2h, 2w]`, `x`: `[n, in, d, h, w]` → `[n, skip + out, 2d, 2h, 2w]`
pub(crate) fn up_beside(skip: Tensor<5>, up: &ConvTranspose3d, x: Tensor<5>) -> Tensor<5> {
    match &up.bias {
        Some(bias) if has_kernels(&x.device()) => ops::up_beside(skip, x, up.weight.val(), bias.val()),
        _ => Tensor::cat(vec![skip, up.forward(x)], 1),
    }
}

/// Batch normalisation (`torch.nn.BatchNorm3d`), then a ReLU. Where gradients are recorded it is by the batch's own
/// statistics, towards which the running ones move: as in PyTorch, whose running variance is the unbiased one.
///
/// # Shapes
/// `[n, channels, d, h, w]` → the same
pub(crate) fn batch_norm_relu(norm: &BatchNorm, x: Tensor<5>) -> Tensor<5> {
    if !x.device().is_autodiff() || !norm.training.is_enabled() {
        return relu(norm.forward(x));
    }
    let [n, _, d, h, w] = x.dims();
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let (y, mean, variance) = if has_kernels(&x.device()) {
        ops::batch_norm_relu(x, gamma, beta, norm.epsilon as f32)
    } else {
        let result = batch_norm_train(x, gamma, beta, norm.epsilon);
        (relu(result.output), result.mean, result.variance)
    };
    let count = (n * d * h * w) as f64;
    let unbiased = variance * (count / (count - 1.0).max(1.0));
    for (running, batch) in [(&norm.running_mean, mean), (&norm.running_var, unbiased)] {
        let before = running.value_sync().to_device(&batch.device());
        running.update((before * (1.0 - norm.momentum) + batch * norm.momentum).detach());
    }
    y
}
