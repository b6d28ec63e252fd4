//! The network over a whole scan, tile by tile.

use burn::tensor::{Device, Tensor, TensorData};
use imaging::lung_mask::{LungMask, LungSource};
use imaging::patch_grid::{Blend, Blender, SlidingWindow, Tile, extract_patch};
use imaging::{Geometry, Volume, VoxelBox};
use rayon::prelude::*;

use super::components::SegmentationMaps;
use super::peaks::{CentreMaps, Detection};
use crate::device::is_cpu;
use crate::network::{DetectionMaps, Network, host};
use crate::plan::{AIR_HU, Plan};

/// Voxels of the scan along one side of a cell of the maps.
const CELL: usize = 2;

/// As many voxels are in the network at the same time, which bounds its memory whatever the number of cores; large tiles
/// keep the cores busy by themselves.
const VOXELS_TOGETHER: usize = 2 * 96 * 96 * 96;

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
    pub(crate) network: &'a Network,
    pub(crate) device: &'a Device,
    pub(crate) plan: &'a Plan,
    /// The resampled scan.
    pub(crate) volume: &'a Volume<i16>,
    /// Voxels of a tile's side.
    pub(crate) tile: usize,
    /// Overlap at each side of a tile, voxels.
    pub(crate) halo: usize,
}

impl Pass<'_> {
    fn window(&self) -> SlidingWindow {
        SlidingWindow {
            roi_zyx: [self.tile / CELL; 3],
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
        let (count, probabilities) = match self.network {
            Network::DetectionUnet(_) => (DetectionMaps::SEGMENTATION, 1),
            Network::ClassicUnet(_) => (CELL.pow(3), CELL.pow(3)),
        };
        let mut blenders = vec![Blender::new(&window, covered); count];
        let cells = (self.tile / CELL).pow(3);
        // On a CPU, whole tiles side by side keep the cores busier than the loops within one.
        let most = (VOXELS_TOGETHER / self.tile.pow(3)).max(1);
        let together = if is_cpu(self.device) { rayon::current_num_threads().min(most) } else { 1 };
        let mut finished = 0;
        for group in tiles.chunks(together) {
            let maps: Vec<Vec<f32>> = group
                .par_iter()
                .map(|&tile| {
                    let mut maps = self.forward(tile);
                    // Probabilities are blended, not logits: one unsure tile must not be outvoted by an extreme one.
                    maps[..probabilities * cells].iter_mut().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp()));
                    maps
                })
                .collect();
            // In the order of the tiles, whatever their number at a time: the same bits.
            for (&tile, maps) in group.iter().zip(&maps) {
                for (blender, map) in blenders.iter_mut().zip(maps.chunks_exact(cells)) {
                    blender.add(tile, map);
                }
                finished += 1;
                if !done(finished) {
                    return None;
                }
            }
        }
        let mut maps = blenders.into_iter().map(|b| b.finish(0.0));
        let mut next = || maps.next().unwrap_or_default();
        let geometry = cell_geometry(geometry, &covered);
        Some(match self.network {
            Network::DetectionUnet(_) => ScanMaps::Centres(CentreMaps {
                geometry,
                centre: next(),
                offset: [next(), next(), next()],
                log_diameter: next(),
            }),
            Network::ClassicUnet(_) => {
                ScanMaps::Segmentation(SegmentationMaps { geometry, voxels: std::array::from_fn(|_| next()) })
            }
        })
    }

    /// The raw maps of a tile (its start in cells).
    fn forward(&self, tile: Tile) -> Vec<f32> {
        host(self.network.forward(self.input(tile)))
    }

    /// The raw maps of a tile seen from all eight mirrored sides, with the axes that were mirrored; not mirrored back.
    pub(crate) fn forward_mirrored(&self, tile: Tile) -> Vec<([bool; 3], Vec<f32>)> {
        let input = self.input(tile);
        let view = |bits: usize| {
            let flips: [bool; 3] = std::array::from_fn(|axis| bits >> axis & 1 == 1);
            let axes = (0..3).filter(|&a| flips[a]).map(|a| a + 2);
            let mirrored = axes.fold(input.clone(), |x, axis| x.flip([axis]));
            (flips, host(self.network.forward(mirrored)))
        };
        (0..8).map(view).collect()
    }

    fn input(&self, tile: Tile) -> Tensor<5> {
        let side = self.tile;
        let start = tile.start_zyx.map(|s| s * CELL as isize);
        let patch = extract_patch(self.volume, start, [side; 3], AIR_HU);
        let values: Vec<f32> = patch.into_iter().map(|hu| self.plan.normalization.apply(f32::from(hu))).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, side, side, side]), self.device)
    }
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
