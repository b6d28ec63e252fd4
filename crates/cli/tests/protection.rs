//! `fednodule train` with three hospitals: secure aggregation, killed in the middle; differential privacy and its budget.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{Run, fednodule, program, text};
use serde_json::Value;

const SITES: [(&str, &str); 3] =
    [("A", "site1_thin_soft"), ("B", "site2_low_dose_sharp"), ("C", "site3_ground_glass_screening")];

/// Three hospitals with one small phantom each, made once.
fn hospitals() -> &'static Path {
    static HOSPITALS: OnceLock<tempfile::TempDir> = OnceLock::new();
    HOSPITALS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let run = fednodule(["phantom", "--out", &text(folder.path()), "--sites", "3", "--scans", "1"]);
            assert_eq!(run.code, Some(0), "{run:?}");
            folder
        })
        .path()
}

/// Two rounds of four steps.
fn train(out: &Path) -> Command {
    let mut command = program();
    command.args(["train", "--json", "--out", &text(out), "--network", "xxs", "--min-lung-ml", "150"]);
    let folders: Vec<_> = std::fs::read_dir(hospitals()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for (name, folder) in SITES {
        let number = folder.split('_').next().unwrap();
        let folder = folders.iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(number));
        command.args(["--site", &format!("{name}={}", folder.unwrap().display())]);
    }
    command.args(["--rounds", "2", "--local-epochs", "1", "--patches-per-epoch", "8"]);
    command.args(["--batch-size", "2", "--patch-size", "32", "--learning-rate", "0.005", "--device", "cpu"]);
    command
}

/// Everything below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// A session of three is masked; wherever it is killed, it goes on to the same model; nothing of a single site is in what the
/// coordinator keeps. With SCAFFOLD, which has the most to keep: control variates at the sites and with the model.
#[test]
fn three_hospitals_are_summed_securely_and_outlive_kills() {
    let train = |out: &Path| {
        let mut command = train(out);
        command.args(["--algorithm", "SCAFFOLD"]);
        command
    };
    let reference = tempfile::tempdir().unwrap();
    let run: Run = train(reference.path()).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("安全聚合：3"), "{run:?}");
    let expected = run.json();
    let session = &expected["session"];
    assert_eq!(session["protection"], "secure_aggregation");
    for round in session["rounds"].as_array().unwrap() {
        assert_eq!(round["sum"]["survivors"], serde_json::json!(["A", "B", "C"]));
        assert!(round["training_loss"].as_f64().unwrap() > 0.0, "{round}");
        for (site, _) in SITES {
            let record = &round["sites"][site];
            assert_eq!((&record["update"], &record["evaluation"]), (&Value::Null, &Value::Null));
            assert!(record["masked"]["bytes"].as_u64().unwrap() > 1_000_000, "{record}");
        }
    }
    // The model says who has signed it, and one that was changed afterwards is not used.
    let model = reference.path().join("models/session_1_federated_model.safetensors");
    let export = |model: &Path, to: &str| {
        fednodule(["export", "--model", &text(model), "--to", &text(&reference.path().join(to))])
    };
    assert_eq!(export(&model, "signed.pth").code, Some(0));
    let mut bytes = std::fs::read(&model).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = reference.path().join("changed.safetensors");
    std::fs::write(&changed, bytes).unwrap();
    let refused = export(&changed, "changed.pth");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("was changed after the coordinator"), "{refused:?}");

    // Keys and states of sites are theirs alone.
    #[cfg(unix)]
    for path in files(&reference.path().join("sites")) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    // And so are the weights that it has trained.
    #[cfg(unix)]
    for (site, _) in SITES {
        use std::os::unix::fs::PermissionsExt;
        let folder = reference.path().join("work").join(site).join("1");
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
    }

    let moments = [
        "sites/A/sessions/1/state",
        "sites/C/sessions/1/objects",
        "sessions/1/objects",
        "work/B/1/round_002.safetensors",
    ];
    for moment in moments {
        let out = tempfile::tempdir().unwrap();
        let mut child = train(out.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !out.path().join(moment).exists() {
            std::thread::sleep(Duration::from_millis(2));
            assert!(child.try_wait().unwrap().is_none(), "ended before {moment} was there");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Where it was killed before there was a session, it begins.
        let resumed = if out.path().join("sessions/1/session.json").exists() {
            fednodule(["train", "--json", "--resume", "1", "--out", &text(out.path()), "--device", "cpu"])
        } else {
            train(out.path()).output().unwrap().into()
        };
        assert_eq!(resumed.code, Some(0), "{moment}: {resumed:?}");
        assert_eq!(resumed.json()["model_sha256"], expected["model_sha256"], "{moment}");
    }
}

/// Two hospitals are told why there is no secure aggregation; what cannot work together is refused before anything is written.
#[test]
fn protection_is_told_and_what_cannot_work_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let refused: Run =
        train(out.path()).args(["--protection", "sealed", "--privacy-noise", "1"]).output().unwrap().into();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("differential_privacy"), "{refused:?}");
    let lonely: Run = train(out.path()).args(["--privacy-epsilon", "2"]).output().unwrap().into();
    assert_eq!(lonely.code, Some(2), "{lonely:?}");
    assert!(!out.path().join("sessions").exists(), "a session that cannot start left traces");

    let sealed: Run = train(out.path()).args(["--protection", "sealed"]).output().unwrap().into();
    assert_eq!(sealed.code, Some(0), "{sealed:?}");
    assert!(sealed.stderr.contains("未启用安全聚合"), "{sealed:?}");
    let session = &sealed.json()["session"];
    assert_eq!((&session["protection"], &session["sealed_because"]), (&"sealed".into(), &"chosen".into()));
    assert!(session["rounds"][0]["sites"]["A"]["update"]["metrics"]["loss"].is_f64(), "{session}");
}

