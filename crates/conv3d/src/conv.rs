//! Convolution and its gradients on contiguous `[n, c, d, h, w]` slices.

use crate::correlate::{Problem, correlate};
use crate::kernel::Isa;
use crate::lattice::Correlation;
use crate::pack::Weights;
use crate::shape::{ConvShape, volume};
use crate::weight_gradient::{bias_gradient, weight_gradient};

/// Panics unless the shape is valid and every named array has the expected length.
fn check(shape: &ConvShape, arrays: &[(&str, usize, usize)]) {
    if let Err(e) = shape.validate() {
        panic!("not a convolution: {e}");
    }
    for (name, found, expected) in arrays {
        assert_eq!(found, expected, "{name} has {found} elements where {shape:?} needs {expected}");
    }
}

/// The convolution `y = w ⋆ x + bias` (cross-correlation, as `torch.nn.functional.conv3d`).
///
/// Padding takes part as zeros: a non-finite weight makes its products with them NaN.
///
/// # Shapes
/// `x`: `[batch, in_channels, input]`, `w`: `[out_channels, in_channels, kernel]`, `bias`: `[out_channels]`,
/// `y`: `[batch, out_channels, output]`, overwritten.
///
/// # Panics
/// Where [`ConvShape::validate`] fails or a slice's length differs from its shape.
pub fn forward(shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    forward_on(Isa::detect(), shape, x, w, bias, y);
}

/// The gradient of the input, `dx = wᵀ ⋆ dy`; also the transposed convolution with weights
/// `[in_channels of the transposed, out_channels of the transposed, kernel]`.
///
/// # Shapes
/// `w`: `[out_channels, in_channels, kernel]`, `dy`: `[batch, out_channels, output]`,
/// `dx`: `[batch, in_channels, input]`, overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_data(shape: &ConvShape, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    backward_data_on(Isa::detect(), shape, w, dy, None, dx);
}

/// The gradient of the weights, summed over samples and voxels.
///
/// # Shapes
/// `x`: `[batch, in_channels, input]`, `dy`: `[batch, out_channels, output]`,
/// `dw`: `[out_channels, in_channels, kernel]`, overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_weight(shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    backward_weight_on(Isa::detect(), shape, x, dy, dw);
}

/// The gradient of the bias: `dy` summed over samples and voxels, in double precision.
///
/// # Shapes
/// `dy`: `[batch, out_channels, output]`, `db`: `[out_channels]`, overwritten.
///
/// # Panics
/// As [`forward`].
pub fn backward_bias(shape: &ConvShape, dy: &[f32], db: &mut [f32]) {
    check(shape, &[("dy", dy.len(), shape.output_len()), ("db", db.len(), shape.out_channels)]);
    bias_gradient(shape.batch, shape.out_channels, dy, db);
}

/// The bias gradient of the transposed convolution, whose output is this convolution's input.
pub(crate) fn input_sums(shape: &ConvShape, dy: &[f32], db: &mut [f32]) {
    check(shape, &[("dy", dy.len(), shape.input_len()), ("db", db.len(), shape.in_channels)]);
    bias_gradient(shape.batch, shape.in_channels, dy, db);
}

fn problem<'a>(isa: Isa, shape: &ConvShape, geometry: &'a Correlation) -> Problem<'a> {
    let &ConvShape { batch, in_channels, out_channels, .. } = shape;
    Problem { isa, geometry, batch, src_channels: in_channels, dst_channels: out_channels }
}

pub(crate) fn forward_on(isa: Isa, shape: &ConvShape, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let bias_len = bias.map_or(shape.out_channels, <[f32]>::len);
    check(
        shape,
        &[
            ("x", x.len(), shape.input_len()),
            ("w", w.len(), shape.weight_len()),
            ("bias", bias_len, shape.out_channels),
            ("y", y.len(), shape.output_len()),
        ],
    );
    let taps = volume(shape.kernel);
    let weights = Weights { data: w, destination_stride: shape.in_channels * taps, source_stride: taps };
    correlate(&problem(isa, shape, &Correlation::forward(&shape.flattened())), x, weights, bias, y);
}

pub(crate) fn backward_data_on(
    isa: Isa,
    shape: &ConvShape,
    w: &[f32],
    dy: &[f32],
    bias: Option<&[f32]>,
    dx: &mut [f32],
) {
    let bias_len = bias.map_or(shape.in_channels, <[f32]>::len);
    check(
        shape,
        &[
            ("w", w.len(), shape.weight_len()),
            ("dy", dy.len(), shape.output_len()),
            ("bias", bias_len, shape.in_channels),
            ("dx", dx.len(), shape.input_len()),
        ],
    );
    let taps = volume(shape.kernel);
    let weights = Weights { data: w, destination_stride: taps, source_stride: shape.in_channels * taps };
    let geometry = Correlation::transposed(&shape.flattened());
    let problem = problem(isa, shape, &geometry);
    let problem = Problem { src_channels: shape.out_channels, dst_channels: shape.in_channels, ..problem };
    correlate(&problem, dy, weights, bias, dx);
}

pub(crate) fn backward_weight_on(isa: Isa, shape: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    check(
        shape,
        &[
            ("x", x.len(), shape.input_len()),
            ("dy", dy.len(), shape.output_len()),
            ("dw", dw.len(), shape.weight_len()),
        ],
    );
    weight_gradient(&problem(isa, shape, &Correlation::forward(&shape.flattened())), x, dy, dw);
}
