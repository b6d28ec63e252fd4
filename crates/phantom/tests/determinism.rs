//! The same specification gives the same bytes, on every machine and with any number of threads.

use phantom::{HospitalStyle, Phantom, PhantomSpec, Size, generate};
use sha2::{Digest, Sha256};

/// SHA-256 of the little-endian voxels of scan 3 under seed 20 261 123, one per style. They change only together with
/// the generator's version in the series UIDs.
const VOXELS: [(HospitalStyle, &str); 6] = [
    (HospitalStyle::ThinSoft, "cab9540952a63fd9753837bb58c872a961f9a766c615763a492e34b9aa1823f1"),
    (HospitalStyle::LowDoseSharp, "8e3fe5344e2a027e44ad7d1cc3c229c3d5d465eb16375bceea5f7ed95ac6854f"),
    (HospitalStyle::ThickSlice, "7c8c0c8d5cf45dba97e4fb1c7b598dd7223ab81cc943b5bbe7e24cd60778bf42"),
    (HospitalStyle::GroundGlassScreening, "32dfebb7f7de96d530b6364678b4495bac11b868f8a459a9c5b86330aec11d53"),
    (HospitalStyle::OldScannerStreaks, "ca0d7c6abb57c588f43ab83b663646dac29be94a4a7e501a948ab8aff2b8aadc"),
    (HospitalStyle::HeldOut, "5123c2d008afd24c616fe1367ecf8478b460b2b3040eaa6e3b493ad4a3efeffd"),
];

fn spec(style: HospitalStyle) -> PhantomSpec {
    // Scan 3 of the old scanner is one of the flipped ones.
    PhantomSpec::new(20_261_123, 3, style, Size::Small)
}

fn digest(phantom: &Phantom) -> String {
    let mut hash = Sha256::new();
    for voxel in phantom.volume.voxels() {
        hash.update(voxel.to_le_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_style_has_its_committed_voxels() {
    let found: Vec<(HospitalStyle, String)> =
        VOXELS.iter().map(|(style, _)| (*style, digest(&generate(&spec(*style))))).collect();
    let expected: Vec<(HospitalStyle, String)> = VOXELS.iter().map(|(s, d)| (*s, (*d).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate(&spec(HospitalStyle::OldScannerStreaks)))
    };
    let (one, two) = (run(1), run(2));
    assert_eq!(one.volume, two.volume);
    assert_eq!(one.nodules, two.nodules);
    assert_eq!(one.excluded, two.excluded);
}

#[test]
fn another_scan_is_another_patient() {
    let first = generate(&spec(HospitalStyle::ThickSlice));
    let second = generate(&PhantomSpec { index: 7, ..spec(HospitalStyle::ThickSlice) });
    assert_ne!(digest(&first), digest(&second));
    assert_ne!(first.nodules, second.nodules);
}
