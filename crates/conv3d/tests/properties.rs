//! Properties of the public functions: adjoint identities, thread counts, non-finite values, accuracy.

use conv3d::batch_norm::{BatchNorm, Parameters};
use conv3d::group_norm::GroupNorm;
use conv3d::{ConvShape, ShapeError, backward_bias, backward_data, backward_weight, forward};
use conv3d::{max_pool, space_to_depth, transposed, upsample};
use proptest::prelude::*;

/// Pseudo-random values in [−0.5, 0.5).
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..len).map(step).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn output(len: usize, compute: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![f32::NAN; len];
    compute(&mut out);
    out
}

/// Two inner products that must agree, each of `terms` f32 values with some 1e-7 of relative error each.
#[track_caller]
fn assert_same(a: f64, b: f64, terms: usize) {
    let tolerance = 1e-6 * (terms as f64).sqrt().max(1.0);
    assert!((a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()).sqrt()), "{a} is not {b}");
}

fn layer(channels: [usize; 2], input: [usize; 3], kernel: usize, stride: usize) -> ConvShape {
    ConvShape {
        batch: 2,
        in_channels: channels[0],
        out_channels: channels[1],
        input: input.map(|n| n.max(if kernel == 3 { 1 } else { kernel })),
        kernel: [kernel; 3],
        stride: [stride; 3],
        padding: [usize::from(kernel == 3); 3],
    }
}

fn layers() -> impl Strategy<Value = ConvShape> {
    ([1usize..40, 1usize..40], [1usize..8, 1usize..8, 1usize..24], 1usize..4, 1usize..3)
        .prop_map(|(channels, input, kernel, stride)| layer(channels, input, kernel, stride))
}

