//! The inference layers against the plain ones.

use proptest::prelude::*;

use super::{Activations, Conv, Finish};
use crate::conv::{backward_data_on, forward_on};
use crate::group_norm::GroupNorm;
use crate::kernel::Isa;
use crate::shape::{ConvShape, volume};
use crate::tests::values;
use crate::{transposed, upsample};

/// Winograd's transforms cost two bits of f32's 24, on sums of products below 1/4, per root of the number of terms.
const TOLERANCE: f32 = 2e-6;

fn shape(channels: [usize; 2], input: [usize; 3], kernel: usize, stride: usize) -> ConvShape {
    let [in_channels, out_channels] = channels;
    let (kernel, stride, padding) = ([kernel; 3], [stride; 3], [kernel / 2; 3]);
    ConvShape { batch: 1, in_channels, out_channels, input, kernel, stride, padding }
}

fn loaded(channels: usize, dims: [usize; 3], values: &[f32]) -> Activations {
    let mut array = Activations::new(channels, dims);
    array.load(values);
    array
}

fn stored(array: &Activations) -> Vec<f32> {
    let mut plain = vec![f32::NAN; array.channels() * volume(array.dims())];
    array.store(&mut plain);
    plain
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "they differ by {worst}, more than {tolerance}");
}

/// The channels of a convolution's input in one or two sources, `split` in the first.
fn sources(s: &ConvShape, x: &[f32], split: usize) -> Vec<Activations> {
    let (first, second) = x.split_at(split * volume(s.input));
    let parts = [(split, first), (s.in_channels - split, second)];
    parts.into_iter().filter(|p| p.0 > 0).map(|(c, x)| loaded(c, s.input, x)).collect()
}

fn check_convolution(s: &ConvShape, split: usize, seed: u64) {
    let (x, w, bias) =
        (values(s.input_len(), seed), values(s.weight_len(), seed + 1), values(s.out_channels, seed + 2));
    let sources = sources(s, &x, split);
    let sources: Vec<_> = sources.iter().collect();
    let mut found: Vec<Vec<f32>> = Vec::new();
    for isa in Isa::available() {
        let mut expected = vec![f32::NAN; s.output_len()];
        forward_on(isa, s, &x, &w, Some(&bias), &mut expected);
        let conv = Conv::new_on(isa, s, &w, &bias);
        let tolerance = TOLERANCE * (w.len() as f32 / s.out_channels as f32).sqrt();
        let mut y = Activations::new(s.out_channels, s.output());
        conv.run(&sources, Finish::Linear, &mut y);
        let linear = stored(&y);
        assert_close(&linear, &expected, tolerance);
        conv.run(&sources, Finish::Relu, &mut y);
        assert_eq!(bits(&stored(&y)), bits(&linear.iter().map(|v| v.max(0.0)).collect::<Vec<_>>()));
        let mut plain = vec![f32::NAN; linear.len()];
        conv.run_plain(&sources, &mut plain);
        assert_eq!(bits(&plain), bits(&linear));
        let sums = conv.run_summing(&sources, &mut y);
        assert_eq!(bits(&stored(&y)), bits(&linear));
        for (sums, y) in sums.iter().zip(linear.chunks_exact(volume(s.output()))) {
            let (sum, squares): (f64, f64) =
                y.iter().map(|&v| f64::from(v)).fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
            assert!((sums[0] - sum).abs() < 1e-9 && (sums[1] - squares).abs() < 1e-9, "sums");
        }
        found.push(linear);
    }
    // fused multiply-adds in the same order
    assert!(found.len() < 3 || bits(&found[1]) == bits(&found[2]), "AVX2 and AVX-512 differ");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "minutes there; `small_layers` goes the same ways")]
    fn convolutions_are_the_plain_ones(
        channels in [1usize..40, 1usize..40],
        input in [1usize..9, 1usize..9, 1usize..30],
        kernel in prop::sample::select(vec![1usize, 3]),
        stride in 1usize..3,
        split in 0usize..40,
        seed in 0u64..1000,
    ) {
        check_convolution(&shape(channels, input, kernel, stride), split.min(channels[0]), seed);
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes there; `small_layers` goes the same ways")]
    fn transposed_convolutions_are_the_plain_ones(
        channels in [1usize..40, 1usize..40],
        input in [1usize..6, 1usize..6, 1usize..12],
        seed in 0u64..1000,
    ) {
        let s = transposed::upsampling(1, channels[0], channels[1], input);
        let (x, w, bias) = (values(s.output_len(), seed), values(s.weight_len(), seed + 1), values(channels[1], seed + 2));
        for isa in Isa::available() {
            let mut expected = vec![f32::NAN; s.input_len()];
            backward_data_on(isa, &s, &w, &x, Some(&bias), &mut expected);
            let mut y = Activations::new(channels[1], s.input);
            let conv = Conv::transposed_on(isa, &s, &w, &bias);
            conv.run(&[&loaded(channels[0], input, &x)], Finish::Linear, &mut y);
            prop_assert_eq!(bits(&stored(&y)), bits(&expected));
        }
    }

    /// The maximum and the up-sampling are exact; the normalisation takes the same steps from sums that differ in f64's
    /// last bits.
    #[test]
    #[cfg_attr(miri, ignore = "minutes there; `small_layers` goes the same ways")]
    fn elementwise_layers_are_the_plain_ones(
        (groups, per_group) in (1usize..4, 1usize..12),
        dims in [1usize..9, 1usize..9, 1usize..12],
        residual in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let channels = groups * per_group;
        let (n, x) = (volume(dims), values(channels * volume(dims), seed));
        let array = loaded(channels, dims, &x);

        let mut y = Activations::new(channels, dims.map(|n| 2 * n));
        array.upsample(&mut y);
        let mut expected = vec![f32::NAN; 8 * x.len()];
        upsample::forward(channels, dims, &x, &mut expected);
        prop_assert_eq!(bits(&stored(&y)), bits(&expected));

        if dims.iter().all(|&n| n > 1) {
            let half = dims.map(|n| n / 2);
            let mut y = Activations::new(channels, half);
            array.max_pool(&mut y);
            for (i, found) in stored(&y).into_iter().enumerate() {
                let (c, v) = (i / volume(half), i % volume(half));
                let at = [v / half[1] / half[2], v / half[2] % half[1], v % half[2]].map(|i| 2 * i);
                let cell = (0..8).map(|k| ((at[0] + k / 4) * dims[1] + at[1] + k / 2 % 2) * dims[2] + at[2] + k % 2);
                let most = cell.map(|v| x[c * n + v]).fold(f32::NEG_INFINITY, f32::max);
                prop_assert_eq!(found, most);
            }
        }

        let norm = GroupNorm { batch: 1, channels, spatial: n, groups, epsilon: 1e-5, slope: Some(0.01) };
        let (gamma, beta, r) = (values(channels, seed + 1), values(channels, seed + 2), values(x.len(), seed + 3));
        let sums: Vec<[f64; 2]> = x.chunks_exact(n).map(|x| x.iter().fold([0.0; 2], |[s, q], &v| {
            [s + f64::from(v), q + f64::from(v) * f64::from(v)]
        })).collect();
        let mut found = loaded(channels, dims, &x);
        let residue = loaded(channels, dims, &r);
        found.normalise(&norm, &sums, [&gamma, &beta], residual.then_some(&residue));
        let mut expected = vec![f32::NAN; x.len()];
        let plain = GroupNorm { slope: norm.slope.filter(|_| !residual), ..norm };
        plain.forward(&x, &gamma, &beta, &mut expected, &mut vec![0.0; groups], &mut vec![0.0; groups]);
        if residual {
            let leaky = |z: f32| if z > 0.0 { z } else { 0.01 * z };
            expected.iter_mut().zip(&r).for_each(|(y, r)| *y = leaky(r + *y));
        }
        // a variance near 0 magnifies the last bits
        assert_close(&stored(&found), &expected, 1e-4);
    }
}

