//! Trilinear up-sampling by 2, as `torch.nn.functional.interpolate(scale_factor=2, mode="trilinear")` with
//! `align_corners=False`.
//!
//! Along one axis output `2i` is `¼ x[i−1] + ¾ x[i]` and output `2i + 1` is `¾ x[i] + ¼ x[i+1]`, indices clamped to the
//! volume. The axes are taken one after the other: planes, rows, voxels.

use rayon::prelude::*;

use crate::kernel::Isa;
use crate::scratch::Scratch;

pub(crate) const NEAR: f32 = 0.75;
pub(crate) const FAR: f32 = 0.25;

/// Fine voxels that make a parallel job worth its start.
const JOB: usize = 16 * 1024;

/// The two coarse indices that fine index `i` blends, the nearer first.
pub(crate) fn neighbours(i: usize, coarse: usize) -> (usize, usize) {
    let near = i / 2;
    let far = if i.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(coarse - 1) };
    (near, far)
}

fn check(planes: usize, [d, h, w]: [usize; 3], coarse_len: usize, fine_len: usize) {
    assert_eq!(coarse_len, planes * d * h * w, "the coarse array is not [{planes}, {d}, {h}, {w}]");
    assert_eq!(fine_len, 8 * coarse_len, "the fine array is not [{planes}, 2·{d}, 2·{h}, 2·{w}]");
}

/// Doubles every axis.
///
/// # Shapes
/// `x`: `[planes, d, h, w]` with `planes` = samples · channels and `coarse` = `[d, h, w]`, `y`: `[planes, 2d, 2h, 2w]`,
/// overwritten.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn forward(planes: usize, coarse: [usize; 3], x: &[f32], y: &mut [f32]) {
    check(planes, coarse, x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let ([d, h, w], isa) = (coarse, Isa::detect());
    let work = || Scratch::take(h * w + w);
    y.par_chunks_mut(4 * h * w).enumerate().with_min_len(JOB.div_ceil(4 * h * w)).for_each_init(
        work,
        |work, (plane, y)| {
            let x = &x[plane / (2 * d) * d * h * w..][..d * h * w];
            let (near, far) = neighbours(plane % (2 * d), d);
            let (blend, row) = work.split_at_mut(h * w);
            isa.vectorised(
                #[inline(always)]
                || {
                    mix(&x[near * h * w..][..h * w], &x[far * h * w..][..h * w], blend);
                    for (i, y) in y.chunks_exact_mut(2 * w).enumerate() {
                        let (near, far) = neighbours(i, h);
                        mix(&blend[near * w..][..w], &blend[far * w..][..w], row);
                        spread(row, y);
                    }
                },
            );
        },
    );
}

/// `out = ¾ near + ¼ far`.
#[inline(always)]
pub(crate) fn mix(near: &[f32], far: &[f32], out: &mut [f32]) {
    for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
        *out = NEAR * near + FAR * far;
    }
}

/// Doubles one row.
#[inline(always)]
fn spread(x: &[f32], y: &mut [f32]) {
    let last = x.len() - 1;
    let (pairs, _) = y.as_chunks_mut::<2>();
    for ((pair, x), (before, after)) in pairs[1..].iter_mut().zip(&x[1..]).zip(x.iter().zip(&x[2.min(last + 1)..])) {
        *pair = [NEAR * x + FAR * before, NEAR * x + FAR * after];
    }
    for i in [0, last] {
        let (before, after) = (x[i.saturating_sub(1)], x[(i + 1).min(last)]);
        pairs[i] = [NEAR * x[i] + FAR * before, NEAR * x[i] + FAR * after];
    }
}

/// The gradient: the adjoint of [`forward`].
///
/// # Shapes
/// `dy`: `[planes, 2d, 2h, 2w]`, `dx`: `[planes, d, h, w]`, overwritten; `coarse` is `[d, h, w]`.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn backward(planes: usize, coarse: [usize; 3], dy: &[f32], dx: &mut [f32]) {
    check(planes, coarse, dx.len(), dy.len());
    if dx.is_empty() {
        return;
    }
    let ([d, h, w], isa) = (coarse, Isa::detect());
    let work = || Scratch::take(4 * h * w + 2 * w);
    dx.par_chunks_mut(h * w).enumerate().with_min_len(JOB.div_ceil(4 * h * w)).for_each_init(
        work,
        |work, (plane, dx)| {
            let dy = &dy[plane / d * 8 * d * h * w..][..8 * d * h * w];
            let (blend, row) = work.split_at_mut(4 * h * w);
            isa.vectorised(
                #[inline(always)]
                || {
                    fold(plane % d, d, 4 * h * w, dy, blend);
                    for (i, dx) in dx.chunks_exact_mut(w).enumerate() {
                        fold(i, h, 2 * w, blend, row);
                        gather(row, dx);
                    }
                },
            );
        },
    );
}

/// The four fine indices that coarse index `i` receives from, weighted `¼ ¾ ¾ ¼`. At an end the quarter of the
/// neighbour that is not there falls to the end itself.
#[inline(always)]
fn receives(i: usize, coarse: usize) -> [usize; 4] {
    let before = (2 * i).saturating_sub(1);
    let after = (2 * i + 2).min(2 * coarse - 1);
    [before, 2 * i, 2 * i + 1, after]
}

#[inline(always)]
fn blend([a, b, c, d]: [f32; 4]) -> f32 {
    NEAR * (b + c) + FAR * (a + d)
}

/// The blend of four fine slices of `len` that coarse slice `i` receives.
#[inline(always)]
fn fold(i: usize, coarse: usize, len: usize, fine: &[f32], out: &mut [f32]) {
    let [a, b, c, d] = receives(i, coarse).map(|j| &fine[j * len..][..len]);
    for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out = blend([*a, *b, *c, *d]);
    }
}

/// Halves one row.
#[inline(always)]
fn gather(y: &[f32], x: &mut [f32]) {
    let last = x.len() - 1;
    for i in [0, last] {
        x[i] = blend(receives(i, last + 1).map(|j| y[j]));
    }
    for (i, x) in x.iter_mut().enumerate().take(last).skip(1) {
        *x = blend([y[2 * i - 1], y[2 * i], y[2 * i + 1], y[2 * i + 2]]);
    }
}
