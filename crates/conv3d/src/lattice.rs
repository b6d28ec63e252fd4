//! Which source voxel each tap of each destination voxel reads, as offsets into small tiles.
//!
//! A convolution reads its input at `stride · j + k − padding`. Its data gradient reads the output's gradient too, but
//! with a stride the taps that reach a voxel depend on the voxel's residue modulo the stride, so the destination
//! splits into residue classes, each with its own taps and with unit steps in the source (the "sub-pixel" view of a
//! transposed convolution). [`Correlation`] holds both.

use rayon::prelude::*;

use crate::kernel::{self, Isa};
use crate::scratch::Scratch;
use crate::shape::{ConvShape, volume};

/// Voxels (f32) that make a parallel job worth its start.
const GATHER_JOB: usize = 16 * 1024;

/// What starting a row and a box costs, in gathered voxels.
const ROW_COST: usize = 16;
const BOX_COST: usize = 2000;

/// The sizes into which `n` positions can be cut evenly, but for a rest: `⌈n/1⌉, ⌈n/2⌉, …, 1`.
fn cuts(n: usize) -> Vec<usize> {
    let smaller = |&size: &usize| (size > 1).then(|| n.div_ceil(n.div_ceil(size - 1)));
    std::iter::successors(Some(n), smaller).collect()
}

/// One tap: where it reads, relative to the voxel's anchor in the source, and its index in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) delta: [isize; 3],
    pub(crate) index: usize,
}

/// The destination rows `origin + step · j`, `j < count`, over depth and height, which share the same taps.
#[derive(Clone, Debug)]
pub(crate) struct RowClass {
    pub(crate) origin: [usize; 2],
    pub(crate) count: [usize; 2],
    /// The taps for each residue along the row.
    pub(crate) phases: Vec<Vec<Tap>>,
}

/// How an array of several channels lies in memory: blocks of `lanes` channels, each `[d, h, w, lanes]`. One lane is the
/// plain `[channels, d, h, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) dims: [usize; 3],
    pub(crate) lanes: usize,
}

impl Layout {
    pub(crate) fn plain(dims: [usize; 3]) -> Self {
        Self { dims, lanes: 1 }
    }

    /// Offset of a voxel, given by its index in `dims`, of a channel.
    pub(crate) fn offset(self, channel: usize, voxel: usize) -> usize {
        (channel / self.lanes * volume(self.dims) + voxel) * self.lanes + channel % self.lanes
    }
}

/// A weighted sum over taps for every destination voxel.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    pub(crate) source: [usize; 3],
    pub(crate) destination: [usize; 3],
    /// Source voxels between the anchors of neighbours of one class.
    pub(crate) source_step: [usize; 3],
    /// Destination voxels between neighbours of one class.
    pub(crate) destination_step: [usize; 3],
    pub(crate) classes: Vec<RowClass>,
    /// Positions along the axes of the largest class; boxes are cut from these.
    pub(crate) positions: [usize; 3],
    /// The least and the greatest tap offset along each axis.
    low: [isize; 3],
    high: [isize; 3],
}

/// One axis of a class: origin, count and (tap, offset) pairs.
struct AxisClass {
    origin: usize,
    count: usize,
    taps: Vec<(usize, isize)>,
}

impl Correlation {
    /// The convolution itself: input to output.
    pub(crate) fn forward(shape: &ConvShape) -> Self {
        let output = shape.output();
        let axes = std::array::from_fn(|a| {
            let taps = (0..shape.kernel[a]).map(|k| (k, k as isize - shape.padding[a] as isize)).collect();
            vec![AxisClass { origin: 0, count: output[a], taps }]
        });
        Self::new(shape.kernel, [shape.input, output], [shape.stride, [1; 3]], &axes)
    }

    /// Its data gradient: the output's gradient to the input's.
    pub(crate) fn transposed(shape: &ConvShape) -> Self {
        let axes = std::array::from_fn(|a| {
            let (stride, padding) = (shape.stride[a], shape.padding[a]);
            let class = |origin: usize| AxisClass {
                origin,
                count: (shape.input[a] - origin).div_ceil(stride),
                // input voxel i = output voxel o · stride + k − padding
                taps: (0..shape.kernel[a])
                    .map(|k| (k, (origin + padding) as isize - k as isize))
                    .filter(|(_, distance)| distance.rem_euclid(stride as isize) == 0)
                    .map(|(k, distance)| (k, distance.div_euclid(stride as isize)))
                    .collect(),
            };
            (0..stride.min(shape.input[a])).map(class).collect()
        });
        Self::new(shape.kernel, [shape.output(), shape.input], [[1; 3], shape.stride], &axes)
    }

