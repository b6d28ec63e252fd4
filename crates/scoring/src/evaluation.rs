//! From tables to numbers: the whole evaluation.

use std::collections::HashMap;

use imaging::luna16::{Finding, Mark};
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Band, band};
use crate::froc::{Event, Froc, curve, sort_events};
use crate::matching::{NoduleOutcome, Scan};

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Number of resamples for the 95 % band; none is made for 0.
    pub bootstraps: usize,
    /// Seed of the resamples: the same seed gives the same band.
    pub seed: u64,
}

impl Default for Options {
    /// 1000 resamples, as the LUNA16 script makes.
    fn default() -> Self {
        Self { bootstraps: 1000, seed: 0 }
    }
}

/// Why there is nothing to evaluate. Rows count from 1, the header not included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoringError {
    /// The list of scans is empty.
    #[error("the list of scans is empty: a rate per scan needs at least one scan")]
    NoScans,
    /// A scan is listed twice; it would count twice in every rate.
    #[error("the scan {series_uid} is listed twice (rows {first_row} and {row}): list every scan once")]
    DuplicateScan {
        /// The scan.
        series_uid: String,
        /// Where it is first.
        first_row: usize,
        /// Where it is again.
        row: usize,
    },
    /// No included nodule lies in a listed scan.
    #[error(
        "none of the {nodules} nodules lies in one of the {scans} listed scans: sensitivity is not defined; check that \
         the list of scans and the annotations belong together"
    )]
    NoNodules {
        /// Number of included nodules.
        nodules: usize,
        /// Number of listed scans.
        scans: usize,
    },
    /// A number of a mark is NaN or infinite.
    #[error("the mark in row {row} has a position or probability that is not finite: correct the submission")]
    MarkNotFinite {
        /// The mark, from 1.
        row: usize,
    },
    /// A number of a finding is NaN or infinite.
    #[error("the {list} finding in row {row} has a position or diameter that is not finite: correct the annotations")]
    FindingNotFinite {
        /// `included` or `excluded`.
        list: &'static str,
        /// The finding, from 1.
        row: usize,
    },
}

/// The numbers of an evaluation, as they are published and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean sensitivity at [`crate::FP_RATES`].
    pub cpm: f64,
    /// 95 % bootstrap interval of the CPM; nothing without resamples.
    pub cpm_ci95: Option<[f64; 2]>,
    /// Sensitivity at [`crate::FP_RATES`]; stored with the rates as keys, `"0.125"` to `"8"`.
    #[serde(with = "by_rate")]
    pub sensitivities: [f64; 7],
    /// Marks that were counted (see rule 1 of [`evaluate`]).
    pub candidates: usize,
    /// Nodules that were hit.
    pub true_positives: usize,
    /// Marks that hit nothing.
    pub false_positives: usize,
    /// Nodules that were missed.
    pub false_negatives: usize,
    /// Marks on excluded findings.
    pub ignored: usize,
    /// Further marks on a nodule that was hit already.
    pub double_detections: usize,
    /// Number of scans.
    pub scans: usize,
}

/// Rows that do not count because their scan is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unlisted {
    /// Marks.
    pub marks: usize,
    /// Included nodules.
    pub included: usize,
    /// Excluded findings.
    pub excluded: usize,
}

/// What [`evaluate`] finds.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The numbers.
    pub summary: Summary,
    /// The curve.
    pub froc: Froc,
    /// The band around the curve; nothing without resamples.
    pub band: Option<Band>,
    /// Every included nodule and the probability it was found with, in the order of the scans and of the table.
    pub nodules: Vec<NoduleOutcome>,
    /// Rows for scans that are not listed; the script passes over them in silence, a caller should say so.
    pub unlisted: Unlisted,
    pub(crate) events: Vec<Event>,
    /// The scans' UIDs, sorted.
    pub(crate) series: Vec<String>,
    pub(crate) options: Options,
}

impl Evaluation {
    /// The lowest probability at which there are at most `fp_per_scan` false positives per scan; infinite where even the
    /// most probable mark is one too many. Read from the marks themselves: [`Froc::points`] leaves out what a figure does
    /// not need.
    pub fn threshold_at(&self, fp_per_scan: f64) -> f64 {
        let scans = self.series.len();
        let weights = vec![1; scans];
        let points = curve(&self.events, &weights, self.nodules.len() as u64, scans);
        points
            .take_while(|point| point.fp_per_scan <= fp_per_scan)
            .last()
            .map_or(f64::INFINITY, |point| point.threshold)
    }
}

