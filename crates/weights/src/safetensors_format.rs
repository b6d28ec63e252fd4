//! safetensors: a JSON header with names, shapes and places, then the values.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use crate::element::Element;
use crate::file::{in_file, open_bounded, save};
use crate::{DecodeError, FileError, Overwrite, Sha256, StateDict};

/// An entry of the header. Written here and not by the `safetensors` crate, whose metadata are in the order of a hash
/// table: the same weights must give the same bytes.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor { dtype: &'static str, shape: &'a [usize], data_offsets: [usize; 2] },
}

impl StateDict {
    /// The safetensors file of these weights: `F32`, in order, with the metadata; the same bytes for the same weights.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let mut header = BTreeMap::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__", Entry::Metadata(&self.metadata));
        }
        let mut end = 0;
        for (name, tensor) in self.iter() {
            let start = end;
            end += size_of_val(tensor.values());
            let entry = Entry::Tensor { dtype: "F32", shape: tensor.shape(), data_offsets: [start, end] };
            header.insert(name, entry);
        }
        let mut json = serde_json::to_vec(&header).expect("names, numbers and texts are always valid JSON");
        // The values begin at a multiple of 8 bytes; the format lets the header end in spaces.
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut bytes = Vec::with_capacity(8 + json.len() + end);
        bytes.extend((json.len() as u64).to_le_bytes());
        bytes.extend(json);
        self.iter().for_each(|(_, tensor)| tensor.write_bytes(&mut bytes));
        bytes
    }

    /// Reads a safetensors file from memory; f16, bf16, f64 and i64 become `f32`.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are not such a file, or whose tensors cannot be weights.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = |source| DecodeError::Malformed { format: "safetensors", source: Box::new(source) };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
        let mut state = Self::default();
        state.metadata.extend(header.metadata().clone().into_iter().flatten());
        for (name, view) in file.iter() {
            let element = match view.dtype() {
                Dtype::F32 => Element::F32,
                Dtype::F16 => Element::F16,
                Dtype::BF16 => Element::Bf16,
                Dtype::F64 => Element::F64,
                Dtype::I64 => Element::I64,
                other => {
                    return Err(DecodeError::ElementType { tensor: name.to_owned(), found: format!("{other:?}") });
                }
            };
            state.insert(name, element.tensor(name, view.shape(), view.data())?)?;
        }
        Ok(state)
    }

    /// Writes [`StateDict::to_safetensors`] so that the file is there whole or not at all; gives its hash.
    ///
    /// # Errors
    /// [`FileError::Write`]; [`FileError::Exists`] when it must not be replaced.
    pub fn save_safetensors(&self, path: &Path, overwrite: Overwrite) -> Result<Sha256, FileError> {
        save(path, &self.to_safetensors(), overwrite)
    }

    /// Reads a safetensors file as [`StateDict::from_safetensors`] does.
    ///
    /// # Errors
    /// [`FileError::Read`], [`FileError::TooLarge`] and [`FileError::Decode`].
    pub fn load_safetensors(path: &Path) -> Result<Self, FileError> {
        let mut bytes = Vec::new();
        let read = open_bounded(path)?.read_to_end(&mut bytes);
        read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        Self::from_safetensors(&bytes).map_err(in_file(path))
    }
}
