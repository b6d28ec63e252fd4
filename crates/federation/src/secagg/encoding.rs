//! An update as words modulo 2³² and back.
//!
//! A value is `rint_half_even(clamp(delta · ω/ω_max, −C, C) · 2^e)`, with `ω` the site's number of samples; the sum of all
//! sites' words cannot leave 32 bits. The tail holds `ω` and counters, which are summed as they are.

use crate::MeanDelta;

/// Why values cannot be encoded or a sum cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// No number.
    #[error("value {index} of the update is not finite: the site's training has diverged, nothing is sent")]
    NotFinite {
        /// Its place.
        index: usize,
    },
    /// Outside 1 … ω_max.
    #[error("{omega} samples, allowed is 1 to {omega_max}")]
    Omega {
        /// Found.
        omega: u32,
        /// The session's limit.
        omega_max: u32,
    },
    /// A counter is so large that the sum of all sites could leave 32 bits.
    #[error("counter {index} is {found}, at most {most} can be summed over {sites} sites")]
    Counter {
        /// Its place in the tail after ω.
        index: usize,
        /// Found.
        found: u32,
        /// The largest.
        most: u32,
        /// Number of sites.
        sites: usize,
    },
    /// A wrong number of words.
    #[error("{found} words, expected {expected}")]
    Length {
        /// Found.
        found: usize,
        /// Expected.
        expected: usize,
    },
    /// The sites' samples cannot add up to this.
    #[error("the sum holds {found} samples of {sites} sites with at most {omega_max} each: it is not a sum of theirs")]
    Samples {
        /// Found.
        found: u32,
        /// Sites in the sum.
        sites: usize,
        /// The session's limit.
        omega_max: u32,
    },
}

/// The largest `e` with `n · (C · 2^e + 0.5) ≤ 2³¹ − 1`, from 60 downwards.
pub fn exponent(sites: usize, clip: f64) -> i32 {
    let fits = |e: &i32| sites as f64 * (clip * two_to(*e) + 0.5) <= f64::from(i32::MAX);
    (-1000..=60).rev().find(fits).unwrap_or(-1000)
}

/// `2^e` exactly, for `e` from −1022 to 1023.
fn two_to(e: i32) -> f64 {
    f64::from_bits(((i64::from(e) + 1023) as u64) << 52)
}

/// How values become words: the same for all sites of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Encoding {
    /// Sites that take part.
    pub sites: usize,
    /// The largest size of a weighted value, `C`.
    pub clip: f64,
    /// `e`.
    pub exponent: i32,
    /// The largest number of samples, `ω_max`.
    pub omega_max: u32,
}

impl Encoding {
    /// The update as words: one for each value, then `ω` and the counters.
    ///
    /// # Errors
    /// When a value is not finite, or `ω` or a counter is out of range.
    pub fn encode(
        &self,
        delta: impl ExactSizeIterator<Item: Into<f64>>,
        omega: u32,
        counters: &[u32],
    ) -> Result<Vec<u32>, EncodingError> {
        if omega == 0 || omega > self.omega_max {
            return Err(EncodingError::Omega { omega, omega_max: self.omega_max });
        }
        let most = u32::MAX / self.sites.max(1) as u32;
        if let Some(index) = counters.iter().position(|counter| *counter > most) {
            return Err(EncodingError::Counter { index, found: counters[index], most, sites: self.sites });
        }
        let mut words = Vec::with_capacity(delta.len() + 1 + counters.len());
        let (weight, scale) = (f64::from(omega) / f64::from(self.omega_max), two_to(self.exponent));
        for (index, value) in delta.enumerate() {
            let value: f64 = value.into();
            if !value.is_finite() {
                return Err(EncodingError::NotFinite { index });
            }
            let weighted = (value * weight).clamp(-self.clip, self.clip);
            words.push((weighted * scale).round_ties_even() as i32 as u32);
        }
        words.push(omega);
        words.extend_from_slice(counters);
        Ok(words)
    }

    /// The weighted mean of the updates in a sum of `summed` sites, the number of their samples, and the sums of their
    /// counters. No second vector is made.
    ///
    /// # Errors
    /// When the length is wrong or the number of samples is not possible.
    pub fn decode(&self, mut sum: Vec<u32>, counters: usize, summed: usize) -> Result<Decoded, EncodingError> {
        let Some(dimension) = sum.len().checked_sub(1 + counters) else {
            return Err(EncodingError::Length { found: sum.len(), expected: 1 + counters });
        };
        let tail = sum.split_off(dimension);
        let omega = tail[0];
        if omega == 0 || u64::from(omega) > summed as u64 * u64::from(self.omega_max) {
            return Err(EncodingError::Samples { found: omega, sites: summed, omega_max: self.omega_max });
        }
        let weight = f64::from(omega) / f64::from(self.omega_max);
        let mean = MeanDelta::of_words(sum, two_to(-self.exponent), weight);
        Ok(Decoded { mean, omega, counters: tail[1..].to_vec() })
    }
}

/// What a sum says.
pub struct Decoded {
    /// The mean of the updates, weighted by samples.
    pub mean: MeanDelta,
    /// All sites' samples.
    pub omega: u32,
    /// The sums of the counters.
    pub counters: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_the_design() {
        for (sites, expected) in [(3, 29), (5, 28), (10, 27), (20, 26), (50, 25), (100, 24)] {
            assert_eq!(exponent(sites, 1.0), expected, "{sites} sites");
        }
    }

    #[test]
    fn a_hundred_sites_at_the_limit_add_up_exactly() {
        let encoding = Encoding { sites: 100, clip: 1.0, exponent: exponent(100, 1.0), omega_max: 1_000_000 };
        for value in [1e30_f32, -1e30] {
            let words = encoding.encode([value; 3].into_iter(), 1_000_000, &[7]).unwrap();
            let sum: Vec<u32> = words.iter().map(|word| word.wrapping_mul(100)).collect();
            let decoded = encoding.decode(sum, 1, 100).unwrap();
            assert_eq!(decoded.mean.iter().collect::<Vec<_>>(), [f64::from(value.signum()); 3]);
            assert_eq!((decoded.omega, decoded.counters), (100_000_000, vec![700]));
        }
    }

    #[test]
    fn what_cannot_be_summed_is_refused() {
        let encoding = Encoding { sites: 4, clip: 1.0, exponent: exponent(4, 1.0), omega_max: 10 };
        let encode = |value: f32, omega, counter| encoding.encode([value].into_iter(), omega, &[counter]);
        assert_eq!(encode(f32::NAN, 1, 0), Err(EncodingError::NotFinite { index: 0 }));
        assert_eq!(encode(f32::INFINITY, 1, 0), Err(EncodingError::NotFinite { index: 0 }));
        assert!(matches!(encode(0.0, 0, 0), Err(EncodingError::Omega { .. })));
        assert!(matches!(encode(0.0, 11, 0), Err(EncodingError::Omega { .. })));
        assert!(matches!(encode(0.0, 1, u32::MAX / 4 + 1), Err(EncodingError::Counter { .. })));
        assert!(encode(0.0, 10, u32::MAX / 4).is_ok());
        assert!(matches!(encoding.decode(vec![0, 0, 0], 1, 4), Err(EncodingError::Samples { found: 0, .. })));
        assert!(matches!(encoding.decode(vec![0, 41, 0], 1, 4), Err(EncodingError::Samples { found: 41, .. })));
        assert!(matches!(encoding.decode(vec![0], 1, 4), Err(EncodingError::Length { found: 1, expected: 2 })));
    }
}