/// Miri runs everything a thousand times slower.
const CASES: u32 = if cfg!(miri) { 1 } else { 64 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// ⟨dy, w ⋆ x⟩ = ⟨wᵀ ⋆ dy, x⟩ = ⟨dw, w⟩, and the bias gradient is the adjoint of adding a bias.
    #[test]
    fn gradients_are_adjoint(s in layers(), seed in 0u64..1000) {
        let (x, w, b) = (values(s.input_len(), seed), values(s.weight_len(), seed + 1), values(s.out_channels, seed + 2));
        let dy = values(s.output_len(), seed + 3);
        let y = output(dy.len(), |y| forward(&s, &x, &w, None, y));
        let biased = output(dy.len(), |y| forward(&s, &x, &w, Some(&b), y));
        let dx = output(x.len(), |dx| backward_data(&s, &w, &dy, dx));
        let dw = output(w.len(), |dw| backward_weight(&s, &x, &dy, dw));
        let db = output(b.len(), |db| backward_bias(&s, &dy, db));
        let expected = dot(&dy, &y);
        let terms = y.len() + x.len();
        assert_same(dot(&dx, &x), expected, terms);
        assert_same(dot(&dw, &w), expected, terms);
        assert_same(dot(&dy, &biased) - expected, dot(&db, &b), 2 * terms);
    }

    #[test]
    fn transposed_gradients_are_adjoint(
        channels in [1usize..20, 1usize..20], input in [1usize..5, 1usize..5, 1usize..9], seed in 0u64..1000,
    ) {
        let s = transposed::upsampling(2, channels[0], channels[1], input);
        let (x, w, dy) = (values(s.output_len(), seed), values(s.weight_len(), seed + 1), values(s.input_len(), seed + 2));
        let y = output(dy.len(), |y| transposed::forward(&s, &x, &w, None, y));
        let dx = output(x.len(), |dx| transposed::backward_data(&s, &w, &dy, dx));
        let dw = output(w.len(), |dw| transposed::backward_weight(&s, &x, &dy, dw));
        let expected = dot(&dy, &y);
        assert_same(dot(&dx, &x), expected, y.len() + x.len());
        assert_same(dot(&dw, &w), expected, y.len() + x.len());
    }

    #[test]
    fn resampling_is_adjoint(planes in 1usize..5, coarse in [1usize..6, 1usize..6, 1usize..12], seed in 0u64..1000) {
        let len = planes * coarse.iter().product::<usize>();
        let (x, fine) = (values(len, seed), values(8 * len, seed + 1));
        let up = output(8 * len, |y| upsample::forward(planes, coarse, &x, y));
        let down = output(len, |dx| upsample::backward(planes, coarse, &fine, dx));
        assert_same(dot(&up, &fine), dot(&x, &down), 8 * len);
        let deep = output(8 * len, |y| space_to_depth::space_to_depth(planes, coarse, &fine, y));
        prop_assert_eq!(output(8 * len, |y| space_to_depth::depth_to_space(planes, coarse, &deep, y)), fine);
    }

    /// Against the largest of each block by definition; some values are equal, some are NaN.
    #[test]
    fn max_pooling_takes_the_largest(
        planes in 1usize..5, coarse in [1usize..6, 1usize..6, 1usize..20], seed in 0u64..1000,
    ) {
        let len = planes * coarse.iter().product::<usize>();
        let steps = |v: f32| if v > 0.48 { f32::NAN } else { (v * 8.0).round() };
        let x: Vec<f32> = values(8 * len, seed).into_iter().map(steps).collect();
        let mut winner = vec![u8::MAX; len];
        let y = output(len, |y| max_pool::forward(planes, coarse, &x, y, &mut winner));
        let dy: Vec<f32> = values(len, seed + 1).into_iter().map(|v| v + 2.0).collect();
        let dx = output(8 * len, |dx| max_pool::backward(planes, coarse, &dy, &winner, dx));
        let blocks = output(8 * len, |b| space_to_depth::space_to_depth(planes, coarse, &x, b));
        let gradients = output(8 * len, |b| space_to_depth::space_to_depth(planes, coarse, &dx, b));
        let volume = len / planes;
        for i in 0..len {
            let at = |k: usize| (i / volume * 8 + k) * volume + i % volume;
            let block: [f32; 8] = std::array::from_fn(|k| blocks[at(k)]);
            let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let won = usize::from(winner[i]);
            if block.iter().any(|v| v.is_nan()) {
                prop_assert!(y[i].is_nan() && block[won].is_nan());
            } else {
                prop_assert_eq!(y[i], most);
                prop_assert_eq!(Some(won), block.iter().position(|&v| v == most));
            }
            for k in 0..8 {
                prop_assert_eq!(gradients[at(k)], if k == won { dy[i] } else { 0.0 });
            }
        }
    }

    /// Batch normalisation and its gradients against a naive reference in double precision.
    #[test]
    fn batch_norm_matches_its_definition(
        batch in 1usize..4, channels in 1usize..4, spatial in 2usize..60, offset in -5f32..5.0, seed in 0u64..1000,
    ) {
        let norm = BatchNorm { batch, channels, spatial, epsilon: 1e-3 };
        let x: Vec<f32> = values(norm.len(), seed).into_iter().map(|v| v + offset).collect();
        let [gamma, beta] = [1, 2].map(|i| values(channels, seed + i));
        let dy = values(norm.len(), seed + 3);
        let [mut mean, mut variance] = [0, 1].map(|_| vec![f32::NAN; channels]);
        norm.statistics(&x, &mut mean, &mut variance);
        let p = Parameters { mean: &mean, variance: &variance, gamma: &gamma, beta: &beta };
        let y = output(x.len(), |y| norm.forward(&x, p, y));
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![f32::NAN; channels]);
        let mut dx = dy.clone();
        norm.backward(&x, p, &mut dx, &mut dgamma, &mut dbeta);
        for c in 0..channels {
            let voxels: Vec<usize> =
                (0..x.len()).filter(|i| i / spatial % channels == c).collect();
            let n = voxels.len() as f64;
            let average = |f: &dyn Fn(usize) -> f64| voxels.iter().map(|&i| f(i)).sum::<f64>() / n;
            let m = average(&|i| f64::from(x[i]));
            let v = average(&|i| (f64::from(x[i]) - m).powi(2));
            let rstd = 1.0 / (v + f64::from(norm.epsilon)).sqrt();
            let (g, b) = (f64::from(gamma[c]), f64::from(beta[c]));
            let x_hat = |i: usize| (f64::from(x[i]) - m) * rstd;
            let dz = |i: usize| if x_hat(i) * g + b > 0.0 { f64::from(dy[i]) } else { 0.0 };
            // a voxel at the kink may fall to either side
            prop_assume!(voxels.iter().all(|&i| (x_hat(i) * g + b).abs() > 1e-4));
            let (of_dz, of_product) = (average(&dz), average(&|i| dz(i) * x_hat(i)));
            let close = |found: f32, expected: f64| (f64::from(found) - expected).abs() <= 1e-4 * (1.0 + expected.abs());
            prop_assert!(close(mean[c], m) && close(variance[c], v));
            prop_assert!(close(dgamma[c], of_product * n) && close(dbeta[c], of_dz * n));
            for &i in &voxels {
                prop_assert!(close(y[i], (x_hat(i) * g + b).max(0.0)));
                prop_assert!(close(dx[i], g * rstd * (dz(i) - of_dz - x_hat(i) * of_product)));
            }
        }
    }

    /// The weights of trilinear interpolation sum to one, forward; a constant stays itself.
    #[test]
    fn upsampling_keeps_constants(coarse in [1usize..6, 1usize..6, 1usize..12], value in -10f32..10.0) {
        let len = coarse.iter().product::<usize>();
        let up = output(8 * len, |y| upsample::forward(1, coarse, &vec![value; len], y));
        prop_assert!(up.iter().all(|v| (v - value).abs() <= 1e-6 * value.abs()));
    }

    /// The gradients against central differences of a reference in double precision; the mean is far from zero.
    #[test]
    fn group_norm_gradients_match_differences(
        groups in 1usize..4, per_group in 1usize..4, spatial in 2usize..40, offset in -20f32..20.0, seed in 0u64..1000,
    ) {
        let norm = GroupNorm { batch: 2, channels: groups * per_group, spatial, groups, epsilon: 1e-3, slope: None };
        let x: Vec<f32> = values(norm.len(), seed).into_iter().map(|v| v + offset).collect();
        let [gamma, beta] = [1, 2].map(|i| values(norm.channels, seed + i));
        let dy = values(norm.len(), seed + 3);
        let [mut mean, mut rstd] = [0, 1].map(|_| vec![f32::NAN; norm.statistics_len()]);
        let y = output(x.len(), |y| norm.forward(&x, &gamma, &beta, y, &mut mean, &mut rstd));
        let expected = reference(&norm, &doubled(&x), &doubled(&gamma), &doubled(&beta));
        for (y, e) in y.iter().zip(&expected) {
            // x itself is known to 24 bits only, so the distance from the mean is too
            prop_assert!((f64::from(*y) - e).abs() <= 1e-6 * (1.0 + f64::from(offset.abs()) * 10.0), "{y} is not {e}");
        }
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![f32::NAN; norm.channels]);
        let dx = output(x.len(), |dx| {
            norm.backward(&x, &dy, &gamma, &beta, &mean, &rstd, dx, &mut dgamma, &mut dbeta);
        });
        let directions = [values(x.len(), seed + 4), values(norm.channels, seed + 5), values(norm.channels, seed + 6)];
        let [vx, vg, vb] = directions.each_ref().map(|v| doubled(v));
        let along = |h: f64| {
            let moved = |a: &[f32], v: &[f64]| -> Vec<f64> { a.iter().zip(v).map(|(&a, v)| f64::from(a) + h * v).collect() };
            let y = reference(&norm, &moved(&x, &vx), &moved(&gamma, &vg), &moved(&beta, &vb));
            y.iter().zip(&dy).map(|(y, &g)| y * f64::from(g)).sum::<f64>()
        };
        let h = 1e-5;
        let difference = (along(h) - along(-h)) / (2.0 * h);
        let [dvx, dvg, dvb] = &directions;
        let analytic = dot(&dx, dvx) + dot(&dgamma, dvg) + dot(&dbeta, dvb);
        prop_assert!((difference - analytic).abs() <= 2e-4 * (1.0 + difference.abs()), "{analytic} is not {difference}");
    }
}

