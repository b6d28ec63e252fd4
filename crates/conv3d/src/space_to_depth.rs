//! Rearrangement of 2³ voxel blocks into channels and back, as PyTorch's `pixel_unshuffle`/`pixel_shuffle` in 3D.
//!
//! Channel `c` and offset `(dz, dy, dx)` within a block become channel `c · 8 + (dz · 2 + dy) · 2 + dx`. Each direction
//! is the other's inverse and adjoint, so each is the other's gradient.

use rayon::prelude::*;

use crate::kernel::Isa;

/// Voxels that make a parallel job worth its start.
const JOB: usize = 16 * 1024;

/// Blocks of 2³ voxels into channels.
///
/// # Shapes
/// `x`: `[planes, 2d, 2h, 2w]` with `planes` = samples · channels, `y`: `[planes · 8, d, h, w]`, overwritten; `coarse` is
/// `[d, h, w]`.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn space_to_depth(planes: usize, coarse: [usize; 3], x: &[f32], y: &mut [f32]) {
    let ([d, h, w], isa) = (coarse, Isa::detect());
    assert_eq!(x.len(), planes * 8 * d * h * w, "x is not [{planes}, 2·{d}, 2·{h}, 2·{w}]");
    assert_eq!(y.len(), x.len(), "y is not [8·{planes}, {d}, {h}, {w}]");
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(d * h * w).enumerate().with_min_len(JOB.div_ceil(d * h * w)).for_each(|(channel, y)| {
        let x = &x[channel / 8 * 8 * d * h * w..];
        isa.vectorised(
            #[inline(always)]
            || {
                for (row, y) in y.chunks_exact_mut(w).enumerate() {
                    let (start, dx) = fine_row(coarse, row, channel % 8);
                    let (x, _) = x[start..][..2 * w].as_chunks::<2>();
                    // apart, so that each is a fixed shuffle
                    if dx == 0 {
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = x[0]);
                    } else {
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = x[1]);
                    }
                }
            },
        );
    });
}

/// Groups of eight channels into blocks of 2³ voxels.
///
/// # Shapes
/// `x`: `[planes · 8, d, h, w]`, `y`: `[planes, 2d, 2h, 2w]` with `planes` = samples · channels of the output,
/// overwritten; `coarse` is `[d, h, w]`.
///
/// # Panics
/// Where the lengths differ from these shapes.
pub fn depth_to_space(planes: usize, coarse: [usize; 3], x: &[f32], y: &mut [f32]) {
    let [d, h, w] = coarse;
    assert_eq!(x.len(), planes * 8 * d * h * w, "x is not [8·{planes}, {d}, {h}, {w}]");
    assert_eq!(y.len(), x.len(), "y is not [{planes}, 2·{d}, 2·{h}, 2·{w}]");
    if y.is_empty() {
        return;
    }
    let coarse_volume = d * h * w;
    y.par_chunks_mut(8 * coarse_volume).enumerate().with_min_len(JOB.div_ceil(8 * coarse_volume)).for_each(
        |(plane, y)| {
            let x = &x[plane * 8 * coarse_volume..][..8 * coarse_volume];
            for row in 0..d * h {
                for pair in 0..4 {
                    let (start, _) = fine_row(coarse, row, 2 * pair);
                    let even = &x[2 * pair * coarse_volume + row * w..][..w];
                    let odd = &x[(2 * pair + 1) * coarse_volume + row * w..][..w];
                    let (y, _) = y[start..][..2 * w].as_chunks_mut::<2>();
                    y.iter_mut().zip(even.iter().zip(odd)).for_each(|(y, (&even, &odd))| *y = [even, odd]);
                }
            }
        },
    );
}

/// Where, in a fine plane, the row starts that holds coarse row `row` (over depth and height) at block offset `offset`, and
/// the offset's x.
#[inline(always)]
fn fine_row([_, h, w]: [usize; 3], row: usize, offset: usize) -> (usize, usize) {
    let (z, y) = (2 * (row / h) + offset / 4, 2 * (row % h) + offset / 2 % 2);
    ((z * 2 * h + y) * 2 * w, offset % 2)
}
