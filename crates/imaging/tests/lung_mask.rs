//! Lungs in a drawn chest whose truth is known, and in real scans.

use std::path::{Path, PathBuf};

use imaging::lung_mask::{LungMask, LungMaskConfig, LungSide, LungSource, lung_mask};
use imaging::resample::resample_isotropic;
use imaging::{Geometry, Volume, luna16, metaimage};

/// Semi-axes of the drawn lungs, millimetres: 4/3 π · 55 · 80 · 110 = 2.03 litres each.
const LUNG_MM: [f64; 3] = [55.0, 80.0, 110.0];
const LUNG_ML: f64 = 4.0 / 3.0 * std::f64::consts::PI * 55.0 * 80.0 * 110.0 / 1000.0;

fn inside(point: [f64; 3], center: [f64; 3], half: [f64; 3]) -> bool {
    (0..3).map(|d| ((point[d] - center[d]) / half[d]).powi(2)).sum::<f64>() <= 1.0
}

/// A chest of 3 mm voxels: body, two lungs (`gap_mm` between them), a trachea that ends between them, a table of foam
/// in a shell below the back. `direction` is that of the file's grid.
fn chest(gap_mm: f64, left_scale: f64, direction: [[f64; 3]; 3]) -> Volume<i16> {
    let shape_zyx = [100, 110, 130];
    let mut geometry = Geometry { shape_zyx, spacing_mm_xyz: [3.0; 3], origin_mm_xyz: [0.0; 3], direction };
    let middle = geometry.world_from_index(shape_zyx.map(|n| (n - 1) as f64 / 2.0));
    geometry.origin_mm_xyz = middle.map(|m| -m);
    let aside = LUNG_MM[0] + gap_mm / 2.0;
    let hu = |p: [f64; 3]| -> i16 {
        let body = (p[0] / 170.0).powi(2) + (p[1] / 115.0).powi(2) <= 1.0;
        if p[1] > 118.0 && p[1] < 150.0 && p[0].abs() < 180.0 {
            return if p[1] < 122.0 || p[1] > 146.0 || p[0].abs() > 176.0 { 200 } else { -950 };
        }
        if !body {
            return -2000;
        }
        let trachea = p[0].hypot(p[1]) < 8.0 && p[2] > 20.0;
        let right = inside(p, [-aside, 0.0, 0.0], LUNG_MM);
        let left = inside(p, [aside, 0.0, 0.0], LUNG_MM.map(|half| half * left_scale));
        if trachea {
            -1000
        } else if right || left {
            -850
        } else {
            40
        }
    };
    let [nz, ny, nx] = shape_zyx;
    let mut voxels = Vec::with_capacity(geometry.voxel_count());
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                voxels.push(hu(geometry.world_from_index([z, y, x].map(|i| i as f64))));
            }
        }
    }
    Volume::new(geometry, voxels)
}

const UPRIGHT: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn find(volume: &Volume<i16>) -> LungMask {
    lung_mask(volume, &LungMaskConfig::default()).expect("a grid")
}

fn at_world(found: &LungMask, point: [f64; 3]) -> u8 {
    found.mask.at(found.mask.geometry().index_from_world(point).map(|i| i.round() as usize))
}

#[test]
fn both_lungs_are_found_whatever_the_grid() {
    let flipped = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
    let permuted = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]];
    for direction in [UPRIGHT, flipped, permuted] {
        // Permuted axes cut the chest at other places; the lungs are inside all the same.
        let volume = chest(30.0, 1.0, direction);
        let found = find(&volume);
        let LungSource::Lungs { right_ml, left_ml, right, left } = &found.source else { panic!("{:?}", found.source) };
        for ml in [right_ml, left_ml] {
            // Voxels of 3 mm and a closed surface.
            assert!((ml / LUNG_ML - 1.0).abs() < 0.06, "{ml} ml for {LUNG_ML}");
        }
        assert_eq!(found.mask.geometry(), volume.geometry());
        assert_eq!(at_world(&found, [-70.0, 0.0, 0.0]), LungMask::RIGHT);
        assert_eq!(at_world(&found, [70.0, 0.0, 0.0]), LungMask::LEFT);
        let lung = |point| found.lung_at(volume.geometry().index_from_world(point));
        assert_eq!(lung([-70.0, 10.0, -3.0]), Some(LungSide::Right));
        assert_eq!(lung([70.0, 10.0, -3.0]), Some(LungSide::Left));
        assert_eq!(lung([0.0, 134.0, 0.0]), None, "the table lies in no lung");
        assert_eq!(lung([-1e6, 0.0, 0.0]), None, "nothing lies outside the scan");
        assert_eq!(lung([f64::NAN; 3]), None);
        assert_eq!(at_world(&found, [0.0, 0.0, 130.0]), 0, "the trachea is not lung");
        assert_eq!(at_world(&found, [0.0, 134.0, 0.0]), 0, "the table's foam is not lung");
        // A nodule at the pleura lies within the rim of 9 mm, but nothing farther away.
        assert_eq!(at_world(&found, [-70.0, 80.0 + 5.0, 0.0]), LungMask::RIGHT);
        assert_eq!(at_world(&found, [-70.0, 80.0 + 15.0, 0.0]), 0);
        for (bit, bounds) in [(LungMask::RIGHT, right), (LungMask::LEFT, left)] {
            let outside = imaging::VoxelBox::whole(volume.geometry().shape_zyx)
                .indices()
                .find(|&index| found.mask.at(index) & bit != 0 && !bounds.contains(index));
            assert_eq!(outside, None);
        }
    }
}

