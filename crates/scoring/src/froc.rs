//! The free-response ROC curve and its mean, the CPM.

use serde::{Deserialize, Serialize};

/// The false positives per scan at which LUNA16 reads the sensitivity.
pub const FP_RATES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// What one threshold on the probability gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrocPoint {
    /// False positives per scan.
    pub fp_per_scan: f64,
    /// Found nodules / all nodules.
    pub sensitivity: f64,
    /// Marks with at least this probability count; infinite at the start of the curve, where none does.
    pub threshold: f64,
}

/// Sensitivity against false positives per scan: both rise as the threshold falls.
#[derive(Debug, Clone, PartialEq)]
pub struct Froc {
    points: Vec<FrocPoint>,
}

/// A probability at which the curve moves: a mark that hit nothing, or a nodule at the best of its marks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) probability: f64,
    pub(crate) scan: usize,
    /// Position in [`crate::Evaluation::nodules`]; nothing for a false positive.
    pub(crate) nodule: Option<usize>,
}

/// Sorts events as [`curve`] needs them.
pub(crate) fn sort_events(events: &mut [Event]) {
    events.sort_unstable_by(|a, b| b.probability.total_cmp(&a.probability));
}

/// The points of the curve for events sorted by falling probability, where scan `s` is there `weights[s]` times.
/// Equal probabilities are one point: no threshold can tell them apart.
pub(crate) fn curve(events: &[Event], weights: &[u32], nodules: u64, scans: usize) -> impl Iterator<Item = FrocPoint> {
    let mut counts = [0_u64; 2];
    let steps = events.chunk_by(|a, b| a.probability == b.probability).map(move |tied| {
        for event in tied {
            counts[usize::from(event.nodule.is_some())] += u64::from(weights[event.scan]);
        }
        FrocPoint {
            fp_per_scan: counts[0] as f64 / scans as f64,
            sensitivity: counts[1] as f64 / nodules as f64,
            threshold: tied[0].probability,
        }
    });
    std::iter::once(FrocPoint { fp_per_scan: 0.0, sensitivity: 0.0, threshold: f64::INFINITY }).chain(steps)
}

/// Reads the sensitivities of a curve at ascending false positives per scan: linear in between, the higher end of a
/// vertical step, the last value beyond the end of the curve (`numpy.interp`, as the script does).
pub(crate) fn interpolate(mut curve: impl Iterator<Item = FrocPoint>, rates: &[f64], sensitivities: &mut [f64]) {
    let Some(mut from) = curve.next() else { return };
    let mut targets = rates.iter().zip(sensitivities).peekable();
    while targets.peek().is_some() {
        let to = curve.next();
        while let Some((rate, sensitivity)) = targets.next_if(|(rate, _)| to.is_none_or(|to| **rate < to.fp_per_scan)) {
            *sensitivity = match to {
                Some(to) => {
                    let part = (rate - from.fp_per_scan) / (to.fp_per_scan - from.fp_per_scan);
                    from.sensitivity + part * (to.sensitivity - from.sensitivity)
                }
                None => from.sensitivity,
            };
        }
        from = to.unwrap_or(from);
    }
}

impl Froc {
    /// Drops the points on a straight line between their neighbours when every step is alike, as scikit-learn's
    /// `roc_curve` does for the script: the curve stays the same and a figure of it stays small.
    pub(crate) fn new(curve: impl Iterator<Item = FrocPoint>) -> Self {
        let all: Vec<FrocPoint> = curve.collect();
        let step =
            |from: FrocPoint, to: FrocPoint| [to.fp_per_scan - from.fp_per_scan, to.sensitivity - from.sensitivity];
        let is_kept = |index: usize| {
            // The end points, and the first threshold, which scikit-learn sees before it adds (0, 0).
            if index <= 1 || index + 1 == all.len() {
                return true;
            }
            let (before, after) = (step(all[index - 1], all[index]), step(all[index], all[index + 1]));
            before.iter().zip(after).any(|(before, after)| (before - after).abs() > 1e-12)
        };
        Self { points: (0..all.len()).filter(|&index| is_kept(index)).map(|index| all[index]).collect() }
    }

    /// The points of the curve, by falling threshold; it begins at (0, 0).
    pub fn points(&self) -> &[FrocPoint] {
        &self.points
    }

    /// The sensitivity at a number of false positives per scan, linear between the points.
    pub fn sensitivity_at(&self, fp_per_scan: f64) -> f64 {
        let mut sensitivity = [0.0];
        interpolate(self.points.iter().copied(), &[fp_per_scan.max(0.0)], &mut sensitivity);
        sensitivity[0]
    }

    /// The sensitivities at [`FP_RATES`].
    pub fn sensitivities(&self) -> [f64; 7] {
        FP_RATES.map(|rate| self.sensitivity_at(rate))
    }

    /// The competition performance metric (Niemeijer et al., *On combining computer-aided detection systems*, IEEE
    /// TMI 30(2), 2011): the mean of [`Froc::sensitivities`].
    pub fn cpm(&self) -> f64 {
        mean(&self.sensitivities())
    }

    /// The points as a table with the columns `fp_per_scan,sensitivity,threshold`.
    pub fn to_csv(&self) -> String {
        let rows = self.points.iter().map(|p| format!("{},{},{}\n", p.fp_per_scan, p.sensitivity, p.threshold));
        std::iter::once("fp_per_scan,sensitivity,threshold\n".to_owned()).chain(rows).collect()
    }
}

/// The mean, summed in order.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
