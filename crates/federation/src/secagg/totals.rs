//! Metrics that only their sums leave the sites: fixed-point counters in the masked tail of an update.

use serde::{Deserialize, Serialize};

use crate::Metrics;

/// Words of one quantity: limbs of 24 bits, so that 256 sites' limbs add up within 32.
const LIMBS: usize = 3;
const LIMB_BITS: u32 = 24;
/// Steps of one: 2⁻²⁰ resolves a loss or a probability to six digits.
const UNIT: f64 = (1 << 20) as f64;
/// The largest value of one site, samples included: far below the limbs' 2⁷².
const MOST: f64 = (1_u64 << 60) as f64;

/// Sums over sites. Every value of a site is weighted by its samples before it is added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Samples of all sites that have a loss.
    pub samples: u64,
    /// `Σ samples · loss`, in units of 2⁻²⁰; a loss below 0 counts as 0.
    loss: u64,
    /// Samples of all sites that have a foreground probability.
    pub with_foreground: u64,
    /// `Σ samples · probability`, in units of 2⁻²⁰.
    foreground: u64,
}

impl Totals {
    /// Masked counters that carry them.
    pub const COUNTERS: usize = 4 * LIMBS;

    /// One site's contribution.
    pub fn of(samples: u32, metrics: &Metrics) -> Self {
        let fixed = |value: f64| (f64::from(samples) * value * UNIT).clamp(0.0, MOST) as u64;
        let probability = metrics.foreground_probability;
        Self {
            samples: samples.into(),
            loss: fixed(metrics.loss),
            with_foreground: probability.map_or(0, |_| samples.into()),
            foreground: probability.map_or(0, fixed),
        }
    }

    /// As counters of a site.
    pub fn counters(&self) -> [u32; Self::COUNTERS] {
        let mut counters = [0; Self::COUNTERS];
        for (limbs, value) in counters.chunks_exact_mut(LIMBS).zip(self.values()) {
            for (k, limb) in (0..).zip(limbs) {
                *limb = (value >> (LIMB_BITS * k)) as u32 & ((1 << LIMB_BITS) - 1);
            }
        }
        counters
    }

    /// From the sums of the sites' counters; nothing where they are not of this kind.
    pub fn from_counters(counters: &[u32]) -> Option<Self> {
        if counters.len() != Self::COUNTERS {
            return None;
        }
        let mut values = [0_u64; 4];
        for (limbs, value) in counters.chunks_exact(LIMBS).zip(&mut values) {
            let sum: u128 = (0..).zip(limbs).map(|(k, limb)| u128::from(*limb) << (LIMB_BITS * k)).sum();
            *value = u64::try_from(sum).ok()?;
        }
        let [samples, loss, with_foreground, foreground] = values;
        Some(Self { samples, loss, with_foreground, foreground })
    }

    fn values(&self) -> [u64; 4] {
        [self.samples, self.loss, self.with_foreground, self.foreground]
    }

    /// The mean loss.
    pub fn loss(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.loss as f64 / UNIT / self.samples as f64)
    }

    /// The mean foreground probability.
    pub fn foreground_probability(&self) -> Option<f64> {
        (self.with_foreground > 0).then(|| self.foreground as f64 / UNIT / self.with_foreground as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_counters_are_counters_of_sums() {
        let sites = [
            (3, Metrics { loss: 2.5, foreground_probability: Some(0.25) }),
            (1_000_000, Metrics { loss: 0.125, foreground_probability: None }),
            (17, Metrics { loss: 900.0, foreground_probability: Some(1.0) }),
        ];
        let mut sum = [0_u32; Totals::COUNTERS];
        for (samples, metrics) in &sites {
            let counters = Totals::of(*samples, metrics).counters();
            sum.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter);
        }
        let totals = Totals::from_counters(&sum).unwrap();
        assert_eq!((totals.samples, totals.with_foreground), (1_000_020, 20));
        assert_eq!(totals.loss(), Some((7.5 + 125_000.0 + 15_300.0) / 1_000_020.0));
        assert_eq!(totals.foreground_probability(), Some((0.75 + 17.0) / 20.0));
        assert_eq!(Totals::default().loss(), None);
        assert_eq!(Totals::from_counters(&sum[1..]), None);
    }

    /// 255 sites at the limit: no limb overflows.
    #[test]
    fn the_largest_totals_fit() {
        let largest = Totals::of(u32::MAX, &Metrics { loss: 1e300, foreground_probability: Some(1.0) });
        let sum = largest.counters().map(|counter| counter.checked_mul(255).unwrap());
        assert_eq!(Totals::from_counters(&sum), None, "2⁶⁰ · 255 leaves 64 bits and is refused, not wrapped");
        let usual = Totals::of(1 << 24, &Metrics { loss: 100.0, foreground_probability: Some(1.0) });
        let sum = usual.counters().map(|counter| counter.checked_mul(255).unwrap());
        assert_eq!(Totals::from_counters(&sum).unwrap().loss(), Some(100.0));
    }
}