/// Evaluates a detector's marks exactly as the LUNA16 script does.
///
/// 1. Only the listed scans count. A scan with more than 100 marks keeps those strictly above its 101st probability.
/// 2. A mark hits a finding when it is nearer to its centre than half its diameter (squared millimetres in world
///    coordinates, strictly); a negative diameter stands for a radius of 5 mm.
/// 3. Included nodules come first: a nodule is found with the highest probability of the marks that hit it, and none
///    of these marks can be a false positive any more. A mark may hit two nodules.
/// 4. Of the other marks, those that hit an excluded finding are ignored; the rest are false positives.
/// 5. Missed nodules stay in the denominator.
/// 6. The sensitivities are read at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan, linear between the points
///    of the curve; the CPM is their mean. The band is the 2.5 and 97.5 % quantile of a bootstrap over scans.
///
/// The order of the rows does not change any number; that of the scans only orders [`Evaluation::nodules`].
///
/// # Errors
/// [`ScoringError`] when a number is not finite or a rate has no denominator.
pub fn evaluate(
    marks: &[Mark],
    included: &[Finding],
    excluded: &[Finding],
    series_uids: &[String],
    options: &Options,
) -> Result<Evaluation, ScoringError> {
    check_finite(marks, included, excluded)?;
    let (mut scans, index_of) = listed(series_uids)?;
    let mut unlisted = Unlisted::default();
    for mark in marks {
        match index_of.get(mark.series_uid.as_str()) {
            Some(&scan) => scans[scan].marks.push(mark),
            None => unlisted.marks += 1,
        }
    }
    for finding in included {
        match index_of.get(finding.series_uid.as_str()) {
            Some(&scan) => scans[scan].included.push(finding),
            None => unlisted.included += 1,
        }
    }
    for finding in excluded {
        match index_of.get(finding.series_uid.as_str()) {
            Some(&scan) => scans[scan].excluded.push(finding),
            None => unlisted.excluded += 1,
        }
    }
    if unlisted.included == included.len() {
        return Err(ScoringError::NoNodules { nodules: included.len(), scans: scans.len() });
    }

    // Resampling draws scans by their rank among the sorted UIDs, so that the order of the list cannot matter.
    let mut by_uid: Vec<usize> = (0..scans.len()).collect();
    by_uid.sort_unstable_by_key(|&scan| &series_uids[scan]);
    let mut rank = vec![0; scans.len()];
    by_uid.iter().enumerate().for_each(|(position, &scan)| rank[scan] = position);

    let [mut candidates, mut false_positives, mut ignored, mut double_detections] = [0; 4];
    let mut nodules = Vec::new();
    let mut events = Vec::new();
    let mut nodules_of_scan = vec![0; scans.len()];
    for (scan, &scan_rank) in scans.iter().zip(&rank) {
        let matched = scan.matched();
        candidates += matched.candidates;
        ignored += matched.ignored;
        double_detections += matched.double_detections;
        false_positives += matched.false_positives.len();
        nodules_of_scan[scan_rank] = matched.nodules.len() as u32;
        let event = |probability, nodule| Event { probability, scan: scan_rank, nodule };
        events.extend(matched.false_positives.into_iter().map(|probability| event(probability, None)));
        for outcome in matched.nodules {
            events.extend(outcome.probability.map(|probability| event(probability, Some(nodules.len()))));
            nodules.push(outcome);
        }
    }
    sort_events(&mut events);

    let froc = Froc::new(curve(&events, &vec![1; scans.len()], nodules.len() as u64, scans.len()));
    let band = (options.bootstraps > 0).then(|| band(&events, &nodules_of_scan, options.bootstraps, options.seed));
    let false_negatives = nodules.iter().filter(|outcome| outcome.probability.is_none()).count();
    let summary = Summary {
        cpm: froc.cpm(),
        cpm_ci95: band.as_ref().map(|band| band.cpm_ci95),
        sensitivities: froc.sensitivities(),
        candidates,
        true_positives: nodules.len() - false_negatives,
        false_positives,
        false_negatives,
        ignored,
        double_detections,
        scans: scans.len(),
    };
    let series = by_uid.into_iter().map(|scan| series_uids[scan].clone()).collect();
    Ok(Evaluation { summary, froc, band, nodules, unlisted, events, series, options: *options })
}

fn check_finite(marks: &[Mark], included: &[Finding], excluded: &[Finding]) -> Result<(), ScoringError> {
    let is_finite = |center: [f64; 3], value: f64| center.iter().chain([&value]).all(|v| v.is_finite());
    if let Some(row) = marks.iter().position(|mark| !is_finite(mark.center_mm_xyz, mark.probability)) {
        return Err(ScoringError::MarkNotFinite { row: row + 1 });
    }
    for (list, findings) in [("included", included), ("excluded", excluded)] {
        if let Some(row) = findings.iter().position(|f| !is_finite(f.center_mm_xyz, f.diameter_mm)) {
            return Err(ScoringError::FindingNotFinite { list, row: row + 1 });
        }
    }
    Ok(())
}

/// Empty scans, and where each UID is among them.
fn listed<'a>(series_uids: &'a [String]) -> Result<(Vec<Scan<'a>>, HashMap<&'a str, usize>), ScoringError> {
    if series_uids.is_empty() {
        return Err(ScoringError::NoScans);
    }
    let mut index_of = HashMap::with_capacity(series_uids.len());
    for (index, uid) in series_uids.iter().enumerate() {
        if let Some(first) = index_of.insert(uid.as_str(), index) {
            let (first_row, row) = (first + 1, index + 1);
            return Err(ScoringError::DuplicateScan { series_uid: uid.clone(), first_row, row });
        }
    }
    Ok((series_uids.iter().map(|_| Scan::default()).collect(), index_of))
}

/// Sensitivities stored as a map from false positives per scan.
mod by_rate {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::FP_RATES;

    pub(super) fn serialize<S: Serializer>(sensitivities: &[f64; 7], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(FP_RATES.iter().map(f64::to_string).zip(sensitivities))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 7], D::Error> {
        let map = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let mut sensitivities = [0.0; 7];
        for (rate, sensitivity) in FP_RATES.iter().zip(&mut sensitivities) {
            *sensitivity = *map
                .get(&rate.to_string())
                .ok_or_else(|| D::Error::custom(format_args!("no sensitivity at {rate} false positives per scan")))?;
        }
        Ok(sensitivities)
    }
}
