//! Plain PyTorch reads what we write (`torch_peer.py`). The interpreter is named by FEDNODULE_PYTHON.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test: it fails by panicking and says what it skips")]

mod common;

use std::process::Command;

use common::{bits, state_dicts};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use weights::{Overwrite, StateDict};

/// A Python with PyTorch, or nothing (said aloud) where there is none.
fn python() -> Option<String> {
    if let Ok(python) = std::env::var("FEDNODULE_PYTHON") {
        return Some(python);
    }
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "on CI, FEDNODULE_PYTHON must name a Python that has torch");
    eprintln!("SKIPPED: PyTorch does not check our .pth (set FEDNODULE_PYTHON to a Python that has torch)");
    None
}

fn torch_reads(python: &str, state: &StateDict) {
    let folder = tempfile::tempdir().unwrap();
    let [file, answer] = ["权重.pth", "answer.txt"].map(|name| folder.path().join(name));
    state.save_pth(&file, Overwrite::Refuse).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch_peer.py");
    let output = Command::new(python).args([script.as_ref(), file.as_path(), &answer]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let numbers =
        |field: &str| -> Vec<i64> { field.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect() };
    let answer = std::fs::read_to_string(answer).unwrap();
    let read: Vec<(String, Vec<usize>, Vec<u32>)> = answer
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let shape = numbers(fields[1]).into_iter().map(|axis| axis as usize).collect();
            (fields[0].to_owned(), shape, numbers(fields[2]).into_iter().map(|bits| bits as u32).collect())
        })
        .collect();
    assert_eq!(read, bits(state));
}

/// One call of PyTorch takes seconds, so the drawn dicts go into one file, each under its own prefix.
#[test]
fn pytorch_loads_our_pth_bit_for_bit() {
    let Some(python) = python() else { return };
    let mut runner = TestRunner::deterministic();
    let mut all = StateDict::default();
    for number in 0..40 {
        let drawn = state_dicts("[a-z]{1,6}_[0-9]", 1..6).new_tree(&mut runner).unwrap().current();
        for (name, tensor) in drawn.iter() {
            all.insert(format!("层{number}.{name}"), tensor.clone()).unwrap();
        }
    }
    assert!(all.len() > 100);
    torch_reads(&python, &all);
}
