//! `fednodule secagg-check`.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::Path;

use common::{fednodule, text};

#[test]
fn vectors_are_met_or_the_first_difference_is_named() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../federation/tests/fixtures/secagg/vectors.json");
    let run = fednodule(["secagg-check", "--json", &text(&file)]);
    assert_eq!((run.code, &run.json()["sites"]), (Some(0), &7.into()), "{run:?}");
    let folder = tempfile::tempdir().unwrap();
    let changed = folder.path().join("changed.json");
    let vectors = std::fs::read_to_string(&file).unwrap().replacen("3982823090", "3982823091", 1);
    std::fs::write(&changed, vectors).unwrap();
    let run = fednodule(["secagg-check", &text(&changed)]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("nodes.1.y[0]"), "{run:?}");
    let run = fednodule(["secagg-check", &text(&folder.path().join("none"))]);
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.stderr.contains("none"), "{run:?}");
}