fn doubled(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// Group normalisation by its definition.
fn reference(norm: &GroupNorm, x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let per_group = norm.channels / norm.groups * norm.spatial;
    let mut y = Vec::new();
    for group in x.chunks(per_group) {
        let mean = group.iter().sum::<f64>() / per_group as f64;
        let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / per_group as f64;
        for v in group {
            let c = y.len() / norm.spatial % norm.channels;
            y.push((v - mean) / (variance + f64::from(norm.epsilon)).sqrt() * gamma[c] + beta[c]);
        }
    }
    y
}

/// A volume of several runs, far from zero: the variance must not drown in the mean.
#[test]
fn group_norm_is_accurate_far_from_zero() {
    let norm = GroupNorm { batch: 1, channels: 2, spatial: 40_001, groups: 1, epsilon: 1e-5, slope: Some(0.1) };
    let x: Vec<f32> = values(norm.len(), 3).into_iter().map(|v| v + 1000.0).collect();
    let [mut mean, mut rstd] = [[f32::NAN], [f32::NAN]];
    let y = output(x.len(), |y| norm.forward(&x, &[1.0, 1.0], &[0.0, 0.0], y, &mut mean, &mut rstd));
    let n = x.len() as f64;
    let exact = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = x.iter().map(|&v| (f64::from(v) - exact).powi(2)).sum::<f64>() / n;
    assert!((f64::from(mean[0]) - exact).abs() < 1e-4, "half a unit in the last place of 1000");
    assert!((f64::from(rstd[0]) * (variance + 1e-5).sqrt() - 1.0).abs() < 1e-6);
    for (&y, &x) in y.iter().zip(&x) {
        let z = (f64::from(x) - exact) / variance.sqrt();
        let expected = if z > 0.0 { z } else { 0.1 * z };
        assert!((f64::from(y) - expected).abs() < 1e-3);
    }
}

/// Every result on one, two and three threads.
#[test]
fn the_thread_count_does_not_show() {
    let shapes = [
        layer([1, 16], [20, 21, 40], 3, 1),
        layer([16, 48], [9, 24, 33], 3, 1),
        layer([24, 40], [11, 12, 13], 3, 2),
        layer([96, 96], [4, 4, 4], 3, 1),
        layer([32, 16], [13, 14, 15], 1, 1),
        layer([16, 32], [10, 8, 24], 2, 2),
    ];
    let everything = |s: &ConvShape| {
        let (x, w, b, dy) =
            (values(s.input_len(), 1), values(s.weight_len(), 2), values(s.out_channels, 3), values(s.output_len(), 4));
        let norm = GroupNorm {
            batch: s.batch,
            channels: s.in_channels,
            spatial: s.input.iter().product(),
            groups: 1,
            epsilon: 1e-5,
            slope: Some(0.01),
        };
        let ones = vec![1.0; s.in_channels];
        let [mut mean, mut rstd] = [0, 1].map(|_| vec![0.0; norm.statistics_len()]);
        let [mut dgamma, mut dbeta] = [0, 1].map(|_| vec![0.0; s.in_channels]);
        let z = output(x.len(), |y| norm.forward(&x, &ones, &ones, y, &mut mean, &mut rstd));
        let dz = output(x.len(), |dx| {
            norm.backward(&x, &z, &ones, &ones, &mean, &rstd, dx, &mut dgamma, &mut dbeta);
        });
        let norm =
            BatchNorm { batch: norm.batch, channels: norm.channels, spatial: norm.spatial, epsilon: norm.epsilon };
        let [mut batch_mean, mut variance] = [0, 1].map(|_| vec![0.0; norm.channels]);
        norm.statistics(&x, &mut batch_mean, &mut variance);
        let p = Parameters { mean: &batch_mean, variance: &variance, gamma: &ones, beta: &ones };
        let [mut batch_dgamma, mut batch_dbeta] = [0, 1].map(|_| vec![0.0; norm.channels]);
        let batch_dz = output(x.len(), |dx| {
            norm.forward(&x, p, dx);
            norm.backward(&x, p, dx, &mut batch_dgamma, &mut batch_dbeta);
        });
        let all = [
            batch_mean.clone(),
            variance.clone(),
            batch_dz,
            batch_dgamma,
            batch_dbeta,
            output(dy.len(), |y| forward(s, &x, &w, Some(&b), y)),
            output(x.len(), |dx| backward_data(s, &w, &dy, dx)),
            output(w.len(), |dw| backward_weight(s, &x, &dy, dw)),
            output(b.len(), |db| backward_bias(s, &dy, db)),
            z,
            dz,
            dgamma,
            dbeta,
        ];
        all.map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
    };
    for s in &shapes {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| everything(s))
        };
        let one = on(1);
        assert!(one == on(2) && one == on(3), "{s:?}");
    }
}

