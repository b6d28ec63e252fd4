//! What travels between the coordinator and the sites.

use std::sync::Arc;

use federation::sealing::Sealed;
use federation::secagg::{Reply, Request};
use federation::{GlobalModel, SignedAnnouncement};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use transport::Task;

/// From the coordinator.
#[derive(Clone)]
pub(crate) enum Order {
    Task { task: Task, round: u32, global: Arc<GlobalModel>, announcement: SignedAnnouncement },
    Ask(Vec<u8>),
}

/// What is true about an order, known to the simulation only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Truth {
    Honest,
    /// Changed on its way, or by a coordinator that lies: nobody may follow it.
    Forged,
    /// Signed by a coordinator that lies, so that a site cannot know.
    Signed,
}

/// From a site.
#[derive(Clone)]
pub(crate) enum Message {
    Trained { round: u32, samples_at_most: u32 },
    Evaluated { round: u32 },
    Sealed { round: u32, bytes: Vec<u8> },
    Replied { bytes: Vec<u8>, words: Vec<u32> },
}

fn flip(rng: &mut ChaCha8Rng, bytes: &mut [u8]) {
    if !bytes.is_empty() {
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
    }
}

impl Order {
    /// Changes one bit where the protocol itself has to notice. (Requests of a sum rely on the connection's own protection.)
    pub(crate) fn damage(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let Self::Task { global, announcement, .. } = self else { return false };
        match rng.random_range(0..3) {
            0 => {
                let mut changed = GlobalModel::clone(global);
                let at = rng.random_range(0..changed.parameters.len());
                changed.parameters[at] =
                    f32::from_bits(changed.parameters[at].to_bits() ^ 1 << rng.random_range(0..32));
                *global = Arc::new(changed);
            }
            1 => flip(rng, &mut announcement.bytes),
            _ => flip(rng, &mut announcement.signature),
        }
        true
    }
}

impl Message {
    /// Changes one bit where the protocol itself has to notice.
    pub(crate) fn damage(&mut self, rng: &mut ChaCha8Rng) -> bool {
        match self {
            Self::Sealed { bytes, .. } => flip(rng, bytes),
            // A refusal has nothing that could be checked.
            Self::Replied { bytes, .. } if matches!(Reply::from_bytes(bytes), Ok(Reply::Refused { .. })) => {
                return false;
            }
            Self::Replied { words, .. } if !words.is_empty() && rng.random() => {
                let at = rng.random_range(0..words.len());
                words[at] ^= 1 << rng.random_range(0..32);
            }
            Self::Replied { bytes, .. } => flip(rng, bytes),
            _ => return false,
        }
        true
    }
}

/// A request that came as bytes.
pub(crate) fn request(bytes: &[u8]) -> Request {
    Request::from_bytes(bytes).expect("a request that nobody changed")
}

/// A sealed message that came as bytes.
pub(crate) fn sealed(bytes: &[u8]) -> Option<Sealed> {
    Sealed::from_bytes(bytes)
}
