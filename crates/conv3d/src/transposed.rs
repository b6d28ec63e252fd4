//! Transposed convolution, as `torch.nn.ConvTranspose3d`: a convolution's data gradient used as a layer.
//!
//! A [`ConvShape`] describes it through the convolution whose data gradient it is: that convolution's `input` is the
//! transposed convolution's *output*, and `in_channels` are its output channels. [`upsampling`] makes the one for the
//! 2³ kernel of stride 2.

use crate::conv;
use crate::kernel::Isa;
use crate::shape::ConvShape;

/// The shape for a 2³ transposed convolution of stride 2, which doubles every axis of `input`.
#[must_use]
pub fn upsampling(batch: usize, in_channels: usize, out_channels: usize, input: [usize; 3]) -> ConvShape {
    ConvShape {
        batch,
        in_channels: out_channels,
        out_channels: in_channels,
        input: input.map(|n| 2 * n),
        kernel: [2; 3],
        stride: [2; 3],
        padding: [0; 3],
    }
}

/// The transposed convolution.
///
/// # Shapes
/// In terms of `shape`: `x`: `[batch, out_channels, output]`, `w`: `[out_channels, in_channels, kernel]` (PyTorch's
/// `ConvTranspose3d.weight`), `bias`: `[in_channels]`, `y`: `[batch, in_channels, input]`, overwritten.
///
/// # Panics
/// Where [`ConvShape::validate`] fails or a slice's length differs from its shape.
pub fn forward(shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    conv::backward_data_on(Isa::detect(), shape, w, x, bias, y);
}

/// The gradient of the transposed convolution's input.
///
/// # Shapes
/// In terms of `shape`: `w` as in [`forward`], `dy`: `[batch, in_channels, input]`,
/// `dx`: `[batch, out_channels, output]`, overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_data(shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    conv::forward(shape, dy, w, None, dx);
}

/// The gradient of the transposed convolution's weights.
///
/// # Shapes
/// In terms of `shape`: `x`: `[batch, out_channels, output]`, `dy`: `[batch, in_channels, input]`, `dw` as `w` in
/// [`forward`], overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    conv::backward_weight(shape, dy, x, dw);
}

/// The gradient of the transposed convolution's bias.
///
/// # Shapes
/// In terms of `shape`: `dy`: `[batch, in_channels, input]`, `db`: `[in_channels]`, overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_bias(shape: &ConvShape, dy: &[f32], db: &mut [f32]) {
    conv::input_sums(shape, dy, db);
}
