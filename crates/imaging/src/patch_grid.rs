//! Cutting a volume into overlapping tiles of one size and putting the answers together again.

use serde::{Deserialize, Serialize};

use crate::{Volume, VoxelBox};

/// How overlapping tiles are weighed against each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Blend {
    /// All voxels of a tile alike.
    Constant,
    /// A Gaussian around the centre of the tile, with a standard deviation of this fraction of the tile's edge.
    /// MONAI's `sliding_window_inference(mode="gaussian")` uses 0.125.
    Gaussian {
        /// Standard deviation divided by the tile's edge.
        sigma_scale: f32,
    },
}

/// Inference by tiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SlidingWindow {
    /// Voxels of a tile along z, y, x.
    pub roi_zyx: [usize; 3],
    /// Every voxel is seen at least this far from the border of one tile, unless the volume itself ends nearer. Less
    /// than half of each edge.
    pub halo: usize,
    /// Weights of overlapping tiles.
    pub blend: Blend,
}

/// A place where a tile is to be cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Index of the tile's first voxel. Negative where the volume is smaller than the tile.
    pub start_zyx: [isize; 3],
}

/// The tiles that cover the wanted part of a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchGrid {
    /// The parameters.
    pub window: SlidingWindow,
    /// In ascending order of z, y, x for each box.
    pub tiles: Vec<Tile>,
}

impl SlidingWindow {
    /// Tiles such that every voxel of `within` that `wanted` accepts lies in one of them, at least `halo` from its
    /// border or as far as the volume goes. Tiles are spread evenly and stay inside of the volume where it is large
    /// enough; one for which no voxel is wanted is left out.
    ///
    /// # Panics
    /// When the halo leaves nothing of a tile, or when `within` is not inside of the volume: both are bugs of the
    /// caller.
    pub fn grid(&self, shape_zyx: [usize; 3], within: &VoxelBox, wanted: impl Fn([usize; 3]) -> bool) -> PatchGrid {
        assert!(self.roi_zyx.iter().all(|&edge| edge > 2 * self.halo), "no voxel of {self:?} is inside of the halo");
        assert!((0..3).all(|d| within.end_zyx[d] <= shape_zyx[d]), "{within:?} leaves the volume {shape_zyx:?}");
        let axis = |d: usize| self.axis(shape_zyx[d], within.start_zyx[d], within.end_zyx[d], self.roi_zyx[d]);
        let (zs, ys, xs) = (axis(0), axis(1), axis(2));
        let mut tiles = Vec::new();
        for z in &zs {
            for y in &ys {
                for x in &xs {
                    let used =
                        VoxelBox { start_zyx: [z.used.0, y.used.0, x.used.0], end_zyx: [z.used.1, y.used.1, x.used.1] };
                    if used.indices().any(&wanted) {
                        tiles.push(Tile { start_zyx: [z.start, y.start, x.start] });
                    }
                }
            }
        }
        PatchGrid { window: *self, tiles }
    }

    /// Start of each tile along one axis and the part of `begin..end` that it is answerable for.
    fn axis(&self, count: usize, begin: usize, end: usize, edge: usize) -> Vec<AxisTile> {
        if begin >= end {
            return Vec::new();
        }
        let low = begin.saturating_sub(self.halo);
        let high = (end + self.halo).min(count);
        let starts: Vec<isize> = if count <= edge {
            vec![-((edge - count).div_euclid(2) as isize)]
        } else if high - low <= edge {
            // One tile around the middle, moved inside.
            let start = (low + high) as isize / 2 - edge as isize / 2;
            vec![start.clamp(0, (count - edge) as isize)]
        } else {
            let travel = high - low - edge;
            let steps = travel.div_ceil(edge - 2 * self.halo);
            (0..=steps).map(|i| (low + i * travel / steps) as isize).collect()
        };
        starts
            .iter()
            .map(|&start| {
                let first = if start <= 0 { 0 } else { start as usize + self.halo };
                let tile_end = (start + edge as isize) as usize;
                let last = if tile_end >= count { count } else { tile_end - self.halo };
                AxisTile { start, used: (first.max(begin), last.min(end)) }
            })
            .collect()
    }

    /// Weight of each voxel of a tile, x fastest; the largest is 1 for [`Blend::Constant`] and near 1 otherwise.
    ///
    /// # Shapes
    /// `roi_zyx`.
    pub fn weights(&self) -> Vec<f32> {
        /// As in MONAI: the corners count, so that the sum of weights never comes near 0.
        const LEAST: f64 = 1e-3;
        let Blend::Gaussian { sigma_scale } = self.blend else {
            return vec![1.0; self.roi_zyx.iter().product()];
        };
        let axis = |d: usize| -> Vec<f64> {
            let edge = self.roi_zyx[d] as f64;
            let sigma = f64::from(sigma_scale) * edge;
            let centred = |i: usize| i as f64 - (edge - 1.0) / 2.0;
            (0..self.roi_zyx[d]).map(|i| libm::exp(-centred(i).powi(2) / (2.0 * sigma * sigma))).collect()
        };
        let (zs, ys, xs) = (axis(0), axis(1), axis(2));
        let mut weights = Vec::with_capacity(zs.len() * ys.len() * xs.len());
        for z in &zs {
            for y in &ys {
                weights.extend(xs.iter().map(|x| (z * y * x).max(LEAST) as f32));
            }
        }
        weights
    }
}

