//! Tensors as slices, and arrays that are used again: a fresh array of 50 MB costs 50 ms of page faults, and a training
//! step needs dozens.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

/// Arrays at rest by length. Each holds what its last user left in it.
static AT_REST: Mutex<BTreeMap<usize, Vec<Vec<f32>>>> = Mutex::new(BTreeMap::new());

/// Shorter arrays are the allocator's to keep.
const SHORTEST: usize = 1 << 16;

/// An array of **unspecified contents**.
pub(super) fn array(len: usize) -> Vec<f32> {
    let at_rest = if len < SHORTEST {
        None
    } else {
        let mut all = AT_REST.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&len).and_then(Vec::pop)
    };
    at_rest.unwrap_or_else(|| vec![0.0; len])
}

/// Keeps a tensor's array for [`array`], where nobody else has it.
pub(super) fn recycle(t: FlexTensor) {
    let len = t.shape().num_elements();
    if len >= SHORTEST && t.is_unique() && t.is_contiguous() && t.bytes().len() == len * size_of::<f32>() {
        let values = into_values(t);
        AT_REST.lock().unwrap_or_else(PoisonError::into_inner).entry(len).or_default().push(values);
    }
}

/// Whoever runs passes holds one: dropped, it gives the arrays at rest back to the system.
pub(crate) struct KeptMemory;

impl Drop for KeptMemory {
    fn drop(&mut self) {
        AT_REST.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Copies only where the tensor is a view with another layout.
pub(super) fn dense(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() { t } else { t.to_contiguous() }
}

pub(super) fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("a dense f32 tensor")
}

/// The tensor's array itself where nobody else has it, else a copy.
pub(super) fn into_values(t: FlexTensor) -> Vec<f32> {
    t.into_data().try_into_vec::<f32>().expect("tensors of this crate are f32")
}

pub(super) fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

pub(super) fn dims<const N: usize>(t: &FlexTensor) -> [usize; N] {
    t.shape().dims()
}
