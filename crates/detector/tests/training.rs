//! Training on a phantom: it learns, it resumes bit for bit, and it does not depend on the number of threads.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]

use std::ops::ControlFlow;
use std::path::Path;

use detector::inference::{Mode, PredictOptions};
use detector::network::{ClassicUNet3dConfig, UNet3dConfig};
use detector::training::{
    AdamWConfig, Correction, NoiseSecret, PatientPrivacy, Sampling, Trainer, TrainingConfig, TrainingState,
};
use detector::{Architecture, Device, Model, ParameterSchema, Plan, PreparedScan, Provenance};
use imaging::luna16::Finding;
use phantom::{HospitalStyle, PhantomSpec, Size, generate};

const SERIES: &str = "phantom";

fn config(steps: u64) -> TrainingConfig {
    let mut plan = Plan::with_patch(32);
    // The chest of a small phantom is an eighth of an adult's.
    plan.lungs.volume_ml = phantom::Size::Small.lung_volume_ml();
    TrainingConfig {
        architecture: Architecture::DetectionUnet(UNet3dConfig::xxs()),
        plan,
        batch_size: 4,
        learning_rate: 5e-3,
        warmup_steps: 5,
        total_steps: steps,
        adamw: AdamWConfig::default(),
        ema_decay: 0.99,
        sampling: Sampling::default(),
        seed: 5,
        privacy: None,
    }
}

fn scan(folder: &Path, plan: &Plan) -> (PreparedScan, imaging::Volume<i16>, Vec<Finding>) {
    let phantom = generate(&PhantomSpec::new(4, 0, HospitalStyle::ThinSoft, Size::Small));
    let path = folder.join(format!("{SERIES}.mhd"));
    imaging::metaimage::write(&path, &phantom.volume, imaging::metaimage::Compression::None).unwrap();
    let nodules: Vec<Finding> = phantom
        .nodules
        .iter()
        .map(|n| Finding { series_uid: SERIES.into(), center_mm_xyz: n.center_mm_xyz, diameter_mm: n.diameter_mm })
        .collect();
    let prepared = PreparedScan::prepare(&path, plan, &folder.join("cache")).unwrap();
    (prepared.with_findings(&nodules, &[]), phantom.volume, nodules)
}

fn start(config: &TrainingConfig) -> TrainingState {
    let schema = ParameterSchema::of(&config.architecture.build(&Device::flex()).unwrap());
    TrainingState::from_parameters(schema.initial(config.seed), config.adamw)
}

fn run(config: &TrainingConfig, scans: &[PreparedScan], state: TrainingState, steps: u64) -> (TrainingState, Vec<f64>) {
    let mut trainer = Trainer::new(config, scans, &Device::flex(), state).unwrap();
    let losses = (0..steps).map(|_| trainer.step(None).unwrap().loss.total).collect();
    (trainer.into_state(), losses)
}

#[test]
fn a_resumed_run_gives_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(8);
    let scans = [scan(folder.path(), &config.plan).0];
    let (whole, losses) = run(&config, &scans, start(&config), 8);

    let (half, _) = run(&config, &scans, start(&config), 4);
    let path = folder.path().join("checkpoint.safetensors");
    half.save(&config, "half", &path).unwrap();
    let (half, stored, about) = TrainingState::load(&path).unwrap();
    assert_eq!(about, "half");
    assert_eq!(stored, config);
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (resumed, last_losses) = single.install(|| run(&config, &scans, half, 4));
    assert_eq!(losses[4..], last_losses);
    assert!(whole == resumed, "the resumed state differs");
}

/// A network that normalises batches is used with the statistics it has seen: they must be learned, too.
#[test]
fn the_classic_network_keeps_its_running_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let classic = ClassicUNet3dConfig { widths: vec![4, 8] };
    let config = TrainingConfig { architecture: Architecture::ClassicUnet(classic), ..config(3) };
    let scans = [scan(folder.path(), &config.plan).0];
    let (state, _) = run(&config, &scans, start(&config), 3);
    let schema = ParameterSchema::of(&config.architecture.build(&Device::flex()).unwrap());
    let start = schema.initial(config.seed);
    for ((parameter, values), (_, old)) in schema.split(&state.parameters).zip(schema.split(&start)) {
        if !parameter.trainable {
            assert!(values.iter().all(|v| v.is_finite()) && values != old, "{} is as at the start", parameter.name);
        }
    }
}

