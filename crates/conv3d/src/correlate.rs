//! The convolution and its data gradient: source in, destination out, over boxes of voxels and blocks of channels.

use std::ops::Range;

use rayon::prelude::*;

use crate::blocks::{self, Shared};
use crate::kernel::{self, Isa, LANES};
use crate::lattice::{Block, Blocks, Correlation, RowClass, Tap, runs};
use crate::scratch::Scratch;
use crate::shape::volume;

/// Reduction steps between two visits to a sum: their weights, 16 KB, stay in the first-level cache.
const REDUCTION: usize = 256;
/// Sums and source tile (both in f32) of a worker, together below half a megabyte of second-level cache.
const MAX_SUMS: usize = 48 * 1024;
const MAX_TILE: usize = 56 * 1024;
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

/// The weights of a correlation, wherever they lie: element (destination channel, source channel, tap).
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) destination_stride: usize,
    pub(crate) source_stride: usize,
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
    let block_count = blocks::count(dst_channels);
    let group_blocks = block_count.min(MAX_BLOCKS);
    let chunk = problem.chunk(REDUCTION / geometry.most_taps().max(1));
    let sums_per_position = group_blocks * LANES * geometry.tap_sets().count();
    let size = geometry.box_size((MAX_SUMS / sums_per_position).max(1), (MAX_TILE / chunk).max(1));
    let boxes = Blocks::new(geometry.positions, size);
    let units = UNITS * rayon::current_num_threads();
    let groups = units.div_ceil(batch * boxes.len()).clamp(block_count.div_ceil(group_blocks), block_count);
    let group_blocks = block_count.div_ceil(groups);
    let groups = block_count.div_ceil(group_blocks);

    let packed = pack(problem, weights);
    let whole = (boxes.len() == 1).then(|| geometry.gather_all(isa, batch * src_channels, src));
    let (src_volume, dst_volume) = (volume(geometry.source), volume(geometry.destination));
    let shared = Shared::new(dst);
    (0..batch * boxes.len() * groups).into_par_iter().for_each(|unit| {
        let (sample, index, group) = (unit / groups / boxes.len(), unit / groups % boxes.len(), unit % groups);
        let blocks = group * group_blocks..((group + 1) * group_blocks).min(block_count);
        let job = Job::new(problem, boxes.get(index), chunk, blocks);
        let mut sums = Scratch::take(job.sums_len());
        if let Some(bias) = bias {
            job.fill(bias, &mut sums);
        }
        let tile_volume = volume(job.tile);
        let mut own = Scratch::take(if whole.is_some() { 0 } else { chunk * tile_volume });
        for first in (0..src_channels).step_by(chunk) {
            let channels = first..(first + chunk).min(src_channels);
            let gathered = if let Some(whole) = &whole {
                &whole[(sample * src_channels + first) * tile_volume..]
            } else {
                let src = &src[(sample * src_channels + first) * src_volume..];
                geometry.gather(isa, channels.len(), job.block.start, job.tile, src, &mut own, first > 0);
                &own
            };
            job.accumulate(channels, gathered, &packed, first > 0 || bias.is_some(), &mut sums);
        }
        job.write(&sums, sample * dst_channels * dst_volume, shared);
    });
}

/// A box of positions and a range of destination channel blocks: what one worker computes.
///
/// Its sums lie as `[row class, channel block, position, phase, lane]`.
struct Job<'a> {
    problem: &'a Problem<'a>,
    block: Block,
    tile: [usize; 3],
    blocks: Range<usize>,
    parts: Vec<Part<'a>>,
}

impl<'a> Job<'a> {
    fn new(problem: &'a Problem<'a>, block: Block, chunk: usize, blocks: Range<usize>) -> Self {
        let geometry = problem.geometry;
        let tile = geometry.tile(block.size);
        let parts = geometry.classes.iter().map(|class| Part::new(geometry, class, block, chunk, tile)).collect();
        Self { problem, block, tile, blocks, parts }
    }

    fn lanes(&self, block: usize) -> usize {
        blocks::lanes(self.problem.dst_channels, block)
    }

    fn sums_len(&self) -> usize {
        let lanes: usize = self.blocks.clone().map(|b| self.lanes(b)).sum();
        lanes * self.parts.iter().map(Part::rows).sum::<usize>()
    }

    /// Starts the sums with the biases of their lanes.
    fn fill(&self, bias: &[f32], mut sums: &mut [f32]) {
        for part in &self.parts {
            for b in self.blocks.clone() {
                let (lanes, bias) = (self.lanes(b), &bias[b * LANES..]);
                let mut row = [0.0; LANES];
                let n = bias.len().min(lanes);
                row[..n].copy_from_slice(&bias[..n]);
                let block_sums;
                (block_sums, sums) = sums.split_at_mut(part.rows() * lanes);
                block_sums.chunks_exact_mut(lanes).for_each(|sums| sums.copy_from_slice(&row[..lanes]));
            }
        }
    }