    /// The convolution with a 3³ kernel, unit stride and one zero of padding over rows that were cut into pieces of
    /// `outputs` voxels, each described by `inputs` values: one phase for each of those, whose sums make up the piece.
    /// The source holds a plane of pieces for each of a plane's inputs.
    pub(crate) fn of_pieces(dims: [usize; 3], inputs: usize, outputs: usize) -> Self {
        let [d, h, pieces] = [dims[0], dims[1], dims[2].div_ceil(outputs)];
        let step = inputs as isize;
        let phase = |input: usize| {
            let tap = |index: usize| Tap {
                delta: [step * (index as isize / 3 - 1) + input as isize, index as isize % 3 - 1, 0],
                index: index * inputs + input,
            };
            (0..9).map(tap).collect()
        };
        Self {
            source: [inputs * d, h, pieces],
            destination: dims,
            source_step: [inputs, 1, 1],
            destination_step: [1, 1, outputs],
            classes: vec![RowClass { origin: [0; 2], count: [d, h], phases: (0..inputs).map(phase).collect() }],
            positions: [d, h, pieces],
            low: [-step, -1, 0],
            high: [2 * step - 1, 1, 0],
        }
    }

    fn new(
        kernel: [usize; 3],
        [source, destination]: [[usize; 3]; 2],
        [source_step, destination_step]: [[usize; 3]; 2],
        axes: &[Vec<AxisClass>; 3],
    ) -> Self {
        let mut classes = Vec::new();
        for d in &axes[0] {
            for h in &axes[1] {
                let taps = |w: &AxisClass| {
                    let mut taps = Vec::with_capacity(d.taps.len() * h.taps.len() * w.taps.len());
                    for &(kd, dd) in &d.taps {
                        for &(kh, dh) in &h.taps {
                            taps.extend(w.taps.iter().map(|&(kw, dw)| Tap {
                                delta: [dd, dh, dw],
                                index: (kd * kernel[1] + kh) * kernel[2] + kw,
                            }));
                        }
                    }
                    taps
                };
                let phases = axes[2].iter().map(taps).collect();
                classes.push(RowClass { origin: [d.origin, h.origin], count: [d.count, h.count], phases });
            }
        }
        let positions = std::array::from_fn(|a| axes[a].iter().map(|c| c.count).max().unwrap_or(0));
        let deltas = |a: usize| classes.iter().flat_map(|c| c.phases.iter().flatten()).map(move |t| t.delta[a]);
        let low = std::array::from_fn(|a| deltas(a).min().unwrap_or(0));
        let high = std::array::from_fn(|a| deltas(a).max().unwrap_or(0));
        Self { source, destination, source_step, destination_step, classes, positions, low, high }
    }

    /// The taps of all classes.
    pub(crate) fn tap_sets(&self) -> impl Iterator<Item = &Vec<Tap>> {
        self.classes.iter().flat_map(|c| &c.phases)
    }

    /// Taps of the class that has most.
    pub(crate) fn most_taps(&self) -> usize {
        self.tap_sets().map(Vec::len).max().unwrap_or(0)
    }

