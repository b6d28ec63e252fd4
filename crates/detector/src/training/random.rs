//! Random numbers that depend only on what they are for: (seed, step, example), never on threads or on what was drawn
//! before, so that a resumed run continues exactly.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of its own for one example of one step.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(seed: u64, step: u64, example: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step.wrapping_mul(1 << 16).wrapping_add(example));
        Self(rng)
    }

    /// A stream that nobody knows who does not know the key.
    pub(crate) fn from_key(key: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Nearly normal noise of unit variance: the sum of four uniform 16-bit numbers (Irwin–Hall), enough for image
    /// noise and cheap enough for every voxel.
    pub(crate) fn noise(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
        // Mean 2 · 65535; variance 4 · 65536² / 12.
        (sum as f32 - 131_070.0) * (1.0 / 37_837.2)
    }
}

/// Standard normal deviate by Box and Muller, with a portable logarithm and cosine.
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (u, v) = (unit(rng.next_u64()), unit(rng.next_u64()));
    libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
}
