//! The gradients of the weights and of the bias: sums over all voxels, cut the same way whatever the thread count.

use rayon::prelude::*;

use crate::blocks::{self, Shared};
use crate::correlate::Problem;
use crate::kernel::{self, Isa, LANES};
use crate::lattice::{Block, Blocks, Layout, runs};
use crate::scratch::Scratch;
use crate::shape::volume;

/// (channel, tap) pairs whose partial sums are in work at once.
const ROWS: usize = 256;
/// Positions summed between two visits to a sum: their gradients, 16 KB, stay in the first-level cache.
const RUN: usize = 256;
/// Gradients and source tile (both in f32) of a worker, together below half a megabyte of second-level cache.
const MAX_GRADIENTS: usize = 48 * 1024;
const MAX_TILE: usize = 56 * 1024;
/// Channel blocks that share one gathered tile.
const MAX_BLOCKS: usize = 4;
/// Work units that keep a few cores evenly busy. **Part of the result**: partial sums are added up in this partition.
const UNITS: usize = 32;

/// `dw[o][c][tap] = Σ_{n, v} dy[n][o][v] · x[n][c][v's tap]`, for the `problem` of the convolution itself.
pub(crate) fn weight_gradient(problem: &Problem<'_>, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let &Problem { isa, geometry, batch, src_channels: in_channels, dst_channels: out_channels } = problem;
    let kernel_taps = &geometry.classes[0].phases[0];
    let taps_per_channel = kernel_taps.len();
    let block_count = blocks::count(out_channels);
    let group_blocks = block_count.min(MAX_BLOCKS);
    let chunk = problem.chunk(ROWS / taps_per_channel);
    let size = geometry.box_size(MAX_GRADIENTS / (group_blocks * LANES), (MAX_TILE / chunk).max(1));
    let boxes = Blocks::new(geometry.positions, size);
    let all_boxes = batch * boxes.len();
    let channel_groups = UNITS.div_ceil(all_boxes).clamp(block_count.div_ceil(group_blocks), block_count);
    let group_blocks = block_count.div_ceil(channel_groups);
    let channel_groups = block_count.div_ceil(group_blocks);
    let per_group = all_boxes.div_ceil(UNITS.div_ceil(channel_groups));
    let box_groups = all_boxes.div_ceil(per_group);

    let whole = (boxes.len() == 1).then(|| geometry.gather_all(isa, batch * in_channels, x));
    let depth = in_channels * taps_per_channel;
    let partial_len = blocks::padded(out_channels) * depth;
    let mut partials = Scratch::take(box_groups * partial_len);
    let shared = Shared::new(&mut partials);
    let (x_volume, dy_volume) = (volume(geometry.source), volume(geometry.destination));
    (0..box_groups * channel_groups).into_par_iter().for_each(|unit| {
        let (box_group, channel_group) = (unit / channel_groups, unit % channel_groups);
        let my_blocks = channel_group * group_blocks..((channel_group + 1) * group_blocks).min(block_count);
        let first_box = box_group * per_group;
        let my_lanes: usize = my_blocks.clone().map(|b| blocks::lanes(out_channels, b)).sum();
        let partial = box_group * partial_len + my_blocks.start * LANES * depth;
        // SAFETY: units differ in box group or channel blocks, so these ranges do not overlap.
        let partial = unsafe { shared.slice(partial, my_lanes * depth) };
        for index in first_box..(first_box + per_group).min(all_boxes) {
            let (sample, block) = (index / boxes.len(), boxes.get(index % boxes.len()));
            let positions = volume(block.size);
            let mut gradients = Scratch::take(my_lanes * positions);
            let mut rest = &mut gradients[..];
            for b in my_blocks.clone() {
                let lanes = blocks::lanes(out_channels, b);
                let (gradients, after) = rest.split_at_mut(positions * lanes);
                rest = after;
                let channels = lanes.min(out_channels - b * LANES);
                let dy = &dy[(sample * out_channels + b * LANES) * dy_volume..][..channels * dy_volume];
                interleave(isa, block, geometry.destination, dy, channels, lanes, gradients);
            }
            let tile = geometry.tile(block.size);
            let anchors = geometry.anchors(block.size, Layout::plain(tile));
            let taps = geometry.taps(kernel_taps, chunk, Layout::plain(tile));
            let mut own = Scratch::take(if whole.is_some() { 0 } else { chunk * volume(tile) });
            for first in (0..in_channels).step_by(chunk) {
                let channels = chunk.min(in_channels - first);
                let channel = sample * in_channels + first;
                let gathered = if let Some(whole) = &whole {
                    &whole[channel * volume(tile)..]
                } else {
                    let x = &x[channel * x_volume..];
                    geometry.gather(isa, channels, block.start, tile, x, &mut own, first > 0);
                    &own
                };
                let rows = &taps[..channels * taps_per_channel];
                let (mut gradients, mut partial) = (&gradients[..], &mut partial[..]);
                for b in my_blocks.clone() {
                    let lanes = blocks::lanes(out_channels, b);
                    let sums = &mut partial[first * taps_per_channel * lanes..][..rows.len() * lanes];
                    for (r, run) in anchors.chunks(RUN).enumerate() {
                        let gradients = &gradients[r * RUN * lanes..];
                        kernel::panel(isa, lanes, gathered, rows, run, gradients, sums, 1, index > first_box || r > 0);
                    }
                    gradients = &gradients[positions * lanes..];
                    partial = &mut partial[depth * lanes..];
                }
            }
        }
    });
    add_up(isa, &partials, partial_len, depth, out_channels, dw);
}