    /// Adds the products of some source channels, gathered, or starts the sums with them.
    fn accumulate(&self, channels: Range<usize>, gathered: &[f32], packed: &[f32], onto: bool, mut sums: &mut [f32]) {
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
                    kernel::panel(isa, lanes, gathered, &part.anchors, taps, weights, sums, phases.len(), onto);
                    section = &section[blocks::padded(dst_channels) * depth..];
                }
            }
            let depth = src_channels * phases.iter().map(Vec::len).sum::<usize>();
            section = &section[blocks::padded(dst_channels) * depth..];
        }
    }

    /// Writes the sums to the sample that starts at `sample` in the destination.
    fn write(&self, mut sums: &[f32], sample: usize, dst: Shared<'_>) {
        let &Problem { isa, geometry, dst_channels, .. } = self.problem;
        let (dims, [sd, sh, _]) = (geometry.destination, geometry.destination_step);
        let stride = volume(dims);
        for part in &self.parts {
            let origin = part.origin(geometry, self.block);
            let pitch = self.block.size[2] * part.class.phases.len();
            let size = [part.size[0], part.size[1], pitch.min(dims[2] - origin[2])];
            for b in self.blocks.clone() {
                let (lanes, channels) = (self.lanes(b), LANES.min(dst_channels - b * LANES));
                let block_sums;
                (block_sums, sums) = sums.split_at(part.rows() * lanes);
                runs(size, pitch, origin, [sd, sh], dims, |position, offset, len| {
                    let sums = &block_sums[position * lanes..][..len * lanes];
                    let dst = dst.at(sample + b * LANES * stride + offset, (channels - 1) * stride + len - 1);
                    // SAFETY: `at` and the slice above bound the indices; boxes, classes and channel blocks partition
                    // the destination, so this worker alone writes these elements.
                    unsafe { kernel::transpose(isa, (len, channels), sums.as_ptr(), lanes, dst, stride) };
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
    fn new(geometry: &Correlation, class: &'a RowClass, block: Block, chunk: usize, tile: [usize; 3]) -> Self {
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

/// Weights in the order in which the panels read them: per class and channel block, `[source channel, tap, lane]`, with
/// zeros in the lanes beyond the last channel.
fn pack(problem: &Problem<'_>, weights: Weights<'_>) -> Scratch {
    let &Problem { isa, geometry, src_channels, dst_channels, .. } = problem;
    let padded = blocks::padded(dst_channels);
    let taps = geometry.tap_sets().map(Vec::len).sum::<usize>();
    let mut packed = Scratch::take(taps * src_channels * padded);
    let mut rest = &mut packed[..];
    let mut jobs = Vec::new();
    for taps in geometry.tap_sets() {
        for b in 0..blocks::count(dst_channels) {
            let section;
            (section, rest) = rest.split_at_mut(blocks::lanes(dst_channels, b) * src_channels * taps.len());
            jobs.push((taps, b, section));
        }
    }
    jobs.into_par_iter().for_each(|(taps, b, section)| {
        let data = &weights.data[b * LANES * weights.destination_stride..];
        let (lanes, channels) = (blocks::lanes(dst_channels, b), LANES.min(dst_channels - b * LANES));
        pack_block(isa, taps, src_channels, channels, lanes, Weights { data, ..weights }, section);
    });
    packed
}

/// One class and channel block of [`pack`].
fn pack_block(
    isa: Isa,
    taps: &[Tap],
    src_channels: usize,
    channels: usize,
    lanes: usize,
    weights: Weights<'_>,
    section: &mut [f32],
) {
    if channels < lanes {
        section.fill(0.0);
    }
    let in_order = !taps.is_empty() && taps.iter().enumerate().all(|(t, tap)| t == tap.index);
    // one long matrix to transpose where the rows of the source channels adjoin, else one each
    let (matrices, run) = if in_order && weights.source_stride == taps.len() {
        (1, src_channels * taps.len())
    } else {
        (src_channels, taps.len())
    };
    for m in 0..matrices {
        let section = &mut section[m * run * lanes..][..run * lanes];
        let from = &weights.data[m * weights.source_stride..];
        let stride = weights.destination_stride;
        if in_order {
            let from = &from[..(channels - 1) * stride + run];
            // SAFETY: `from` holds `channels` rows of `run` at `stride`, `section` `run` rows of `lanes ≥ channels`.
            unsafe { kernel::transpose(isa, (channels, run), from.as_ptr(), stride, section.as_mut_ptr(), lanes) };
        } else {
            for (section, tap) in section.chunks_exact_mut(lanes).zip(taps) {
                (0..channels).for_each(|lane| section[lane] = from[lane * stride + tap.index]);
            }
        }
    }
}
