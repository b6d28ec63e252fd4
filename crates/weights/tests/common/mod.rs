//! State dicts for tests.

use proptest::prelude::*;
use weights::{StateDict, Tensor};

/// Any names that a file can hold, ranks from 0 to 4, empty axes and every bit pattern of `f32`.
pub(crate) fn state_dicts(names: &'static str, tensors: std::ops::Range<usize>) -> impl Strategy<Value = StateDict> {
    let shape = prop::collection::vec(0..4_usize, 0..5);
    let tensor = shape.prop_flat_map(|shape| {
        let count = shape.iter().product::<usize>();
        (Just(shape), prop::collection::vec(any::<u32>().prop_map(f32::from_bits), count))
    });
    prop::collection::btree_map(names, tensor, tensors).prop_map(|tensors| {
        let mut state = StateDict::default();
        for (name, (shape, values)) in tensors {
            state.insert(name, Tensor::new(shape, values).unwrap()).unwrap();
        }
        state
    })
}

/// Names, shapes and values as bits: NaN is not equal to itself.
pub(crate) fn bits(state: &StateDict) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |tensor: &Tensor| tensor.values().iter().map(|value| value.to_bits()).collect();
    state.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec(), bits(tensor))).collect()
}
