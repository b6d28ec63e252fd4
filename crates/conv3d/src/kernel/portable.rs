//! The inner loops in plain Rust, for processors without AVX2.

/// Fused where the target always has the instruction; elsewhere `mul_add` would be a slow library call.
#[inline(always)]
fn mul_add(x: f32, y: f32, sum: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { x.mul_add(y, sum) } else { x * y + sum }
}

/// See [`super::panel`].
pub(super) fn panel<const LANES: usize>(
    a: &[f32],
    rows: &[u32],
    cols: &[u32],
    b: &[f32],
    out: &mut [f32],
    out_step: usize,
    accumulate: bool,
) {
    let (b, _) = b.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (&row, out) in rows.iter().zip(out.iter_mut().step_by(out_step)) {
        let mut sum = if accumulate { *out } else { [0.0; LANES] };
        for (&col, b) in cols.iter().zip(b) {
            let x = a[row as usize + col as usize];
            for (sum, &b) in sum.iter_mut().zip(b) {
                *sum = mul_add(x, b, *sum);
            }
        }
        *out = sum;
    }
}

/// See [`super::transpose`].
///
/// # Safety
/// As there.
pub(super) unsafe fn transpose(
    rows: usize,
    cols: usize,
    src: *const f32,
    src_stride: usize,
    dst: *mut f32,
    dst_stride: usize,
) {
    for c in 0..cols {
        for r in 0..rows {
            // SAFETY: the caller vouches for these indices.
            unsafe { *dst.add(c * dst_stride + r) = *src.add(r * src_stride + c) };
        }
    }
}
