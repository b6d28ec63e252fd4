//! Tiles: nothing wanted is missed, nothing leaves the volume, and blending adds nothing of its own.

use imaging::patch_grid::{Blend, Blender, SlidingWindow, extract_patch};
use imaging::{Geometry, Volume, VoxelBox};
use proptest::prelude::*;

fn shapes() -> impl Strategy<Value = ([usize; 3], VoxelBox, SlidingWindow)> {
    let axis = (1usize..30).prop_flat_map(|n| (Just(n), 0..n).prop_flat_map(|(n, a)| (Just(n), Just(a), a + 1..=n)));
    let window =
        (proptest::array::uniform3(1usize..6), 0usize..4, any::<bool>()).prop_map(|(extra, halo, gaussian)| {
            let blend = if gaussian { Blend::Gaussian { sigma_scale: 0.125 } } else { Blend::Constant };
            SlidingWindow { roi_zyx: extra.map(|n| n + 2 * halo), halo, blend }
        });
    (proptest::array::uniform3(axis), window).prop_map(|(axes, window)| {
        let within = VoxelBox { start_zyx: axes.map(|(_, a, _)| a), end_zyx: axes.map(|(_, _, b)| b) };
        (axes.map(|(n, _, _)| n), within, window)
    })
}

proptest! {
    #[test]
    fn every_wanted_voxel_is_seen_away_from_a_border((shape, within, window) in shapes(), seed in any::<u64>()) {
        let wanted = |[z, y, x]: [usize; 3]| {
            (seed ^ (z * 961 + y * 31 + x) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0
        };
        let grid = window.grid(shape, &within, wanted);
        for index in within.indices().filter(|&index| wanted(index)) {
            let seen = grid.tiles.iter().any(|tile| (0..3).all(|d| {
                let at = index[d] as isize - tile.start_zyx[d];
                let edge = window.roi_zyx[d] as isize;
                let low = (window.halo as isize).min(index[d] as isize);
                let high = (window.halo as isize).min((shape[d] - 1 - index[d]) as isize);
                at >= low && at + high < edge
            }));
            prop_assert!(seen, "{index:?} is missed by {:?}", grid.tiles);
        }
        for tile in &grid.tiles {
            for ((&start, edge), count) in tile.start_zyx.iter().zip(window.roi_zyx).zip(shape) {
                let end = start + edge as isize;
                if count >= edge {
                    prop_assert!(start >= 0 && end <= count as isize, "{tile:?} leaves the volume");
                } else {
                    prop_assert!(start <= 0 && end >= count as isize, "{tile:?} misses the volume");
                }
            }
        }
        prop_assert!(window.grid(shape, &within, |_| false).tiles.is_empty());
    }

    #[test]
    fn a_blended_constant_is_the_constant((shape, within, window) in shapes(), value in -5f32..5.0) {
        let grid = window.grid(shape, &within, |_| true);
        let mut blender = Blender::new(&window, within, 2);
        let count = window.roi_zyx.iter().product();
        let answer = [vec![value; count], vec![2.0 * value; count]].concat();
        for tile in &grid.tiles {
            blender.add(*tile, &answer);
        }
        for (channel, expected) in blender.finish(f32::NAN).into_iter().zip([value, 2.0 * value]) {
            for found in channel {
                // The sum of some tens of rounded products.
                prop_assert!((found - expected).abs() <= 1e-5 * expected.abs());
            }
        }
    }

    #[test]
    fn blending_the_patches_of_a_volume_gives_it_back((shape, within, window) in shapes()) {
        let geometry = Geometry::axis_aligned(shape, [1.0; 3], [0.0; 3]).expect("a grid");
        let volume = Volume::new(geometry.clone(), (0..geometry.voxel_count()).map(|i| i as f32).collect());
        let mut blender = Blender::new(&window, within, 1);
        for tile in window.grid(shape, &within, |_| true).tiles {
            blender.add(tile, &extract_patch(&volume, tile.start_zyx, window.roi_zyx, f32::NAN));
        }
        let expected: Vec<f32> = within.indices().map(|index| volume.at(index)).collect();
        for (found, expected) in blender.finish(-1.0).concat().into_iter().zip(expected) {
            prop_assert!((found - expected).abs() <= 1e-5 * expected, "{found} for {expected}");
        }
    }
}

#[test]
fn outside_of_the_volume_is_padding() {
    let geometry = Geometry::axis_aligned([1, 1, 2], [1.0; 3], [0.0; 3]).expect("a grid");
    let volume = Volume::new(geometry, vec![7i16, 8]);
    assert_eq!(extract_patch(&volume, [0, -1, -1], [1, 2, 4], -1024)[4..], [-1024, 7, 8, -1024]);
    assert_eq!(extract_patch(&volume, [5, 5, 5], [1, 1, 2], 0), [0, 0], "far away");
}

#[test]
fn gaussian_weights_are_those_of_the_formula() {
    let window = SlidingWindow { roi_zyx: [1, 1, 8], halo: 0, blend: Blend::Gaussian { sigma_scale: 0.125 } };
    // Standard deviation 1, positions -3.5 … 3.5: exp(-x²/2), at least 0.001.
    let expected = [0.002_187_491, 0.043_936_934, 0.324_652_47, 0.882_496_9];
    for (found, expected) in window.weights().into_iter().zip(expected.into_iter().chain(expected.into_iter().rev())) {
        assert!((found - expected).abs() < 1e-7, "{found} for {expected}");
    }
    assert_eq!(window.weights().len(), 8);
}

#[test]
fn a_whole_chest_has_the_expected_number_of_tiles() {
    let window = SlidingWindow { roi_zyx: [96; 3], halo: 16, blend: Blend::Constant };
    // (224 - 96) / 64 = 2 steps each way.
    assert_eq!(window.grid([224; 3], &VoxelBox::whole([224; 3]), |_| true).tiles.len(), 27);
}
