//! `fednodule train`: sessions that are stopped, killed and gone on with.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{Run, fednodule, program, text};
use serde_json::Value;

/// Two hospitals with one small phantom each, made once.
fn hospitals() -> &'static Path {
    static HOSPITALS: OnceLock<tempfile::TempDir> = OnceLock::new();
    HOSPITALS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let run = fednodule(["phantom", "--out", &text(folder.path()), "--sites", "2", "--scans", "1"]);
            assert_eq!(run.code, Some(0), "{run:?}");
            folder
        })
        .path()
}

/// Three rounds of eight steps.
fn train(out: &Path) -> Command {
    let site = |name: &str, folder: &str| format!("{name}={}", hospitals().join(folder).display());
    let mut command = program();
    command.args(["train", "--json", "--out", &text(out), "--network", "xxs", "--min-lung-ml", "150"]);
    command.args(["--site", &site("A", "site1_thin_soft"), "--site", &site("B", "site2_low_dose_sharp")]);
    command.args(["--rounds", "3", "--local-epochs", "1", "--patches-per-epoch", "16"]);
    command.args(["--batch-size", "2", "--patch-size", "32", "--learning-rate", "0.005", "--device", "cpu"]);
    command
}

/// What the uninterrupted session gives.
fn expected() -> &'static Value {
    static EXPECTED: OnceLock<Value> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let out = tempfile::tempdir().unwrap();
        let run: Run = train(out.path()).output().unwrap().into();
        assert_eq!(run.code, Some(0), "{run:?}");
        run.json()
    })
}

/// Starts the session and waits for a file of it.
fn until(out: &Path, file: &str) -> Child {
    let mut child = train(out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !out.join(file).is_file() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(child.try_wait().unwrap().is_none(), "ended before {file} was there");
    }
    child
}

#[track_caller]
fn resumed_is_as_expected(out: &Path) {
    let run = fednodule(["train", "--json", "--resume", "1", "--out", &text(out), "--device", "cpu"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let (found, expected) = (run.json(), expected());
    assert_eq!(found["outcome"], "completed");
    assert_eq!(found["model_sha256"], expected["model_sha256"], "the resumed session has another model");
    assert!(out.join("models/session_1_federated_model.safetensors").is_file());
}

#[test]
fn a_session_gives_a_model_a_history_and_one_document() {
    let document = expected();
    assert_eq!(document["outcome"], "completed");
    let rounds = document["session"]["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 3);
    for round in rounds {
        for site in ["A", "B"] {
            assert!(round["sites"][site]["update"]["metrics"]["loss"].as_f64().unwrap().is_finite(), "{round}");
        }
    }
    let hashes: Vec<_> = rounds.iter().map(|round| &round["model_sha256"]).collect();
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
}

/// The hardest moment: a site has kept its memory of the round, its update is perhaps not recorded yet.
#[test]
fn a_killed_session_goes_on_to_the_same_model() {
    for file in ["work/A/1/round_001.safetensors", "work/B/1/round_002.safetensors"] {
        let out = tempfile::tempdir().unwrap();
        let mut child = until(out.path(), file);
        child.kill().unwrap();
        child.wait().unwrap();
        resumed_is_as_expected(out.path());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_session_says_how_to_go_on_and_does() {
    let out = tempfile::tempdir().unwrap();
    let child = until(out.path(), "work/A/1/round_001.safetensors");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{run:?}");
    assert_eq!(run.json()["outcome"], "suspended");
    resumed_is_as_expected(out.path());

    // What is over is not trained again, and not overwritten.
    let again: Run = train(out.path()).args(["--session", "1"]).output().unwrap().into();
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("--resume 1"), "{again:?}");
}

#[test]
fn a_site_without_nodules_is_named_and_too_few_sites_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (out, empty) = (folder.path().join("out"), folder.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let scans = hospitals().join("site1_thin_soft");
    let site = format!("A={}", scans.display());
    let other = format!("B={}", empty.display());
    let run = fednodule(["train", "--out", &text(&out), "--site", &site, "--site", &other]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("site B") && run.stderr.contains("怎么办"), "{run:?}");
    assert!(!out.join("sessions").exists(), "a session that cannot start left traces");

    let table = folder.path().join("annotations.csv");
    std::fs::write(&table, "seriesuid,coordX,coordY,coordZ,diameter_mm\nunknown,1,2,3,4\n").unwrap();
    let run = fednodule(["train", "--out", &text(&out), "--site", &site, "--annotations", &text(&table)]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("seriesuid"), "{run:?}");
}
