//! What one worker computes of a convolution or data gradient: a box of voxels and some blocks of channels.

use std::ops::Range;

use crate::blocks;
use crate::correlate::Problem;
use crate::kernel::{self, LANES};
use crate::lattice::{Block, Correlation, Layout, RowClass, runs};

/// A box of positions and a range of destination channel blocks.
///
/// Its sums lie as `[row class, channel block, position, phase, lane]`.
pub(crate) struct Job<'a> {
    pub(crate) problem: &'a Problem<'a>,
    block: Block,
    blocks: Range<usize>,
    parts: Vec<Part<'a>>,
}

impl<'a> Job<'a> {
    /// `tile`: how the source under the box will lie; `chunk`: source channels in work at once, at most.
    pub(crate) fn new(
        problem: &'a Problem<'a>,
        block: Block,
        chunk: usize,
        blocks: Range<usize>,
        tile: Layout,
    ) -> Self {
        let geometry = problem.geometry;
        let parts = geometry.classes.iter().map(|class| Part::new(geometry, class, block, chunk, tile)).collect();
        Self { problem, block, blocks, parts }
    }

    fn lanes(&self, block: usize) -> usize {
        blocks::lanes(self.problem.dst_channels, block)
    }

    pub(crate) fn sums_len(&self) -> usize {
        let lanes: usize = self.blocks.clone().map(|b| self.lanes(b)).sum();
        lanes * self.parts.iter().map(Part::rows).sum::<usize>()
    }

    /// Calls `f(channel block, lanes, sums)` for the sums of every row class and channel block.
    pub(crate) fn for_each_block(&self, mut sums: &mut [f32], mut f: impl FnMut(usize, usize, &mut [f32])) {
        for part in &self.parts {
            for b in self.blocks.clone() {
                let lanes = self.lanes(b);
                let block_sums;
                (block_sums, sums) = sums.split_at_mut(part.rows() * lanes);
                f(b, lanes, block_sums);
            }
        }
    }

    /// Starts the sums with the biases of their lanes.
    pub(crate) fn fill(&self, bias: &[f32], sums: &mut [f32]) {
        self.for_each_block(sums, |b, lanes, sums| {
            let bias = blocks::of_lanes(bias, b);
            sums.chunks_exact_mut(lanes).for_each(|sums| sums.copy_from_slice(&bias[..lanes]));
        });
    }

    /// Adds the products of some source channels, of which `tile` holds the first at its start, or starts the sums with
    /// them.
    pub(crate) fn accumulate(
        &self,
        channels: Range<usize>,
        tile: &[f32],
        packed: &[f32],
        onto: bool,
        mut sums: &mut [f32],
    ) {
        let &Problem { isa, src_channels, dst_channels, .. } = self.problem;
        let mut section = packed;
        for part in &self.parts {
            let phases = &part.class.phases;
            for b in self.blocks.clone() {
                let lanes = self.lanes(b);
                let block_sums;
                (block_sums, sums) = sums.split_at_mut(part.rows() * lanes);
                let mut section = section;
                for (phase, taps) in part.taps.iter().enumerate() {
                    let depth = src_channels * phases[phase].len();
                    let weights = &section[b * LANES * depth + channels.start * phases[phase].len() * lanes..];
                    let taps = &taps[..channels.len() * phases[phase].len()];
                    // where a class has no row in this box there are no sums
                    let sums = block_sums.get_mut(phase * lanes..).unwrap_or_default();
                    kernel::panel(isa, lanes, tile, &part.anchors, taps, weights, sums, phases.len(), onto);
                    section = &section[blocks::padded(dst_channels) * depth..];
                }
            }
            let depth = src_channels * phases.iter().map(Vec::len).sum::<usize>();
            section = &section[blocks::padded(dst_channels) * depth..];
        }
    }

    /// Calls `f(channel block, sums, lanes, offset, len)` for every run of `len` neighbouring destination voxels, whose
    /// sums are `[len, lanes]`. Offsets are in voxels of an array with a rim of `rim` voxels around the destination.
    pub(crate) fn for_each_run(
        &self,
        mut sums: &[f32],
        rim: usize,
        mut f: impl FnMut(usize, &[f32], usize, usize, usize),
    ) {
        let geometry = self.problem.geometry;
        let [sd, sh, _] = geometry.destination_step;
        let dims = geometry.destination.map(|n| n + 2 * rim);
        for part in &self.parts {
            let origin = part.origin(geometry, self.block);
            // phases interleave to whole rows, or were summed up to fewer
            let pitch = self.block.size[2] * part.class.phases.len().min(geometry.destination_step[2]);
            let size = [part.size[0], part.size[1], pitch.min(geometry.destination[2] - origin[2])];
            for b in self.blocks.clone() {
                let lanes = self.lanes(b);
                let block_sums;
                (block_sums, sums) = sums.split_at(part.rows() * lanes);
                runs(size, pitch, origin.map(|o| o + rim), [sd, sh], dims, |position, offset, len| {
                    f(b, &block_sums[position * lanes..][..len * lanes], lanes, offset, len);
                });
            }
        }
    }
}

/// The rows of one class inside a box, and where they read in the tile.
struct Part<'a> {
    class: &'a RowClass,
    /// Positions along each axis. Along the row, every phase gets as many as the longest: their sums interleave to
    /// whole rows, at the price of one position in vain where a phase is shorter.
    size: [usize; 3],
    anchors: Vec<u32>,
    taps: Vec<Vec<u32>>,
}

impl<'a> Part<'a> {
    fn new(geometry: &Correlation, class: &'a RowClass, block: Block, chunk: usize, tile: Layout) -> Self {
        let [d, h] = [0, 1].map(|a| class.count[a].saturating_sub(block.start[a]).min(block.size[a]));
        let size = [d, h, block.size[2]];
        let taps = class.phases.iter().map(|taps| geometry.taps(taps, chunk, tile)).collect();
        Self { class, size, anchors: geometry.anchors(size, tile), taps }
    }

    /// Rows of sums, over all phases.
    fn rows(&self) -> usize {
        self.anchors.len() * self.class.phases.len()
    }

    /// The first destination voxel.
    fn origin(&self, geometry: &Correlation, block: Block) -> [usize; 3] {
        let [d, h, w] = std::array::from_fn(|a| block.start[a] * geometry.destination_step[a]);
        [d + self.class.origin[0], h + self.class.origin[1], w]
    }
}
