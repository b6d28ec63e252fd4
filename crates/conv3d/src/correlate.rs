//! The convolution and its data gradient: source in, destination out, over boxes of voxels and blocks of channels.

use std::ops::Range;

use rayon::prelude::*;

use crate::blocks::{self, Shared};
use crate::job::Job;
use crate::kernel::{self, Isa, LANES};
use crate::lattice::{Block, Blocks, Correlation, Layout};
use crate::pack::{Weights, pack, packed_len};
use crate::scratch::Scratch;
use crate::shape::volume;

/// Reduction steps between two visits to a sum: their weights, 16 KB, stay in the first-level cache.
const REDUCTION: usize = 256;
/// Sums and source tile (both in f32) of a worker, together below half a megabyte of second-level cache.
const MAX_SUMS: usize = 48 * 1024;
const MAX_TILE: usize = 56 * 1024;
/// The same for blocked sources: transforming a halo costs more than copying it, so tiles are larger.
const MAX_BLOCKED_SUMS: usize = 36 * 1024;
const MAX_BLOCKED_TILE: usize = 80 * 1024;
/// Channel blocks that share one gathered tile.
const MAX_BLOCKS: usize = 4;
/// Work units per thread that even out differences between cores.
const UNITS: usize = 4;

/// A correlation of so many samples and channels, on an instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Problem<'a> {
    pub(crate) isa: Isa,
    pub(crate) geometry: &'a Correlation,
    pub(crate) batch: usize,
    pub(crate) src_channels: usize,
    pub(crate) dst_channels: usize,
}

impl Problem<'_> {
    /// Source channels in work at once: at most `limit`, all chunks about equal.
    pub(crate) fn chunk(&self, limit: usize) -> usize {
        let limit = limit.clamp(1, self.src_channels);
        self.src_channels.div_ceil(self.src_channels.div_ceil(limit))
    }
}

/// The units of work: a sample's box of voxels and a group of destination channel blocks.
pub(crate) struct Cut {
    boxes: Blocks,
    /// Source channels in work at once, at most.
    pub(crate) chunk: usize,
    block_count: usize,
    group_blocks: usize,
    groups: usize,
    pub(crate) units: usize,
}

impl Cut {
    /// The boxes follow from the shape alone, the groups from the number of threads too.
    ///
    /// Chunks of source channels are multiples of `lanes`.
    pub(crate) fn new(problem: &Problem<'_>, lanes: usize) -> Self {
        let &Problem { geometry, batch, dst_channels, .. } = problem;
        let block_count = blocks::count(dst_channels);
        let group_blocks = block_count.min(MAX_BLOCKS);
        let chunk = problem.chunk(REDUCTION / geometry.most_taps().max(1));
        let (chunk, max_sums, max_tile) = if lanes > 1 {
            ((chunk / lanes).max(1) * lanes, MAX_BLOCKED_SUMS, MAX_BLOCKED_TILE)
        } else {
            (chunk, MAX_SUMS, MAX_TILE)
        };
        let sums_per_position = group_blocks * LANES * geometry.tap_sets().count();
        let size = geometry.box_size((max_sums / sums_per_position).max(1), (max_tile / chunk).max(1));
        let boxes = Blocks::new(geometry.positions, size);
        let units = UNITS * rayon::current_num_threads();
        let groups = units.div_ceil(batch * boxes.len()).clamp(block_count.div_ceil(group_blocks), block_count);
        let group_blocks = block_count.div_ceil(groups);
        let groups = block_count.div_ceil(group_blocks);
        Self { boxes, chunk, block_count, group_blocks, groups, units: batch * boxes.len() * groups }
    }

    /// The sample, the box and the destination channel blocks of a unit; neighbouring units share the box.
    pub(crate) fn unit(&self, unit: usize) -> (usize, Block, Range<usize>) {
        let (boxed, group) = (unit / self.groups, unit % self.groups);
        let blocks = group * self.group_blocks..((group + 1) * self.group_blocks).min(self.block_count);
        (boxed / self.boxes.len(), self.boxes.get(boxed % self.boxes.len()), blocks)
    }
}

/// `dst[n][o][v] = bias[o] + Σ weights[o][c][tap] · src[n][c][v's tap]`.
///
/// Each destination element is one chain of multiply-adds over (channel, tap) in order, so neither the cut into boxes nor
/// the number of threads shows in the result.
pub(crate) fn correlate(
    problem: &Problem<'_>,
    src: &[f32],
    weights: Weights<'_>,
    bias: Option<&[f32]>,
    dst: &mut [f32],
) {
    let &Problem { isa, geometry, batch, src_channels, dst_channels } = problem;
    let cut = Cut::new(problem, 1);
    let mut packed = Scratch::take(packed_len(problem));
    pack(problem, weights, &mut packed);
    let whole = (cut.boxes.len() == 1).then(|| geometry.gather_all(isa, batch * src_channels, src));
    let (src_volume, dst_volume) = (volume(geometry.source), volume(geometry.destination));
    let shared = Shared::new(dst);
    (0..cut.units).into_par_iter().for_each(|unit| {
        let (sample, block, blocks) = cut.unit(unit);
        let tile = geometry.tile(block.size);
        let tile_volume = volume(tile);
        let job = Job::new(problem, block, cut.chunk, blocks, Layout::plain(tile));
        let mut sums = Scratch::take(job.sums_len());
        if let Some(bias) = bias {
            job.fill(bias, &mut sums);
        }
        let mut own = Scratch::take(if whole.is_some() { 0 } else { cut.chunk * tile_volume });
        for first in (0..src_channels).step_by(cut.chunk) {
            let channels = first..(first + cut.chunk).min(src_channels);
            let gathered = if let Some(whole) = &whole {
                &whole[(sample * src_channels + first) * tile_volume..]
            } else {
                let src = &src[(sample * src_channels + first) * src_volume..];
                geometry.gather(isa, channels.len(), block.start, tile, src, &mut own, first > 0);
                &own
            };
            job.accumulate(channels, gathered, &packed, first > 0 || bias.is_some(), &mut sums);
        }
        write(&job, &sums, sample * dst_channels * dst_volume, shared);
    });
}

/// Writes the sums to the sample that starts at `sample` in the plain destination.
pub(crate) fn write(job: &Job<'_>, sums: &[f32], sample: usize, dst: Shared<'_>) {
    let &Problem { isa, geometry, dst_channels, .. } = job.problem;
    let stride = volume(geometry.destination);
    job.for_each_run(sums, 0, |b, sums, lanes, offset, len| {
        let channels = LANES.min(dst_channels - b * LANES);
        let dst = dst.at(sample + b * LANES * stride + offset, (channels - 1) * stride + len - 1);
        // SAFETY: `at` and the length of the run bound the indices; boxes, classes and channel blocks partition the
        // destination, so this worker alone writes these elements.
        unsafe { kernel::transpose(isa, (len, channels), sums.as_ptr(), lanes, dst, stride) };
    });
}