/// ε is counted in the site's own ledger, over sessions, and training ends where the budget does.
#[test]
fn differential_privacy_stops_at_its_budget() {
    let out = tempfile::tempdir().unwrap();
    // One scan a site, so every step draws it: four steps a round with σ = 20 cost about ε = 0.9 together with the next four.
    let privately = ["--privacy-noise", "20", "--privacy-epsilon", "1.5"];
    let first: Run = train(out.path()).args(privately).output().unwrap().into();
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("差分隐私已用 ε = "), "{first:?}");
    let session = &first.json()["session"];
    // Not even the sums of metrics leave.
    assert_eq!(
        (&session["rounds"][0]["training_loss"], &session["rounds"][0]["foreground_probability"]),
        (&Value::Null, &Value::Null)
    );
    let ledger = |site: &str| -> Value {
        serde_json::from_slice(&std::fs::read(out.path().join("work").join(site).join("privacy_ledger.json")).unwrap())
            .unwrap()
    };
    assert_eq!(ledger("A")["entries"].as_array().unwrap().len(), 2);
    assert_eq!(ledger("A")["entries"][1]["round"], 2);

    // The next session goes on counting, until no more is allowed.
    let mut sessions = 1;
    let refused = loop {
        sessions += 1;
        assert!(sessions < 20, "the budget never ends: {:#}", ledger("A"));
        let run: Run = train(out.path()).args(privately).output().unwrap().into();
        if run.code != Some(0) {
            break run;
        }
    };
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let session = &refused.json()["session"];
    let last = session["rounds"].as_array().unwrap().last().unwrap();
    let reason = last["sites"]["A"]["reason"].as_str().unwrap();
    assert!(reason.contains("the privacy budget does not allow this round") && reason.contains("1.5"), "{reason}");
    let entries = ledger("A")["entries"].as_array().unwrap().len();
    assert!(entries >= 2 * (sessions - 1), "{entries} entries after {sessions} sessions");
}
