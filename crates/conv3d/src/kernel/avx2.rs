//! The inner loops with AVX2 and FMA: 12 accumulators of 8 lanes, 6 broadcasts and 2 loads for 12 multiply-adds.

use std::arch::x86_64::{
    __m256, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

/// Rows of a register tile: 6 rows of 2 vectors are 12 of the 16 registers.
const ROWS: usize = 6;

/// See [`super::panel`]; `V` vectors of 8 lanes.
///
/// # Safety
/// AVX2 and FMA must be present; `rows[i] + cols[j]` must index `a`, `b` hold `cols.len() · 8V` elements and `out`
/// `rows.len() · out_step · 8V` (less the last step).
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn panel<const V: usize>(
    a: *const f32,
    rows: &[u32],
    cols: &[u32],
    b: *const f32,
    out: *mut f32,
    out_step: usize,
    accumulate: bool,
) {
    let (tiles, rest) = rows.as_chunks::<ROWS>();
    // SAFETY: the caller's bounds; each tile stays within its rows.
    unsafe {
        for (i, tile_rows) in tiles.iter().enumerate() {
            tile::<ROWS, V>(a, tile_rows, cols, b, out.add(i * ROWS * out_step * V * 8), out_step, accumulate);
        }
        // Past the end when nothing is left: a pointer that is not used.
        let out = out.wrapping_add(tiles.len() * ROWS * out_step * V * 8);
        match *rest {
            [r0] => tile::<1, V>(a, &[r0], cols, b, out, out_step, accumulate),
            [r0, r1] => tile::<2, V>(a, &[r0, r1], cols, b, out, out_step, accumulate),
            [r0, r1, r2] => tile::<3, V>(a, &[r0, r1, r2], cols, b, out, out_step, accumulate),
            [r0, r1, r2, r3] => tile::<4, V>(a, &[r0, r1, r2, r3], cols, b, out, out_step, accumulate),
            [r0, r1, r2, r3, r4] => tile::<5, V>(a, &[r0, r1, r2, r3, r4], cols, b, out, out_step, accumulate),
            _ => {}
        }
    }
}

/// `R` rows of [`panel`], their sums in registers throughout.
///
/// # Safety
/// As for [`panel`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const R: usize, const V: usize>(
    a: *const f32,
    rows: &[u32; R],
    cols: &[u32],
    b: *const f32,
    out: *mut f32,
    out_step: usize,
    accumulate: bool,
) {
    let mut sum = [[_mm256_setzero_ps(); V]; R];
    // SAFETY: the caller's bounds.
    unsafe {
        let row: [*const f32; R] = std::array::from_fn(|i| a.add(rows[i] as usize));
        if accumulate {
            for (i, sum) in sum.iter_mut().enumerate() {
                for (v, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm256_loadu_ps(out.add((i * out_step * V + v) * 8));
                }
            }
        }
        let mut b = b;
        for &col in cols {
            let mut weights = [_mm256_setzero_ps(); V];
            for (v, weights) in weights.iter_mut().enumerate() {
                *weights = _mm256_loadu_ps(b.add(v * 8));
            }
            for (sum, row) in sum.iter_mut().zip(row) {
                let x = _mm256_broadcast_ss(&*row.add(col as usize));
                for (sum, weights) in sum.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(x, weights, *sum);
                }
            }
            b = b.add(V * 8);
        }
        for (i, sum) in sum.iter().enumerate() {
            for (v, &sum) in sum.iter().enumerate() {
                _mm256_storeu_ps(out.add((i * out_step * V + v) * 8), sum);
            }
        }
    }
}

/// See [`super::Isa::vectorised`].
#[target_feature(enable = "avx2,fma")]
pub(super) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// See [`super::transpose`]; blocks of 8 × 8 in registers, the edges one by one.
///
/// # Safety
/// As there, and AVX2 must be present.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn transpose(
    rows: usize,
    cols: usize,
    src: *const f32,
    src_stride: usize,
    dst: *mut f32,
    dst_stride: usize,
) {
    let (whole_rows, whole_cols) = (rows & !7, cols & !7);
    // SAFETY: every index is within `rows` and `cols`, for which the caller vouches.
    unsafe {
        for c in (0..whole_cols).step_by(8) {
            for r in (0..whole_rows).step_by(8) {
                let block = std::array::from_fn(|i| _mm256_loadu_ps(src.add((r + i) * src_stride + c)));
                for (i, row) in transpose8(block).into_iter().enumerate() {
                    _mm256_storeu_ps(dst.add((c + i) * dst_stride + r), row);
                }
            }
        }
        let edge = |r: usize, c: usize| *dst.add(c * dst_stride + r) = *src.add(r * src_stride + c);
        for c in 0..cols {
            let done = if c < whole_cols { whole_rows } else { 0 };
            (done..rows).for_each(|r| edge(r, c));
        }
    }
}

/// The transpose of an 8 × 8 block.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose8(m: [__m256; 8]) -> [__m256; 8] {
    let pair = |i: usize| (_mm256_unpacklo_ps(m[i], m[i + 1]), _mm256_unpackhi_ps(m[i], m[i + 1]));
    let ((a0, a1), (a2, a3), (a4, a5), (a6, a7)) = (pair(0), pair(2), pair(4), pair(6));
    let quad = |lo: __m256, hi: __m256| (_mm256_shuffle_ps::<0x44>(lo, hi), _mm256_shuffle_ps::<0xEE>(lo, hi));
    let ((b0, b1), (b2, b3), (b4, b5), (b6, b7)) = (quad(a0, a2), quad(a1, a3), quad(a4, a6), quad(a5, a7));
    let low = |x: __m256, y: __m256| _mm256_permute2f128_ps::<0x20>(x, y);
    let high = |x: __m256, y: __m256| _mm256_permute2f128_ps::<0x31>(x, y);
    [low(b0, b4), low(b1, b5), low(b2, b6), low(b3, b7), high(b0, b4), high(b1, b5), high(b2, b6), high(b3, b7)]
}

/// See [`super::copy_rows`]; for rows so short that a call to `memcpy` would cost more than the copy.
///
/// # Safety
/// AVX2 must be present, and every row be valid in `src` and `dst`, which must not overlap.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn copy_rows(
    rows: usize,
    len: usize,
    src: *const f32,
    src_stride: usize,
    dst: *mut f32,
    dst_stride: usize,
) {
    const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let (whole, rest) = (len & !7, len & 7);
    // SAFETY: the window of eight lies within the sixteen; the caller vouches for the rows.
    unsafe {
        let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - rest).cast());
        for r in 0..rows {
            let (src, dst) = (src.add(r * src_stride), dst.add(r * dst_stride));
            for i in (0..whole).step_by(8) {
                _mm256_storeu_ps(dst.add(i), _mm256_loadu_ps(src.add(i)));
            }
            if rest > 0 {
                _mm256_maskstore_ps(dst.add(whole), mask, _mm256_maskload_ps(src.add(whole), mask));
            }
        }
    }
}
