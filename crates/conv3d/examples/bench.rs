//! Speed of the kernels on the layers of the networks they were made for.
//!
//! `cargo run --release -p conv3d --example bench [-- FILTER [SECONDS]]` prints, per layer, GFLOP/s of the forward pass,
//! of each gradient and of all three together by the least wall time, and by CPU time, which other users of the machine
//! disturb less. `cargo xtask bench` compares with other programs.
#![expect(clippy::print_stdout, reason = "the report is this program's output")]

mod measure;

use std::hint::black_box;
use std::time::Instant;

use conv3d::group_norm::GroupNorm;
use conv3d::{ConvShape, backward_data, backward_weight, forward, space_to_depth, upsample};
use measure::{cpu_time, values};

/// `in>out@size k3 s1`.
struct Layer(usize, usize, usize, usize, usize);

const LAYERS: &[Layer] = &[
    Layer(1, 16, 96, 3, 1),
    Layer(16, 16, 96, 3, 1),
    Layer(8, 16, 48, 3, 1),
    Layer(16, 16, 32, 3, 1),
    Layer(16, 16, 48, 3, 1),
    Layer(48, 16, 48, 3, 1),
    Layer(32, 32, 16, 3, 1),
    Layer(32, 32, 24, 3, 1),
    Layer(32, 32, 48, 3, 1),
    Layer(64, 64, 8, 3, 1),
    Layer(64, 64, 12, 3, 1),
    Layer(64, 64, 24, 3, 1),
    Layer(96, 96, 4, 3, 1),
    Layer(96, 96, 6, 3, 1),
    Layer(128, 128, 12, 3, 1),
    Layer(16, 32, 48, 3, 2),
    Layer(32, 64, 24, 3, 2),
    Layer(64, 96, 12, 3, 2),
    Layer(32, 16, 48, 1, 1),
    Layer(96, 64, 12, 1, 1),
    Layer(32, 16, 24, 2, 2),
];

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let budget: f64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(0.3);
    for &Layer(ci, co, size, kernel, stride) in LAYERS {
        let name = format!("{ci}>{co}@{size}k{kernel}s{stride}");
        if !name.contains(&filter) {
            continue;
        }
        let shape = ConvShape {
            batch: 1,
            in_channels: ci,
            out_channels: co,
            input: [size; 3],
            kernel: [kernel; 3],
            stride: [stride; 3],
            padding: [usize::from(kernel == 3); 3],
        };
        let x = values(shape.input_len());
        let w = values(shape.weight_len());
        let dy = values(shape.output_len());
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let gflop = 2e-9 * (w.len() * shape.output().iter().product::<usize>()) as f64;
        let f = time(budget, || forward(&shape, black_box(&x), &w, None, &mut y));
        let d = time(budget, || backward_data(&shape, black_box(&w), &dy, &mut dx));
        let g = time(budget, || backward_weight(&shape, black_box(&x), &dy, &mut dw));
        let rate = |n: f64, t: f64| n * gflop / t;
        println!(
            "{name:16} fwd {:8.3} ms  GFLOP/s fwd {:5.1} dx {:5.1} dw {:5.1}  all {:8.3} ms {:5.1} | cpu {:8.3} ms, {:5.1} a core",
            f.0 * 1e3,
            rate(1.0, f.0),
            rate(1.0, d.0),
            rate(1.0, g.0),
            (f.0 + d.0 + g.0) * 1e3,
            rate(3.0, f.0 + d.0 + g.0),
            (f.1 + d.1 + g.1) * 1e3,
            rate(3.0, f.1 + d.1 + g.1),
        );
    }
    elementwise(&filter, budget);
}

/// The elementwise layers, in gigabytes read and written a second (each pass over an array counted once).
fn elementwise(filter: &str, budget: f64) {
    for (channels, size) in [(16, 48), (32, 24), (96, 6)] {
        let spatial = size * size * size;
        let norm = GroupNorm { batch: 1, channels, spatial, groups: channels / 8, epsilon: 1e-5, slope: Some(0.01) };
        let (x, gamma, beta) = (values(norm.len()), values(channels), values(channels));
        let (mut y, mut mean, mut rstd) = (x.clone(), vec![0.0; channels / 8], vec![0.0; channels / 8]);
        let (mut dgamma, mut dbeta, mut fine) = (gamma.clone(), beta.clone(), values(8 * norm.len()));
        let report = |name: &str, floats: usize, t: (f64, f64)| {
            let gigabytes = 4e-9 * floats as f64;
            println!(
                "{name:12} {channels}@{size:<4} {:8.3} ms {:6.2} GB/s | cpu {:8.3} ms, {:6.2} a core",
                t.0 * 1e3,
                gigabytes / t.0,
                t.1 * 1e3,
                gigabytes / t.1
            );
        };
        if "elementwise".contains(filter) {
            let n = norm.len();
            report("copy", 2 * n, time(budget, || y.copy_from_slice(black_box(&x))));
            let forward = || norm.forward(black_box(&x), &gamma, &beta, &mut y, &mut mean, &mut rstd);
            report("norm", 3 * n, time(budget, forward));
            let backward = || {
                norm.backward(&x, black_box(&x), &gamma, &beta, &mean, &rstd, &mut y, &mut dgamma, &mut dbeta);
            };
            report("norm grad", 5 * n, time(budget, backward));
            let up = || upsample::forward(channels, [size; 3], black_box(&x), &mut fine);
            report("upsample", 9 * n, time(budget, up));
            let down = || upsample::backward(channels, [size; 3], black_box(&fine), &mut y);
            report("upsample grad", 9 * n, time(budget, down));
            let deep = values(8 * n);
            let to_depth = || space_to_depth::space_to_depth(channels, [size; 3], black_box(&deep), &mut fine);
            report("to depth", 16 * n, time(budget, to_depth));
            let to_space = || space_to_depth::depth_to_space(channels, [size; 3], black_box(&deep), &mut fine);
            report("to space", 16 * n, time(budget, to_space));
        }
    }
}

/// Least wall time and mean CPU time, in seconds.
fn time(budget: f64, mut f: impl FnMut()) -> (f64, f64) {
    f();
    let (start, cpu) = (Instant::now(), cpu_time());
    let (mut least, mut calls) = (f64::INFINITY, 0);
    while calls < 3 || start.elapsed().as_secs_f64() < budget {
        let now = Instant::now();
        f();
        least = least.min(now.elapsed().as_secs_f64());
        calls += 1;
    }
    (least, (cpu_time() - cpu) / f64::from(calls))
}
