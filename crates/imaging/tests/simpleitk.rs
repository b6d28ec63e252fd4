//! Agreement with SimpleITK on files that it wrote, plain and odd, voxel for voxel and world point for world point.
//! `fixtures/generate.py` makes the files and asks SimpleITK what is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imaging::metaimage::{self, Compression, Limits, Reader};
use imaging::{Geometry, Volume, describe};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// ITK and this crate add the same products in another order: a few units in the last place of a coordinate of up
/// to 1000 mm.
const WORLD_TOLERANCE_MM: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    shape_zyx: [usize; 3],
    spacing_mm_xyz: [f64; 3],
    origin_mm_xyz: [f64; 3],
    direction: [[f64; 3]; 3],
    voxels_sha256: String,
    f32_sha256: String,
    points: Vec<Point>,
    indices: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    index_xyz: [f64; 3],
    world_mm_xyz: [f64; 3],
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden() -> BTreeMap<String, Golden> {
    let text = std::fs::read_to_string(fixtures().join("golden.json")).expect("the fixture");
    serde_json::from_str(&text).expect("the fixture")
}

fn assert_close(what: &str, found: [f64; 3], expected: [f64; 3]) {
    for axis in 0..3 {
        assert!((found[axis] - expected[axis]).abs() <= WORLD_TOLERANCE_MM, "{what}: {found:?}, expected {expected:?}");
    }
}

fn sha256(bytes: impl IntoIterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_file_reads_as_simpleitk_reads_it() {
    let golden = golden();
    assert!(golden.len() > 30);
    for (name, golden) in &golden {
        let path = fixtures().join("metaimage").join(name);
        let found = describe(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.voxels_sha256, golden.voxels_sha256, "{name}");
        assert_eq!(found.shape_zyx, golden.shape_zyx, "{name}");
        assert_eq!(found.spacing_mm_xyz, golden.spacing_mm_xyz, "{name}");
        assert_eq!(found.origin_mm_xyz, golden.origin_mm_xyz, "{name}");
        for (row, expected) in found.direction.into_iter().zip(golden.direction) {
            // ITK's own reading of seventeen digits is one unit in the last place off for some numbers.
            assert_close(name, row.map(|v| v * 1e6), expected.map(|v| v * 1e6));
        }

        let volume = metaimage::read_f32(&path).unwrap();
        let bytes = volume.voxels().iter().flat_map(|value| value.to_le_bytes());
        assert_eq!(sha256(bytes), golden.f32_sha256, "{name}");
        for Point { index_xyz: [x, y, z], world_mm_xyz } in &golden.points {
            assert_close(name, volume.geometry().world_from_index([*z, *y, *x]), *world_mm_xyz);
        }
        for Point { index_xyz: [x, y, z], world_mm_xyz } in &golden.indices {
            assert_close(name, volume.geometry().index_from_world(*world_mm_xyz), [*z, *y, *x]);
        }
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for source in ["rotated.mha", "permuted.mha", "MET_SHORT.mha"] {
        let volume = metaimage::read_hu(&fixtures().join("metaimage").join(source)).unwrap();
        for (name, compression) in [
            ("a.mhd", Compression::None),
            ("b.mhd", Compression::Zlib),
            ("c.mha", Compression::None),
            ("d.mha", Compression::Zlib),
        ] {
            let path = folder.path().join(name);
            metaimage::write(&path, &volume, compression).unwrap();
            let reader = Reader::open(&path, &Limits::strangers()).unwrap();
            let length = std::fs::metadata(match &reader.header().data_file {
                metaimage::DataFile::Local => path.clone(),
                metaimage::DataFile::Named(data) => folder.path().join(data),
            });
            assert_eq!(reader.header().data_file_bytes(), Some(length.unwrap().len()));
            assert!(reader.read_hu().unwrap() == (volume.clone(), 0), "{source} as {name}");
        }
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.mhd", "a.raw", "b.mhd", "b.zraw", "c.mha", "d.mha"], "nothing is left behind");
}

/// The lines of LUNA16's own headers, in their order and words (the image itself made smaller).
#[test]
fn a_written_header_is_that_of_luna16() {
    let expected = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
        CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -176.092 -20.7459 506.8\n\
        CenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\nElementSpacing = 0.626953 0.626953 1\n\
        DimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = 1.3.6.1.4.1.14519.5.2.1.raw\n";
    let geometry = Geometry::axis_aligned([3, 4, 5], [0.626953, 0.626953, 1.0], [-176.092, -20.7459, 506.8]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.3.6.1.4.1.14519.5.2.1.mhd");
    metaimage::write(&path, &Volume::filled(geometry.unwrap(), -1024i16), Compression::None).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}
