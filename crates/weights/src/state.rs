//! Named tensors in a fixed order.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256 as Hasher};

use crate::{Sha256, StateError};

/// An array of `f32` of any rank; the last axis varies fastest.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The parameters of a network, by name. The order is that of the names' bytes, so that it does not depend on the
/// file format or on the program that wrote it.
#[derive(Clone, Default, PartialEq)]
pub struct StateDict {
    tensors: BTreeMap<String, Tensor>,
    /// Free text beside the tensors: safetensors keeps it, `.pth` does not.
    pub metadata: BTreeMap<String, String>,
}

impl Tensor {
    /// A tensor of `shape` (empty for a scalar) with `values` in row-major order.
    ///
    /// # Errors
    /// [`StateError::Shape`] when the number of values is not the product of the shape.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self, StateError> {
        match element_count(&shape) {
            Some(count) if count == values.len() => Ok(Self { shape, values }),
            _ => Err(StateError::Shape { shape, values: values.len() }),
        }
    }

    /// Length of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Appends the values' little-endian bytes.
    pub(crate) fn write_bytes(&self, out: &mut Vec<u8>) {
        out.reserve(size_of_val(self.values.as_slice()));
        self.values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

/// Product of the axes, unless the tensor (or what its strides would span if an axis is empty) is beyond any memory.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    let span = shape.iter().try_fold(1_usize, |count, &axis| count.checked_mul(axis.max(1)))?;
    let count = if shape.contains(&0) { 0 } else { span };
    (span <= isize::MAX as usize).then_some(count)
}

impl StateDict {
    /// Adds a tensor.
    ///
    /// # Errors
    /// [`StateError::Name`] for a name that is in use, empty, or `__metadata__` (which safetensors keeps for itself).
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Result<(), StateError> {
        let name = name.into();
        if name.is_empty() || name == "__metadata__" || self.tensors.contains_key(&name) {
            return Err(StateError::Name { name });
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Number of values in all tensors.
    pub fn parameter_count(&self) -> usize {
        self.tensors.values().map(|tensor| tensor.values.len()).sum()
    }

    /// SHA-256 of names and shapes: two state dicts with the same hash have flat vectors that mean the same.
    ///
    /// Hashed are the text `fednodule weights schema 1\n` and for each tensor in order the length of its name, its name
    /// (UTF-8), its rank and its axes; all numbers as 64-bit little-endian integers.
    pub fn schema_hash(&self) -> Sha256 {
        let mut hasher = Hasher::new_with_prefix(b"fednodule weights schema 1\n");
        for (name, tensor) in &self.tensors {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update((tensor.shape.len() as u64).to_le_bytes());
            for axis in &tensor.shape {
                hasher.update((*axis as u64).to_le_bytes());
            }
        }
        hasher.finalize().into()
    }

    /// All values, tensor after tensor in order: the vector of a federated update.
    pub fn to_flat(&self) -> Vec<f32> {
        self.tensors.values().flat_map(|tensor| &tensor.values).copied().collect()
    }

    /// Replaces all values by those of a vector from [`StateDict::to_flat`]; names, shapes and metadata stay.
    ///
    /// # Errors
    /// [`StateError::Length`] when the vector has another length; nothing is changed then.
    pub fn set_flat(&mut self, values: &[f32]) -> Result<(), StateError> {
        let expected = self.parameter_count();
        if values.len() != expected {
            return Err(StateError::Length { found: values.len(), expected });
        }
        let mut rest = values;
        for tensor in self.tensors.values_mut() {
            let (own, others) = rest.split_at(tensor.values.len());
            tensor.values.copy_from_slice(own);
            rest = others;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Millions of numbers help nobody in a log.
        f.debug_struct("Tensor").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StateDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateDict").field("tensors", &self.tensors).field("metadata", &self.metadata).finish()
    }
}
