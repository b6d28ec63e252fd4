//! Training steps of the plain U-Net on random input, one for every line of standard input:
//! `training_step SIDE [WIDTH …]` answers each with wall seconds, CPU seconds and peak memory in MB.
//! `training_step.py` beside it runs PyTorch in turn with it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, started by hand")]

use std::io::{Write, stdin, stdout};
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use detector::network::ClassicUNet3dConfig;
use detector::training::{AdamW, AdamWConfig};
use detector::{Architecture, Device, ParameterSchema};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap());
    let side = arguments.next().unwrap();
    let mut widths: Vec<usize> = arguments.collect();
    if widths.is_empty() {
        widths = vec![16, 32, 64, 128];
    }
    let device = Device::flex().autodiff();
    let network = Architecture::ClassicUnet(ClassicUNet3dConfig { widths }).build(&device).unwrap();
    let schema = ParameterSchema::of(&network);
    let mut parameters = schema.initial(1);
    let mut optimizer = AdamW::new(AdamWConfig::default(), parameters.len());
    let voxels = side.pow(3);
    let input: Vec<f32> = (0..voxels).map(|i| (i as f32 * 0.013).sin()).collect();
    let slope: Vec<f32> = (0..voxels).map(|i| (i as f32 * 0.11).sin() / voxels as f32).collect();
    let tensor =
        |values: &[f32], shape: [usize; 5]| Tensor::<5>::from_data(TensorData::new(values.to_vec(), shape), &device);
    for _ in stdin().lines() {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let network = network.clone().with_parameters(&parameters);
        let maps = network.forward(tensor(&input, [1, 1, side, side, side]));
        let dims = maps.dims();
        let gradients = (maps * tensor(&slope, dims)).sum().backward();
        let gradient = network.flat_gradients(&gradients);
        optimizer.step(&schema, &mut parameters, &gradient, 1e-3);
        println!("{:.4} {:.2} {:.0}", start.elapsed().as_secs_f64(), cpu_seconds() - cpu, peak_megabytes());
        stdout().flush().unwrap();
    }
}

/// User and system time of this process so far, in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
