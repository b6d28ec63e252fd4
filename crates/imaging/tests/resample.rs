//! Resampling against PyTorch, and what must hold for any image.

use imaging::resample::{AIR_HU, resample, resample_isotropic, resample_nearest};
use imaging::{Geometry, Volume, to_lps};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    voxels: Vec<i16>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    shape_zyx: [usize; 3],
    voxels: Vec<f32>,
}

#[test]
fn agrees_with_pytorchs_antialiased_interpolation() {
    let text = include_str!("fixtures/resample.json");
    let reference: Reference = serde_json::from_str(text).expect("the fixture");
    let shape = [8, 6, 10];
    let volume =
        Volume::new(Geometry::axis_aligned(shape, [1.0; 3], [5.0, 6.0, 7.0]).expect("a grid"), reference.voxels);
    for Case { shape_zyx, voxels } in reference.cases {
        let spacing = |d: usize| shape[d] as f64 / shape_zyx[d] as f64;
        let found = resample(&volume, [spacing(2), spacing(1), spacing(0)]).expect("a grid");
        assert_eq!(found.geometry().shape_zyx, shape_zyx);
        for (found, expected) in found.voxels().iter().zip(voxels) {
            // Ours is rounded to whole HU.
            assert!((f32::from(*found) - expected).abs() <= 0.51, "{found} for {expected} at {shape_zyx:?}");
        }
    }
}

/// Rotations and reflections that only exchange axes, as ITK's directions.
fn axis_directions() -> impl Strategy<Value = [[f64; 3]; 3]> {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    (proptest::sample::select(orders.to_vec()), proptest::array::uniform3(any::<bool>())).prop_map(|(order, flips)| {
        let mut direction = [[0.0; 3]; 3];
        for world in 0..3 {
            direction[world][order[world]] = if flips[world] { -1.0 } else { 1.0 };
        }
        direction
    })
}

/// A rotation by any angles about x and z.
fn rotations() -> impl Strategy<Value = [[f64; 3]; 3]> {
    (-3.0f64..3.0, -3.0f64..3.0).prop_map(|(a, b)| {
        let ((s, c), (t, d)) = (a.sin_cos(), b.sin_cos());
        [[c, -s * d, s * t], [s, c * d, -c * t], [0.0, t, d]]
    })
}

fn grids(direction: impl Strategy<Value = [[f64; 3]; 3]>) -> impl Strategy<Value = Geometry> {
    let numbers = (
        proptest::array::uniform3(1usize..9),
        proptest::array::uniform3(0.3f64..3.0),
        proptest::array::uniform3(-300f64..300.0),
    );
    (numbers, direction).prop_map(|((shape_zyx, spacing_mm_xyz, origin_mm_xyz), direction)| {
        Geometry { shape_zyx, spacing_mm_xyz, origin_mm_xyz, direction }.validated().expect("a grid")
    })
}

fn volumes(direction: impl Strategy<Value = [[f64; 3]; 3]>) -> impl Strategy<Value = Volume<i16>> {
    grids(direction).prop_flat_map(|geometry| {
        proptest::collection::vec(-3024i16..3000, geometry.voxel_count())
            .prop_map(move |voxels| Volume::new(geometry.clone(), voxels))
    })
}

/// Centre of mass of what is brighter than air, world millimetres.
fn centroid(volume: &Volume<i16>) -> [f64; 3] {
    let [nz, ny, nx] = volume.geometry().shape_zyx;
    let (mut mass, mut sum) = (0.0, [0.0; 3]);
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let weight = f64::from(volume.at([z, y, x])) - f64::from(AIR_HU);
                let world = volume.geometry().world_from_index([z, y, x].map(|i| i as f64));
                mass += weight;
                (0..3).for_each(|d| sum[d] += weight * world[d]);
            }
        }
    }
    sum.map(|s| s / mass)
}

/// A smooth blob of 5 mm standard deviation in the middle of 60 mm.
fn blob(geometry: Geometry) -> (Volume<i16>, [f64; 3]) {
    let middle = geometry.world_from_index(geometry.shape_zyx.map(|n| (n - 1) as f64 / 2.0));
    let center: [f64; 3] = std::array::from_fn(|d| middle[d] + [1.3, -2.1, 0.7][d]);
    let [nz, ny, nx] = geometry.shape_zyx;
    let mut voxels = Vec::new();
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                let world = geometry.world_from_index([z, y, x].map(|i| i as f64));
                let squared: f64 = (0..3).map(|d| (world[d] - center[d]).powi(2)).sum();
                voxels.push((-1024.0 + 3000.0 * (-squared / 50.0).exp()).round() as i16);
            }
        }
    }
    (Volume::new(geometry, voxels), center)
}

