//! The numbers of the LUNA16 script itself, for a real detector's submission on all 888 scans.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test: it fails by panicking and says what it skips")]

use std::io::Read;
use std::path::{Path, PathBuf};

use imaging::luna16::{read_findings, read_marks, read_series_uids};
use scoring::{Evaluation, Options, evaluate};

/// The folder of real data, or nothing (said aloud) where it is not at hand.
fn real_data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = PathBuf::from(std::env::var("FEDNODULE_REAL_DATA").unwrap_or_else(|_| default.to_owned()));
    if folder.join("cad_submission").is_dir() {
        return Some(folder);
    }
    let required = std::env::var("FEDNODULE_REQUIRE_REAL_DATA").is_ok_and(|value| value == "1");
    assert!(!required, "real data is required, but {} has no cad_submission", folder.display());
    eprintln!("SKIPPED: no real data in {} (set FEDNODULE_REAL_DATA)", folder.display());
    None
}

fn evaluated(data: &Path, bootstraps: usize) -> Evaluation {
    evaluate(
        &read_marks(&data.join("cad_submission/submission_deeplung_dpn26.csv.gz")).unwrap(),
        &read_findings(&data.join("luna16/annotations.csv")).unwrap(),
        &read_findings(&data.join("luna16/annotations_excluded.csv.gz")).unwrap(),
        &read_series_uids(&data.join("luna16/seriesuids.csv")).unwrap(),
        &Options { bootstraps, seed: 1 },
    )
    .unwrap()
}

/// The number after `label: ` in the script's `CADAnalysis.txt`.
fn stated(analysis: &str, label: &str) -> f64 {
    let line = analysis.lines().find_map(|line| line.trim().strip_prefix(&format!("{label}: ")));
    line.unwrap_or_else(|| panic!("no {label:?} in CADAnalysis.txt")).parse().unwrap()
}

#[test]
fn counts_are_the_scripts() {
    let Some(data) = real_data() else { return };
    let summary = evaluated(&data, 0).summary;
    let analysis = std::fs::read_to_string(data.join("cad_submission/expected_CADAnalysis.txt")).unwrap();
    for (label, ours) in [
        ("True positives", summary.true_positives),
        ("False positives", summary.false_positives),
        ("False negatives", summary.false_negatives),
        ("Total number of candidates", summary.candidates),
        ("Total number of nodules", summary.true_positives + summary.false_negatives),
        ("Ignored candidates on excluded nodules", summary.ignored),
        ("Ignored candidates which were double detections on a nodule", summary.double_detections),
    ] {
        assert_eq!(ours as f64, stated(&analysis, label), "{label}");
    }
    let per_scan = summary.candidates as f64 / summary.scans as f64;
    assert!((per_scan - stated(&analysis, "Average number of candidates per scan")).abs() < 1e-9);
}

/// The published row of the DeepLung paper (Zhu et al., WACV 2018): sensitivities to four decimals, CPM .842.
#[test]
fn sensitivities_are_the_published_ones() {
    let Some(data) = real_data() else { return };
    let summary = evaluated(&data, 0).summary;
    for (ours, published) in summary.sensitivities.iter().zip([0.6922, 0.7690, 0.8238, 0.8651, 0.8929, 0.9174, 0.9334])
    {
        assert!((ours - published).abs() <= 0.5e-4, "{ours} is not {published} to four decimals");
    }
    assert!((summary.cpm - 0.8420).abs() <= 0.5e-4, "CPM {}", summary.cpm);
}

/// Point by point, the points that the script leaves out included; its file has nine decimals.
#[test]
fn the_curve_is_the_scripts() {
    let Some(data) = real_data() else { return };
    let file = std::fs::File::open(data.join("cad_submission/expected_froc.txt.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let expected: Vec<[f64; 3]> = text
        .lines()
        .map(|line| line.split(',').map(|number| number.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap())
        .collect();
    let froc = evaluated(&data, 0).froc;
    assert_eq!(froc.points().len(), expected.len());
    for (ours, [fp_per_scan, sensitivity, threshold]) in froc.points().iter().zip(expected) {
        assert!((ours.fp_per_scan - fp_per_scan).abs() < 1e-9, "{ours:?}");
        assert!((ours.sensitivity - sensitivity).abs() < 1e-9, "{ours:?}");
        assert!(ours.threshold == threshold || (ours.threshold - threshold).abs() < 1e-9, "{ours:?}");
    }
}

#[test]
fn the_missed_nodules_are_the_scripts() {
    let Some(data) = real_data() else { return };
    let missed: Vec<(String, [f64; 3])> = evaluated(&data, 0)
        .nodules
        .into_iter()
        .filter(|outcome| outcome.probability.is_none())
        .map(|outcome| (outcome.nodule.series_uid, outcome.nodule.center_mm_xyz))
        .collect();
    let expected = std::fs::read_to_string(data.join("cad_submission/expected_nodulesWithoutCandidate.txt")).unwrap();
    let expected: Vec<(String, [f64; 3])> = expected
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[0].to_owned(), std::array::from_fn(|axis| fields[2 + axis].parse().unwrap()))
        })
        .collect();
    assert_eq!(missed, expected);
}

/// Reported for this detector: CPM .842, 95 % interval .812 to .868. The script's resamples are not seeded and the
/// interval was read from curves: 0.005 covers both.
#[test]
fn the_interval_is_the_reported_one() {
    let Some(data) = real_data() else { return };
    let [lower, upper] = evaluated(&data, 1000).summary.cpm_ci95.unwrap();
    assert!((lower - 0.812).abs() < 0.005 && (upper - 0.868).abs() < 0.005, "[{lower}, {upper}]");
}
