//! From the element types that checkpoints hold to `f32`.

use half::{bf16, f16};

use crate::{DecodeError, Tensor};

/// The element types that can be weights (`i64` is what PyTorch counts batches with).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
    F64,
    I64,
}

impl Element {
    /// A tensor from little-endian bytes in row-major order. Wider types are rounded to the nearest `f32`.
    ///
    /// # Errors
    /// [`DecodeError::Range`] for a finite number that would become infinite; [`DecodeError::State`] when shape and bytes disagree.
    pub(crate) fn tensor(self, name: &str, shape: &[usize], bytes: &[u8]) -> Result<Tensor, DecodeError> {
        let values = match self {
            Self::F32 => convert(bytes, |b| Some(f32::from_le_bytes(b))),
            Self::F16 => convert(bytes, |b| Some(f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => convert(bytes, |b| Some(bf16::from_le_bytes(b).to_f32())),
            Self::F64 => convert(bytes, |b| narrow(f64::from_le_bytes(b))),
            Self::I64 => convert(bytes, |b| Some(i64::from_le_bytes(b) as f32)),
        };
        let values = values.ok_or_else(|| DecodeError::Range { tensor: name.to_owned() })?;
        Tensor::new(shape.to_vec(), values).map_err(DecodeError::from)
    }
}

fn convert<const BYTES: usize>(bytes: &[u8], element: impl Fn([u8; BYTES]) -> Option<f32>) -> Option<Vec<f32>> {
    bytes.as_chunks::<BYTES>().0.iter().map(|chunk| element(*chunk)).collect()
}

fn narrow(wide: f64) -> Option<f32> {
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}
