//! What lies on disk is LUNA16's layout, and interrupted runs go on.

use imaging::luna16::{read_findings, read_series_uids};
use imaging::metaimage::read_hu;
use phantom::{DatasetSpec, HospitalStyle, PhantomError, Size, generate, series_uid, write_dataset};
use std::path::Path;

fn spec(scans: usize) -> DatasetSpec {
    let sites = vec![HospitalStyle::ThickSlice, HospitalStyle::OldScannerStreaks];
    DatasetSpec { sites, ..DatasetSpec::new(2, scans, Size::Small, 3) }
}

fn write(out: &Path, spec: &DatasetSpec) -> Result<(usize, usize, Vec<usize>), PhantomError> {
    let mut seen = Vec::new();
    let summary = write_dataset(out, spec, &mut |p| seen.push(p.done))?;
    Ok((summary.generated, summary.kept, seen))
}

#[test]
fn a_data_set_reads_back_grows_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("中文 路径");
    assert_eq!(write(&out, &spec(1)).unwrap(), (2, 0, vec![1, 2]));
    assert_eq!(write(&out, &spec(2)).unwrap(), (2, 2, vec![1, 2, 3, 4]));

    let site = out.join("site1_thick_slice");
    let uids = read_series_uids(&site.join("seriesuids.csv")).unwrap();
    assert_eq!(uids.len(), 2);
    assert!(uids.iter().all(|u| u.starts_with("2.25.") && u.len() <= 64), "{uids:?}");
    let wanted = spec(2).scan(0, 1);
    let uid = series_uid(&wanted);
    assert!(uids.contains(&uid));
    let phantom = generate(&wanted);
    let header = site.join(format!("subset1/{uid}.mhd"));
    let stored = read_hu(&header).unwrap();
    assert_eq!(stored, phantom.volume);

    let rows = read_findings(&site.join("annotations.csv")).unwrap();
    let own: Vec<_> = rows.iter().filter(|r| r.series_uid == uid).collect();
    assert_eq!(own.len(), phantom.nodules.len());
    for (row, nodule) in own.iter().zip(&phantom.nodules) {
        for i in 0..3 {
            assert!((row.center_mm_xyz[i] - nodule.center_mm_xyz[i]).abs() < 1e-5);
        }
        assert!((row.diameter_mm - nodule.diameter_mm).abs() < 1e-5);
    }
    let excluded = read_findings(&site.join("annotations_excluded.csv")).unwrap();
    assert!(excluded.iter().any(|r| r.diameter_mm == -1.0));
    let text = std::fs::read_to_string(site.join("annotations.csv")).unwrap();
    assert!(text.starts_with("seriesuid,coordX,coordY,coordZ,diameter_mm\n"), "{text}");
    assert!(std::fs::read_to_string(site.join("README.txt")).unwrap().contains("合成体模"));

    // Voxels cut off by a full disk are noticed and made again, with the same bytes.
    let raw = header.with_extension("raw");
    std::fs::write(&raw, b"short").unwrap();
    assert_eq!(write(&out, &spec(2)).unwrap(), (1, 3, vec![1, 2, 3, 4]));
    assert_eq!(read_hu(&header).unwrap(), stored);
}

#[test]
fn other_peoples_scans_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let subset = folder.path().join("site1_thick_slice/subset0");
    std::fs::create_dir_all(&subset).unwrap();
    std::fs::write(subset.join("1.3.6.1.4.1.14519.mhd"), "NDims = 3").unwrap();
    let error = write(folder.path(), &spec(1)).unwrap_err();
    assert!(matches!(&error, PhantomError::Foreign { path } if path.ends_with("1.3.6.1.4.1.14519.mhd")), "{error}");
    assert!(error.to_string().contains("choose an empty folder"));
    assert_eq!(std::fs::read_dir(subset).unwrap().count(), 1);
}

#[test]
fn an_empty_data_set_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(write(folder.path(), &spec(0)), Err(PhantomError::Empty { sites: 2, scans: 0 })));
}

#[test]
fn every_specification_has_its_own_uid() {
    let mut uids = std::collections::BTreeSet::new();
    for size in [Size::Full, Size::Small] {
        for vessels in [true, false] {
            let spec = DatasetSpec { vessels, ..DatasetSpec::new(7, 5, size, 1) };
            for site in 0..7 {
                for scan in 0..5 {
                    assert!(uids.insert(series_uid(&spec.scan(site, scan))));
                }
            }
        }
    }
}
