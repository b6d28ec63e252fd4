//! The network over a whole scan, tile by tile.

use imaging::lung_mask::{LungMask, LungSource};
use imaging::patch_grid::{Blend, Blender, SlidingWindow, Tile, extract_patch};
use imaging::{Geometry, Volume, VoxelBox};
use rayon::prelude::*;

use super::components::SegmentationMaps;
use super::peaks::{CentreMaps, Detection};
use super::runner::Runner;
use crate::network::DetectionMaps;
use crate::plan::{AIR_HU, Plan};

/// Voxels of the scan along one side of a cell of the maps.
const CELL: usize = 2;
/// Voxels of a cell.
const SUB_VOXELS: usize = CELL.pow(3);

/// As many voxels are in the network at the same time, which bounds its memory whatever the number of cores; large tiles
/// keep the cores busy by themselves.
const VOXELS_TOGETHER: usize = 2 * 128 * 128 * 128;

/// Maps of a whole scan, of either network.
pub(crate) enum ScanMaps {
    Centres(CentreMaps),
    Segmentation(SegmentationMaps),
}

impl ScanMaps {
    /// Strongest first, [`super::MAX_DETECTIONS`] at most.
    pub(crate) fn detections(&self) -> Vec<Detection> {
        match self {
            Self::Centres(maps) => maps.detections(),
            Self::Segmentation(maps) => maps.detections(),
        }
    }
}

/// A pass over one scan. Tiles lie on the grid of the network's output cells.
pub(crate) struct Pass<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) plan: &'a Plan,
    /// The resampled scan.
    pub(crate) volume: &'a Volume<i16>,
    /// Overlap at each side of a tile, voxels.
    pub(crate) halo: usize,
}

impl Pass<'_> {
    fn window(&self) -> SlidingWindow {
        SlidingWindow {
            roi_zyx: [self.runner.side() / CELL; 3],
            halo: self.halo / CELL,
            blend: Blend::Gaussian { sigma_scale: 0.125 },
        }
    }

    /// The tiles that see at least one voxel of the lungs, in cells.
    pub(crate) fn tiles(&self, lungs: &LungMask) -> Vec<Tile> {
        let shape = self.volume.geometry().shape_zyx.map(|n| n.div_ceil(CELL));
        let wanted = |bit: u8| {
            let mask = &lungs.mask;
            move |cell: [usize; 3]| mask.at(cell.map(|i| i * CELL)) & bit != 0
        };
        let grid = |region: &VoxelBox, bit| self.window().grid(shape, &cells(region), wanted(bit)).tiles;
        match &lungs.source {
            LungSource::Lungs { right, left, .. } => {
                let mut tiles = grid(right, LungMask::RIGHT);
                tiles.extend(grid(left, LungMask::LEFT));
                tiles
            }
            LungSource::BodyBox { body, .. } => grid(body, LungMask::RIGHT | LungMask::LEFT),
        }
    }

    /// Runs the network over `tiles` and blends. `done` hears the number of finished tiles and returns whether to go on;
    /// `None` when it did not.
    pub(crate) fn run(&self, tiles: &[Tile], mut done: impl FnMut(usize) -> bool) -> Option<ScanMaps> {
        let geometry = self.volume.geometry();
        let shape = geometry.shape_zyx.map(|n| n.div_ceil(CELL));
        let window = self.window();
        let whole = VoxelBox::whole(shape);
        let covered = tiles
            .iter()
            .map(|t| tile_box(t, window.roi_zyx, &whole))
            .reduce(union)
            .unwrap_or(VoxelBox { start_zyx: [0; 3], end_zyx: [1; 3] });
        let tile = self.runner.side();
        let cells = (tile / CELL).pow(3);
        // Probabilities are blended, not logits: one unsure tile must not be outvoted by an extreme one.
        let [centre, segmentation] = if self.runner.only_segments() {
            [0..0, 0..SUB_VOXELS]
        } else {
            [DetectionMaps::CENTRE..DetectionMaps::CENTRE + 1, DetectionMaps::SEGMENTATION..DetectionMaps::CHANNELS]
        };
        let channels = segmentation.end;
        let mut blender = Blender::new(&window, covered, channels);
        let together = self.runner.together().min((VOXELS_TOGETHER / tile.pow(3)).max(1));
        let mut finished = 0;
        for group in tiles.chunks(together) {
            let maps: Vec<Vec<f32>> = group
                .par_iter()
                .map(|&tile| {
                    let mut maps = self.runner.forward(self.input(tile));
                    for range in [&centre, &segmentation] {
                        let values = &mut maps[range.start * cells..range.end * cells];
                        values.iter_mut().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp()));
                    }
                    maps
                })
                .collect();
            // In the order of the tiles, whatever their number at a time: the same bits.
            for (&tile, maps) in group.iter().zip(&maps) {
                blender.add(tile, maps);
                finished += 1;
                if !done(finished) {
                    return None;
                }
            }
        }
        let mut maps = blender.finish(0.0).into_iter();
        let mut next = || maps.next().unwrap_or_default();
        let geometry = cell_geometry(geometry, &covered);
        Some(if self.runner.only_segments() {
            ScanMaps::Segmentation(SegmentationMaps { geometry, voxels: std::array::from_fn(|_| next()) })
        } else {
            let (centre, offset, log_diameter) = (next(), [next(), next(), next()], next());
            let segmentation = SegmentationMaps { geometry, voxels: std::array::from_fn(|_| next()) };
            ScanMaps::Centres(CentreMaps { centre, offset, log_diameter, segmentation })
        })
    }

    /// The raw maps of a tile seen from all eight mirrored sides, with the axes that were mirrored; not mirrored back.
    pub(crate) fn forward_mirrored(&self, tile: Tile) -> Vec<([bool; 3], Vec<f32>)> {
        let input = self.input(tile);
        let view = |bits: usize| {
            let flips: [bool; 3] = std::array::from_fn(|axis| bits >> axis & 1 == 1);
            (flips, self.runner.forward(mirrored(&input, self.runner.side(), flips)))
        };
        (0..8).map(view).collect()
    }

    /// The normalised voxels of a tile (its start in cells).
    fn input(&self, tile: Tile) -> Vec<f32> {
        let side = self.runner.side();
        let start = tile.start_zyx.map(|s| s * CELL as isize);
        let patch = extract_patch(self.volume, start, [side; 3], AIR_HU);
        patch.into_iter().map(|hu| self.plan.normalization.apply(f32::from(hu))).collect()
    }
}

