//! Which mark is a nodule: the geometric rules of the LUNA16 script, scan by scan.

use imaging::luna16::{Finding, Mark};
use serde::{Deserialize, Serialize};

/// A scan with more marks than this keeps those strictly above its 101st probability.
pub const MAX_MARKS_PER_SCAN: usize = 100;

/// The radius for findings without a known diameter (negative in the table).
const RADIUS_MM_WITHOUT_DIAMETER: f64 = 5.0;

/// What became of an included nodule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoduleOutcome {
    /// The nodule.
    pub nodule: Finding,
    /// The highest probability of the marks that hit it; nothing when it was missed.
    pub probability: Option<f64>,
}

/// The marks and findings of one scan.
#[derive(Default)]
pub(crate) struct Scan<'a> {
    pub(crate) marks: Vec<&'a Mark>,
    pub(crate) included: Vec<&'a Finding>,
    pub(crate) excluded: Vec<&'a Finding>,
}

/// What the rules make of one scan.
pub(crate) struct Matched {
    pub(crate) candidates: usize,
    /// One for each included nodule, in their order.
    pub(crate) nodules: Vec<NoduleOutcome>,
    /// Probabilities of the marks that hit nothing.
    pub(crate) false_positives: Vec<f64>,
    pub(crate) ignored: usize,
    pub(crate) double_detections: usize,
}

impl Scan<'_> {
    /// Applies the rules 1 to 5 that are written out at [`crate::evaluate`].
    pub(crate) fn matched(&self) -> Matched {
        let marks = self.strongest_marks();
        // A mark leaves the pool when it is explained; what is still in it at the end is false.
        let mut in_pool = vec![true; marks.len()];
        let mut double_detections = 0;
        let mut nodules = Vec::with_capacity(self.included.len());
        for nodule in &self.included {
            let mut hits = 0;
            let mut best: Option<f64> = None;
            for (mark, in_pool) in marks.iter().zip(&mut in_pool).filter(|(mark, _)| is_hit(mark, nodule)) {
                hits += 1;
                best = Some(best.map_or(mark.probability, |best| best.max(mark.probability)));
                *in_pool = false;
            }
            double_detections += usize::saturating_sub(hits, 1);
            nodules.push(NoduleOutcome { nodule: (*nodule).clone(), probability: best });
        }
        let mut ignored = 0;
        let mut false_positives = Vec::new();
        for (mark, _) in marks.iter().zip(in_pool).filter(|(_, in_pool)| *in_pool) {
            if self.excluded.iter().any(|finding| is_hit(mark, finding)) {
                ignored += 1;
            } else {
                false_positives.push(mark.probability);
            }
        }
        Matched { candidates: marks.len(), nodules, false_positives, ignored, double_detections }
    }

    fn strongest_marks(&self) -> Vec<&Mark> {
        let mut marks = self.marks.clone();
        if marks.len() > MAX_MARKS_PER_SCAN {
            let mut probabilities: Vec<f64> = marks.iter().map(|mark| mark.probability).collect();
            probabilities.sort_unstable_by(|a, b| b.total_cmp(a));
            marks.retain(|mark| mark.probability > probabilities[MAX_MARKS_PER_SCAN]);
        }
        marks
    }
}

fn is_hit(mark: &Mark, finding: &Finding) -> bool {
    let radius_mm = if finding.diameter_mm < 0.0 { RADIUS_MM_WITHOUT_DIAMETER } else { finding.diameter_mm / 2.0 };
    let squared_distance: f64 =
        mark.center_mm_xyz.iter().zip(finding.center_mm_xyz).map(|(a, b)| (a - b) * (a - b)).sum();
    squared_distance < radius_mm * radius_mm
}
