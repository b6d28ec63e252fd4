//! `fednodule predict` and `fednodule export` with a network that has learned nothing: every file, every refusal.

#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::{Run, fednodule, names, text, write_chest, write_model};
use serde_json::Value;

/// A folder with a scan and a model, made once for all tests.
fn prepared() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_chest(folder.path(), "1.2.3");
        write_model(folder.path());
        folder
    });
    folder.path()
}

fn model() -> String {
    text(&prepared().join("model.safetensors"))
}

fn scan() -> String {
    text(&prepared().join("1.2.3.mhd"))
}

fn predict(out: &Path, more: &[&str]) -> Run {
    let own = ["predict".to_owned(), "--json".to_owned(), "--model".to_owned(), model(), "--out".to_owned(), text(out)];
    fednodule(own.into_iter().chain(more.iter().map(|&word| word.to_owned())))
}

/// The threshold at which the untrained network marks some places, but not a hundred.
const SOME: &str = "0.02";

#[test]
fn one_scan_gives_all_files_and_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("结果");
    let run = predict(&out, &["--threshold", SOME, "--mode", "fast", &scan()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let found = run.json();
    assert_eq!(found["seriesuid"], "1.2.3");
    assert_eq!(found["device"], "cpu");
    assert_eq!(
        found["model_sha256"].as_str().unwrap(),
        weights::hex(&weights::sha256_of_file(Path::new(&model())).unwrap())
    );
    for stage in ["loading", "preprocessing", "inference", "detection", "rendering"] {
        assert!(found["stages_s"][stage].as_f64().unwrap() >= 0.0, "{stage}: {found}");
    }
    if cfg!(target_os = "linux") {
        // At least the scan's own voxels, 2 bytes each.
        assert!(found["peak_memory_bytes"].as_u64().unwrap() > 80 * 96 * 128 * 2);
    }

    assert_eq!(names(&out), ["1.2.3", "predictions.csv", "predictions_seriesuids.csv"]);
    let files = names(&out.join("1.2.3"));
    for name in ["detections.csv", "detections.json", "report.html"] {
        assert!(files.contains(&name.to_owned()), "{files:?}");
    }
    for plane in ["axial_", "coronal_", "sagittal_"] {
        assert!(files.iter().any(|name| name.starts_with(plane) && name.ends_with(".png")), "{files:?}");
    }
    let stored: Value = serde_json::from_slice(&std::fs::read(out.join("1.2.3/detections.json")).unwrap()).unwrap();
    assert_eq!(stored, found);

    let detections = found["detections"].as_array().unwrap();
    let table = std::fs::read_to_string(out.join("1.2.3/detections.csv")).unwrap();
    assert_eq!(table.lines().count(), detections.len() + 1);
    assert!(table.starts_with("seriesuid,coordX,coordY,coordZ,probability,diameter_mm\n1.2.3,"), "{table}");
    assert_eq!(std::fs::read_to_string(out.join("predictions.csv")).unwrap(), table);
    // World and voxel positions are the same place.
    for detection in detections {
        let world = |axis: usize| detection["center_mm_xyz"][axis].as_f64().unwrap();
        let voxel = |axis: usize| detection["voxel_zyx"][2 - axis].as_f64().unwrap();
        for (axis, origin) in [-150.0, -120.0, -300.0].into_iter().enumerate() {
            assert!((origin + 2.5 * voxel(axis) - world(axis)).abs() < 1e-9);
        }
        // The chest's middle is at voxel 64; LPS: what is left of it in the file is the patient's right.
        let side = &detection["lung"];
        assert!(side.is_null() || (side == "right") == (voxel(0) < 64.0), "{detection}");
    }
}

#[test]
fn the_report_holds_everything_itself_in_both_languages() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(predict(folder.path(), &["--threshold", SOME, &scan()]).code, Some(0));
    let html = std::fs::read_to_string(folder.path().join("1.2.3/report.html")).unwrap();
    for expected in [
        "研究用途，须经医师复核",
        "a physician must review",
        "&lt;untrained&gt;, for tests",
        "data:image/png;base64,",
        "@media print",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
    assert!(html.contains(&weights::hex(&weights::sha256_of_file(Path::new(&model())).unwrap())));
    for outside in ["http://", "https://", "<script", "<link", "<untrained>"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_scan_without_detections_has_its_pictures_and_an_empty_table() {
    let folder = tempfile::tempdir().unwrap();
    let run = predict(folder.path(), &["--threshold", "1", &scan()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.json()["detections"], Value::Array(Vec::new()));
    let files = names(&folder.path().join("1.2.3"));
    assert_eq!(
        files,
        ["axial_0041.png", "coronal_0049.png", "detections.csv", "detections.json", "report.html", "sagittal_0065.png"]
    );
    let html = std::fs::read_to_string(folder.path().join("1.2.3/report.html")).unwrap();
    assert!(html.contains("这不能排除结节的存在"));
}

#[test]
fn the_same_scan_gives_the_same_results_and_replaces_them_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let first = predict(folder.path(), &["--threshold", SOME, &scan()]).json();
    std::fs::write(folder.path().join("1.2.3/old.png"), "x").unwrap();
    let second = predict(folder.path(), &["--threshold", SOME, &scan()]).json();
    assert_eq!(first["detections"], second["detections"]);
    assert!(!names(&folder.path().join("1.2.3")).contains(&"old.png".to_owned()));
    assert_eq!(names(folder.path()).len(), 3, "{:?}", names(folder.path()));
}

#[test]
fn a_bad_scan_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let scans = folder.path().join("scans");
    std::fs::create_dir(&scans).unwrap();
    write_chest(&scans, "1.2.3");
    let broken: PathBuf = scans.join("9.9.9.mhd");
    std::fs::copy(scans.join("1.2.3.mhd"), &broken).unwrap();
    std::fs::write(&broken, std::fs::read_to_string(&broken).unwrap().replace("1.2.3.raw", "9.9.9.raw")).unwrap();
    let good = write_chest(&scans, "4.5.6");
    let out = folder.path().join("out");
    let run = predict(&out, &["--threshold", SOME, "--mode", "fast", &text(&broken), &text(&good)]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let found = run.json();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(found[0]["error"]["kind"], "input");
    assert!(found[0]["error"]["message"].as_str().unwrap().contains("9.9.9.raw"), "{found}");
    assert_eq!(found[1]["seriesuid"], "4.5.6");
    assert_eq!(names(&out), ["4.5.6", "predictions.csv", "predictions_seriesuids.csv"]);
    assert_eq!(std::fs::read_to_string(out.join("predictions_seriesuids.csv")).unwrap(), "4.5.6\n");
}

#[test]
fn a_folder_is_searched_for_scans() {
    let folder = tempfile::tempdir().unwrap();
    let scans = folder.path().join("LUNA16/subset0");
    std::fs::create_dir_all(&scans).unwrap();
    write_chest(&scans, "4.5.6");
    let out = folder.path().join("out");
    let run = predict(&out, &["--threshold", SOME, "--mode", "fast", &text(&folder.path().join("LUNA16"))]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.json()[0]["seriesuid"], "4.5.6");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let run = predict(&out, &[&text(&empty)]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("no .mhd or .mha file in"), "{run:?}");
}

#[test]
fn nothing_is_written_where_nothing_can_be() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let run = predict(&folder.path().join("file/out"), &[&scan()]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert_eq!(run.json()["error"]["kind"], "output");
    // A folder of the scan's name that is not ours stays as it is.
    let out = folder.path().join("out");
    std::fs::create_dir_all(out.join("1.2.3")).unwrap();
    std::fs::write(out.join("1.2.3/diary.txt"), "dear").unwrap();
    let run = predict(&out, &["--mode", "fast", &scan()]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert_eq!(names(&out), ["1.2.3"]);
    assert_eq!(names(&out.join("1.2.3")), ["diary.txt"]);
}

#[test]
fn a_file_that_is_no_model_is_an_input_error() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("model.safetensors");
    std::fs::write(&bad, "not a model").unwrap();
    let run = fednodule(["predict", "--model", &text(&bad), "--out", &text(&folder.path().join("out")), &scan()]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("safetensors"), "{run:?}");
    assert_eq!(names(folder.path()), ["model.safetensors"]);
}

#[test]
fn export_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let to = text(&folder.path().join("weights.pth"));
    let arguments = ["export", "--json", "--model", &model(), "--to", &to];
    let run = fednodule(arguments);
    assert_eq!(run.code, Some(0), "{run:?}");
    let hash = || weights::hex(&weights::sha256_of_file(Path::new(&to)).unwrap());
    let first = hash();
    assert_eq!(run.json()["sha256"].as_str().unwrap(), first);
    let again = fednodule(arguments);
    assert_eq!(again.code, Some(4), "{again:?}");
    assert!(again.stderr.contains("已有文件不会被覆盖"), "{again:?}");
    assert_eq!(hash(), first);
    // A `.pth` is a zip archive (APPNOTE 4.3.7).
    assert!(std::fs::read(&to).unwrap().starts_with(b"PK\x03\x04"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_half_written() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // Many scans by their headers, which all name the same data: more than are done before the signal.
    let header = std::fs::read(write_chest(folder.path(), "1.2.3")).unwrap();
    let scans: Vec<PathBuf> = (0..200).map(|i| folder.path().join(format!("2.{i}.mhd"))).collect();
    scans.iter().for_each(|path| std::fs::write(path, &header).unwrap());
    let mut child = common::program()
        .args(["predict", "--model", &model(), "--out", &text(&out)])
        .args(&scans)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once its folder is there, the program listens to signals.
    while !out.is_dir() {
        std::thread::sleep(std::time::Duration::from_millis(10));
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.stderr.contains("已按要求停止"), "{run:?}");
    // What is there is whole.
    for name in names(&out) {
        assert!(name.starts_with("2.") && out.join(&name).join("report.html").is_file(), "{name}");
    }
}
