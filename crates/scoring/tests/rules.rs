//! The rules against an independent implementation (`fixtures/generate.py`), and what must hold for any submission.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use imaging::luna16::{Finding, Mark, read_findings, read_marks, read_series_uids};
use proptest::prelude::*;
use scoring::{
    Evaluation, FP_RATES, FigureCurve, FigureLabels, FrocPoint, MAX_MARKS_PER_SCAN, Options, ScoringError, Summary,
    evaluate, froc_svg,
};
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");

#[derive(Debug, Clone)]
struct Tables {
    marks: Vec<Mark>,
    included: Vec<Finding>,
    excluded: Vec<Finding>,
    scans: Vec<String>,
}

impl Tables {
    fn fixture() -> Self {
        let path = |name: &str| std::path::PathBuf::from(format!("{FIXTURES}{name}.csv"));
        Self {
            marks: read_marks(&path("submission")).unwrap(),
            included: read_findings(&path("annotations")).unwrap(),
            excluded: read_findings(&path("annotations_excluded")).unwrap(),
            scans: read_series_uids(&path("seriesuids")).unwrap(),
        }
    }

    fn try_evaluate(&self, bootstraps: usize) -> Result<Evaluation, ScoringError> {
        let options = Options { bootstraps, seed: 7 };
        evaluate(&self.marks, &self.included, &self.excluded, &self.scans, &options)
    }

    fn evaluate(&self, bootstraps: usize) -> Evaluation {
        self.try_evaluate(bootstraps).unwrap()
    }
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{FIXTURES}expected.json")).unwrap()).unwrap()
}

#[test]
fn an_independent_implementation_finds_the_same() {
    let (evaluation, expected) = (Tables::fixture().evaluate(4000), expected());
    let ours = serde_json::to_value(&evaluation.summary).unwrap();
    for (key, value) in ours.as_object().unwrap() {
        match key.as_str() {
            "cpm" => assert!((value.as_f64().unwrap() - expected[key].as_f64().unwrap()).abs() < 1e-12),
            // Two generators, 4000 and 20000 resamples: the standard error of either end is about 0.003.
            "cpm_ci95" => (0..2).for_each(|end| {
                let (ours, theirs) = (value[end].as_f64().unwrap(), expected[key][end].as_f64().unwrap());
                assert!((ours - theirs).abs() < 0.012, "{ours} {theirs}");
            }),
            "sensitivities" => {
                assert_eq!(value.as_object().unwrap().len(), 7);
                for (rate, sensitivity) in value.as_object().unwrap() {
                    let theirs = expected[key][rate].as_f64().unwrap();
                    assert!((sensitivity.as_f64().unwrap() - theirs).abs() < 1e-12, "at {rate}");
                }
            }
            _ => assert_eq!(value, &expected[key], "{key}"),
        }
    }
    let found: Vec<Option<f64>> = evaluation.nodules.iter().map(|outcome| outcome.probability).collect();
    assert_eq!(serde_json::to_value(found).unwrap(), expected["found"]);
    assert!(evaluation.unlisted.marks > 0 && evaluation.unlisted.included > 0 && evaluation.unlisted.excluded > 0);
    // Ours leaves out points on straight lines, and reads the upper end of a vertical step: compare there.
    let points: Vec<[f64; 2]> = expected["froc"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| [0, 1].map(|column| point[column].as_f64().unwrap()))
        .collect();
    for (index, [rate, sensitivity]) in points.iter().enumerate() {
        if points.get(index + 1).is_none_or(|next| next[0] > *rate) {
            let ours = evaluation.froc.sensitivity_at(*rate);
            assert!((ours - sensitivity).abs() < 1e-12, "at {rate}: {ours}, not {sensitivity}");
        }
    }
    for (bin, expected) in
        evaluation.sensitivity_by_diameter(1.0).iter().zip(expected["by_diameter_at_1"].as_array().unwrap())
    {
        assert_eq!(Value::from(bin.nodules), expected[0]);
        match (bin.sensitivity, expected[1].as_f64()) {
            (Some(ours), Some(theirs)) => assert!((ours - theirs).abs() < 1e-12, "{bin:?}"),
            (ours, theirs) => assert_eq!(ours, theirs),
        }
    }
}