    /// Voxels of the source tile, halo included, under a box of `size` positions.
    pub(crate) fn tile(&self, size: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|a| (size[a] - 1) * self.source_step[a] + (self.high[a] - self.low[a]) as usize + 1)
    }

    /// The box with at most `max_positions` positions and `max_tile` source voxels for which all boxes together gather
    /// least: each box reads a halo, so compact ones with long rows win.
    pub(crate) fn box_size(&self, max_positions: usize, max_tile: usize) -> [usize; 3] {
        let [ds, hs, ws] = self.positions.map(cuts);
        let mut best = (usize::MAX, [1; 3]);
        for &d in &ds {
            for &h in &hs {
                for &w in &ws {
                    let size = [d, h, w];
                    let tile = self.tile(size);
                    if volume(size) > max_positions || volume(tile) > max_tile {
                        continue;
                    }
                    let boxes = Blocks::new(self.positions, size).len();
                    let cost = boxes * (tile[0] * tile[1] * (tile[2] + ROW_COST) + BOX_COST);
                    if cost < best.0 {
                        best = (cost, size);
                    }
                }
            }
        }
        best.1
    }

    /// Copies the source under a box, zeros outside the volume, into `out` (`[channels, d, h, w]`, `tile` voxels each).
    /// `source` starts at the first channel wanted. Where `again`, the zeros are there from an earlier call for this box.
    #[expect(clippy::too_many_arguments, reason = "one call site each way; a struct would only rename them")]
    pub(crate) fn gather(
        &self,
        isa: Isa,
        channels: usize,
        start: [usize; 3],
        tile: [usize; 3],
        source: &[f32],
        out: &mut [f32],
        again: bool,
    ) {
        // the first source voxel of the tile, and the part of the tile that lies inside the volume
        let first = self.first_read(start);
        let clip = |a: usize, x: isize| (x - first[a]).clamp(0, tile[a] as isize) as usize;
        let from: [usize; 3] = std::array::from_fn(|a| clip(a, 0));
        let to: [usize; 3] = std::array::from_fn(|a| clip(a, self.source[a] as isize));
        let out = &mut out[..channels * volume(tile)];
        if !again && (from != [0; 3] || to != tile) {
            out.fill(0.0);
        }
        if (0..3).any(|a| from[a] >= to[a]) {
            return;
        }
        let [_, sh, sw] = self.source;
        let [d, h, w]: [usize; 3] = std::array::from_fn(|a| (first[a] + from[a] as isize) as usize);
        for (source, out) in source.chunks_exact(volume(self.source)).zip(out.chunks_exact_mut(volume(tile))) {
            for i in from[0]..to[0] {
                let source = &source[((d + i - from[0]) * sh + h) * sw + w..];
                let out = &mut out[(i * tile[1] + from[1]) * tile[2] + from[2]..];
                kernel::copy_rows(isa, (to[1] - from[1], to[2] - from[2]), source, sw, out, tile[2]);
            }
        }
    }

    /// [`gather`](Self::gather) for one box that covers everything, all channels of all samples, so that workers that
    /// differ in destination channels share it.
    pub(crate) fn gather_all(&self, isa: Isa, channels: usize, source: &[f32]) -> Scratch {
        let tile = self.tile(self.positions);
        let mut out = Scratch::take(channels * volume(tile));
        let per_job = (GATHER_JOB / volume(tile)).max(1);
        let jobs = source.par_chunks(per_job * volume(self.source)).zip(out.par_chunks_mut(per_job * volume(tile)));
        jobs.for_each(|(source, out)| self.gather(isa, out.len() / volume(tile), [0; 3], tile, source, out, false));
        out
    }

    /// Offsets in a source tile of the anchors of a box of `size` positions.
    pub(crate) fn anchors(&self, size: [usize; 3], tile: Layout) -> Vec<u32> {
        let step = self.source_step;
        let mut offsets = Vec::with_capacity(volume(size));
        for d in 0..size[0] {
            for h in 0..size[1] {
                let row = (d * step[0] * tile.dims[1] + h * step[1]) * tile.dims[2];
                offsets.extend((0..size[2]).map(|w| ((row + w * step[2]) * tile.lanes) as u32));
            }
        }
        offsets
    }

    /// Offsets in a source tile of (channel, tap), relative to the anchor, for `channels` channels.
    pub(crate) fn taps(&self, taps: &[Tap], channels: usize, tile: Layout) -> Vec<u32> {
        let voxel = |t: &Tap| {
            let [d, h, w] = std::array::from_fn(|a| (t.delta[a] - self.low[a]) as usize);
            (d * tile.dims[1] + h) * tile.dims[2] + w
        };
        (0..channels).flat_map(|c| taps.iter().map(move |t| tile.offset(c, voxel(t)) as u32)).collect()
    }

    /// Whether no tap reads more than `rim` voxels outside the source.
    pub(crate) fn reaches_within(&self, rim: usize) -> bool {
        let last = |a: usize| ((self.positions[a] - 1) * self.source_step[a]) as isize + self.high[a];
        (0..3).all(|a| self.low[a] >= -(rim as isize) && last(a) < (self.source[a] + rim) as isize)
    }

    /// The source voxel that the first tap of the position at `start` reads; -1 is in the padding.
    pub(crate) fn first_read(&self, start: [usize; 3]) -> [isize; 3] {
        std::array::from_fn(|a| (start[a] * self.source_step[a]) as isize + self.low[a])
    }
}

/// A box of positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) start: [usize; 3],
    pub(crate) size: [usize; 3],
}

/// The boxes that cover `total` positions, the last of each axis cut short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    total: [usize; 3],
    size: [usize; 3],
}

impl Blocks {
    pub(crate) fn new(total: [usize; 3], size: [usize; 3]) -> Self {
        Self { total, size }
    }

    fn counts(&self) -> [usize; 3] {
        std::array::from_fn(|a| self.total[a].div_ceil(self.size[a]))
    }

    pub(crate) fn len(&self) -> usize {
        volume(self.counts())
    }

    pub(crate) fn get(&self, index: usize) -> Block {
        let [_, nh, nw] = self.counts();
        let at = [index / (nh * nw), index / nw % nh, index % nw];
        let start: [usize; 3] = std::array::from_fn(|a| at[a] * self.size[a]);
        Block { start, size: std::array::from_fn(|a| self.size[a].min(self.total[a] - start[a])) }
    }
}

/// The contiguous runs that make up a box of `size` voxels in an array of `dims`, its rows `step` apart over depth and
/// height: calls `f(position in the box, offset in the array, length)`, where rows of the box are `pitch` positions apart.
pub(crate) fn runs(
    size: [usize; 3],
    pitch: usize,
    origin: [usize; 3],
    step: [usize; 2],
    dims: [usize; 3],
    mut f: impl FnMut(usize, usize, usize),
) {
    let [mut d, mut h, mut w] = size;
    if step == [1; 2] && w == dims[2] && w == pitch {
        (h, w) = (1, h * w);
        if size[1] == dims[1] {
            (d, w) = (1, d * w);
        }
    }
    for i in 0..d {
        for j in 0..h {
            let offset = ((origin[0] + i * step[0]) * dims[1] + origin[1] + j * step[1]) * dims[2] + origin[2];
            f((i * size[1] + j) * pitch, offset, w);
        }
    }
}
