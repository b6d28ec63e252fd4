//! Outputs and gradients against PyTorch's, from `fixtures/golden.safetensors` (made by `fixtures/generate.py`).
//!
//! The fixtures were computed in double precision, so the tolerance covers this crate's single precision alone: sums of
//! at most a few hundred products of normal deviates.

use conv3d::batch_norm::{BatchNorm, Parameters};
use conv3d::group_norm::GroupNorm;
use conv3d::{ConvShape, backward_bias, backward_data, backward_weight, forward};
use conv3d::{max_pool, space_to_depth, transposed, upsample};
use safetensors::SafeTensors;

const TOLERANCE: f32 = 2e-5;

/// One case of the fixtures.
struct Case<'a> {
    all: &'a SafeTensors<'a>,
    name: &'a str,
}

impl Case<'_> {
    fn shape(&self, tensor: &str) -> Vec<usize> {
        self.all.tensor(&format!("{}.{tensor}", self.name)).expect("a tensor of the fixtures").shape().to_vec()
    }

    fn get(&self, tensor: &str) -> Vec<f32> {
        let view = self.all.tensor(&format!("{}.{tensor}", self.name)).expect("a tensor of the fixtures");
        view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    /// Compares what `compute` writes with a tensor of the fixtures.
    fn check(&self, tensor: &str, compute: impl FnOnce(&mut [f32])) {
        let expected = self.get(tensor);
        let mut found = vec![f32::NAN; expected.len()];
        compute(&mut found);
        for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (f - e).abs() <= TOLERANCE * (1.0 + e.abs()),
                "{}.{tensor}[{i}]: {f} where PyTorch has {e}",
                self.name
            );
        }
    }
}