/// A cube seen from the other side along some axes.
fn mirrored(cube: &[f32], side: usize, flips: [bool; 3]) -> Vec<f32> {
    let from = |axis: usize, i: usize| if flips[axis] { side - 1 - i } else { i };
    let voxel = |i: usize| (from(0, i / side / side) * side + from(1, i / side % side)) * side + from(2, i % side);
    (0..cube.len()).map(|i| cube[voxel(i)]).collect()
}

fn cells(region: &VoxelBox) -> VoxelBox {
    VoxelBox { start_zyx: region.start_zyx.map(|s| s / CELL), end_zyx: region.end_zyx.map(|e| e.div_ceil(CELL)) }
}

fn tile_box(tile: &Tile, roi: [usize; 3], whole: &VoxelBox) -> VoxelBox {
    let start = tile.start_zyx.map(|s| s.max(0) as usize);
    let end = std::array::from_fn(|a| ((tile.start_zyx[a] + roi[a] as isize) as usize).min(whole.end_zyx[a]));
    VoxelBox { start_zyx: start, end_zyx: end }
}

fn union(a: VoxelBox, b: VoxelBox) -> VoxelBox {
    VoxelBox {
        start_zyx: std::array::from_fn(|i| a.start_zyx[i].min(b.start_zyx[i])),
        end_zyx: std::array::from_fn(|i| a.end_zyx[i].max(b.end_zyx[i])),
    }
}

/// The grid of cell centres of a region of cells.
fn cell_geometry(voxels: &Geometry, region: &VoxelBox) -> Geometry {
    let first = region.start_zyx.map(|c| (CELL * c) as f64 + (CELL as f64 - 1.0) / 2.0);
    Geometry {
        shape_zyx: region.shape_zyx(),
        spacing_mm_xyz: voxels.spacing_mm_xyz.map(|s| s * CELL as f64),
        origin_mm_xyz: voxels.world_from_index(first),
        direction: voxels.direction,
    }
}
