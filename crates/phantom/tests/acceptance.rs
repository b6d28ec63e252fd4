//! Whether the phantoms are hard because of their vessels.

use phantom::Size;
use phantom::acceptance::{MAX_BASELINE_CPM, acceptance};

#[test]
fn a_blob_detector_fails_on_small_phantoms_and_vessels_are_a_reason() {
    let result = acceptance(4, Size::Small, 77, &mut |_, _| {}).unwrap();
    assert!(result.nodules >= 12, "{result:?}");
    assert!(result.cpm <= MAX_BASELINE_CPM, "{result:?}");
    assert!(result.cpm_without_vessels > result.cpm + 0.05, "{result:?}");
    // The nodules are there to be seen: most are among the marks.
    assert!(result.marked > 0.5, "{result:?}");
}

#[test]
#[ignore = "takes minutes: run with --ignored in a release build"]
fn full_size_phantoms_are_accepted() {
    let result = acceptance(24, Size::Full, 21, &mut |_, _| {}).unwrap();
    assert!(result.accepted(), "{result:?}");
}
