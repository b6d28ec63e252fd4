//! Reading `.pth`: the pickle is interpreted by the `pytorch-reader` crate, which builds tensors and runs nothing.

use std::collections::HashMap;
use std::path::Path;

use pytorch_reader::{DType, PytorchError, PytorchReader};

use crate::element::Element;
use crate::file::{MAX_FILE_BYTES, in_file, open_bounded};
use crate::state::element_count;
use crate::{DecodeError, FileError, StateDict};

/// Where training scripts keep the weights beside epoch and optimiser.
const NESTED_UNDER: [&str; 3] = ["state_dict", "model_state_dict", "model"];

impl StateDict {
    /// Reads what `torch.save` wrote, in any of its formats: a state dict, alone or under `state_dict`,
    /// `model_state_dict` or `model` of a checkpoint. f16, bf16, f64 and i64 become `f32`, views of a storage become
    /// tensors of their own. What is no tensor is left out; no code in the file is run.
    ///
    /// # Errors
    /// [`FileError::Read`], [`FileError::TooLarge`] and [`FileError::Decode`].
    pub fn load_pth(path: &Path) -> Result<Self, FileError> {
        open_bounded(path)?;
        let tensors = tensors(path).map_err(|error| match error {
            PytorchError::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => {
                FileError::Read { path: path.to_owned(), source }
            }
            other => in_file(path)(malformed(other)),
        })?;
        decode(tensors).map_err(in_file(path))
    }
}

fn malformed(source: impl std::error::Error + Send + Sync + 'static) -> DecodeError {
    DecodeError::Malformed { format: "PyTorch", source: Box::new(source) }
}

fn tensors(path: &Path) -> Result<HashMap<String, pytorch_reader::Tensor>, PytorchError> {
    for key in NESTED_UNDER {
        match PytorchReader::with_top_level_key(path, key) {
            Ok(reader) if !reader.is_empty() => return Ok(reader.into_tensors()),
            // No such key, or something else under it: the names tell at the latest.
            Ok(_) | Err(PytorchError::KeyNotFound(_) | PytorchError::InvalidFormat(_)) => {}
            Err(other) => return Err(other),
        }
    }
    PytorchReader::new(path).map(PytorchReader::into_tensors)
}

fn decode(tensors: HashMap<String, pytorch_reader::Tensor>) -> Result<StateDict, DecodeError> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if tensors.is_empty() {
        return Err(DecodeError::Empty);
    }
    // A view with stride 0, or a compressed entry, is small in the file whatever it claims to hold.
    let count = |tensor: &pytorch_reader::Tensor| element_count(tensor.shape()).map(|count| count as u64);
    let total = tensors.iter().try_fold(0_u64, |total, (_, tensor)| total.checked_add(count(tensor)?));
    if total.is_none_or(|total| total > MAX_FILE_BYTES / size_of::<f32>() as u64) {
        return Err(DecodeError::TooLarge);
    }
    let mut state = StateDict::default();
    for (name, tensor) in tensors {
        let element = match tensor.dtype() {
            DType::F32 => Element::F32,
            DType::F16 => Element::F16,
            DType::BF16 => Element::Bf16,
            DType::F64 => Element::F64,
            DType::I64 => Element::I64,
            other => return Err(DecodeError::ElementType { tensor: name, found: format!("{other:?}") }),
        };
        let bytes = tensor.read().map_err(malformed)?;
        let tensor = element.tensor(&name, tensor.shape(), &bytes)?;
        state.insert(name, tensor)?;
    }
    Ok(state)
}