fn with_case(name: &str, test: impl FnOnce(&Case<'_>)) {
    let bytes = include_bytes!("fixtures/golden.safetensors");
    let all = SafeTensors::deserialize(bytes).expect("the fixtures");
    test(&Case { all: &all, name });
}

fn spatial(shape: &[usize]) -> [usize; 3] {
    [shape[2], shape[3], shape[4]]
}

#[track_caller]
fn check_conv(name: &str, stride: [usize; 3], padding: [usize; 3]) {
    with_case(name, |case| {
        let (x, w, dy) = (case.shape("x"), case.shape("w"), case.shape("dy"));
        let shape = ConvShape {
            batch: x[0],
            in_channels: x[1],
            out_channels: w[0],
            input: spatial(&x),
            kernel: spatial(&w),
            stride,
            padding,
        };
        shape.validate().expect("a convolution");
        assert_eq!(shape.output(), spatial(&dy));
        let [x, w, b, dy] = ["x", "w", "b", "dy"].map(|t| case.get(t));
        case.check("y", |y| forward(&shape, &x, &w, Some(&b), y));
        case.check("dx", |dx| backward_data(&shape, &w, &dy, dx));
        case.check("dw", |dw| backward_weight(&shape, &x, &dy, dw));
        case.check("db", |db| backward_bias(&shape, &dy, db));
    });
}

#[test]
fn convolutions() {
    check_conv("conv_k3", [1; 3], [1; 3]);
    check_conv("conv_k3_stride2", [2; 3], [1; 3]);
    check_conv("conv_k3_one_channel", [1; 3], [1; 3]);
    check_conv("conv_k1", [1; 3], [0; 3]);
    check_conv("conv_k1_stride2", [2; 3], [0; 3]);
    check_conv("conv_tiny", [2; 3], [1; 3]);
    check_conv("conv_mixed", [2, 1, 3], [0, 1, 2]);
}

#[test]
fn transposed_convolution() {
    with_case("transposed", |case| {
        let (x, w) = (case.shape("x"), case.shape("w"));
        let shape = transposed::upsampling(x[0], x[1], w[1], spatial(&x));
        let [x, w, b, dy] = ["x", "w", "b", "dy"].map(|t| case.get(t));
        case.check("y", |y| transposed::forward(&shape, &x, &w, Some(&b), y));
        case.check("dx", |dx| transposed::backward_data(&shape, &w, &dy, dx));
        case.check("dw", |dw| transposed::backward_weight(&shape, &x, &dy, dw));
        case.check("db", |db| transposed::backward_bias(&shape, &dy, db));
    });
}

#[track_caller]
fn check_group_norm(name: &str, slope: Option<f32>) {
    with_case(name, |case| {
        let shape = case.shape("x");
        let spatial = spatial(&shape).into_iter().product();
        let norm = GroupNorm { batch: shape[0], channels: shape[1], spatial, groups: 3, epsilon: 1e-5, slope };
        let [x, gamma, beta, dy] = ["x", "gamma", "beta", "dy"].map(|t| case.get(t));
        let (mut mean, mut rstd) = (vec![0.0; norm.statistics_len()], vec![0.0; norm.statistics_len()]);
        case.check("y", |y| norm.forward(&x, &gamma, &beta, y, &mut mean, &mut rstd));
        let (mut dgamma, mut dbeta) = (gamma.clone(), beta.clone());
        case.check("dx", |dx| norm.backward(&x, &dy, &gamma, &beta, &mean, &rstd, dx, &mut dgamma, &mut dbeta));
        case.check("dgamma", |d| d.copy_from_slice(&dgamma));
        case.check("dbeta", |d| d.copy_from_slice(&dbeta));
    });
}

#[test]
fn group_normalisation() {
    check_group_norm("group_norm", None);
    check_group_norm("group_norm_relu", Some(0.0));
    check_group_norm("group_norm_leaky", Some(0.01));
}

#[test]
fn batch_normalisation() {
    with_case("batch_norm_relu", |case| {
        let shape = case.shape("x");
        let spatial = spatial(&shape).into_iter().product();
        let norm = BatchNorm { batch: shape[0], channels: shape[1], spatial, epsilon: 1e-5 };
        let [x, gamma, beta, dy] = ["x", "gamma", "beta", "dy"].map(|t| case.get(t));
        let [mut mean, mut variance] = [0, 1].map(|_| vec![f32::NAN; norm.channels]);
        norm.statistics(&x, &mut mean, &mut variance);
        case.check("mean", |m| m.copy_from_slice(&mean));
        case.check("variance", |v| v.copy_from_slice(&variance));
        let p = Parameters { mean: &mean, variance: &variance, gamma: &gamma, beta: &beta };
        case.check("y", |y| norm.forward(&x, p, y));
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![f32::NAN; norm.channels]);
        case.check("dx", |dx| {
            dx.copy_from_slice(&dy);
            norm.backward(&x, p, dx, &mut dgamma, &mut dbeta);
        });
        case.check("dgamma", |d| d.copy_from_slice(&dgamma));
        case.check("dbeta", |d| d.copy_from_slice(&dbeta));
    });
}

#[test]
fn max_pooling() {
    with_case("max_pool", |case| {
        let shape = case.shape("x");
        let (planes, coarse) = (shape[0] * shape[1], spatial(&shape).map(|n| n / 2));
        let (x, dy) = (case.get("x"), case.get("dy"));
        let mut winner = vec![u8::MAX; dy.len()];
        case.check("y", |y| max_pool::forward(planes, coarse, &x, y, &mut winner));
        case.check("dx", |dx| max_pool::backward(planes, coarse, &dy, &winner, dx));
    });
}

#[test]
fn trilinear_upsampling() {
    for name in ["upsample", "upsample_one"] {
        with_case(name, |case| {
            let shape = case.shape("x");
            let planes = shape[0] * shape[1];
            let (x, dy) = (case.get("x"), case.get("dy"));
            case.check("y", |y| upsample::forward(planes, spatial(&shape), &x, y));
            case.check("dx", |dx| upsample::backward(planes, spatial(&shape), &dy, dx));
        });
    }
}

#[test]
fn space_to_depth_and_back() {
    with_case("space_to_depth", |case| {
        let (x, y) = (case.shape("x"), case.shape("y"));
        let (planes, coarse) = (x[0] * x[1], spatial(&y));
        let (x, y) = (case.get("x"), case.get("y"));
        case.check("y", |out| space_to_depth::space_to_depth(planes, coarse, &x, out));
        case.check("x", |out| space_to_depth::depth_to_space(planes, coarse, &y, out));
    });
}