/// A NaN or an infinity reaches exactly the outputs whose window holds it.
#[test]
fn non_finite_values_propagate() {
    let s = layer([3, 10], [6, 6, 6], 3, 1);
    let w: Vec<f32> = values(s.weight_len(), 1).into_iter().map(|v| v + 1.0).collect();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = values(s.input_len(), 2);
        // sample 1, channel 2, voxel (2, 3, 4)
        x[(s.in_channels + 2) * 216 + 2 * 36 + 3 * 6 + 4] = bad;
        let y = output(s.output_len(), |y| forward(&s, &x, &w, None, y));
        for (i, v) in y.iter().enumerate() {
            let (n, d, h, w) = (i / (10 * 216), i / 36 % 6, i / 6 % 6, i % 6);
            let near = n == 1 && d.abs_diff(2) <= 1 && h.abs_diff(3) <= 1 && w.abs_diff(4) <= 1;
            assert_eq!(v.is_finite(), !near, "{v} at {i}");
        }
        let dx = output(s.input_len(), |dx| backward_data(&s, &w, &y, dx));
        assert!(dx.iter().any(|v| v.is_nan() || v.is_infinite()));
        let dw = output(w.len(), |dw| backward_weight(&s, &x, &values(s.output_len(), 5), dw));
        // every tap of input channel 2 sees the bad voxel
        for (i, v) in dw.iter().enumerate() {
            assert_eq!(v.is_finite(), i / 27 % 3 != 2, "{v} at {i}");
        }
    }
    let norm = GroupNorm { batch: 1, channels: 2, spatial: 40, groups: 2, epsilon: 1e-5, slope: Some(0.0) };
    let mut x = values(norm.len(), 1);
    x[45] = f32::NAN;
    let [mut mean, mut rstd] = [[0.0; 2], [0.0; 2]];
    let y = output(x.len(), |y| norm.forward(&x, &[1.0; 2], &[0.0; 2], y, &mut mean, &mut rstd));
    assert!(y[..40].iter().all(|v| v.is_finite()) && y[40..].iter().all(|v| v.is_nan()));
    let norm = BatchNorm { batch: 1, channels: 2, spatial: 40, epsilon: 1e-5 };
    let [mut mean, mut variance] = [[0.0; 2], [0.0; 2]];
    norm.statistics(&x, &mut mean, &mut variance);
    let p = Parameters { mean: &mean, variance: &variance, gamma: &[1.0; 2], beta: &[0.0; 2] };
    let y = output(x.len(), |y| norm.forward(&x, p, y));
    assert!(y[..40].iter().all(|v| v.is_finite()) && y[40..].iter().all(|v| v.is_nan()));
    let mut dx = vec![1.0; x.len()];
    norm.backward(&x, p, &mut dx, &mut [0.0; 2], &mut [0.0; 2]);
    assert!(dx[..40].iter().all(|v| v.is_finite()) && dx[40..].iter().all(|v| v.is_nan()));
    // with statistics that are numbers, the ReLU turns −∞ into 0 and lets the rest through, as PyTorch's does
    let p = Parameters { mean: &[0.0; 2], variance: &[1.0; 2], ..p };
    x[..3].copy_from_slice(&[f32::NEG_INFINITY, f32::INFINITY, f32::NAN]);
    let y = output(x.len(), |y| norm.forward(&x, p, y));
    assert!(y[0] == 0.0 && y[1] == f32::INFINITY && y[2].is_nan());
}

#[test]
fn impossible_shapes_are_refused() {
    let good = layer([2, 3], [4, 4, 4], 3, 1);
    assert_eq!(good.validate(), Ok(()));
    let cases = [
        (ConvShape { in_channels: 0, ..good }, "in_channels is 0"),
        (ConvShape { stride: [1, 0, 1], ..good }, "stride is 0"),
        (ConvShape { input: [4, 2, 4], padding: [0; 3], ..good }, "axis 1: 2 voxels"),
        (ConvShape { input: [usize::MAX; 3], ..good }, "more than"),
        (ConvShape { padding: [usize::MAX; 3], ..good }, "more than"),
    ];
    for (shape, message) in cases {
        let error: ShapeError = shape.validate().unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
