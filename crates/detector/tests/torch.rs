//! The networks, their gradients, the optimiser and the weight files against real PyTorch.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test: it fails by panicking and says what it skips")]

use std::path::{Path, PathBuf};
use std::process::Command;

use detector::network::{ClassicUNet3dConfig, UNet3dConfig};
use detector::training::{AdamW, AdamWConfig};
use detector::{Architecture, Device, Model, Network, ParameterSchema, Plan, Provenance};

/// The Python that has PyTorch, or `None` after a visible note. With CI=true its absence is a failure.
fn python() -> Option<PathBuf> {
    match std::env::var_os("FEDNODULE_PYTHON") {
        Some(path) => Some(path.into()),
        None if std::env::var("CI").is_ok_and(|v| v == "true") => {
            panic!("FEDNODULE_PYTHON is not set: run the tests through `cargo xtask test`")
        }
        None => {
            eprintln!("SKIPPED: FEDNODULE_PYTHON is not set, so nothing was compared with PyTorch");
            None
        }
    }
}

fn peer(python: &Path, arguments: &[&str], folder: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torch_peer.py");
    let mut command = Command::new(python);
    command.arg(script).arg(arguments[0]).arg(folder).args(&arguments[1..]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read(path: &Path) -> Vec<f32> {
    std::fs::read(path).unwrap().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn write(path: &Path, values: &[f32]) {
    std::fs::write(path, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
}

/// Smooth, reproducible values around zero.
fn wave(n: usize, frequency: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * frequency).sin() + 0.3 * (i as f32 * 0.37 * frequency).cos()).collect()
}

fn assert_close(ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(1f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst <= tolerance * scale, "largest difference {worst}, largest value {scale}");
}

fn detection() -> Architecture {
    Architecture::DetectionUnet(UNet3dConfig { widths: vec![8, 16, 24], blocks: vec![1, 1, 2], group_channels: 8 })
}

fn classic() -> Architecture {
    Architecture::ClassicUnet(ClassicUNet3dConfig { widths: vec![8, 16] })
}

fn model(architecture: Architecture) -> Model {
    let schema = ParameterSchema::of(&architecture.build(&Device::flex()).unwrap());
    let mut parameters = schema.initial(7);
    // Neutral starting values would hide a swapped scale and shift.
    let shake = wave(parameters.len(), 0.7);
    parameters.iter_mut().zip(shake).for_each(|(p, s)| *p += 0.05 * s.abs());
    Model { architecture, plan: Plan::with_patch(32), parameters, provenance: Provenance::default() }
}

fn forward(model: &Model, input: Vec<f32>, side: usize) -> Vec<f32> {
    use burn::module::Module;
    use burn::tensor::{Tensor, TensorData};
    let network: Network = model.architecture.build(&Device::flex()).unwrap();
    let network = network.with_parameters(&model.parameters).valid();
    let batch = input.len() / side.pow(3);
    let x = Tensor::<5>::from_data(TensorData::new(input, [batch, 1, side, side, side]), &Device::flex());
    network.forward(x).into_data().try_into_vec::<f32>().unwrap()
}

/// f32 sums in another order over three levels: 1e-4 of the largest output.
#[test]
fn exported_weights_give_the_same_output_in_pytorch() {
    let Some(python) = python() else { return };
    for (architecture, name) in [(detection(), "detection"), (classic(), "classic")] {
        let folder = tempfile::tempdir().unwrap();
        let model = model(architecture);
        model.export_pth(&folder.path().join("model.pth"), weights::Overwrite::Refuse).unwrap();
        let input = wave(2 * 32 * 32 * 32, 0.013);
        write(&folder.path().join("input.raw"), &input);
        peer(&python, &["forward", name], folder.path());
        assert_close(&forward(&model, input, 32), &read(&folder.path().join("output.raw")), 1e-4);
    }
}

#[test]
fn a_state_dict_saved_by_pytorch_is_imported_as_the_classic_network() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    peer(&python, &["classic"], folder.path());
    let model = Model::load(&folder.path().join("model.pth")).unwrap();
    assert_eq!(model.architecture, classic());
    let input = read(&folder.path().join("input.raw"));
    assert_close(&forward(&model, input, 16), &read(&folder.path().join("output.raw")), 1e-4);
}

/// Gradients add up over 32³ positions: 1e-3 of the largest. The optimiser itself: three steps on the same gradients.
#[test]
fn gradients_and_optimiser_steps_are_pytorchs() {
    use burn::tensor::{Tensor, TensorData};
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = model(detection());
    model.export_pth(&path("model.pth"), weights::Overwrite::Refuse).unwrap();
    let (input, slope) = (wave(2 * 32 * 32 * 32, 0.017), wave(2 * 13 * 16 * 16 * 16, 0.11));
    let slope: Vec<f32> = slope.iter().map(|v| v * 1e-3).collect();
    write(&path("input.raw"), &input);
    write(&path("slope.raw"), &slope);
    peer(&python, &["step"], folder.path());

    let device = Device::flex().autodiff();
    let network = model.architecture.build(&device).unwrap().with_parameters(&model.parameters);
    let tensor = |values: Vec<f32>, shape: [usize; 5]| Tensor::<5>::from_data(TensorData::new(values, shape), &device);
    let maps = network.forward(tensor(input, [2, 1, 32, 32, 32]));
    let gradients = (maps * tensor(slope, [2, 13, 16, 16, 16])).sum().backward();
    let ours = network.flat_gradients(&gradients);
    let theirs = read(&path("gradients.raw"));
    let scale = theirs.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst <= 1e-3 * scale, "largest difference {worst} of {scale}");

    let schema = ParameterSchema::of(&network);
    let mut parameters = model.parameters.clone();
    let mut adamw = AdamW::new(AdamWConfig::default(), parameters.len());
    // PyTorch clips once and then steps three times on the clipped gradients.
    let norm = theirs.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let clipped: Vec<f32> = theirs.iter().map(|g| g * (1.0 / norm.max(1.0)) as f32).collect();
    for _ in 0..3 {
        adamw.step(&schema, &mut parameters, &clipped, 1e-2);
    }
    assert_close(&parameters, &read(&path("stepped.raw")), 1e-5);
}

