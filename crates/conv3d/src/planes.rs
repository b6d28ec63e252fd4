//! What the normalisations share: sums over the planes of an array, a sample's channel each, and maps of them.

use std::ops::Range;

use rayon::prelude::*;

/// Elements that one worker sums at a time. **Part of the result**: partial sums are added up in this partition.
const RUN: usize = 1 << 14;

/// Two sums for every one of `planes` planes of `spatial` voxels, each over fixed runs in order.
pub(crate) fn channel_sums(
    planes: usize,
    spatial: usize,
    run_sums: impl Fn(usize, Range<usize>) -> [f64; 2] + Sync,
) -> Vec<[f64; 2]> {
    let runs = spatial.div_ceil(RUN);
    let partial: Vec<_> = (0..planes * runs)
        .into_par_iter()
        .with_min_len(planes_per_job(spatial))
        .map(|unit| {
            let start = unit % runs * RUN;
            run_sums(unit / runs, start..(start + RUN).min(spatial))
        })
        .collect();
    partial.chunks_exact(runs).map(add).collect()
}

/// Calls `f(plane, start, run)` for runs that cover `out`, planes of `spatial` voxels.
pub(crate) fn for_each_run(spatial: usize, out: &mut [f32], f: impl Fn(usize, usize, &mut [f32]) + Sync) {
    if spatial <= RUN {
        let planes = out.par_chunks_mut(spatial).enumerate().with_min_len(planes_per_job(spatial));
        planes.for_each(|(plane, out)| f(plane, 0, out));
        return;
    }
    out.par_chunks_mut(spatial).enumerate().for_each(|(plane, out)| {
        out.par_chunks_mut(RUN).enumerate().for_each(|(i, out)| f(plane, i * RUN, out));
    });
}

/// Small planes that make a parallel job worth its start.
fn planes_per_job(spatial: usize) -> usize {
    (RUN / spatial).max(1)
}

#[inline(always)]
pub(crate) fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
}

/// Lanes of the sums: enough for vector registers to be filled and their latency hidden.
const LANES: usize = 16;

/// Sums two functions of the elements, each element's values added in double precision.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f64) -> [f64; 2]) -> [f64; 2] {
    let mut lanes = [[0.0f64; LANES]; 2];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (i, &x) in x.iter().enumerate() {
            let [a, b] = f(f64::from(x));
            lanes[0][i] += a;
            lanes[1][i] += b;
        }
    }
    for (i, &x) in rest.iter().enumerate() {
        let [a, b] = f(f64::from(x));
        lanes[0][i] += a;
        lanes[1][i] += b;
    }
    lanes.map(|l| l.iter().sum())
}

/// As [`sum`], of two arrays.
#[inline(always)]
pub(crate) fn sum2(x: &[f32], dy: &[f32], f: impl Fn(f32, f32) -> [f32; 2]) -> [f64; 2] {
    let mut lanes = [[0.0f64; LANES]; 2];
    let ((xs, x_rest), (dys, dy_rest)) = (x.as_chunks::<LANES>(), dy.as_chunks::<LANES>());
    for (x, dy) in xs.iter().zip(dys) {
        // in three loops, each of which becomes vector instructions
        let (mut a, mut b) = ([0.0f32; LANES], [0.0f32; LANES]);
        for i in 0..LANES {
            [a[i], b[i]] = f(x[i], dy[i]);
        }
        lanes[0].iter_mut().zip(a).for_each(|(t, v)| *t += f64::from(v));
        lanes[1].iter_mut().zip(b).for_each(|(t, v)| *t += f64::from(v));
    }
    for (i, (&x, &dy)) in x_rest.iter().zip(dy_rest).enumerate() {
        let [a, b] = f(x, dy);
        lanes[0][i] += f64::from(a);
        lanes[1][i] += f64::from(b);
    }
    lanes.map(|l| l.iter().sum())
}

pub(crate) fn add(sums: &[[f64; 2]]) -> [f64; 2] {
    add_by(sums.iter(), |_| 1.0)
}

pub(crate) fn add_by<'a>(sums: impl Iterator<Item = &'a [f64; 2]>, weight: impl Fn(usize) -> f64) -> [f64; 2] {
    sums.enumerate().fold([0.0; 2], |[a, b], (i, s)| [a + weight(i) * s[0], b + weight(i) * s[1]])
}
