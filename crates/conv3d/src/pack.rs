//! Weights in the order in which the panels read them.

use rayon::prelude::*;

use crate::blocks;
use crate::correlate::Problem;
use crate::kernel::{self, Isa, LANES};
use crate::lattice::Tap;

/// The weights of a correlation, wherever they lie: element (destination channel, source channel, tap).
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) destination_stride: usize,
    pub(crate) source_stride: usize,
}

/// Elements that [`pack`] fills.
pub(crate) fn packed_len(problem: &Problem<'_>) -> usize {
    let taps: usize = problem.geometry.tap_sets().map(Vec::len).sum();
    taps * problem.src_channels * blocks::padded(problem.dst_channels)
}

/// Per class and channel block, `[source channel, tap, lane]`, with zeros in the lanes beyond the last channel.
pub(crate) fn pack(problem: &Problem<'_>, weights: Weights<'_>, packed: &mut [f32]) {
    let &Problem { isa, geometry, src_channels, dst_channels, .. } = problem;
    let mut rest = packed;
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
