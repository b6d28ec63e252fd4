//! How far the curve would move with other patients: the bootstrap over scans of the LUNA16 script.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Evaluation;
use crate::froc::{Event, FP_RATES, curve, interpolate, mean};

const STEPS_PER_OCTAVE: usize = 32;

/// The pointwise 95 % band of a FROC curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// From 1/8 to 8 false positives per scan, 32 points an octave; [`FP_RATES`] are among them.
    pub points: Vec<BandPoint>,
    /// The 95 % interval of the CPM.
    pub cpm_ci95: [f64; 2],
    /// The CPM of every resample, in the order of drawing.
    #[serde(skip)]
    cpms: Vec<f64>,
}

/// How much better one detector is than another on the same scans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpmDifference {
    /// The first's CPM less the second's.
    pub difference: f64,
    /// The 95 % interval of the difference, from resamples of the scans that both are read on. It is narrower than the
    /// two single intervals suggest: a hard patient is hard for both.
    pub ci95: [f64; 2],
}

impl Evaluation {
    /// This detector's CPM less `other`'s, with its paired bootstrap interval; nothing unless both were evaluated on the
    /// same scans and nodules with the same resamples.
    pub fn cpm_difference(&self, other: &Self) -> Option<CpmDifference> {
        let [ours, theirs] = [self.band.as_ref()?, other.band.as_ref()?];
        let nodules = |e: &Self| e.nodules.iter().map(|outcome| outcome.nodule.clone()).collect::<Vec<_>>();
        let same = self.options == other.options && self.series == other.series && nodules(self) == nodules(other);
        same.then(|| CpmDifference {
            difference: self.summary.cpm - other.summary.cpm,
            ci95: quantiles(ours.cpms.iter().zip(&theirs.cpms).map(|(a, b)| a - b).collect()),
        })
    }
}

/// The band at one number of false positives per scan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BandPoint {
    /// False positives per scan.
    pub fp_per_scan: f64,
    /// Mean sensitivity of the resamples.
    pub mean: f64,
    /// The 2.5 % quantile.
    pub lower: f64,
    /// The 97.5 % quantile.
    pub upper: f64,
}

impl Band {
    /// The band as a table with the columns `fp_per_scan,mean,lower,upper`.
    pub fn to_csv(&self) -> String {
        let rows = self.points.iter().map(|p| format!("{},{},{},{}\n", p.fp_per_scan, p.mean, p.lower, p.upper));
        std::iter::once("fp_per_scan,mean,lower,upper\n".to_owned()).chain(rows).collect()
    }
}

/// Resamples the scans with replacement `bootstraps` times and reads each curve.
///
/// The matching of marks and nodules within a scan does not change with the other scans, so a resample is the same
/// sorted list of events with another weight for each scan. A resample without any nodule has no sensitivity and is
/// drawn again (the script divides by zero there).
///
/// `nodules_of_scan` must hold a nodule, `bootstraps` be at least 1.
pub(crate) fn band(events: &[Event], nodules_of_scan: &[u32], bootstraps: usize, seed: u64) -> Band {
    let octaves = 6;
    let rates: Vec<f64> = (0..=octaves * STEPS_PER_OCTAVE)
        .map(|step| FP_RATES[0] * libm::exp2(step as f64 / STEPS_PER_OCTAVE as f64))
        .collect();
    let scans = nodules_of_scan.len();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut by_rate = vec![Vec::with_capacity(bootstraps); rates.len()];
    let mut cpms = Vec::with_capacity(bootstraps);
    let mut sensitivities = vec![0.0; rates.len()];
    while cpms.len() < bootstraps {
        let mut weights = vec![0_u32; scans];
        for _ in 0..scans {
            weights[below(scans, &mut rng)] += 1;
        }
        let nodules = weights.iter().zip(nodules_of_scan).map(|(&w, &n)| u64::from(w) * u64::from(n)).sum();
        if nodules == 0 {
            continue;
        }
        interpolate(curve(events, &weights, nodules, scans), &rates, &mut sensitivities);
        let at_fp_rates: Vec<f64> = sensitivities.iter().copied().step_by(STEPS_PER_OCTAVE).collect();
        cpms.push(mean(&at_fp_rates));
        for (column, &sensitivity) in by_rate.iter_mut().zip(&sensitivities) {
            column.push(sensitivity);
        }
    }
    let points = rates.iter().zip(by_rate).map(|(&fp_per_scan, column)| {
        let mean = mean(&column);
        let [lower, upper] = quantiles(column);
        BandPoint { fp_per_scan, mean, lower, upper }
    });
    Band { points: points.collect(), cpm_ci95: quantiles(cpms.clone()), cpms }
}

/// A number below `bound`: the high half of a product, whose bias of `bound / 2^64` no sample can show. Written out
/// because the range sampling of a library may change with its version, and a seed must keep its numbers.
fn below(bound: usize, rng: &mut impl Rng) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// The 2.5 % and 97.5 % quantiles as the script takes them: sorted, at index ⌊q·n⌋.
fn quantiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    [values[values.len() / 40], values[values.len() * 39 / 40]]
}
