//! Max-pooling over blocks of 2³ voxels, as `torch.nn.MaxPool3d(2)`.
//!
//! The forward pass notes which voxel of each block won, a byte each: `(dz · 2 + dy) · 2 + dx`, the first of equals. A NaN
//! wins.

use rayon::prelude::*;

use crate::kernel::Isa;

/// Fine voxels that make a parallel job worth its start.
const JOB: usize = 16 * 1024;

fn check(planes: usize, [d, h, w]: [usize; 3], fine: usize, coarse: [usize; 2]) {
    let len = planes * d * h * w;
    assert_eq!(fine, 8 * len, "the fine array is not [{planes}, 2·{d}, 2·{h}, 2·{w}]");
    assert_eq!(coarse, [len; 2], "the coarse arrays are not [{planes}, {d}, {h}, {w}]");
}

/// The rows of a fine plane's four pairs that coarse row `row` (over depth and height) covers.
fn fine_rows([_, h, w]: [usize; 3], row: usize) -> [usize; 4] {
    let (z, y) = (2 * (row / h), 2 * (row % h));
    [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[dz, dy]| ((z + dz) * 2 * h + y + dy) * 2 * w)
}

/// Halves every axis, keeping the largest of eight.
///
/// # Shapes
/// `x`: `[planes, 2d, 2h, 2w]` with `planes` = samples · channels and `coarse` = `[d, h, w]`; `y`, `winner`:
/// `[planes, d, h, w]`, overwritten.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn forward(planes: usize, coarse: [usize; 3], x: &[f32], y: &mut [f32], winner: &mut [u8]) {
    check(planes, coarse, x.len(), [y.len(), winner.len()]);
    if y.is_empty() {
        return;
    }
    let ([d, h, w], isa) = (coarse, Isa::detect());
    let slices = y.par_chunks_mut(h * w).zip(winner.par_chunks_mut(h * w)).enumerate();
    slices.with_min_len(JOB.div_ceil(8 * h * w)).for_each(|(slice, (y, winner))| {
        let x = &x[slice / d * 8 * d * h * w..][..8 * d * h * w];
        let rows = y.chunks_exact_mut(w).zip(winner.chunks_exact_mut(w)).enumerate();
        isa.vectorised(
            #[inline(always)]
            || {
                for (row, (y, winner)) in rows {
                    let pairs = fine_rows(coarse, slice % d * h + row).map(|at| x[at..][..2 * w].as_chunks::<2>().0);
                    largest(pairs, y, winner);
                }
            },
        );
    });
}

/// One coarse row.
#[inline(always)]
fn largest([a, b, c, d]: [&[[f32; 2]]; 4], y: &mut [f32], winner: &mut [u8]) {
    let rows = y.iter_mut().zip(winner).zip(a.iter().zip(b).zip(c.iter().zip(d)));
    for ((y, winner), ((a, b), (c, d))) in rows {
        let (mut best, mut at) = (a[0], 0u32);
        for (i, v) in [a[1], b[0], b[1], c[0], c[1], d[0], d[1]].into_iter().enumerate() {
            // not `v > best`: a NaN takes over, and keeps its place against numbers
            let wins = v > best || v.is_nan();
            best = if wins { v } else { best };
            at = if wins { i as u32 + 1 } else { at };
        }
        (*y, *winner) = (best, at as u8);
    }
}

/// The gradient: every block's goes to its winner, the others get zero.
///
/// # Shapes
/// `dy`, `winner`: `[planes, d, h, w]`, the latter from [`forward`]; `dx`: `[planes, 2d, 2h, 2w]`, overwritten; `coarse` is
/// `[d, h, w]`.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn backward(planes: usize, coarse: [usize; 3], dy: &[f32], winner: &[u8], dx: &mut [f32]) {
    check(planes, coarse, dx.len(), [dy.len(), winner.len()]);
    if dy.is_empty() {
        return;
    }
    let ([_, h, w], isa) = (coarse, Isa::detect());
    dx.par_chunks_mut(8 * h * w).enumerate().with_min_len(JOB.div_ceil(8 * h * w)).for_each(|(slice, dx)| {
        let (dy, winner) = (&dy[slice * h * w..][..h * w], &winner[slice * h * w..][..h * w]);
        isa.vectorised(
            #[inline(always)]
            || {
                for (row, (dy, winner)) in dy.chunks_exact(w).zip(winner.chunks_exact(w)).enumerate() {
                    for (pair, at) in fine_rows(coarse, row).into_iter().enumerate() {
                        let (pairs, _) = dx[at..][..2 * w].as_chunks_mut::<2>();
                        for ((dx, &dy), &winner) in pairs.iter_mut().zip(dy).zip(winner) {
                            *dx = [0, 1].map(|x| given(u32::from(winner) == 2 * pair as u32 + x, dy));
                        }
                    }
                }
            },
        );
    });
}

/// `value` or zero, without a branch.
#[inline(always)]
fn given(condition: bool, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & if condition { u32::MAX } else { 0 })
}
