//! Slices read from the file are those of the whole volume, for every order, type and direction.

use std::fs;
use std::path::{Path, PathBuf};

use imaging::metaimage::{Compression, Limits, read_hu, write};
use imaging::slices::{SliceError, SliceReader};
use imaging::{Geometry, Volume, VoxelBox, to_lps};
use proptest::prelude::*;

/// A different value in every voxel.
fn numbered(geometry: Geometry) -> Volume<i16> {
    let voxels = (0..geometry.voxel_count()).map(|at| at as i16 - 1000).collect();
    Volume::new(geometry, voxels)
}

/// The block of a volume along LPS axes, voxel by voxel.
fn block_of(volume: &Volume<i16>, block: &VoxelBox) -> Vec<i16> {
    block.indices().map(|index| volume.at(index)).collect()
}

fn planes(shape_zyx: [usize; 3]) -> impl Iterator<Item = VoxelBox> {
    (0..3).flat_map(move |axis| {
        (0..shape_zyx[axis]).map(move |index| {
            let mut block = VoxelBox::whole(shape_zyx);
            (block.start_zyx[axis], block.end_zyx[axis]) = (index, index + 1);
            block
        })
    })
}

/// Every order and sign of the three axes.
fn directions() -> impl Iterator<Item = [[f64; 3]; 3]> {
    let orders = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0], [2, 0, 1]];
    orders.into_iter().flat_map(|order| {
        (0..8).map(move |signs| {
            let mut direction = [[0.0; 3]; 3];
            for (axis, &world) in order.iter().enumerate() {
                direction[world][axis] = if signs >> axis & 1 == 1 { -1.0 } else { 1.0 };
            }
            direction
        })
    })
}

#[test]
fn every_slice_of_every_orientation_is_the_volume_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scan.mhd");
    let mut seen = 0;
    for direction in directions() {
        let geometry = Geometry {
            shape_zyx: [5, 4, 7],
            spacing_mm_xyz: [0.703125, 0.61, 2.5],
            origin_mm_xyz: [-160.25, 12.5, -301.0],
            direction,
        };
        let volume = numbered(geometry);
        let expected = to_lps(&volume).expect("no oblique grid");
        for compression in [Compression::None, Compression::Zlib] {
            write(&path, &volume, compression).expect("a file");
            let scan = SliceReader::open(&path, &Limits::strangers()).expect("a scan");
            assert_eq!(scan.geometry(), expected.geometry());
            assert!(!scan.is_resampled());
            for block in planes(expected.geometry().shape_zyx) {
                let slice = scan.read(&block).expect("a slice");
                assert_eq!(slice.voxels(), block_of(&expected, &block), "{direction:?} {compression:?} {block:?}");
                let first = slice.geometry().world_from_index([0.0; 3]);
                assert_eq!(first, expected.geometry().world_from_index(block.start_zyx.map(|i| i as f64)));
                seen += 1;
            }
        }
        assert_eq!(SliceReader::of(volume).expect("a scan").geometry(), expected.geometry());
    }
    assert_eq!(seen, 48 * 2 * 16);
}

#[test]
fn plain_files_stay_where_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scan.mhd");
    let flipped = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
    let turned = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
    for (direction, compression, in_memory) in
        [(flipped, Compression::None, false), (flipped, Compression::Zlib, true), (turned, Compression::None, true)]
    {
        let geometry = Geometry { direction, ..Geometry::axis_aligned([3, 4, 5], [1.0; 3], [0.0; 3]).expect("a grid") };
        write(&path, &numbered(geometry), compression).expect("a file");
        let scan = SliceReader::open(&path, &Limits::strangers()).expect("a scan");
        assert_eq!(scan.memory_bytes(), if in_memory { 120 } else { 0 });
    }
}

#[test]
fn the_files_of_simpleitk_are_cut_as_they_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metaimage");
    let is_image = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "mhd" || ending == "mha");
    let files = fs::read_dir(folder).expect("the fixtures").map(|entry| entry.expect("a file").path()).filter(is_image);
    let (mut straight, mut oblique) = (0, 0);
    for path in files {
        let scan = SliceReader::open(&path, &Limits::local()).unwrap_or_else(|error| panic!("{error}"));
        let Some(expected) = to_lps(&read_hu(&path).expect("a volume")) else {
            assert!(scan.is_resampled(), "{}", path.display());
            oblique += 1;
            continue;
        };
        let whole = scan.read(&VoxelBox::whole(scan.geometry().shape_zyx)).expect("all voxels");
        assert!(whole.voxels() == expected.voxels(), "{}", path.display());
        assert_eq!(whole.geometry(), expected.geometry(), "{}", path.display());
        straight += 1;
    }
    assert!(straight > 20 && oblique > 0, "{straight} {oblique}");
}

#[test]
fn what_is_not_there_is_refused() {
    let scan = SliceReader::of(numbered(Geometry::axis_aligned([3, 4, 5], [1.0; 3], [0.0; 3]).expect("a grid")));
    let scan = scan.expect("a scan");
    for (start_zyx, end_zyx) in [([3, 0, 0], [4, 4, 5]), ([0, 0, 0], [0, 4, 5]), ([2, 0, 0], [1, 4, 5])] {
        let refused = scan.read(&VoxelBox { start_zyx, end_zyx });
        assert!(matches!(refused, Err(SliceError::Outside { shape_zyx: [3, 4, 5], .. })), "{refused:?}");
    }

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("scan.mhd");
    write(&path, &numbered(scan.geometry().clone()), Compression::None).expect("a file");
    let open = SliceReader::open(&path, &Limits::strangers()).expect("a scan");
    fs::write(folder.path().join("scan.raw"), [0; 100]).expect("a shorter file");
    let block = VoxelBox::whole([3, 4, 5]);
    assert!(matches!(open.read(&block), Err(SliceError::File(_))), "shortened after it was opened");
    fs::remove_file(folder.path().join("scan.raw")).expect("no file");
    assert!(matches!(open.read(&block), Err(SliceError::File(_))), "removed after it was opened");
}

proptest! {
    #[test]
    fn any_block_is_the_volume_s(
        shape_zyx in [1..6usize, 1..6, 1..6],
        backwards in [any::<bool>(), any::<bool>(), any::<bool>()],
        corners in [[0..6usize, 0..6, 0..6], [0..6usize, 0..6, 0..6]],
    ) {
        let mut direction = [[0.0; 3]; 3];
        for axis in 0..3 {
            direction[axis][axis] = if backwards[axis] { -1.0 } else { 1.0 };
        }
        let volume = numbered(Geometry { shape_zyx, spacing_mm_xyz: [0.5, 1.0, 1.5], origin_mm_xyz: [1.0; 3], direction });
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("scan.mhd");
        write(&path, &volume, Compression::None).expect("a file");
        let scan = SliceReader::open(&path, &Limits::strangers()).expect("a scan");
        let block = VoxelBox {
            start_zyx: std::array::from_fn(|d| corners[0][d].min(corners[1][d]).min(shape_zyx[d] - 1)),
            end_zyx: std::array::from_fn(|d| (corners[0][d].max(corners[1][d]) + 1).min(shape_zyx[d])),
        };
        let expected = to_lps(&volume).expect("no oblique grid");
        let found = scan.read(&block).expect("a block");
        prop_assert_eq!(found.voxels(), block_of(&expected, &block));
    }
}
