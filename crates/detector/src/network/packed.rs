//! A network with packed weights for tiles of one size: inference on the CPU, past the framework.

use std::sync::{Mutex, PoisonError};

use super::Network;
use super::{classic, unet};

/// See the module.
#[expect(clippy::large_enum_variant, reason = "one for every predictor")]
pub(crate) enum PackedNetwork {
    Detection(unet::PackedUNet3d, Spare<unet::Workspace>),
    Classic(classic::PackedClassic, Spare<classic::Workspace>),
}

impl Network {
    /// For tiles of `side`³ voxels; `side` is a multiple of [`Architecture::patch_multiple`](super::Architecture::patch_multiple).
    pub(crate) fn packed(&self, side: usize) -> PackedNetwork {
        match self {
            Self::DetectionUnet(net) => PackedNetwork::Detection(net.packed(side), Spare::default()),
            Self::ClassicUnet(net) => PackedNetwork::Classic(net.packed(side), Spare::default()),
        }
    }
}

impl PackedNetwork {
    /// As [`Network::forward`], of one tile.
    ///
    /// # Shapes
    /// `x`: `[side, side, side]` → `[maps, side/2, side/2, side/2]`
    pub(crate) fn forward(&self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::Detection(net, spare) => spare.lend(|| net.workspace(), |workspace| net.forward(x, workspace)),
            Self::Classic(net, spare) => spare.lend(|| net.workspace(), |workspace| net.forward(x, workspace)),
        }
    }
}

/// What passes that are over leave for the next: fresh memory costs page faults.
pub(crate) struct Spare<T>(Mutex<Vec<T>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Spare<T> {
    fn lend<R>(&self, new: impl FnOnce() -> T, f: impl FnOnce(&mut T) -> R) -> R {
        let all = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all().pop();
        let mut lent = taken.unwrap_or_else(new);
        let result = f(&mut lent);
        all().push(lent);
        result
    }
}