fn blob_grid(spacing: [f64; 3], direction: [[f64; 3]; 3]) -> Geometry {
    let shape_zyx = std::array::from_fn(|d| (60.0 / spacing[2 - d]).ceil() as usize);
    Geometry { shape_zyx, spacing_mm_xyz: spacing, origin_mm_xyz: [-31.5, 200.25, -77.0], direction }
}

proptest! {
    #[test]
    fn storage_order_does_not_matter(volume in volumes(axis_directions()), spacing in 0.4f64..3.0) {
        let lps = to_lps(&volume).expect("an axis-aligned grid");
        let a = resample_isotropic(&volume, spacing).expect("a grid");
        let b = resample_isotropic(&lps, spacing).expect("a grid");
        prop_assert_eq!(a.voxels(), b.voxels());
        for index in [[0, 0, 0], volume.geometry().shape_zyx.map(|n| n - 1)] {
            // The same voxel is at the same place.
            let world = volume.geometry().world_from_index(index.map(|i| i as f64));
            let there = lps.geometry().index_from_world(world).map(|i| i.round() as usize);
            prop_assert_eq!(lps.at(there), volume.at(index));
            let back = lps.geometry().world_from_index(there.map(|i| i as f64));
            prop_assert!((0..3).all(|d| (back[d] - world[d]).abs() < 1e-9));
        }
    }

    #[test]
    fn own_grid_is_left_alone(volume in volumes(Just([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))) {
        let same = resample(&volume, volume.geometry().spacing_mm_xyz).expect("a grid");
        prop_assert_eq!(same.geometry().shape_zyx, volume.geometry().shape_zyx);
        let expected: Vec<i16> = volume.voxels().iter().map(|&hu| hu.max(AIR_HU)).collect();
        prop_assert_eq!(same.voxels(), &expected);
    }

    #[test]
    fn values_stay_within_those_of_the_image(volume in volumes(rotations()), spacing in 0.4f64..3.0) {
        let found = resample_isotropic(&volume, spacing).expect("a grid");
        let high = volume.voxels().iter().map(|&hu| hu.max(AIR_HU)).max().unwrap_or(AIR_HU);
        prop_assert!(found.voxels().iter().all(|&hu| hu >= AIR_HU && hu <= high));
    }

    #[test]
    fn nearest_on_the_own_grid_is_the_identity(volume in volumes(rotations())) {
        let same = resample_nearest(&volume, volume.geometry(), 99);
        prop_assert_eq!(same.voxels(), volume.voxels());
    }

    #[test]
    fn nearest_is_the_voxel_whose_centre_is_nearest(
        volume in volumes(prop_oneof![axis_directions(), rotations()]),
        target in grids(prop_oneof![axis_directions(), rotations()]),
    ) {
        // Around the volume, so that most of the target lies inside.
        let middle = volume.geometry().world_from_index(volume.geometry().shape_zyx.map(|n| n as f64 / 2.0));
        let target = Geometry { origin_mm_xyz: middle, ..target };
        let found = resample_nearest(&volume, &target, -5000);
        for index in imaging::VoxelBox::whole(target.shape_zyx).indices() {
            let position = volume.geometry().index_from_world(target.world_from_index(index.map(|i| i as f64)));
            // Halfway between two voxels either may be taken.
            if position.iter().any(|p| (p - p.floor() - 0.5).abs() < 1e-6) {
                continue;
            }
            let shape = volume.geometry().shape_zyx;
            let nearest = position.map(f64::round);
            let inside = (0..3).all(|d| nearest[d] >= 0.0 && nearest[d] < shape[d] as f64);
            let expected = if inside { volume.at(nearest.map(|p| p as usize)) } else { -5000 };
            prop_assert_eq!(found.at(index), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_blob_stays_where_it_is(
        spacing in proptest::array::uniform3(0.7f64..3.0),
        direction in prop_oneof![axis_directions(), rotations()],
        target in 0.8f64..2.5,
    ) {
        let (volume, center) = blob(blob_grid(spacing, direction));
        let found = centroid(&resample_isotropic(&volume, target).expect("a grid"));
        for d in 0..3 {
            // Rounding to whole HU and the cut at the border of 60 mm.
            prop_assert!((found[d] - center[d]).abs() < 0.05, "{found:?} for {center:?}");
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let (volume, _) = blob(blob_grid([0.7, 0.8, 2.5], [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| resample_isotropic(&volume, 1.0).expect("a grid"))
    };
    assert!(with(1) == with(3));
}

#[test]
fn impossible_spacings_are_refused() {
    let volume = Volume::filled(Geometry::axis_aligned([2; 3], [1.0; 3], [0.0; 3]).expect("a grid"), 0i16);
    for spacing in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
        assert!(resample_isotropic(&volume, spacing).is_err(), "{spacing}");
    }
}
