//! The arrays between layers.

use rayon::prelude::*;

use crate::kernel::{HALF, Isa};
use crate::lattice::Layout;
use crate::shape::volume;

/// Channels of a block.
pub(super) const BLOCK: usize = HALF;
/// Zeros around the volume: as far as a 3³ kernel reaches.
pub(super) const RIM: usize = 1;
/// Elements that make a parallel job worth its start.
const JOB: usize = 16 * 1024;
/// Bytes of a cache line.
const LINE: usize = 64;

/// One sample's channels in blocks of eight, `[block, d + 2, h + 2, w + 2, 8]`, around each volume a rim of zeros that
/// serves as the next convolution's padding. The lanes beyond the last channel are never read.
pub struct Activations {
    channels: usize,
    dims: [usize; 3],
    lanes: usize,
    buffer: Vec<f32>,
    /// Where the first cache line starts.
    start: usize,
}

impl Activations {
    /// Zeros: `channels` volumes of `dims` voxels.
    ///
    /// # Panics
    /// Where a size is 0.
    #[must_use]
    pub fn new(channels: usize, dims: [usize; 3]) -> Self {
        Self::with_lanes(channels, dims, BLOCK)
    }

    /// Zeros: a single channel without the seven empty lanes, for a network's input.
    ///
    /// # Panics
    /// Where a size is 0.
    #[must_use]
    pub fn single(dims: [usize; 3]) -> Self {
        Self::with_lanes(1, dims, 1)
    }

    fn with_lanes(channels: usize, dims: [usize; 3], lanes: usize) -> Self {
        assert!(channels > 0 && volume(dims) > 0, "no activations: {channels} channels of {dims:?} voxels");
        let len = channels.div_ceil(lanes) * lanes * volume(dims.map(|n| n + 2 * RIM));
        let buffer = vec![0.0; len + LINE / size_of::<f32>()];
        let start = buffer.as_ptr().align_offset(LINE).min(buffer.len() - len);
        Self { channels, dims, lanes, buffer, start }
    }

    /// Channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Voxels along depth, height and width.
    #[must_use]
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    pub(super) fn layout(&self) -> Layout {
        Layout { dims: self.dims.map(|n| n + 2 * RIM), lanes: self.lanes }
    }

    fn len(&self) -> usize {
        self.channels.div_ceil(self.lanes) * self.lanes * volume(self.layout().dims)
    }

    pub(super) fn data(&self) -> &[f32] {
        &self.buffer[self.start..][..self.len()]
    }

    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        let len = self.len();
        &mut self.buffer[self.start..][..len]
    }

    /// A block's row, without its rim: `[w, lanes]`.
    pub(super) fn row(&self, block: usize, z: usize, y: usize) -> &[f32] {
        let [d, h, w] = self.layout().dims;
        let voxel = ((block * d + z + RIM) * h + y + RIM) * w + RIM;
        &self.data()[voxel * self.lanes..][..self.dims[2] * self.lanes]
    }

    /// Calls `f(block, z, y, row)` for every row, without its rim, in parallel.
    pub(super) fn for_each_row(&mut self, f: impl Fn(usize, usize, usize, &mut [f32]) + Sync) {
        let ([d, h, w], lanes, dims) = (self.layout().dims, self.lanes, self.dims);
        let inside = |i: usize, n: usize| (RIM..n + RIM).contains(&i);
        let rows = self.data_mut().par_chunks_mut(w * lanes).enumerate().with_min_len(JOB.div_ceil(w * lanes));
        rows.for_each(|(i, row)| {
            let (block, z, y) = (i / h / d, i / h % d, i % h);
            if inside(z, dims[0]) && inside(y, dims[1]) {
                f(block, z - RIM, y - RIM, &mut row[RIM * lanes..][..dims[2] * lanes]);
            }
        });
    }

    /// Takes values over.
    ///
    /// # Shapes
    /// `plain`: `[channels, d, h, w]`
    ///
    /// # Panics
    /// Where the length differs from this shape.
    pub fn load(&mut self, plain: &[f32]) {
        let (channels, [d, h, w], lanes) = (self.channels, self.dims, self.lanes);
        assert_eq!(plain.len(), channels * d * h * w, "not [{channels}, {d}, {h}, {w}]");
        self.for_each_row(|block, z, y, row| {
            for (lane, channel) in (block * lanes..channels.min((block + 1) * lanes)).enumerate() {
                let plain = &plain[((channel * d + z) * h + y) * w..][..w];
                row.iter_mut().skip(lane).step_by(lanes).zip(plain).for_each(|(to, from)| *to = *from);
            }
        });
    }

    /// Gives the values back.
    ///
    /// # Shapes
    /// `plain`: `[channels, d, h, w]`, overwritten
    ///
    /// # Panics
    /// Where the length differs from this shape.
    pub fn store(&self, plain: &mut [f32]) {
        let (channels, [d, h, w], lanes) = (self.channels, self.dims, self.lanes);
        assert_eq!(plain.len(), channels * d * h * w, "not [{channels}, {d}, {h}, {w}]");
        plain.par_chunks_mut(h * w).enumerate().with_min_len(JOB.div_ceil(h * w)).for_each(|(plane, plain)| {
            let (channel, z) = (plane / d, plane % d);
            for (y, plain) in plain.chunks_exact_mut(w).enumerate() {
                let row = self.row(channel / lanes, z, y).iter().skip(channel % lanes).step_by(lanes);
                plain.iter_mut().zip(row).for_each(|(to, from)| *to = *from);
            }
        });
    }
}

/// Runs `f`, compiled for vector instructions, on the voxels of a row.
#[inline]
pub(super) fn on_lanes(row: &mut [f32], f: impl FnOnce(&mut [[f32; BLOCK]])) {
    Isa::detect().vectorised(
        #[inline(always)]
        || f(row.as_chunks_mut().0),
    );
}
