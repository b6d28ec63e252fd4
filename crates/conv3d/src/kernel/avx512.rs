//! The inner product with AVX-512: 12 accumulators of 16 lanes, whose multiply-adds broadcast their scalar from memory.
//!
//! Every sum is made of the same fused multiply-adds in the same order as with AVX2: the results are the same bits.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

const LANES: usize = 16;

/// See [`super::panel`]; for whole blocks of 16 lanes.
///
/// # Safety
/// AVX-512F must be present; `rows[i] + cols[j]` must index `a`, `b` hold `cols.len() · 16` elements and `out`
/// `rows.len() · out_step · 16` (less the last step).
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn panel(
    a: *const f32,
    rows: &[u32],
    cols: &[u32],
    b: *const f32,
    out: *mut f32,
    out_step: usize,
    accumulate: bool,
) {
    let (mut rows, mut out) = (rows, out);
    // SAFETY: the caller's bounds; each tile stays within its rows.
    unsafe {
        macro_rules! tiles {
            ($($size:literal)+) => {$(
                while let Some((tile_rows, rest)) = rows.split_first_chunk::<$size>() {
                    tile::<$size>(a, tile_rows, cols, b, out, out_step, accumulate);
                    rows = rest;
                    out = out.wrapping_add($size * out_step * LANES);
                }
            )+};
        }
        // Eight sums in flight hide the latency (four cycles, two multiply-adds in each); twelve save loads of `b` and their
        // row pointers still fit in the general registers: measured best, sixteen about the same.
        tiles!(12 8 6 4 2 1);
    }
}

/// `R` rows of [`panel`], their sums in registers throughout.
///
/// # Safety
/// As for [`panel`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tile<const R: usize>(
    a: *const f32,
    rows: &[u32; R],
    cols: &[u32],
    b: *const f32,
    out: *mut f32,
    out_step: usize,
    accumulate: bool,
) {
    let mut sum: [__m512; R] = [_mm512_setzero_ps(); R];
    // SAFETY: the caller's bounds.
    unsafe {
        let row: [*const f32; R] = std::array::from_fn(|i| a.add(rows[i] as usize));
        if accumulate {
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(out.add(i * out_step * LANES));
            }
        }
        let mut b = b;
        for &col in cols {
            let weights = _mm512_loadu_ps(b);
            for (sum, row) in sum.iter_mut().zip(row) {
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(*row.add(col as usize)), weights, *sum);
            }
            b = b.add(LANES);
        }
        for (i, &sum) in sum.iter().enumerate() {
            _mm512_storeu_ps(out.add(i * out_step * LANES), sum);
        }
    }
}
