//! `fednodule evaluate`: the numbers of the LUNA16 script, files on disk, and tables that do not fit.

#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::PathBuf;

use common::{fednodule, names, table, text};
use serde_json::{Value, json};

fn arguments() -> Vec<String> {
    let tables = [
        ("--submission", "submission.csv"),
        ("--annotations", "annotations.csv"),
        ("--excluded", "annotations_excluded.csv"),
        ("--seriesuids", "seriesuids.csv"),
    ];
    let tables = tables.iter().flat_map(|(option, name)| [(*option).to_owned(), table(name)]);
    ["evaluate", "--json"].map(str::to_owned).into_iter().chain(tables).collect()
}

/// Both documents have the key, and its number is the same to 1e-12 (the script adds in another order).
#[track_caller]
fn same(found: &Value, expected: &Value, key: &str) {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{key}: {value}"));
    assert!((number(found) - number(expected)).abs() < 1e-12, "{key}: {found} is not {expected}");
}

#[test]
fn numbers_and_files_of_a_small_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("评价");
    let run = fednodule(arguments().into_iter().chain(["--out".to_owned(), text(&out)]));
    assert_eq!(run.code, Some(0), "{run:?}");
    let found = run.json();
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(table("expected.json")).unwrap()).unwrap();
    for key in [
        "cpm",
        "candidates",
        "true_positives",
        "false_positives",
        "false_negatives",
        "ignored",
        "double_detections",
        "scans",
    ] {
        same(&found[key], &expected[key], key);
    }
    for rate in ["0.125", "0.25", "0.5", "1", "2", "4", "8"] {
        same(&found["sensitivities"][rate], &expected["sensitivities"][rate], rate);
    }
    let [low, high] = [0, 1].map(|i| found["cpm_ci95"][i].as_f64().unwrap());
    assert!(low < found["cpm"].as_f64().unwrap() && found["cpm"].as_f64().unwrap() < high);

    assert_eq!(names(&out), ["evaluation.json", "froc.csv", "froc.svg"]);
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(out.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(stored, found);
    assert!(
        std::fs::read_to_string(out.join("froc.csv")).unwrap().starts_with("fp_per_scan,sensitivity,threshold\n0,0,")
    );
    assert!(std::fs::read_to_string(out.join("froc.svg")).unwrap().contains("FROC 曲线"));
}

#[test]
fn rows_of_unknown_scans_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let annotations = folder.path().join("annotations.csv");
    let known = std::fs::read_to_string(table("annotations.csv")).unwrap();
    std::fs::write(&annotations, format!("{}\n9.9.9,1,2,3,5\n", known.trim_end())).unwrap();
    let arguments = arguments().into_iter().map(|a| if a == table("annotations.csv") { text(&annotations) } else { a });
    let run = fednodule(arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    let before = fednodule(self::arguments()).json()["unlisted"]["included"].as_u64().unwrap();
    assert_eq!(run.json()["unlisted"]["included"], before + 1);
    assert!(run.stderr.contains(&format!("{} 个标注结节所在的扫描不在扫描列表中", before + 1)), "{run:?}");
}

#[test]
fn tables_that_do_not_belong_together_are_input_errors() {
    let folder = tempfile::tempdir().unwrap();
    let others = folder.path().join("seriesuids.csv");
    std::fs::write(&others, "9.9.9\n").unwrap();
    let arguments = arguments().into_iter().map(|a| if a == table("seriesuids.csv") { text(&others) } else { a });
    let run = fednodule(arguments);
    assert_eq!(run.code, Some(3));
    assert!(run.json()["error"]["message"].as_str().unwrap().contains("none of the"), "{run:?}");
}

#[test]
fn a_table_in_another_form_names_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("submission.csv");
    std::fs::write(&bad, "seriesuid,coordX,coordY,coordZ,probability\n1.2,1,2,three,0.5\n").unwrap();
    let arguments = arguments().into_iter().map(|a| if a == table("submission.csv") { text(&bad) } else { a });
    let run = fednodule(arguments);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("line 2, column `coordZ`: found `three`"), "{run:?}");
    assert!(run.stderr.contains("LUNA16"), "{run:?}");
}

#[test]
fn a_place_that_cannot_be_written_to_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A folder where a file is to be: refused on every system and to every user, root included.
    std::fs::create_dir_all(folder.path().join("out/froc.svg/x")).unwrap();
    let run = fednodule(arguments().into_iter().chain(["--out".to_owned(), text(&folder.path().join("out"))]));
    assert_eq!(run.code, Some(4), "{run:?}");
    let left = names(&folder.path().join("out"));
    assert!(left.iter().all(|name| !name.contains("tmp") && name != "evaluation.json"), "{left:?}");
}

/// A real detector on all 888 scans: the row that was published (Zhu et al., WACV 2018), gzip-compressed tables.
#[test]
fn the_published_row_of_a_real_detector() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = PathBuf::from(std::env::var("FEDNODULE_REAL_DATA").unwrap_or_else(|_| default.to_owned()));
    if !data.join("cad_submission").is_dir() {
        let required = std::env::var("FEDNODULE_REQUIRE_REAL_DATA").is_ok_and(|value| value == "1");
        assert!(!required, "real data is required, but {} has no cad_submission", data.display());
        eprintln!("SKIPPED: no real data in {} (set FEDNODULE_REAL_DATA)", data.display());
        return;
    }
    let at = |name: &str| text(&data.join(name));
    let run = fednodule([
        "evaluate",
        "--json",
        "--submission",
        &at("cad_submission/submission_deeplung_dpn26.csv.gz"),
        "--annotations",
        &at("luna16/annotations.csv"),
        "--excluded",
        &at("luna16/annotations_excluded.csv.gz"),
        "--seriesuids",
        &at("luna16/seriesuids.csv"),
    ]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let found = run.json();
    let counts = ["true_positives", "false_negatives", "false_positives", "ignored", "double_detections", "scans"];
    assert_eq!(counts.map(|key| found[key].clone()), [1136, 50, 46078, 5308, 186, 888].map(|n| json!(n)));
    assert!((found["cpm"].as_f64().unwrap() - 0.8420).abs() < 5e-5, "{found}");
    assert!((found["sensitivities"]["1"].as_f64().unwrap() - 0.8651).abs() < 5e-5, "{found}");
}