struct AxisTile {
    start: isize,
    used: (usize, usize),
}

/// Cuts a block out of a volume; `outside` stands for voxels that the volume does not have.
///
/// # Shapes
/// `roi_zyx`, x fastest.
pub fn extract_patch<T: Copy>(volume: &Volume<T>, start_zyx: [isize; 3], roi_zyx: [usize; 3], outside: T) -> Vec<T> {
    let mut patch = vec![outside; roi_zyx.iter().product()];
    let whole = VoxelBox::whole(volume.geometry().shape_zyx);
    for_each_row(start_zyx, roi_zyx, &whole, |tile_at, index_zyx, count| {
        let from = volume.offset(index_zyx);
        patch[tile_at..tile_at + count].copy_from_slice(&volume.voxels()[from..from + count]);
    });
    patch
}

/// Visits the rows of a tile as far as they lie in `region`: offset in the tile, index of the first voxel, length.
fn for_each_row(
    start_zyx: [isize; 3],
    roi_zyx: [usize; 3],
    region: &VoxelBox,
    mut visit: impl FnMut(usize, [usize; 3], usize),
) {
    // Part of the tile inside of the region, in the tile's indices.
    let range = |d: usize| {
        let first = (region.start_zyx[d] as isize - start_zyx[d]).clamp(0, roi_zyx[d] as isize);
        let last = (region.end_zyx[d] as isize - start_zyx[d]).clamp(first, roi_zyx[d] as isize);
        first as usize..last as usize
    };
    let (zs, ys, xs) = (range(0), range(1), range(2));
    if xs.is_empty() {
        return;
    }
    for z in zs {
        for y in ys.clone() {
            let tile = [z, y, xs.start];
            let index_zyx = std::array::from_fn(|d| (start_zyx[d] + tile[d] as isize) as usize);
            visit((z * roi_zyx[1] + y) * roi_zyx[2] + xs.start, index_zyx, xs.len());
        }
    }
}

/// Puts the answers for overlapping tiles together: their weighted mean.
#[derive(Debug, Clone)]
pub struct Blender {
    roi_zyx: [usize; 3],
    tile_weights: Vec<f32>,
    region: VoxelBox,
    /// Of each channel.
    sums: Vec<Vec<f32>>,
    weights: Vec<f32>,
}

impl Blender {
    /// For the answers inside of `region`, `channels` values a place; what tiles say outside of it is dropped.
    pub fn new(window: &SlidingWindow, region: VoxelBox, channels: usize) -> Self {
        let count = region.voxel_count();
        Self {
            roi_zyx: window.roi_zyx,
            tile_weights: window.weights(),
            region,
            sums: vec![vec![0.0; count]; channels],
            weights: vec![0.0; count],
        }
    }

    /// Adds the answer for a tile. The order of the calls decides the last bits of the result: keep it fixed.
    ///
    /// # Shapes
    /// `values`: `[channels, z, y, x]` of the tile.
    ///
    /// # Panics
    /// When `values` has not that size: a bug of the caller.
    pub fn add(&mut self, tile: Tile, values: &[f32]) {
        let Self { roi_zyx, tile_weights, region, sums, weights } = self;
        assert_eq!(values.len(), sums.len() * tile_weights.len(), "not {} tiles of {roi_zyx:?}", sums.len());
        let [_, ny, nx] = region.shape_zyx();
        for_each_row(tile.start_zyx, *roi_zyx, region, |tile_at, index_zyx, count| {
            let [z, y, x]: [usize; 3] = std::array::from_fn(|d| index_zyx[d] - region.start_zyx[d]);
            let to = (z * ny + y) * nx + x;
            let row = &tile_weights[tile_at..][..count];
            weights[to..][..count].iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight);
            for (sums, values) in sums.iter_mut().zip(values.chunks_exact(tile_weights.len())) {
                let values = values[tile_at..][..count].iter().zip(row);
                sums[to..][..count].iter_mut().zip(values).for_each(|(sum, (value, weight))| *sum += weight * value);
            }
        });
    }

    /// The blended values of the region, an array for each channel, x fastest, and `uncovered` where no tile has said
    /// anything.
    pub fn finish(self, uncovered: f32) -> Vec<Vec<f32>> {
        let mut channels = self.sums;
        for values in &mut channels {
            values.iter_mut().zip(&self.weights).for_each(|(value, &weight)| {
                *value = if weight > 0.0 { *value / weight } else { uncovered };
            });
        }
        channels
    }
}