/// A few seconds of training on one phantom must find its nodules again: whatever breaks learning (a wrong target, a
/// lost gradient, an axis swapped between training and inference) fails here.
#[test]
fn an_overfitted_phantom_gives_its_nodules_back_in_world_coordinates() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(250);
    config.sampling = Sampling { rotation_deg: 0.0, scale: [1.0, 1.0], noise_hu: 0.0, ..Sampling::default() };
    let (prepared, volume, nodules) = scan(folder.path(), &config.plan);
    let (state, losses) = run(&config, &[prepared], start(&config), 250);
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[240..]));
    assert!(last < 0.6 * first, "loss {first} -> {last}");

    let provenance = Provenance { session: "overfit".into(), ..Provenance::default() };
    let model =
        Model { architecture: config.architecture, plan: config.plan, parameters: state.parameters, provenance };
    let options = PredictOptions { mode: Mode::Standard, threshold: 0.0 };
    let predictor = model.predictor(&Device::flex()).unwrap();
    let prediction = predictor.predict(&volume, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let strongest = &prediction.detections[..nodules.len().min(prediction.detections.len())];
    let found = nodules.iter().filter(|n| {
        strongest.iter().any(|d| {
            let d2: f64 = (0..3).map(|a| (d.center_mm_xyz[a] - n.center_mm_xyz[a]).powi(2)).sum();
            d2.sqrt() < n.diameter_mm / 2.0
        })
    });
    let (found, total) = (found.count(), nodules.len());
    assert!(2 * found >= total && found > 0, "{found} of {total} nodules among the {total} strongest detections");
}

/// The kernels are the same mathematics as Burn's own operations, in another order of sums. A process runs one way only,
/// so this test starts itself again without them.
///
/// Tolerances: f32 sums in another order differ by about 1e-7 of the loss, and AdamW's first steps, which are nearly the
/// gradient's sign, carry that into the few parameters whose gradient is as small. Eight steps make it 1e-6 of the loss
/// and 4e-5 of the way that the parameters went (AVX2); allowed is about ten times as much. A wrong gradient in one
/// layer sends its parameters another way altogether.
#[test]
fn training_with_and_without_the_kernels_agrees() {
    const RESULT: &str = "FEDNODULE_TEST_RESULT";
    let folder = tempfile::tempdir().unwrap();
    let config = config(8);
    let scans = [scan(folder.path(), &config.plan).0];
    let (state, losses) = run(&config, &scans, start(&config), 8);
    if let Some(path) = std::env::var_os(RESULT) {
        assert!(!detector::has_kernels(&Device::flex()));
        return std::fs::write(path, serde_json::to_vec(&(losses, state.parameters)).unwrap()).unwrap();
    }
    assert!(detector::has_kernels(&Device::flex()));

    let path = folder.path().join("without.json");
    let name = "training_with_and_without_the_kernels_agrees";
    let mut without = std::process::Command::new(std::env::current_exe().unwrap());
    without.args(["--exact", name]).env("FEDNODULE_KERNELS", "off").env(RESULT, &path);
    let output = without.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let (other_losses, other): (Vec<f64>, Vec<f32>) = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();

    for (ours, theirs) in losses.iter().zip(&other_losses) {
        assert!((ours - theirs).abs() <= 1e-5 * theirs.abs(), "losses {losses:?} and {other_losses:?}");
    }
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    let (apart, moved) = (distance(&state.parameters, &other), distance(&other, &start(&config).parameters));
    assert!(apart <= 1e-3 * moved, "{apart} apart after moving by {moved}");
    assert!(apart > 0.0, "the same bits: both ran through the same operations");
}

fn private(mut config: TrainingConfig, noise_multiplier: f64, clip_norm: f64) -> TrainingConfig {
    config.privacy = Some(PatientPrivacy { noise_multiplier, clip_norm });
    config
}

fn run_private(
    config: &TrainingConfig,
    scans: &[PreparedScan],
    state: TrainingState,
    steps: u64,
    secret: u8,
) -> (TrainingState, Vec<f64>) {
    let secret = NoiseSecret::new([secret; 32]);
    let mut trainer = Trainer::private(config, scans, &Device::flex(), state, secret).unwrap();
    let losses = (0..steps).map(|_| trainer.step(None).unwrap().loss.total).collect();
    (trainer.into_state(), losses)
}

/// The scan under several names.
fn patients(scan: &PreparedScan, count: usize) -> Vec<PreparedScan> {
    let named = |i: usize| {
        let mut scan = scan.clone();
        scan.series_uid = format!("patient-{i}");
        scan
    };
    (0..count).map(named).collect()
}

