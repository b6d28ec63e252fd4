//! Convolutions with packed weights.

use rayon::prelude::*;

use super::activations::{Activations, BLOCK, RIM};
use super::winograd;
use crate::blocks::{Shared, of_lanes};
use crate::correlate::{self, Cut, Problem};
use crate::job::Job;
use crate::kernel::{Isa, LANES};
use crate::lattice::{Correlation, Layout};
use crate::pack::{Weights, pack, packed_len};
use crate::scratch::Scratch;
use crate::shape::{ConvShape, volume};

/// What happens to a sum when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Nothing.
    Linear,
    /// Negative values become 0.
    Relu,
}

/// How the sums come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Product by product, straight from the source.
    Direct,
    /// See [`winograd`].
    Winograd,
}

/// A convolution or transposed convolution of one sample, its weights packed.
pub struct Conv {
    isa: Isa,
    method: Method,
    geometry: Correlation,
    input: [usize; 3],
    channels: [usize; 2],
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Conv {
    /// A convolution, as [`crate::forward`].
    ///
    /// # Shapes
    /// `w`: `[out_channels, in_channels, kernel]`, `bias`: `[out_channels]`
    ///
    /// # Panics
    /// Where [`ConvShape::validate`] fails, `batch` is not 1, the kernel reaches more than one voxel beyond the volume,
    /// or a length differs from its shape.
    #[must_use]
    pub fn new(shape: &ConvShape, w: &[f32], bias: &[f32]) -> Self {
        Self::new_on(Isa::detect(), shape, w, bias)
    }

    pub(super) fn new_on(isa: Isa, shape: &ConvShape, w: &[f32], bias: &[f32]) -> Self {
        shape.validate().unwrap_or_else(|e| panic!("not a convolution: {e}"));
        assert_eq!(w.len(), shape.weight_len(), "the weights of {shape:?}");
        let channels = [shape.in_channels, shape.out_channels];
        let transformed;
        let (method, geometry, w) = if winograd::suits(shape) {
            transformed = winograd::weights(w);
            (Method::Winograd, winograd::geometry(shape.input), &transformed[..])
        } else {
            (Method::Direct, Correlation::forward(shape), w)
        };
        let source_stride = w.len() / channels[0] / channels[1];
        let weights = Weights { data: w, destination_stride: channels[0] * source_stride, source_stride };
        Self::packed(isa, method, shape.input, geometry, channels, weights, bias)
    }

    /// A transposed convolution, as [`crate::transposed::forward`], whose `shape` says it backwards.
    ///
    /// # Shapes
    /// In terms of `shape`: `w`: `[out_channels, in_channels, kernel]`, `bias`: `[in_channels]`
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn transposed(shape: &ConvShape, w: &[f32], bias: &[f32]) -> Self {
        Self::transposed_on(Isa::detect(), shape, w, bias)
    }

    pub(super) fn transposed_on(isa: Isa, shape: &ConvShape, w: &[f32], bias: &[f32]) -> Self {
        shape.validate().unwrap_or_else(|e| panic!("not a convolution: {e}"));
        assert_eq!(w.len(), shape.weight_len(), "the weights of {shape:?}");
        let channels = [shape.out_channels, shape.in_channels];
        let taps = volume(shape.kernel);
        let weights = Weights { data: w, destination_stride: taps, source_stride: channels[1] * taps };
        Self::packed(isa, Method::Direct, shape.output(), Correlation::transposed(shape), channels, weights, bias)
    }

    fn packed(
        isa: Isa,
        method: Method,
        input: [usize; 3],
        geometry: Correlation,
        channels: [usize; 2],
        weights: Weights<'_>,
        bias: &[f32],
    ) -> Self {
        assert_eq!(bias.len(), channels[1], "a bias for every output channel");
        assert!(method != Method::Direct || geometry.reaches_within(RIM), "the kernel reaches beyond the rim");
        let mut conv = Self { isa, method, input, geometry, channels, weights: Vec::new(), bias: bias.to_vec() };
        let mut packed = vec![0.0; packed_len(&conv.problem())];
        pack(&conv.problem(), weights, &mut packed);
        conv.weights = packed;
        conv
    }

    fn problem(&self) -> Problem<'_> {
        let [src_channels, dst_channels] = self.channels;
        Problem { isa: self.isa, geometry: &self.geometry, batch: 1, src_channels, dst_channels }
    }

    /// Convolves the concatenated channels of `sources`.
    ///
    /// # Panics
    /// Where the sources or `dst` have other channels or sizes than this convolution.
    pub fn run(&self, sources: &[&Activations], finish: Finish, dst: &mut Activations) {
        let layout = self.check(dst);
        let dst = Shared::new(dst.data_mut());
        self.each(sources, |job, sums| {
            write(job, sums, layout, dst, |sums, lanes, row| match finish {
                Finish::Linear => copy(sums, lanes, row, |v| v),
                // not `max`: NaN stays
                Finish::Relu => copy(sums, lanes, row, |v| if v < 0.0 { 0.0 } else { v }),
            });
        });
    }