/// The classic network's training pass: gradients through batch statistics, and the running statistics after it. Volumes
/// are small, so that a biased running variance would show (by 1 in 1000).
#[test]
fn the_classic_networks_training_pass_is_pytorchs() {
    use burn::module::Module;
    use burn::tensor::{Tensor, TensorData};
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = model(classic());
    model.export_pth(&path("model.pth"), weights::Overwrite::Refuse).unwrap();
    let (input, slope) = (wave(2 * 8 * 8 * 8, 0.17), wave(2 * 8 * 4 * 4 * 4, 0.11));
    write(&path("input.raw"), &input);
    write(&path("slope.raw"), &slope);
    peer(&python, &["classic_step"], folder.path());

    let device = Device::flex().autodiff();
    let network = model.architecture.build(&device).unwrap().with_parameters(&model.parameters);
    let tensor = |values: Vec<f32>, shape: [usize; 5]| Tensor::<5>::from_data(TensorData::new(values, shape), &device);
    let maps = network.forward(tensor(input, [2, 1, 8, 8, 8]));
    let gradients = (maps * tensor(slope, [2, 8, 4, 4, 4])).sum().backward();
    // sums over a thousand voxels through four normalisations
    assert_close(&network.flat_gradients(&gradients), &read(&path("gradients.raw")), 1e-4);

    let schema = ParameterSchema::of(&network);
    let now = network.valid().flat_parameters();
    let running: Vec<f32> =
        schema.split(&now).filter(|(p, _)| !p.trainable).flat_map(|(_, values)| values.iter().copied()).collect();
    let theirs = read(&path("running.raw"));
    assert_eq!(running.len(), theirs.len());
    for (ours, theirs) in running.iter().zip(&theirs) {
        assert!((ours - theirs).abs() <= 1e-5 * (1e-2 + theirs.abs()), "{ours} where PyTorch has {theirs}");
    }
}