/// Rows of lanes from channel rows: the gradients of a box as `[position, lane]`, zeros in the lanes beyond `channels`.
fn interleave(
    isa: Isa,
    block: Block,
    dims: [usize; 3],
    dy: &[f32],
    channels: usize,
    lanes: usize,
    gradients: &mut [f32],
) {
    if channels < lanes {
        gradients.fill(0.0);
    }
    let stride = volume(dims);
    runs(block.size, block.size[2], block.start, [1; 2], dims, |position, offset, len| {
        let from = &dy[offset..][..(channels - 1) * stride + len];
        let to = &mut gradients[position * lanes..][..len * lanes];
        // SAFETY: the slices above hold `channels` rows of `len` at `stride`, and `len` rows of `lanes ≥ channels`.
        unsafe { kernel::transpose(isa, (channels, len), from.as_ptr(), stride, to.as_mut_ptr(), lanes) };
    });
}

/// Adds the partial sums in order and writes them as `[out channel, in channel, tap]`.
fn add_up(isa: Isa, partials: &[f32], partial_len: usize, depth: usize, out_channels: usize, dw: &mut [f32]) {
    dw.par_chunks_mut(LANES * depth).enumerate().for_each(|(b, dw)| {
        let lanes = blocks::lanes(out_channels, b);
        let (start, len) = (b * LANES * depth, lanes * depth);
        let mut total = Scratch::take(len);
        total.copy_from_slice(&partials[start..][..len]);
        for partial in partials.chunks_exact(partial_len).skip(1) {
            total.iter_mut().zip(&partial[start..][..len]).for_each(|(t, p)| *t += p);
        }
        let channels = dw.len() / depth;
        // SAFETY: `total` holds `depth` rows of `lanes ≥ channels`, `dw` `channels` rows of `depth`.
        unsafe { kernel::transpose(isa, (depth, channels), total.as_ptr(), lanes, dw.as_mut_ptr(), depth) };
    });
}

/// `db[o] = Σ_{n, v} dy[n][o][v]`, in double precision.
pub(crate) fn bias_gradient(batch: usize, channels: usize, dy: &[f32], db: &mut [f32]) {
    let volume = dy.len() / (batch * channels);
    db.par_iter_mut().enumerate().for_each(|(o, db)| {
        let mut total = [0.0f64; 16];
        for sample in 0..batch {
            let (lanes, rest) = dy[(sample * channels + o) * volume..][..volume].as_chunks::<16>();
            for lane in lanes {
                total.iter_mut().zip(lane).for_each(|(t, &v)| *t += f64::from(v));
            }
            total.iter_mut().zip(rest).for_each(|(t, &v)| *t += f64::from(v));
        }
        *db = total.iter().sum::<f64>() as f32;
    });
}
