//! The GPU path, which is Burn's own, against the CPU path with our kernels. Any adapter serves, a software one too
//! (Mesa's llvmpipe): `cargo test --release -p detector --features gpu --test gpu`.
#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(clippy::print_stdout, reason = "says what it skips")]

use std::ops::ControlFlow;

use burn::tensor::DeviceKind;
use detector::inference::{Mode, PredictOptions};
use detector::network::{ClassicUNet3dConfig, UNet3dConfig};
use detector::training::{AdamWConfig, Sampling, StepReport, Trainer, TrainingConfig, TrainingState};
use detector::{
    Architecture, Device, DeviceChoice, DeviceError, Model, ParameterSchema, Plan, PreparedScan, Provenance,
};
use imaging::luna16::Finding;
use phantom::{HospitalStyle, PhantomSpec, Size, generate};

fn gpu() -> Option<Device> {
    static GPU: std::sync::OnceLock<Option<Device>> = std::sync::OnceLock::new();
    let kinds = [DeviceKind::DiscreteGpu(0), DeviceKind::IntegratedGpu(0), DeviceKind::VirtualGpu(0), DeviceKind::Cpu];
    let open = || kinds.into_iter().find_map(|kind| Device::wgpu_options().device_kind(kind).init().ok());
    let device = GPU.get_or_init(open).clone();
    if device.is_none() {
        println!("SKIPPED: GPU against CPU: no adapter; a software one is in Debian's mesa-vulkan-drivers");
    }
    device
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} on the GPU, {expected}");
}

#[test]
fn training_steps_agree_with_those_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let phantom = generate(&PhantomSpec::new(4, 0, HospitalStyle::ThinSoft, Size::Small));
    let path = folder.path().join("phantom.mhd");
    imaging::metaimage::write(&path, &phantom.volume, imaging::metaimage::Compression::None).unwrap();
    let finding = |n: &phantom::NoduleTruth| Finding {
        series_uid: "phantom".into(),
        center_mm_xyz: n.center_mm_xyz,
        diameter_mm: n.diameter_mm,
    };
    let nodules: Vec<Finding> = phantom.nodules.iter().map(finding).collect();
    // Mesa's llvmpipe gives up a kernel's loops after 65535 turns (LP_MAX_TGSI_LOOP_ITERATIONS), and Burn's weight gradient
    // of a convolution takes three for each voxel: beyond 27³ it comes out wrong there. A card knows no such limit.
    for (architecture, patch_size) in [
        (Architecture::DetectionUnet(UNet3dConfig::xxs()), 32),
        (Architecture::ClassicUnet(ClassicUNet3dConfig { widths: vec![4, 8] }), 16),
    ] {
        let mut plan = Plan::with_patch(patch_size);
        plan.lungs.volume_ml = Size::Small.lung_volume_ml();
        let scan = PreparedScan::prepare(&path, &plan, &folder.path().join("cache")).unwrap();
        let scans = [scan.with_findings(&nodules, &[])];
        let name = format!("{architecture:?}");
        let config = TrainingConfig {
            architecture,
            plan: plan.clone(),
            batch_size: 2,
            learning_rate: 5e-3,
            warmup_steps: 1,
            total_steps: 40,
            adamw: AdamWConfig::default(),
            ema_decay: 0.99,
            sampling: Sampling::default(),
            seed: 5,
            privacy: None,
        };
        let parameters = ParameterSchema::of(&config.architecture.build(&Device::flex()).unwrap()).initial(5);
        let run = |device: &Device, steps: usize| -> (Vec<StepReport>, TrainingState) {
            let state = TrainingState::from_parameters(parameters.clone(), config.adamw);
            let mut trainer = Trainer::new(&config, &scans, device, state).unwrap();
            ((0..steps).map(|_| trainer.step(None).unwrap()).collect(), trainer.into_state())
        };
        // Long enough for marks to compare.
        let (expected, trained) = run(&Device::flex(), 40);
        for (found, expected) in run(&gpu, 3).0.iter().zip(expected) {
            let what = |quantity: &str| format!("{quantity} of step {} of {name}", expected.step);
            // AdamW's first steps depend on the gradients' signs, so rounding shows more in later ones.
            let tolerance = [1e-4, 1e-2, 1e-2][expected.step as usize - 1];
            close(found.loss.total, expected.loss.total, tolerance, &what("loss"));
            close(found.gradient_norm, expected.gradient_norm, 10.0 * tolerance, &what("gradient norm"));
        }
        let model = Model {
            architecture: config.architecture.clone(),
            plan: plan.clone(),
            parameters: trained.parameters,
            provenance: Provenance::default(),
        };
        let detections = |device: &Device| {
            let options = PredictOptions { mode: Mode::Fast, threshold: 0.0 };
            let predictor = model.predictor(device).unwrap();
            predictor.predict(&phantom.volume, &options, &mut |_| ControlFlow::Continue(())).unwrap().detections
        };
        let (found, expected) = (detections(&gpu), detections(&Device::flex()));
        assert!(!expected.is_empty(), "{name} marks nothing");
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            close(found.confidence, expected.confidence, 1e-4, &format!("confidence of a mark of {name}"));
        }
    }
}

/// Where the only adapter draws with the processor, our kernels are the faster choice; somebody who insists hears why not.
#[test]
fn auto_takes_a_card_or_says_why_not() {
    let chosen = DeviceChoice::Auto.open().unwrap();
    match (DeviceChoice::Gpu.open(), chosen.fallback) {
        (Ok(card), None) => assert_eq!((card.name, chosen.name), ("gpu", "gpu")),
        (Err(reason), Some(said)) => {
            assert_eq!((chosen.name, &reason, said), ("cpu", &DeviceError::NotFound, reason.clone()))
        }
        different => panic!("{different:?}"),
    }
}
