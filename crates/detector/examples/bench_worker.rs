//! Our side of `cargo xtask bench`, and Burn's own where `FEDNODULE_KERNELS=off`: reads a request a line, answers each
//! with a line, a number or `-` and why there is none. `RAYON_NUM_THREADS` sets the threads.
//!
//! | request | answer |
//! |---|---|
//! | `time TASK` | seconds of one call; a task that was not the last one is prepared and called once before |
//! | `peak` | highest resident memory of this process so far, bytes |
//!
//! `TASK` is `convolution IN>OUT@SIDE forward` (3³, padded), the same with `gradients` (forward and every gradient),
//! `inference NETWORK@SIDE` or `training NETWORK@SIDE` (one patch). xtask/bench_worker.py answers the same requests.
#![expect(clippy::print_stdout, reason = "the answers go there")]

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::module::conv3d as burn_conv3d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, TensorData};
use conv3d::{ConvShape, backward_bias, backward_data, backward_weight, forward};
use detector::inference::FederatedLungNodulePredictor;
use detector::network::ClassicUNet3dConfig;
use detector::training::{AdamWConfig, Sampling, Trainer, TrainingConfig, TrainingState};
use detector::{Architecture, Device, ParameterSchema, Plan, PreparedScan, has_kernels};
use imaging::luna16::Finding;
use imaging::metaimage::Compression;
use imaging::{Geometry, Volume};

/// Short calls are repeated for so long, and the fastest counts.
const SHORTEST: Duration = Duration::from_millis(100);

type Call = Box<dyn FnMut()>;
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut current: Option<(String, Call)> = None;
    for line in stdin().lock().lines() {
        let line = line?;
        let answer = match line.split_once(' ') {
            Some(("time", task)) => time(task, &mut current),
            _ if line == "peak" => peak(),
            _ => Err("this is no request".into()),
        };
        match answer {
            Ok(number) => println!("{number}"),
            Err(reason) => println!("- {reason}"),
        }
    }
    Ok(())
}

