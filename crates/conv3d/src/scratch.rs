//! Working memory that outlives a call, so that repeated calls do not pay for page faults again.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers at rest. Each holds what its last user left in it.
static POOL: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Buffers kept at most; more than the threads and nested calls of one process use at a time.
const KEPT: usize = 64;

/// A borrowed buffer of **unspecified contents**; it goes back to the pool when dropped.
pub(crate) struct Scratch {
    buffer: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// The smallest buffer at rest that holds `len` elements, or else the largest, grown.
    pub(crate) fn take(len: usize) -> Self {
        let found = {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = (0..pool.len()).filter(|&i| pool[i].len() >= len).min_by_key(|&i| pool[i].len());
            let chosen = fits.or_else(|| (0..pool.len()).max_by_key(|&i| pool[i].len()));
            chosen.map(|i| pool.swap_remove(i))
        };
        let mut buffer = found.unwrap_or_default();
        if buffer.len() < len {
            // Not `resize`: it would copy contents that nobody reads.
            drop(std::mem::take(&mut buffer));
            buffer = vec![0.0; len];
        }
        Self { buffer, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < KEPT {
            pool.push(std::mem::take(&mut self.buffer));
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}
