//! `fednodule demo --quick`, as `cargo xtask demo` runs it, from nothing to the page, and a second time.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use common::{Run, program};
use serde_json::Value;

#[test]
fn the_quick_demo_reaches_its_end_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let demo = || -> Run {
        let serve = ["--serve", "127.0.0.1:0", "--exit"];
        program().args(["demo", "--quick", "--json"]).args(serve).arg("--out").arg(&out).output().unwrap().into()
    };

    let first = demo();
    assert_eq!(first.code, Some(0), "{first:?}");
    let document = first.json();
    let rows = document["rows"].as_array().unwrap();
    let trained_by: Vec<_> = rows.iter().map(|row| row["contender"]["trained_by"].as_str().unwrap()).collect();
    assert_eq!(trained_by, ["federated", "local", "local", "local", "pooled"]);
    for row in rows {
        assert_eq!(row["steps"], rows[0]["steps"]);
        assert!((0.0..=1.0).contains(&row["evaluation"]["cpm"].as_f64().unwrap()), "{row}");
        assert!(row["evaluation"]["candidates"].as_u64().unwrap() > 0, "a model marks nothing at all: {row}");
    }
    // A session that has collapsed would have failed; one that learns has halved its loss.
    let loss = |round: &Value| round["training_loss"].as_f64().unwrap();
    let rounds = document["session"]["rounds"].as_array().unwrap();
    assert!(loss(rounds.last().unwrap()) < 0.7 * loss(&rounds[0]), "{rounds:?}");
    assert!(document["note"].as_str().unwrap().contains("合成体模结果"));
    for file in
        ["comparison.html", "froc.svg", "study.json", "server/training_history.json", "predictions/predictions.csv"]
    {
        assert!(out.join(file).is_file(), "{file} is missing");
    }

    let models = || -> Vec<_> {
        let names = common::names(&out.join("server/models")).into_iter().filter(|name| name.ends_with(".safetensors"));
        names
            .map(|name| (std::fs::metadata(out.join("server/models").join(&name)).unwrap().modified().unwrap(), name))
            .collect()
    };
    let written = models();
    assert_eq!(written.len(), 5, "{written:?}");
    let again = demo().json();
    assert_eq!(models(), written, "a model was trained again");
    assert_eq!(again["session"], document["session"]);
    for (row, before) in again["rows"].as_array().unwrap().iter().zip(rows) {
        assert_eq!(row["evaluation"], before["evaluation"]);
    }
}
