//! `fednodule train`: sessions that are stopped, killed and gone on with.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::io::{BufRead, BufReader, Write};
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

/// The lines on standard error, which are nothing but events.
fn events(stderr: &str) -> Vec<Value> {
    stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

/// A supervised session hears `suspend`, goes on, hears that its supervisor has died, goes on, and hears `cancel`.
#[test]
fn a_supervisor_hears_events_and_commands_the_session() {
    let out = tempfile::tempdir().unwrap();
    let supervise = |arguments: &mut Command, command: Option<&[u8]>, at: &str| {
        arguments.arg("--supervised");
        arguments.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = arguments.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = String::new();
        for line in lines.by_ref() {
            said = format!("{said}{line}\n");
            if line.contains(at) {
                break;
            }
        }
        // Dropped here: the end of its input.
        let mut input = child.stdin.take().unwrap();
        if let Some(command) = command {
            input.write_all(command).unwrap();
        } else {
            drop(input);
        }
        said.extend(lines.map(|line| line + "\n"));
        let mut run: Run = child.wait_with_output().unwrap().into();
        run.stderr = said;
        run
    };
    let run = supervise(&mut train(out.path()), Some(b"suspend\n"), "site_trained");
    assert_eq!(run.code, Some(130), "{run:?}");
    assert_eq!(run.json()["outcome"], "suspended");
    let told = events(&run.stderr);
    assert_eq!(named(&told, "device")[0]["name"], "CPU");
    assert_eq!(named(&told, "preparing").last().unwrap()["total"], 1);
    let ready = named(&told, "site_ready");
    assert!(ready.len() == 2 && ready[0]["site"] == "A" && ready[0]["nodules"].as_u64().unwrap() > 0, "{ready:?}");
    assert!(named(&told, "site_progress").iter().any(|event| event["done"].as_u64() > Some(0)), "{told:?}");

    let resume = || {
        let mut command = program();
        command.args(["train", "--json", "--resume", "1", "--out", &text(out.path()), "--device", "cpu"]);
        command
    };
    let run = supervise(&mut resume(), None, "site_trained");
    assert_eq!(run.code, Some(130), "{run:?}");
    let run = supervise(&mut resume(), Some(b"cancel\n"), "site_started");
    assert_eq!((run.code, &run.json()["outcome"]), (Some(1), &Value::from("failed")), "{run:?}");
    assert_eq!(named(&events(&run.stderr), "session_failed").len(), 1, "{run:?}");
    let again: Run = resume().output().unwrap().into();
    assert_eq!(again.json()["outcome"], "failed", "a cancelled session went on: {again:?}");
}

#[test]
fn minimum_and_deadline_are_the_sessions() {
    let out = tempfile::tempdir().unwrap();
    for (minimum, words) in [("3", "--min-sites"), ("0", "1..=1000")] {
        let refused: Run = train(out.path()).args(["--min-sites", minimum]).output().unwrap().into();
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    assert!(!out.path().join("sessions").exists(), "a session that cannot start left traces");
    let run: Run = train(out.path()).args(["--min-sites", "1", "--round-deadline", "600"]).output().unwrap().into();
    let config = &run.json()["session"]["config"];
    assert_eq!((&config["minimum_sites"], &config["round_deadline_s"]), (&1.into(), &600.into()), "{config}");
}
