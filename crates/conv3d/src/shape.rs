//! The geometry of a convolution: sizes, strides, padding, and what follows from them.

/// Sizes and strides of a 3D convolution (cross-correlation, as every deep-learning library calls convolution).
///
/// Spatial triples are `[depth, height, width]`; arrays are contiguous with the width running fastest. Padding is with
/// zeros and the same on both sides of an axis, as in `torch.nn.Conv3d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Samples.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Voxels of the input along each axis.
    pub input: [usize; 3],
    /// Taps of the kernel along each axis.
    pub kernel: [usize; 3],
    /// Step of the kernel along each axis, in input voxels.
    pub stride: [usize; 3],
    /// Zeros added at each end of each axis.
    pub padding: [usize; 3],
}

/// Why a [`ConvShape`] describes no convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A size that must be positive is zero.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// The field at fault.
        what: &'static str,
    },
    /// The padded input is smaller than the kernel.
    #[error(
        "axis {axis}: {input} voxels with {padding} zeros at each end are fewer than the {kernel} taps of the kernel; \
         pad more or use a larger patch"
    )]
    InputTooSmall {
        /// 0 depth, 1 height, 2 width.
        axis: usize,
        /// Voxels of the input along that axis.
        input: usize,
        /// Zeros at each end.
        padding: usize,
        /// Taps of the kernel.
        kernel: usize,
    },
    /// An array would have more elements than can be addressed here.
    #[error("the arrays would hold more than {limit} elements per sample; use a smaller patch")]
    TooLarge {
        /// Elements that one sample, or the weights, may have.
        limit: usize,
    },
}

/// Elements of one sample or of the weights: far above what a training step holds, and safely inside `usize`.
const MAX_ELEMENTS: usize = 1 << 40;

impl ConvShape {
    /// Voxels of the output along each axis: `(input + 2·padding − kernel) / stride + 1`.
    ///
    /// # Panics
    /// Where [`validate`](Self::validate) fails.
    #[must_use]
    pub fn output(&self) -> [usize; 3] {
        std::array::from_fn(|a| (self.input[a] + 2 * self.padding[a] - self.kernel[a]) / self.stride[a] + 1)
    }

    /// Checks that the sizes describe a convolution with at least one output voxel.
    ///
    /// # Errors
    /// [`ShapeError`] names the first field at fault.
    pub fn validate(&self) -> Result<(), ShapeError> {
        let named = [
            ("batch", self.batch),
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("input", self.input.into_iter().min().unwrap_or(0)),
            ("kernel", self.kernel.into_iter().min().unwrap_or(0)),
            ("stride", self.stride.into_iter().min().unwrap_or(0)),
        ];
        if let Some((what, _)) = named.into_iter().find(|&(_, n)| n == 0) {
            return Err(ShapeError::Zero { what });
        }
        let product = |sizes: &[usize]| {
            sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).filter(|&n| n <= MAX_ELEMENTS).is_some()
        };
        let [d, h, w] = self.padding.map(|p| p.saturating_mul(2));
        let padded =
            [d.saturating_add(self.input[0]), h.saturating_add(self.input[1]), w.saturating_add(self.input[2])];
        let channels = self.in_channels.max(self.out_channels);
        if !product(&[self.batch, channels, padded[0], padded[1], padded[2]])
            || !product(&[self.in_channels, self.out_channels, self.kernel[0], self.kernel[1], self.kernel[2]])
        {
            return Err(ShapeError::TooLarge { limit: MAX_ELEMENTS });
        }
        match (0..3).find(|&a| padded[a] < self.kernel[a]) {
            Some(axis) => Err(ShapeError::InputTooSmall {
                axis,
                input: self.input[axis],
                padding: self.padding[axis],
                kernel: self.kernel[axis],
            }),
            None => Ok(()),
        }
    }

    /// Elements of the input, `[batch, in_channels, d, h, w]`.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * volume(self.input)
    }

    /// Elements of the output, `[batch, out_channels, d, h, w]`.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.batch * self.out_channels * volume(self.output())
    }

    /// Elements of the weights, `[out_channels, in_channels, d, h, w]`.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * volume(self.kernel)
    }

    /// The same convolution with the spatial axes joined where the kernel does not tell them apart: a 1³ convolution
    /// of stride 1 is a matrix product over one long row.
    pub(crate) fn flattened(self) -> Self {
        let pointwise = self.kernel == [1; 3] && self.stride == [1; 3] && self.padding == [0; 3];
        if pointwise { Self { input: [1, 1, volume(self.input)], ..self } } else { self }
    }
}

pub(crate) fn volume(dims: [usize; 3]) -> usize {
    dims.into_iter().product()
}