#[test]
fn the_summary_reads_back_from_json_in_the_stated_order() {
    for bootstraps in [0, 20] {
        let summary = Tables::fixture().evaluate(bootstraps).summary;
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
        let keys = [
            "cpm",
            "cpm_ci95",
            "sensitivities",
            "0.125",
            "0.25",
            "0.5",
            "1",
            "2",
            "4",
            "8",
            "candidates",
            "true_positives",
            "false_positives",
            "false_negatives",
            "ignored",
            "double_detections",
            "scans",
        ];
        let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(serde_json::from_str::<Summary>(&text.replace("\"0.5\"", "\"0.6\"")).is_err());
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_its_row() {
    let tables = Tables::fixture();
    let with = |change: &dyn Fn(&mut Tables)| {
        let mut changed = tables.clone();
        change(&mut changed);
        changed.try_evaluate(0).unwrap_err()
    };
    assert_eq!(with(&|t| t.scans.clear()), ScoringError::NoScans);
    assert_eq!(with(&|t| t.marks[4].probability = f64::NAN), ScoringError::MarkNotFinite { row: 5 });
    assert_eq!(
        with(&|t| t.excluded[0].center_mm_xyz[1] = f64::INFINITY),
        ScoringError::FindingNotFinite { list: "excluded", row: 1 }
    );
    assert!(matches!(
        with(&|t| t.scans.push(t.scans[2].clone())),
        ScoringError::DuplicateScan { first_row: 3, row: 13, .. }
    ));
    assert!(matches!(with(&|t| t.included.clear()), ScoringError::NoNodules { nodules: 0, scans: 12 }));
    assert!(matches!(with(&|t| t.scans = vec!["elsewhere".to_owned()]), ScoringError::NoNodules { scans: 1, .. }));
}

#[test]
fn a_detector_without_marks_and_a_perfect_one() {
    let mut tables = Tables::fixture();
    tables.marks.clear();
    let silent = tables.evaluate(20);
    assert_eq!((silent.summary.cpm, silent.summary.cpm_ci95), (0.0, Some([0.0, 0.0])));
    let mark = |nodule: &Finding| Mark {
        series_uid: nodule.series_uid.clone(),
        center_mm_xyz: nodule.center_mm_xyz,
        probability: 0.9,
        diameter_mm: None,
    };
    tables.marks = tables.included.iter().map(mark).collect();
    let perfect = tables.evaluate(20);
    assert_eq!((perfect.summary.cpm, perfect.summary.cpm_ci95), (1.0, Some([1.0, 1.0])));
}

#[test]
fn the_seed_alone_decides_the_band() {
    let tables = Tables::fixture();
    assert_eq!(tables.evaluate(50).band, tables.evaluate(50).band);
    let other = evaluate(
        &tables.marks,
        &tables.included,
        &tables.excluded,
        &tables.scans,
        &Options { bootstraps: 50, seed: 8 },
    );
    assert_ne!(tables.evaluate(50).band, other.unwrap().band);
}

#[test]
fn the_band_holds_the_curve_and_ends_at_the_rates() {
    let evaluation = Tables::fixture().evaluate(500);
    let band = evaluation.band.unwrap();
    assert_eq!(band.points.len(), 193);
    for (rate, point) in FP_RATES.iter().zip(band.points.iter().step_by(32)) {
        assert_eq!(*rate, point.fp_per_scan);
    }
    for point in &band.points {
        let sensitivity = evaluation.froc.sensitivity_at(point.fp_per_scan);
        assert!(point.lower <= sensitivity && sensitivity <= point.upper && point.lower <= point.mean, "{point:?}");
    }
    assert!(band.points.is_sorted_by(|a, b| a.lower <= b.lower && a.upper <= b.upper));
}

#[test]
fn the_tables_of_the_curve_can_be_read() {
    let evaluation = Tables::fixture().evaluate(10);
    let csv = evaluation.froc.to_csv();
    assert!(csv.starts_with("fp_per_scan,sensitivity,threshold\n0,0,inf\n"));
    for (line, point) in csv.lines().skip(1).zip(evaluation.froc.points()) {
        let numbers: Vec<f64> = line.split(',').map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers, [point.fp_per_scan, point.sensitivity, point.threshold]);
    }
    assert_eq!(evaluation.band.unwrap().to_csv().lines().count(), 194);
}

#[test]
fn the_figure_names_the_cpm_and_escapes_its_labels() {
    let labels = FigureLabels {
        title: "合成体模结果 <FROC> & CPM".to_owned(),
        x_axis: "每例平均假阳性数".to_owned(),
        y_axis: "敏感度".to_owned(),
        band: "95% 置信带".to_owned(),
    };
    let with_band = Tables::fixture().evaluate(50);
    let svg = froc_svg(&[FigureCurve { label: "模型", evaluation: &with_band }], &labels);
    let [lower, upper] = with_band.summary.cpm_ci95.unwrap();
    assert!(svg.contains(&format!("CPM {:.3} [{lower:.3}, {upper:.3}]", with_band.summary.cpm)));
    assert!(
        svg.contains("合成体模结果 &lt;FROC&gt; &amp; CPM") && svg.contains("95% 置信带") && svg.contains("<polygon")
    );
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert!(svg.contains(">模型<"), "one curve needs no figure behind its name");
    let without = Tables::fixture().evaluate(0);
    let curve = |label| FigureCurve { label, evaluation: &without };
    let two = froc_svg(&[curve("A"), curve("<B>")], &labels);
    assert!(!two.contains("<polygon") && !two.contains("95% 置信带"));
    let cpm = format!("{:.3}", without.summary.cpm);
    assert!(two.contains(&format!("A {cpm}")) && two.contains(&format!("&lt;B&gt; {cpm}")));
}

#[test]
fn detectors_are_compared_on_the_same_resamples() {
    let tables = Tables::fixture();
    let good = tables.evaluate(200);
    let worse = Tables { marks: tables.marks[..tables.marks.len() / 2].to_vec(), ..tables.clone() }.evaluate(200);
    let itself = good.cpm_difference(&good).unwrap();
    assert_eq!((itself.difference, itself.ci95), (0.0, [0.0; 2]));
    let there = good.cpm_difference(&worse).unwrap();
    let back = worse.cpm_difference(&good).unwrap();
    assert_eq!(there.difference, good.summary.cpm - worse.summary.cpm);
    assert!(there.ci95[0] < there.ci95[1], "{there:?}");
    assert_eq!(there.difference, -back.difference);
    assert_eq!(good.cpm_difference(&tables.evaluate(0)), None, "no resamples");
    assert_eq!(good.cpm_difference(&tables.evaluate(100)), None, "other resamples");
    let fewer = Tables { included: tables.included[1..].to_vec(), ..tables.clone() };
    assert_eq!(good.cpm_difference(&fewer.evaluate(200)), None, "other nodules");
}

/// Few places and few probabilities, so that hits, double hits and ties are frequent; below the limit of marks.
fn tables() -> impl Strategy<Value = Tables> {
    let place = || (0..3_usize, [0..4_i32, 0..3_i32, 0..2_i32]);
    let center = |grid: [i32; 3]| grid.map(|step| f64::from(step) * 3.0);
    let finding =
        move || {
            (place(), prop_oneof![Just(-1.0), Just(4.0), Just(7.0)]).prop_map(move |((scan, grid), diameter_mm)| {
                Finding { series_uid: scan.to_string(), center_mm_xyz: center(grid), diameter_mm }
            })
        };
    let mark = (place(), 1..9_u32).prop_map(move |((scan, grid), eighths)| Mark {
        series_uid: scan.to_string(),
        center_mm_xyz: center(grid).map(|c| c + 0.5),
        probability: f64::from(eighths) / 8.0,
        diameter_mm: None,
    });
    (prop::collection::vec(mark, 0..40), prop::collection::vec(finding(), 1..6), prop::collection::vec(finding(), 0..6))
        .prop_map(|(marks, included, excluded)| Tables {
            marks,
            included,
            excluded,
            scans: ["0", "1", "2"].map(str::to_owned).to_vec(),
        })
}

/// Where to compare two curves: between and on their points.
fn rates() -> impl Iterator<Item = f64> {
    (0..600).map(|step| f64::from(step) / 24.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_of_rows_and_scans_does_not_matter((tables, shuffled) in tables().prop_flat_map(|t| {
        let shuffle = (Just(t.marks.clone()).prop_shuffle(), Just(t.included.clone()).prop_shuffle(), Just(t.excluded.clone()).prop_shuffle(), Just(t.scans.clone()).prop_shuffle());
        (Just(t), shuffle.prop_map(|(marks, included, excluded, scans)| Tables { marks, included, excluded, scans }))
    })) {
        let (one, other) = (tables.evaluate(10), shuffled.evaluate(10));
        prop_assert_eq!(one.summary, other.summary);
        prop_assert_eq!(one.froc, other.froc);
        prop_assert_eq!(one.band, other.band);
    }

    #[test]
    fn every_nodule_and_every_mark_is_counted_once(tables in tables()) {
        let evaluation = tables.evaluate(0);
        let s = &evaluation.summary;
        prop_assert_eq!(s.true_positives + s.false_negatives, tables.included.len());
        prop_assert_eq!(s.candidates, tables.marks.len());
        // A mark that hits two nodules is counted for each of them.
        prop_assert!(s.true_positives + s.double_detections + s.false_positives + s.ignored >= s.candidates);
        let end = evaluation.froc.points().last().unwrap();
        prop_assert!((end.fp_per_scan - s.false_positives as f64 / 3.0).abs() < 1e-12);
        prop_assert!((end.sensitivity - s.true_positives as f64 / tables.included.len() as f64).abs() < 1e-12);
    }

    #[test]
    fn the_curve_rises_as_the_threshold_falls(tables in tables()) {
        let froc = tables.evaluate(0).froc;
        let is_step = |a: &FrocPoint, b: &FrocPoint| {
            a.threshold > b.threshold && a.fp_per_scan <= b.fp_per_scan && a.sensitivity <= b.sensitivity
        };
        prop_assert!(froc.points().is_sorted_by(is_step));
        let read: Vec<f64> = rates().map(|rate| froc.sensitivity_at(rate)).collect();
        prop_assert!(read.is_sorted_by(|a, b| *a <= *b + 1e-12));
        for point in froc.points() {
            prop_assert!(froc.sensitivity_at(point.fp_per_scan) >= point.sensitivity);
        }
    }

    #[test]
    fn a_false_positive_never_raises_the_curve(tables in tables(), sixteenths in 0..18_u32) {
        let mut worse = tables.clone();
        let center_mm_xyz = [-100.0; 3];
        worse.marks.push(Mark { series_uid: "1".to_owned(), center_mm_xyz, probability: f64::from(sixteenths) / 16.0, diameter_mm: None });
        let (before, after) = (tables.evaluate(0), worse.evaluate(0));
        prop_assert_eq!(after.summary.false_positives, before.summary.false_positives + 1);
        for rate in rates() {
            prop_assert!(after.froc.sensitivity_at(rate) <= before.froc.sensitivity_at(rate) + 1e-12, "at {}", rate);
        }
    }

    #[test]
    fn a_repeated_hit_only_counts_as_double(tables in tables(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!tables.marks.is_empty());
        let mut repeated = tables.clone();
        repeated.marks.push(tables.marks[pick.index(tables.marks.len())].clone());
        let (before, after) = (tables.evaluate(10), repeated.evaluate(10));
        let (b, a) = (&before.summary, &after.summary);
        prop_assert_eq!(a.true_positives, b.true_positives);
        if a.double_detections > b.double_detections {
            prop_assert_eq!((a.false_positives, a.ignored), (b.false_positives, b.ignored));
            prop_assert_eq!(before.froc, after.froc);
            prop_assert_eq!(before.band, after.band);
        } else {
            prop_assert_eq!(a.false_positives + a.ignored, b.false_positives + b.ignored + 1);
        }
    }

    #[test]
    fn excluding_a_finding_never_lowers_the_curve(tables in tables(), scan in 0..3_usize) {
        let mut excluded = tables.clone();
        excluded.excluded.push(Finding { series_uid: scan.to_string(), center_mm_xyz: [3.0; 3], diameter_mm: 9.0 });
        let (before, after) = (tables.evaluate(0), excluded.evaluate(0));
        prop_assert_eq!(before.summary.true_positives, after.summary.true_positives);
        for rate in rates() {
            prop_assert!(after.froc.sensitivity_at(rate) >= before.froc.sensitivity_at(rate) - 1e-12, "at {}", rate);
        }
    }

    #[test]
    fn only_the_rank_of_probabilities_matters(tables in tables()) {
        let mut scaled = tables.clone();
        scaled.marks.iter_mut().for_each(|mark| mark.probability = mark.probability * 4.0 - 100.0);
        prop_assert_eq!(tables.evaluate(10).summary, scaled.evaluate(10).summary);
    }

    #[test]
    fn a_scan_keeps_marks_strictly_above_its_101st(sixteenths in prop::collection::vec(0..300_u32, 90..220)) {
        let mark = |&p: &u32| Mark { series_uid: "0".to_owned(), center_mm_xyz: [50.0; 3], probability: f64::from(p) / 16.0, diameter_mm: None };
        let nodule = Finding { series_uid: "0".to_owned(), center_mm_xyz: [0.0; 3], diameter_mm: 5.0 };
        let tables = Tables { marks: sixteenths.iter().map(mark).collect(), included: vec![nodule], excluded: vec![], scans: vec!["0".to_owned()] };
        let mut sorted = sixteenths.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let kept = match sorted.get(MAX_MARKS_PER_SCAN) {
            Some(limit) => sorted.iter().filter(|p| *p > limit).count(),
            None => sorted.len(),
        };
        prop_assert_eq!(tables.evaluate(0).summary.candidates, kept);
    }
}
