//! The two inner loops everything else is made of, for each instruction set, chosen at run time.
//!
//! A convolution, its data gradient and its weight gradient are all an *indirect* matrix product
//!
//! ```text
//! out[i][c] += Σ_j a[rows[i] + cols[j]] · b[j][c]
//! ```
//!
//! over a small zero-padded tile `a`. Forward, `i` runs over voxels, `j` over (channel, tap) and `b` holds the weights;
//! for the weight gradient `i` and `j` change places and `b` holds the output's gradient. `c` runs over the lanes of the
//! vector registers. The offset tables take up stride, padding, kernel size and tiny rows, so there is one loop to tune.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// Channels that one panel computes side by side; a last block of at most [`HALF`] channels uses half of them.
pub(crate) const LANES: usize = 16;
/// Lanes of a half block.
pub(crate) const HALF: usize = 8;

/// An instruction set. All but `Portable` exist only where the processor has them: they come from [`Isa::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512F besides.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best of [`Isa::available`].
    pub(crate) fn detect() -> Self {
        Self::available().next_back().unwrap_or(Self::Portable)
    }

    /// What this processor has, best last.
    pub(crate) fn available() -> impl DoubleEndedIterator<Item = Self> {
        let mut all = [Some(Self::Portable), None, None];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            all[1] = Some(Self::Avx2);
            all[2] = std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512);
        }
        all.into_iter().flatten()
    }

    /// Runs plain code compiled for this instruction set; `f` must be marked `#[inline(always)]` to profit.
    #[inline]
    pub(crate) fn vectorised<R>(self, f: impl FnOnce() -> R) -> R {
        match self {
            Self::Portable => f(),
            // SAFETY: these are only made where AVX2 and FMA were detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::vectorised(f) },
        }
    }
}

/// `out[i · out_step][c] = Σ_j a[rows[i] + cols[j]] · b[j][c]`, added to what `out` holds if `accumulate`.
///
/// # Shapes
/// `b`: `[cols.len(), lanes]`, `out`: `[rows.len() · out_step, lanes]`; `lanes` is [`LANES`] or [`HALF`].
#[expect(clippy::too_many_arguments, reason = "a matrix product has that many operands")]
pub(crate) fn panel(
    isa: Isa,
    lanes: usize,
    a: &[f32],
    rows: &[u32],
    cols: &[u32],
    b: &[f32],
    out: &mut [f32],
    out_step: usize,
    accumulate: bool,
) {
    assert!(lanes == LANES || lanes == HALF);
    let Some(last) = rows.len().checked_sub(1) else { return };
    assert!(b.len() >= cols.len() * lanes && out.len() >= (last * out_step + 1) * lanes);
    let reach = |offsets: &[u32]| offsets.iter().copied().max().map(|m| m as usize);
    if let (Some(r), Some(c)) = (reach(rows), reach(cols)) {
        assert!(r + c < a.len());
    }
    match isa {
        Isa::Portable if lanes == LANES => portable::panel::<LANES>(a, rows, cols, b, out, out_step, accumulate),
        Isa::Portable => portable::panel::<HALF>(a, rows, cols, b, out, out_step, accumulate),
        // SAFETY: `Isa::Avx512` is only made where AVX-512F was detected; the asserts above bound every access.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if lanes == LANES => unsafe {
            avx512::panel(a.as_ptr(), rows, cols, b.as_ptr(), out.as_mut_ptr(), out_step, accumulate);
        },
        // SAFETY: these are only made where AVX2 and FMA were detected; the asserts above bound every access.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => unsafe {
            if lanes == LANES {
                avx2::panel::<2>(a.as_ptr(), rows, cols, b.as_ptr(), out.as_mut_ptr(), out_step, accumulate);
            } else {
                avx2::panel::<1>(a.as_ptr(), rows, cols, b.as_ptr(), out.as_mut_ptr(), out_step, accumulate);
            }
        },
    }
}

/// `dst[c · dst_stride + r] = src[r · src_stride + c]` for `r < rows`, `c < cols`.
///
/// # Safety
/// Every index of that formula must be valid for reads from `src` and for writes to `dst`, nobody else may access those
/// elements of `dst` meanwhile, and the two must not overlap.
pub(crate) unsafe fn transpose(
    isa: Isa,
    (rows, cols): (usize, usize),
    src: *const f32,
    src_stride: usize,
    dst: *mut f32,
    dst_stride: usize,
) {
    match isa {
        // SAFETY: passed on to the caller.
        Isa::Portable => unsafe { portable::transpose(rows, cols, src, src_stride, dst, dst_stride) },
        // SAFETY: passed on to the caller; these are only made where AVX2 was detected.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => unsafe { avx2::transpose(rows, cols, src, src_stride, dst, dst_stride) },
    }
}

/// Copies `rows` rows of `len` elements that start `src_stride` and `dst_stride` apart.
pub(crate) fn copy_rows(
    isa: Isa,
    (rows, len): (usize, usize),
    src: &[f32],
    src_stride: usize,
    dst: &mut [f32],
    dst_stride: usize,
) {
    let Some(last) = rows.checked_sub(1) else { return };
    assert!(last * src_stride + len <= src.len() && last * dst_stride + len <= dst.len());
    match isa {
        Isa::Portable => {
            for r in 0..rows {
                dst[r * dst_stride..][..len].copy_from_slice(&src[r * src_stride..][..len]);
            }
        }
        // SAFETY: these are only made where AVX2 was detected; the assert bounds every row.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => unsafe {
            avx2::copy_rows(rows, len, src.as_ptr(), src_stride, dst.as_mut_ptr(), dst_stride)
        },
    }
}