    /// As [`run`](Self::run), linear; gives every channel's sum and sum of squares, for a normalisation.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_summing(&self, sources: &[&Activations], dst: &mut Activations) -> Vec<[f64; 2]> {
        let (layout, channels) = (self.check(dst), dst.channels());
        let dst = Shared::new(dst.data_mut());
        let parts = self.each(sources, |job, sums| {
            let mut parts = Vec::new();
            write(job, sums, layout, dst, |sums, lanes, row| copy(sums, lanes, row, |v| v));
            job.for_each_run(sums, RIM, |block, sums, lanes, _, _| {
                for (half, sums) in (0..lanes / BLOCK).map(|half| (half, &sums[half * BLOCK..])) {
                    parts.push((block * LANES + half * BLOCK, self.isa.vectorised(|| squares(sums, lanes))));
                }
            });
            parts
        });
        let mut total = vec![[0.0; 2]; channels.next_multiple_of(BLOCK)];
        for (first, part) in parts.into_iter().flatten() {
            for (total, part) in total[first..].iter_mut().zip(part) {
                total[0] += part[0];
                total[1] += part[1];
            }
        }
        total.truncate(channels);
        total
    }

    /// As [`run`](Self::run), linear, into a plain array.
    ///
    /// # Shapes
    /// `dst`: `[out_channels, d, h, w]`, overwritten
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_plain(&self, sources: &[&Activations], dst: &mut [f32]) {
        assert_eq!(dst.len(), self.channels[1] * volume(self.geometry.destination), "not this convolution's output");
        let dst = Shared::new(dst);
        self.each(sources, |job, sums| correlate::write(job, sums, 0, dst));
    }

    fn check(&self, dst: &Activations) -> Layout {
        let expected = (self.channels[1], self.geometry.destination, BLOCK);
        assert_eq!((dst.channels(), dst.dims(), dst.layout().lanes), expected, "not this convolution's output");
        dst.layout()
    }

    /// Calls `sink` with the sums of every unit of work, and collects in the order of the units.
    fn each<T: Send>(&self, sources: &[&Activations], sink: impl Fn(&Job<'_>, &[f32]) -> T + Sync) -> Vec<T> {
        let problem = self.problem();
        let layout = sources[0].layout();
        assert_eq!(sources.iter().map(|s| s.channels()).sum::<usize>(), self.channels[0], "channels of the sources");
        for source in sources {
            assert_eq!((source.dims(), source.layout()), (self.input, layout), "not this convolution's input");
        }
        let cut = Cut::new(&problem, layout.lanes);
        let unit = |unit| {
            let (_, block, blocks) = cut.unit(unit);
            let tile = match self.method {
                Method::Direct => layout,
                Method::Winograd => Layout { dims: self.geometry.tile(block.size), lanes: BLOCK },
            };
            let job = Job::new(&problem, block, cut.chunk, blocks, tile);
            let mut sums = Scratch::take(job.sums_len());
            let mut own = Scratch::take(0);
            match self.method {
                Method::Direct => job.fill(&self.bias, &mut sums),
                Method::Winograd => own = Scratch::take(cut.chunk * volume(tile.dims)),
            }
            let mut before = 0;
            for source in sources {
                for first in (0..source.channels()).step_by(cut.chunk) {
                    let channels = first..(first + cut.chunk).min(source.channels());
                    let tile = match self.method {
                        Method::Direct => {
                            let at = self.geometry.first_read(block.start).map(|i| (i + RIM as isize) as usize);
                            let voxel = (at[0] * layout.dims[1] + at[1]) * layout.dims[2] + at[2];
                            &source.data()[layout.offset(first, voxel)..]
                        }
                        Method::Winograd => {
                            winograd::gather(source, channels.clone(), block, &mut own);
                            &own
                        }
                    };
                    let channels = before + channels.start..before + channels.end;
                    let onto = self.method == Method::Direct || channels.start > 0;
                    job.accumulate(channels, tile, &self.weights, onto, &mut sums);
                }
                before += source.channels();
            }
            if self.method == Method::Winograd {
                job.for_each_block(&mut sums, |b, lanes, sums| winograd::finish(&of_lanes(&self.bias, b), lanes, sums));
            }
            sink(&job, &sums)
        };
        (0..cut.units).into_par_iter().map(unit).collect()
    }
}

/// Calls `f(sums, lanes, row)` for every run of neighbouring voxels and block of the destination.
fn write(job: &Job<'_>, sums: &[f32], layout: Layout, dst: Shared<'_>, f: impl Fn(&[f32], usize, &mut [f32])) {
    job.for_each_run(sums, RIM, |block, sums, lanes, offset, len| {
        for half in 0..lanes / BLOCK {
            let start = layout.offset(block * LANES + half * BLOCK, offset);
            // SAFETY: boxes, classes and channel blocks partition the destination: this worker alone writes these.
            let row = unsafe { dst.slice(start, len * BLOCK) };
            f(&sums[half * BLOCK..], lanes, row);
        }
    });
}

/// `row[voxel] = f(sums[voxel])` for the first block of lanes in each voxel's sums.
#[inline(always)]
fn copy(sums: &[f32], lanes: usize, row: &mut [f32], f: impl Fn(f32) -> f32) {
    Isa::detect().vectorised(
        #[inline(always)]
        || {
            let rows = row.as_chunks_mut::<BLOCK>().0;
            for (row, sums) in rows.iter_mut().zip(sums.as_chunks::<BLOCK>().0.iter().step_by(lanes / BLOCK)) {
                *row = sums.map(&f);
            }
        },
    );
}

/// The sums and sums of squares of the first block of lanes over the voxels.
#[inline(always)]
fn squares(sums: &[f32], lanes: usize) -> [[f64; 2]; BLOCK] {
    let mut total = [[0.0; BLOCK]; 2];
    for sums in sums.as_chunks::<BLOCK>().0.iter().step_by(lanes / BLOCK) {
        for (lane, &v) in sums.iter().enumerate() {
            let v = f64::from(v);
            total[0][lane] += v;
            total[1][lane] += v * v;
        }
    }
    std::array::from_fn(|lane| [total[0][lane], total[1][lane]])
}
