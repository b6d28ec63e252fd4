//! Every instruction set against a plain reference in double precision, over random shapes.

use proptest::prelude::*;

use crate::conv::{backward_data_on, backward_weight_on, forward_on};
use crate::kernel::Isa;
use crate::shape::{ConvShape, volume};

/// Pseudo-random values in [−0.5, 0.5).
pub(crate) fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..len).map(step).collect()
}

/// Calls `f(output index, input index, weight index)` for every product of the convolution.
fn for_each_product(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (out, taps) = (s.output(), volume(s.kernel));
    let (iv, ov) = (volume(s.input), volume(out));
    let index = |i: usize, dims: [usize; 3]| [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
    for v in 0..ov {
        for t in 0..taps {
            let (o, k) = (index(v, out), index(t, s.kernel));
            let at: [isize; 3] = std::array::from_fn(|a| (o[a] * s.stride[a] + k[a]) as isize - s.padding[a] as isize);
            if (0..3).any(|a| at[a] < 0 || at[a] >= s.input[a] as isize) {
                continue;
            }
            let i = (at[0] as usize * s.input[1] + at[1] as usize) * s.input[2] + at[2] as usize;
            for n in 0..s.batch {
                for co in 0..s.out_channels {
                    for ci in 0..s.in_channels {
                        f(
                            (n * s.out_channels + co) * ov + v,
                            (n * s.in_channels + ci) * iv + i,
                            (co * s.in_channels + ci) * taps + t,
                        );
                    }
                }
            }
        }
    }
}

/// Largest difference relative to the scale of sums of `terms` products of values below one half.
fn error(found: &[f32], expected: &[f64], terms: usize) -> f64 {
    let scale = (terms as f64).sqrt().max(1.0);
    found.iter().zip(expected).map(|(&f, &e)| (f64::from(f) - e).abs() / scale).fold(0.0, f64::max)
}

/// f32 keeps 24 bits; sums of products below 1/4 err by a few units in the last place of their scale.
const TOLERANCE: f64 = 1e-6;

fn instruction_sets() -> Vec<Isa> {
    Isa::available().collect()
}

fn check_against_reference(s: &ConvShape, seed: u64) -> Result<(), TestCaseError> {
    let (x, w) = (values(s.input_len(), seed), values(s.weight_len(), seed + 1));
    let (bias, dy) = (values(s.out_channels, seed + 2), values(s.output_len(), seed + 3));
    let (mut y, mut dx, mut dw) = (vec![0f64; dy.len()], vec![0f64; x.len()], vec![0f64; w.len()]);
    let out = volume(s.output());
    y.iter_mut().enumerate().for_each(|(i, y)| *y = f64::from(bias[i / out % s.out_channels]));
    for_each_product(s, |o, i, k| {
        let (xv, wv, g) = (f64::from(x[i]), f64::from(w[k]), f64::from(dy[o]));
        y[o] += xv * wv;
        dx[i] += g * wv;
        dw[k] += g * xv;
    });
    let taps = volume(s.kernel);
    let mut fused = Vec::new();
    for isa in instruction_sets() {
        let first_fused = fused.len();
        let mut found = vec![f32::NAN; y.len()];
        forward_on(isa, s, &x, &w, Some(&bias), &mut found);
        prop_assert!(error(&found, &y, s.in_channels * taps) < TOLERANCE, "{isa:?} forward of {s:?}");
        fused.append(&mut found);
        let mut found = vec![f32::NAN; dx.len()];
        backward_data_on(isa, s, &w, &dy, None, &mut found);
        prop_assert!(error(&found, &dx, s.out_channels * taps) < TOLERANCE, "{isa:?} data gradient of {s:?}");
        fused.append(&mut found);
        let mut found = vec![f32::NAN; dw.len()];
        backward_weight_on(isa, s, &x, &dy, &mut found);
        prop_assert!(error(&found, &dw, s.batch * out) < TOLERANCE, "{isa:?} weight gradient of {s:?}");
        fused.append(&mut found);
        // All sets with fused multiply-adds take them in the same order: the same bits.
        if isa == Isa::Portable {
            fused.clear();
        } else if first_fused > 0 {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let (before, now) = fused.split_at(first_fused);
            prop_assert!(bits(before) == bits(now), "{isa:?} differs from the one before in {s:?}");
            fused.truncate(first_fused);
        }
    }
    Ok(())
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let axis = || (1usize..5, 1usize..4, 0usize..3, 1usize..12);
    (1usize..3, 1usize..36, 1usize..36, [axis(), axis(), axis()]).prop_map(
        |(batch, in_channels, out_channels, axes)| {
            let kernel = axes.map(|a| a.0);
            let padding = axes.map(|a| a.2);
            // any size that leaves at least one output voxel
            let input = axes.map(|a| a.3.max(a.0.saturating_sub(2 * a.2)).max(1));
            ConvShape { batch, in_channels, out_channels, input, kernel, stride: axes.map(|a| a.1), padding }
        },
    )
}

/// Small enough for Miri: each path through blocks, halves, phases, halos and runs once.
#[test]
fn small_layers_match_the_reference() {
    for (channels, input, kernel, stride) in
        [([2, 9], [2, 3, 4], 3, 1), ([3, 2], [3, 2, 5], 3, 2), ([17, 3], [1, 2, 9], 1, 1), ([2, 3], [2, 2, 3], 2, 2)]
    {
        let shape = ConvShape {
            batch: 2,
            in_channels: channels[0],
            out_channels: channels[1],
            input,
            kernel: [kernel; 3],
            stride: [stride; 3],
            padding: [usize::from(kernel == 3); 3],
        };
        check_against_reference(&shape, 7).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "minutes there; `small_layers_match_the_reference` goes the same ways")]
    fn any_geometry_matches_the_reference(shape in shapes(), seed in 0u64..1000) {
        check_against_reference(&shape, seed)?;
    }

    #[test]
    #[cfg_attr(miri, ignore = "minutes there; `small_layers_match_the_reference` goes the same ways")]
    fn usual_layers_match_the_reference(
        kernel in prop::sample::select(vec![1usize, 2, 3]),
        stride in 1usize..3,
        input in [1usize..9, 1usize..9, 1usize..20],
        channels in [1usize..40, 1usize..40],
        seed in 0u64..1000,
    ) {
        let padding = usize::from(kernel == 3);
        let input = input.map(|n| n.max(kernel));
        let [in_channels, out_channels] = channels;
        let shape = ConvShape {
            batch: 2, in_channels, out_channels, input,
            kernel: [kernel; 3], stride: [stride; 3], padding: [padding; 3],
        };
        check_against_reference(&shape, seed)?;
    }
}
