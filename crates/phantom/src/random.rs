//! Counter-based randomness: every purpose of every scan has its own ChaCha stream, so that no draw depends on
//! another one, on threads, or on what was generated before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is drawn for. The numbers are part of the format: changing one changes every phantom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Acquisition = 1,
    Anatomy = 2,
    Warp = 3,
    Texture = 4,
    Vessels = 5,
    Nodules = 6,
    Distractors = 7,
    Noise = 8,
    Streaks = 9,
}

/// A stream of random numbers; the same on every machine.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one purpose of scan `index` under `seed`; `part` separates rows, slices or trees.
    pub(crate) fn new(seed: u64, index: u64, purpose: Purpose, part: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16..24].copy_from_slice(&(purpose as u64).to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(part);
        Self(rng)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high).
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in low..=high.
    pub(crate) fn count(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high - low + 1) as f32) as usize
    }

    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// Standard normal (Box–Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = libm::sqrtf(-2.0 * libm::logf(1.0 - self.unit()));
        radius * libm::cosf(std::f32::consts::TAU * self.unit())
    }

    /// A direction, uniform on the sphere.
    pub(crate) fn direction(&mut self) -> [f32; 3] {
        let z = self.range(-1.0, 1.0);
        let angle = self.range(0.0, std::f32::consts::TAU);
        let r = (1.0 - z * z).max(0.0).sqrt();
        [r * libm::cosf(angle), r * libm::sinf(angle), z]
    }

    /// The position of a draw with the given weights.
    pub(crate) fn pick(&mut self, weights: &[f32]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f32>();
        for (i, w) in weights.iter().enumerate() {
            left -= w;
            if left < 0.0 {
                return i;
            }
        }
        weights.len() - 1
    }

    /// Nearly normal white noise of unit variance: the sum of four 16-bit uniforms, exact in integers.
    pub(crate) fn fill_white(&mut self, out: &mut [f32]) {
        // Variance of one 16-bit uniform is (65536² − 1) / 12.
        let scale = (1.0 / (4.0 * (65536.0f64 * 65536.0 - 1.0) / 12.0).sqrt()) as f32;
        for v in out {
            let b = self.0.next_u64();
            let sum = (b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48);
            *v = (sum as i32 - 131_070) as f32 * scale;
        }
    }
}
