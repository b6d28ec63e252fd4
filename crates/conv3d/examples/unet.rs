//! Speed of whole networks forward with random weights, layer by layer.
//!
//! `cargo run --release -p conv3d --example unet [-- SIDE [SECONDS]]` prints the least wall time of one pass of the plain
//! U-Net of widths 16, 32, 64, 128 (1.40 M parameters) over SIDE³ voxels (96), and the share of every kind of layer.
#![expect(clippy::print_stdout, reason = "the report is this program's output")]

mod measure;

use std::collections::BTreeMap;
use std::time::Instant;

use conv3d::inference::{Activations, Conv, Finish};
use conv3d::{ConvShape, transposed};
use measure::{cpu_time, values};

const WIDTHS: [usize; 4] = [16, 32, 64, 128];

/// Wall and CPU seconds of every layer, and its arithmetic.
type Times = BTreeMap<String, ([f64; 2], f64)>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let side: usize = arguments.next().map_or(96, |s| s.parse().expect("SIDE"));
    let seconds: f64 = arguments.next().map_or(5.0, |s| s.parse().expect("SECONDS"));
    let mut net = UNet::new(side);
    let input = values(side.pow(3));
    // the least wall and CPU time of every layer
    let mut best = Times::new();
    let (start, mut least) = (Instant::now(), [f64::INFINITY; 2]);
    while least[0].is_infinite() || start.elapsed().as_secs_f64() < seconds {
        let (now, cpu) = (Instant::now(), cpu_time());
        for (name, (times, gflop)) in net.forward(&input) {
            let least = &mut best.entry(name).or_insert((times, gflop)).0;
            *least = [least[0].min(times[0]), least[1].min(times[1])];
        }
        least = [least[0].min(now.elapsed().as_secs_f64()), least[1].min(cpu_time() - cpu)];
    }
    for (name, ([wall, cpu], gflop)) in &best {
        println!(
            "{name:18} {:7.2} ms {:6.1} GFLOP/s | cpu {:7.2} ms {:6.1} a core",
            1e3 * wall,
            gflop / wall,
            1e3 * cpu,
            gflop / cpu
        );
    }
    let gflop: f64 = best.values().map(|l| l.1).sum();
    let [wall, cpu] = least;
    println!(
        "{side}³: {:.1} ms {:.1} GFLOP/s | cpu {:.1} ms {:.1} a core",
        1e3 * wall,
        gflop / wall,
        1e3 * cpu,
        gflop / cpu
    );
}

struct Level {
    /// Convolutions of the encoder and of the decoder, and the arrays they write.
    encoder: [Conv; 2],
    decoder: Option<(Conv, [Conv; 2])>,
    input: Activations,
    work: Activations,
    skip: Activations,
    up: Activations,
}

struct UNet {
    levels: Vec<Level>,
    head: Conv,
    output: Vec<f32>,
}

impl UNet {
    fn new(side: usize) -> Self {
        let level = |l: usize| {
            let (dims, c) = ([side >> l; 3], WIDTHS[l]);
            let before = if l == 0 { 1 } else { WIDTHS[l - 1] };
            Level {
                encoder: [conv(before, c, 3, dims), conv(c, c, 3, dims)],
                decoder: WIDTHS.get(l + 1).map(|&deep| {
                    let shape = transposed::upsampling(1, deep, c, dims.map(|n| n / 2));
                    let up = Conv::transposed(&shape, &values(shape.weight_len()), &values(c));
                    (up, [conv(2 * c, c, 3, dims), conv(c, c, 3, dims)])
                }),
                input: if l == 0 { Activations::single(dims) } else { Activations::new(before, dims) },
                work: Activations::new(c, dims),
                skip: Activations::new(c, dims),
                up: Activations::new(c, dims),
            }
        };
        Self {
            levels: (0..WIDTHS.len()).map(level).collect(),
            head: conv(WIDTHS[0], 2, 1, [side; 3]),
            output: vec![0.0; 2 * side.pow(3)],
        }
    }

    fn forward(&mut self, x: &[f32]) -> Times {
        let mut times = Times::new();
        let mut time = |name: String, macs: usize, f: &mut dyn FnMut()| {
            let (now, cpu) = (Instant::now(), cpu_time());
            f();
            times.insert(name, ([now.elapsed().as_secs_f64(), cpu_time() - cpu], 2e-9 * macs as f64));
        };
        time("load".to_owned(), 0, &mut || self.levels[0].input.load(x));
        for (l, c) in WIDTHS.into_iter().enumerate() {
            let (done, rest) = self.levels.split_at_mut(l);
            let Level { encoder: [a, b], input, work, skip, .. } = &mut rest[0];
            let voxels = input.dims().iter().product::<usize>();
            if let Some(above) = done.last() {
                time(format!("{l} encoder 0 pool"), 0, &mut || above.skip.max_pool(input));
            }
            time(format!("{l} encoder 1"), 27 * voxels * c * input.channels(), &mut || {
                a.run(&[input], Finish::Relu, work)
            });
            time(format!("{l} encoder 2"), 27 * voxels * c * c, &mut || b.run(&[work], Finish::Relu, skip));
        }
        for l in (0..WIDTHS.len() - 1).rev() {
            let (rest, done) = self.levels.split_at_mut(l + 1);
            let Level { decoder, work, skip, up, .. } = &mut rest[l];
            let (c, voxels) = (WIDTHS[l], skip.dims().iter().product::<usize>());
            let Some((expand, [a, b])) = decoder else { continue };
            let deep = &done[0].skip;
            time(format!("{l} decoder 0 up"), voxels * c * deep.channels(), &mut || {
                expand.run(&[deep], Finish::Linear, up)
            });
            time(format!("{l} decoder 1"), 27 * voxels * 2 * c * c, &mut || a.run(&[skip, up], Finish::Relu, work));
            time(format!("{l} decoder 2"), 27 * voxels * c * c, &mut || b.run(&[work], Finish::Relu, skip));
        }
        let (head, output) = (&self.head, &mut self.output);
        time("head".to_owned(), output.len() * WIDTHS[0], &mut || head.run_plain(&[&self.levels[0].skip], output));
        times
    }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, input: [usize; 3]) -> Conv {
    let shape = ConvShape {
        batch: 1,
        in_channels: inputs,
        out_channels: outputs,
        input,
        kernel: [kernel; 3],
        stride: [1; 3],
        padding: [kernel / 2; 3],
    };
    // about the scale that keeps activations between layers alike
    let w: Vec<f32> =
        values(shape.weight_len()).iter().map(|v| v * (12.0 / (inputs * kernel.pow(3)) as f32).sqrt()).collect();
    Conv::new(&shape, &w, &values(outputs))
}