#[test]
fn lungs_that_touch_are_told_apart() {
    let found = find(&chest(-2.0, 1.0, UPRIGHT));
    let LungSource::Lungs { right_ml, left_ml, .. } = found.source else { panic!("{:?}", found.source) };
    assert!((left_ml / right_ml - 1.0).abs() < 0.1, "{left_ml} and {right_ml} ml");
}

#[test]
fn implausible_lungs_give_way_to_the_body() {
    for (volume, words) in [
        (chest(30.0, 0.65, UPRIGHT), "times the volume of the right, expected 0.50 to 2.00"),
        (Volume::filled(chest(30.0, 1.0, UPRIGHT).geometry().clone(), 40i16), "no air was found"),
        (Volume::filled(Geometry::axis_aligned([1; 3], [1.0; 3], [0.0; 3]).expect("a grid"), -1000i16), "no air"),
    ] {
        let found = find(&volume);
        let middle = volume.geometry().shape_zyx.map(|n| (n / 2) as f64);
        assert_eq!(found.lung_at(middle), None, "a side is named without lungs");
        let LungSource::BodyBox { body, reason } = &found.source else { panic!("{:?}", found.source) };
        assert!(reason.contains(words), "{reason}");
        assert_eq!(found.boxes(), [*body]);
        let inside = found.mask.voxels().iter().filter(|&&label| label != 0).count();
        assert_eq!(inside, body.voxel_count());
    }
    // The body without the air beside it, but with all of its lungs.
    let found = find(&chest(30.0, 0.65, UPRIGHT));
    assert_ne!(at_world(&found, [-150.0, 0.0, 0.0]), 0);
    assert_eq!(at_world(&found, [0.0, -140.0, 0.0]), 0);
}

#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn skipped(why: &str) {
    assert!(
        std::env::var_os("FEDNODULE_REQUIRE_REAL_DATA").is_none_or(|value| value != "1"),
        "FEDNODULE_REQUIRE_REAL_DATA is set, but {why}"
    );
    eprintln!("SKIPPED: real scans: {why}");
}

/// The folder of real scans, or a visible skip.
fn real_scans() -> Option<PathBuf> {
    let default = || Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).to_path_buf();
    let folder = std::env::var_os("FEDNODULE_REAL_DATA").map_or_else(default, PathBuf::from).join("scans");
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(&format!("{} is missing", folder.display()));
    None
}

/// Unpacks a scan into a folder of its own.
fn unpacked(folder: &Path) -> Option<(tempfile::TempDir, Volume<i16>)> {
    let target = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(folder).expect("a scan") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".mhd") {
            std::fs::copy(&path, target.path().join(&name)).expect("a copy");
        } else if let Some(raw) = name.strip_suffix(".xz") {
            let output = std::fs::File::create(target.path().join(raw)).expect("a file");
            let xz = std::process::Command::new("xz").arg("-dkc").arg(&path).stdout(output).status();
            if !xz.is_ok_and(|status| status.success()) {
                skipped("`xz` is not installed");
                return None;
            }
        }
    }
    let dataset = luna16::discover(target.path()).expect("a folder");
    assert_eq!(dataset.problems, []);
    let volume = metaimage::read_hu(&dataset.series[0].path).expect("a scan");
    Some((target, volume))
}

#[test]
fn real_lungs_hold_their_nodules() {
    let Some(scans) = real_scans() else { return };
    for (name, both) in
        [("LIDC-IDRI-0001", true), ("LIDC-IDRI-0063", true), ("CPTAC-C3N-00247", true), ("LungFCP-01-0001", false)]
    {
        let Some((_folder, volume)) = unpacked(&scans.join(name)) else { return };
        let found = find(&resample_isotropic(&volume, 1.0).expect("a grid"));
        match &found.source {
            LungSource::Lungs { right_ml, left_ml, .. } => {
                assert!(both, "{name}: a slab of the upper lungs is not two lungs");
                assert!((2000.0..6000.0).contains(&(right_ml + left_ml)), "{name}: {right_ml} + {left_ml} ml");
            }
            LungSource::BodyBox { reason, .. } => assert!(!both && reason.contains("ml"), "{name}: {reason}"),
        }
        let truth = scans.join(name).join("annotations.csv");
        for nodule in truth.is_file().then(|| luna16::read_findings(&truth).expect("a table")).into_iter().flatten() {
            assert_ne!(at_world(&found, nodule.center_mm_xyz), 0, "{name}: a nodule is outside");
        }
    }
}