#[test]
fn a_resumed_private_run_gives_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let config = private(config(6), 0.8, 0.5);
    let scans = patients(&scan(folder.path(), &config.plan).0, 6);
    let (whole, losses) = run_private(&config, &scans, start(&config), 6, 1);

    let path = folder.path().join("checkpoint.safetensors");
    run_private(&config, &scans, start(&config), 3, 1).0.save(&config, "half", &path).unwrap();
    let (half, stored, about) = TrainingState::load(&path).unwrap();
    assert_eq!(about, "half");
    assert_eq!(stored, config);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (resumed, last_losses) = pool.install(|| run_private(&config, &scans, half.clone(), 3, 1));
        assert_eq!(losses[3..], last_losses);
        assert!(whole == resumed, "the resumed state differs");
    }

    let (other, _) = run_private(&config, &scans, start(&config), 6, 2);
    assert!(whole.parameters != other.parameters, "noise and draws follow the public seed");
    let public = TrainingConfig { seed: 6, ..config.clone() };
    let (other, _) = run_private(&public, &scans, start(&config), 6, 1);
    assert!(whole == other, "the public seed decides something");
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(32).any(|window| window == [1; 32]), "the checkpoint holds the secret");
}

/// With hardly any noise and a norm that nothing reaches, private steps are steps of ordinary gradients: they learn.
#[test]
fn private_steps_without_noise_learn() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = private(config(100), 1e-12, 1e6);
    config.sampling =
        Sampling { nodule_share: 1.0, rotation_deg: 0.0, scale: [1.0, 1.0], noise_hu: 0.0, ..Sampling::default() };
    let scans = patients(&scan(folder.path(), &config.plan).0, 4);
    let (_, losses) = run_private(&config, &scans, start(&config), 100, 1);
    let mean = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[90..]));
    assert!(last < 0.7 * first, "loss {first} -> {last}");
}

/// FedProx's pull knows no patient, so it is neither clipped nor noised: without it the run is another.
#[test]
fn the_proximal_term_is_added_to_private_steps() {
    let folder = tempfile::tempdir().unwrap();
    let config = private(config(2), 1.0, 0.1);
    let scans = patients(&scan(folder.path(), &config.plan).0, 4);
    let anchor = vec![0.0; start(&config).parameters.len()];
    let step = |correction: Option<Correction<'_>>| {
        let secret = NoiseSecret::new([1; 32]);
        let mut trainer = Trainer::private(&config, &scans, &Device::flex(), start(&config), secret).unwrap();
        trainer.step(correction).unwrap().gradient_norm
    };
    // A pull that is much longer than the noise.
    let pull = start(&config).parameters.iter().map(|p| f64::from(*p).powi(2)).sum::<f64>().sqrt() * 1e4;
    let (without, with) = (step(None), step(Some(Correction::Proximal { mu: 1e4, anchor: &anchor })));
    assert!((with - pull).abs() < 2.0 * without && without < 0.01 * pull, "{without} {with} {pull}");
}

#[test]
fn what_would_void_the_privacy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let off = config(2);
    let on = private(off.clone(), 1.0, 1.0);
    let scans = patients(&scan(folder.path(), &off.plan).0, 2);
    let begin = |config: &TrainingConfig, scans: &[PreparedScan]| {
        let secret = NoiseSecret::new([1; 32]);
        Trainer::private(config, scans, &Device::flex(), start(config), secret).err().map(|e| e.to_string())
    };
    assert_eq!(begin(&on, &scans), None);
    let secretless = Trainer::new(&on, &scans, &Device::flex(), start(&on)).err().unwrap().to_string();
    assert!(secretless.starts_with("privacy = on cannot be used"), "{secretless}");

    let classic = Architecture::ClassicUnet(ClassicUNet3dConfig { widths: vec![4, 8] });
    let twice = [scans[0].clone(), scans[0].clone()];
    for (config, scans, problem) in [
        (&off, &scans[..], "privacy = off cannot be used"),
        (&TrainingConfig { architecture: classic, ..on.clone() }, &scans, "architecture = classic cannot be used"),
        (&private(off.clone(), 0.0, 1.0), &scans, "noise_multiplier = 0 cannot be used"),
        (&private(off.clone(), 1.0, f64::NAN), &scans, "clip_norm = NaN cannot be used"),
        (&on, &twice, "scans = 1 names for 2 scans cannot be used"),
    ] {
        let error = begin(config, scans).unwrap();
        assert!(error.starts_with(problem) && !error.contains("patient-0"), "{error}");
    }
}

/// A checkpoint of a program that does not know privacy is read, and one without privacy can be read by it.
#[test]
fn privacy_that_is_off_is_not_written() {
    let text = serde_json::to_string(&config(2)).unwrap();
    assert!(!text.contains("privacy"));
    assert_eq!(serde_json::from_str::<TrainingConfig>(&text).unwrap(), config(2));
}