fn time(task: &str, current: &mut Option<(String, Call)>) -> Outcome<f64> {
    if current.as_ref().is_none_or(|(name, _)| name != task) {
        // The old one's memory is given back before the new one needs its own.
        *current = None;
        let mut call = prepare(task)?;
        call();
        *current = Some((task.to_owned(), call));
    }
    let (_, call) = current.as_mut().ok_or("nothing is prepared")?;
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while least.is_infinite() || start.elapsed() < SHORTEST {
        let now = Instant::now();
        call();
        least = least.min(now.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn prepare(task: &str) -> Outcome<Call> {
    let unknown = || format!("'{task}' is not known");
    let (what, pass) = task.split_once('@').ok_or_else(unknown)?;
    let (side, pass) = pass.split_once(' ').unwrap_or((pass, ""));
    let side: usize = side.parse()?;
    match what.split_once(' ').ok_or_else(unknown)? {
        ("convolution", channels) => {
            let (input, output) = channels.split_once('>').ok_or_else(unknown)?;
            let shape = ConvShape {
                batch: 1,
                in_channels: input.parse()?,
                out_channels: output.parse()?,
                input: [side; 3],
                kernel: [3; 3],
                stride: [1; 3],
                padding: [1; 3],
            };
            let gradients = pass == "gradients";
            Ok(if has_kernels(&Device::flex()) { our_convolution(shape, gradients) } else { burns(&shape, gradients) })
        }
        ("inference", network) => inference(&architecture(network)?, side),
        ("training", network) => training(architecture(network)?, side),
        _ => Err(unknown().into()),
    }
}

/// `reference` is the network of the design's measurements: 1.40 million parameters.
fn architecture(name: &str) -> Outcome<Architecture> {
    Ok(match name {
        "reference" => Architecture::ClassicUnet(ClassicUNet3dConfig { widths: vec![16, 32, 64, 128] }),
        preset => Architecture::by_name(preset)?,
    })
}

/// The outputs are allocated in every call, as a network does.
fn our_convolution(shape: ConvShape, gradients: bool) -> Call {
    let (x, w, b) = (values(shape.input_len()), values(shape.weight_len()), values(shape.out_channels));
    let slope = values(shape.output_len());
    Box::new(move || {
        let mut y = vec![0.0; shape.output_len()];
        forward(&shape, black_box(&x), &w, Some(&b), &mut y);
        black_box(y);
        if gradients {
            let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
            backward_data(&shape, black_box(&w), &slope, &mut dx);
            backward_weight(&shape, black_box(&x), &slope, &mut dw);
            backward_bias(&shape, black_box(&slope), &mut db);
            black_box((dx, dw, db));
        }
    })
}

fn burns(shape: &ConvShape, gradients: bool) -> Call {
    let device = if gradients { Device::flex().autodiff() } else { Device::flex() };
    let tensor = |channels: [usize; 2], side: [usize; 3]| {
        let dims = [channels[0], channels[1], side[0], side[1], side[2]];
        Tensor::<5>::from_data(TensorData::new(values(dims.iter().product()), dims), &device)
    };
    let x = tensor([1, shape.in_channels], shape.input).set_require_grad(gradients);
    let w = tensor([shape.out_channels, shape.in_channels], shape.kernel).set_require_grad(gradients);
    let b = TensorData::new(values(shape.out_channels), [shape.out_channels]);
    let b = Tensor::<1>::from_data(b, &device).set_require_grad(gradients);
    let slope = tensor([1, shape.out_channels], shape.output());
    let options = ConvOptions::new(shape.stride, shape.padding, [1; 3], 1);
    Box::new(move || {
        let y = burn_conv3d(x.clone(), w.clone(), Some(b.clone()), options.clone());
        if gradients {
            black_box((y * slope.clone()).sum().backward());
        } else {
            black_box(y);
        }
    })
}

fn inference(architecture: &Architecture, side: usize) -> Outcome<Call> {
    let device = Device::flex();
    let parameters = ParameterSchema::of(&architecture.build(&device)?).initial(1);
    let predictor = FederatedLungNodulePredictor::new(architecture, Plan::with_patch(side), &parameters, &device)?;
    let patch = values(side.pow(3));
    Ok(Box::new(move || {
        black_box(predictor.patch_maps(patch.clone()));
    }))
}

/// The trainer's own step: it also draws the patch, unvaried, from a scan of noise with one nodule.
fn training(architecture: Architecture, side: usize) -> Outcome<Call> {
    const SERIES: &str = "noise";
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(format!("{SERIES}.mhd"));
    let geometry = Geometry::axis_aligned([side; 3], [1.0; 3], [0.0; 3])?;
    let voxels = values(side.pow(3)).into_iter().map(|v| (800.0 * v) as i16 - 600).collect();
    imaging::metaimage::write(&path, &Volume::new(geometry, voxels), Compression::None)?;
    let config = TrainingConfig {
        architecture,
        plan: Plan::with_patch(side),
        batch_size: 1,
        learning_rate: 1e-4,
        warmup_steps: 1,
        total_steps: 1000,
        adamw: AdamWConfig::default(),
        ema_decay: 0.99,
        sampling: Sampling { rotation_deg: 0.0, noise_hu: 0.0, filter_chance: 0.0, ..Sampling::default() },
        seed: 1,
        privacy: None,
    };
    let nodule = Finding { series_uid: SERIES.to_owned(), center_mm_xyz: [side as f64 / 2.0; 3], diameter_mm: 10.0 };
    let scan = PreparedScan::prepare(&path, &config.plan, &folder.path().join("cache"))?.with_findings(&[nodule], &[]);
    let device = Device::flex();
    let schema = ParameterSchema::of(&config.architecture.build(&device)?);
    let state = TrainingState::from_parameters(schema.initial(1), config.adamw);
    // They live as long as this process.
    let (config, scans) = (Box::leak(Box::new(config)), Box::leak(Box::new([scan])));
    let mut trainer = Trainer::new(config, scans, &device, state)?;
    Ok(Box::new(move || {
        let _kept_until_the_last_step = &folder;
        trainer.step(None).expect("noise can be trained on");
    }))
}

/// From -0.5 to 0.5, the same every time.
fn values(len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    };
    (0..len).map(step).collect()
}

fn peak() -> Outcome<f64> {
    let status = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(status).map_err(|_| "only Linux tells a process its peak")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("VmHWM is missing")?;
    Ok(1024.0 * line.trim().trim_end_matches("kB").trim_end().parse::<f64>()?)
}
