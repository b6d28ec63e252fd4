//! Channels in blocks of vector lanes, and output arrays shared by workers that write disjoint parts.

use std::marker::PhantomData;

use crate::kernel::{HALF, LANES};

/// Lanes of channel block `block` of `channels`: the last one may be a half.
pub(crate) fn lanes(channels: usize, block: usize) -> usize {
    if channels - block * LANES <= HALF { HALF } else { LANES }
}

/// Blocks that hold `channels`.
pub(crate) fn count(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Lanes of all blocks together.
pub(crate) fn padded(channels: usize) -> usize {
    let last = count(channels) - 1;
    last * LANES + lanes(channels, last)
}

/// The values of the channels of a block, zeros in the lanes beyond the last.
pub(crate) fn of_lanes(values: &[f32], block: usize) -> [f32; LANES] {
    std::array::from_fn(|lane| values.get(block * LANES + lane).copied().unwrap_or_default())
}

/// A slice that several workers write, each its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]`, which may be sent; every access goes through unsafe methods whose callers promise
// that no two workers touch the same element.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrowed: PhantomData }
    }

    /// The elements from `offset` on.
    ///
    /// # Safety
    /// Nobody else may access them while the result lives.
    pub(crate) unsafe fn slice(self, offset: usize, len: usize) -> &'a mut [f32] {
        assert!(offset + len <= self.len);
        // SAFETY: in bounds; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// A pointer to the element at `offset`, of which at least `reach` more follow.
    pub(crate) fn at(self, offset: usize, reach: usize) -> *mut f32 {
        assert!(offset + reach < self.len);
        // SAFETY: in bounds.
        unsafe { self.start.add(offset) }
    }
}