/// Small enough for Miri.
#[test]
fn small_layers() {
    for (channels, input, kernel, stride) in
        [([2, 9], [2, 3, 5], 3, 1), ([9, 2], [3, 2, 5], 3, 2), ([17, 3], [1, 2, 3], 1, 1), ([1, 3], [2, 2, 3], 3, 1)]
    {
        check_convolution(&shape(channels, input, kernel, stride), channels[0] / 2, 7);
    }
}

/// What is not a number stays so, and nothing else becomes it but along the row; the rim stays zero.
#[test]
fn non_finite_values_pass_through() {
    let s = shape([9, 16], [5, 6, 23], 3, 1);
    let (w, bias) = (values(s.weight_len(), 1), values(s.out_channels, 2));
    let conv = Conv::new(&s, &w, &bias);
    let mut y = Activations::new(16, s.input);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = values(s.input_len(), 3);
        x[(8 * 5 + 2) * 6 * 23 + 3 * 23 + 11] = bad;
        conv.run(&[&loaded(9, s.input, &x)], Finish::Linear, &mut y);
        for (i, v) in stored(&y).into_iter().enumerate() {
            let [z, y, x] = [i / (6 * 23) % 5, i / 23 % 6, i % 23];
            let [dz, dy, dx] = [z.abs_diff(2), y.abs_diff(3), x.abs_diff(11)];
            if dz < 2 && dy < 2 && dx < 2 {
                assert!(!v.is_finite(), "{bad} was lost at {z} {y} {x}");
            } else if dz > 1 || dy > 1 || dx > 4 {
                assert!(v.is_finite(), "{bad} spread to {z} {y} {x}");
            }
        }
        let mut half = Activations::new(16, s.input.map(|n| n / 2));
        y.max_pool(&mut half);
        assert!(stored(&half).iter().any(|v| !v.is_finite()));
        conv.run(&[&loaded(9, s.input, &values(s.input_len(), 3))], Finish::Relu, &mut y);
        assert!(stored(&y).iter().all(|v| v.is_finite() && *v >= 0.0));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let s = shape([24, 40], [9, 10, 21], 3, 1);
    let (x, w, bias) = (values(s.input_len(), 1), values(s.weight_len(), 2), values(s.out_channels, 3));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut y = Activations::new(40, s.input);
            let sums = Conv::new(&s, &w, &bias).run_summing(&[&loaded(24, s.input, &x)], &mut y);
            (bits(&stored(&y)), sums.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>())
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5), "the result depends on the number of threads");
}
