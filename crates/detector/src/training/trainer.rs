//! The training loop's one step, with all of its state in one value that a checkpoint can hold.

use std::borrow::Cow;
use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::examples::{Example, Place, Sampler, Sampling};
use super::loss::LossTerms;
use super::optimizer::{AdamW, AdamWConfig, cosine_rate};
use super::privacy::{NoiseSecret, PatientPrivacy, StepSecret, add_clipped, sampling_probability};
use super::random::Stream;
use crate::device::is_cpu;
use crate::layers::KeptMemory;
use crate::network::{Architecture, ArchitectureError, DetectionMaps, Network, ParameterSchema, host};
use crate::plan::Plan;
use crate::prepared::{PrepareError, PreparedScan};

/// Everything that decides how a training run goes, besides the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The network.
    pub architecture: Architecture,
    /// Preprocessing and patch size.
    pub plan: Plan,
    /// Patches in a step.
    pub batch_size: usize,
    /// Highest learning rate; warm-up and cosine decay around it.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Steps of the whole run: where the cosine ends.
    pub total_steps: u64,
    /// The optimiser's other settings.
    pub adamw: AdamWConfig,
    /// Decay of the exponential moving average of the weights; it starts shorter, see [`TrainingState::ema`].
    pub ema_decay: f64,
    /// What is drawn and how it is varied.
    pub sampling: Sampling,
    /// Decides everything random, but for [`TrainingConfig::privacy`].
    pub seed: u64,
    /// Patient-level DP-SGD, [`Trainer::private`]; without it, weights say what they say about single patients. Moments
    /// and weights to start from must have been made in this way, too, or by others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PatientPrivacy>,
}

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A setting that cannot be used.
    #[error("{setting} = {found} cannot be used: {expected}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The network's description.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Scans to learn from.
    #[error("there is no scan to train on")]
    NoScans,
    /// Nodules to learn from.
    #[error(
        "none of the {scans} scans has a nodule in the annotations: check that annotations.csv belongs to these series and that its seriesuid column holds the file names"
    )]
    NoNodules {
        /// How many scans were looked at.
        scans: usize,
    },
    /// Reading a prepared scan.
    #[error(transparent)]
    Scan(#[from] PrepareError),
    /// A loss that is not a number.
    #[error("training diverged at step {step}: the loss is {loss}; lower the learning rate (now {rate})")]
    Diverged {
        /// Step number.
        step: u64,
        /// The value.
        loss: f64,
        /// Learning rate of that step.
        rate: f64,
    },
    /// A state of another network.
    #[error(
        "the checkpoint holds {found} parameters, the network has {expected}: they belong to different architectures"
    )]
    State {
        /// In the checkpoint.
        found: usize,
        /// In the network.
        expected: usize,
    },
}

/// All that changes during training.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingState {
    /// Weights, flat.
    pub parameters: Vec<f32>,
    /// Optimiser.
    pub optimizer: AdamW,
    /// Moving average of the weights. Its decay is min(decay, (1 + t) / (10 + t)), so that a short run's average does not
    /// remember the start.
    pub ema: Vec<f32>,
    /// False positives seen lately, oldest first: where to look again.
    pub mined: Vec<Place>,
    /// Steps done.
    pub step: u64,
    /// In SCAFFOLD the mean of the round's gradients before their correction: the site's next control variate `c_i` (line 12,
    /// option II, which for plain gradient steps is that mean, and holds for other optimisers in this form). Empty without.
    pub control: Vec<f32>,
}

impl TrainingState {
    /// The start from given weights.
    pub fn from_parameters(parameters: Vec<f32>, adamw: AdamWConfig) -> Self {
        let optimizer = AdamW::new(adamw, parameters.len());
        Self { ema: parameters.clone(), optimizer, parameters, mined: Vec::new(), step: 0, control: Vec::new() }
    }
}

/// What keeps the sites of a federation together while they train: added to the gradient of every trainable parameter.
#[derive(Debug)]
pub enum Correction<'a> {
    /// FedProx (Li et al. 2020, eq. 2): `mu * (w - anchor)` draws local weights towards the round's global ones.
    Proximal {
        /// Strength µ.
        mu: f64,
        /// The global weights.
        anchor: &'a [f32],
    },
    /// SCAFFOLD (Karimireddy et al. 2020, algorithm 1, line 10): `global - own` replaces the site's expected gradient by
    /// everybody's.
    Control {
        /// Everybody's control variate, `c`.
        global: &'a [f32],
        /// The site's, `c_i`.
        own: &'a [f32],
        /// Number of the step in its round, from 1, for the mean in [`TrainingState::control`].
        number: u64,
    },
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Loss before the step. With [`TrainingConfig::privacy`] the mean over the patients that were drawn, zero when nobody
    /// was: it is for the site's own eyes, for no noise hides what it says about them.
    pub loss: LossTerms,
    /// Norm of the gradient before the optimiser limits it.
    pub gradient_norm: f64,
    /// Learning rate used.
    pub rate: f64,
}

/// What a step has learned from scans.
struct Lesson {
    loss: LossTerms,
    gradient: Vec<f32>,
    /// Running statistics, by position among the parameters.
    running: Vec<(usize, f32)>,
    /// The strongest false positives.
    mined: Vec<Place>,
}

/// A forward pass, waiting for its gradient.
struct Pass {
    network: Network,
    maps: Tensor<5>,
}

/// Most patches of a step.
pub const MAX_BATCH_SIZE: usize = 64;
/// Patients whose gradients are in memory at the same time.
const PATIENTS_AT_ONCE: usize = 8;
/// False positives remembered.
const MINED_LIMIT: usize = 256;
/// A cell without a nodule near that is given at least this probability is one.
const MINED_PROBABILITY: f32 = 0.2;

/// Runs steps over a set of scans.
pub struct Trainer<'a> {
    config: &'a TrainingConfig,
    sampler: Sampler<'a>,
    device: Device,
    schema: ParameterSchema,
    /// The network's structure; every pass puts the state's parameters into a copy.
    network: Network,
    state: TrainingState,
    privacy: Option<(PatientPrivacy, NoiseSecret)>,
    _memory: KeptMemory,
}

impl<'a> Trainer<'a> {
    /// Checks everything that can be checked before the first step.
    pub fn new(
        config: &'a TrainingConfig,
        scans: &'a [PreparedScan],
        device: &Device,
        state: TrainingState,
    ) -> Result<Self, TrainingError> {
        match &config.privacy {
            None => Self::build(config, scans, device, state, None),
            Some(_) => setting("privacy", "on", "training with it needs a secret, without one leave it out"),
        }
    }

    /// A trainer by [`TrainingConfig::privacy`]. Each step draws patients at random, every one with
    /// [`sampling_probability`], scales the gradient of one patch of each down to the norm, and adds noise to the sum.
    pub fn private(
        config: &'a TrainingConfig,
        scans: &'a [PreparedScan],
        device: &Device,
        state: TrainingState,
        secret: NoiseSecret,
    ) -> Result<Self, TrainingError> {
        let Some(privacy) = config.privacy else {
            return setting("privacy", "off", "training with a secret needs its settings");
        };
        for (name, value) in [("noise_multiplier", privacy.noise_multiplier), ("clip_norm", privacy.clip_norm)] {
            if !(value.is_finite() && value > 0.0) {
                return setting(name, value, "a finite number above 0");
            }
        }
        let names: BTreeSet<&str> = scans.iter().map(|scan| scan.series_uid.as_str()).collect();
        if names.len() < scans.len() {
            let found = format!("{} names for {} scans", names.len(), scans.len());
            return setting(
                "scans",
                found,
                "with privacy, every patient's scan has a name of its own and is there once",
            );
        }
        let trainer = Self::build(config, scans, device, state, Some((privacy, secret)))?;
        if trainer.network.samples_are_independent() {
            Ok(trainer)
        } else {
            let expected =
                "with privacy, a network without statistics of batches, which mix patients: xxs, xs, s, m or l";
            setting("architecture", "classic", expected)
        }
    }

    fn build(
        config: &'a TrainingConfig,
        scans: &'a [PreparedScan],
        device: &Device,
        mut state: TrainingState,
        privacy: Option<(PatientPrivacy, NoiseSecret)>,
    ) -> Result<Self, TrainingError> {
        validate(config)?;
        if scans.is_empty() {
            return Err(TrainingError::NoScans);
        }
        if scans.iter().all(|s| s.nodules.is_empty()) {
            return Err(TrainingError::NoNodules { scans: scans.len() });
        }
        let device = device.clone().autodiff();
        let network = config.architecture.build(&device)?.train();
        let schema = ParameterSchema::of(&network);
        for found in [state.parameters.len(), state.optimizer.parameter_count()] {
            if found != schema.len() {
                return Err(TrainingError::State { found, expected: schema.len() });
            }
        }
        // Scans may have been taken away since.
        state.mined.retain(|place| place.scan < scans.len());
        let sampler = Sampler::new(scans, &config.plan, &config.sampling);
        Ok(Self { config, sampler, device, schema, network, state, privacy, _memory: KeptMemory })
    }

    /// Where training stands.
    pub fn state(&self) -> &TrainingState {
        &self.state
    }

    /// Gives the state away.
    pub fn into_state(self) -> TrainingState {
        self.state
    }

    /// One optimiser step.
    ///
    /// # Panics
    /// When a vector of the correction, or the state's for it, is not as long as the weights.
    pub fn step(&mut self, correction: Option<Correction<'_>>) -> Result<StepReport, TrainingError> {
        let config = self.config;
        let step = self.state.step;
        let rate = cosine_rate(config.learning_rate, step, config.total_steps, config.warmup_steps);
        let Lesson { loss, mut gradient, running, mined } = match &self.privacy {
            None => self.learn(step, rate)?,
            Some((privacy, secret)) => self.learn_privately(step, privacy, secret)?,
        };
        if let Some(correction) = correction {
            let trainable: Vec<bool> = self.trainable().collect();
            correct(&mut self.state, &mut gradient, &trainable, correction);
        }
        let state = &mut self.state;
        let gradient_norm = state.optimizer.step(&self.schema, &mut state.parameters, &gradient, rate);
        if !gradient_norm.is_finite() {
            return Err(TrainingError::Diverged { step, loss: gradient_norm, rate });
        }
        for (i, value) in running {
            state.parameters[i] = value;
        }
        state.step += 1;
        let decay = config.ema_decay.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        state.ema.iter_mut().zip(&state.parameters).for_each(|(e, p)| *e = decay * *e + (1.0 - decay) * p);
        state.mined.extend(mined);
        let excess = state.mined.len().saturating_sub(MINED_LIMIT);
        state.mined.drain(..excess);
        Ok(StepReport { step: step + 1, loss, gradient_norm, rate })
    }

    /// The gradient of a batch.
    fn learn(&self, step: u64, rate: f64) -> Result<Lesson, TrainingError> {
        let config = self.config;
        let examples = (0..config.batch_size as u64)
            .into_par_iter()
            .map(|e| self.sampler.example(config.seed, step, e, &self.state.mined))
            .collect::<Result<Vec<_>, _>>()?;

        let passes = self.forward(&examples);
        let values: Vec<f32> = passes.iter().flat_map(|pass| host(pass.maps.clone())).collect();
        let targets: Vec<_> = examples.iter().map(|e| e.targets.clone()).collect();
        let (loss, slope) = self.network.loss(&values, &targets);
        if !loss.total.is_finite() {
            return Err(TrainingError::Diverged { step, loss: loss.total, rate });
        }
        let running = self.running_statistics(&passes);
        let gradient = self.backward(passes, &slope);
        Ok(Lesson { loss, gradient, running, mined: false_positives(&examples, &values) })
    }

    /// The mean gradient of patients, hidden in noise. No false positives are mined: where they lie would let one
    /// patient's scan decide what is drawn of another's.
    fn learn_privately(
        &self,
        step: u64,
        privacy: &PatientPrivacy,
        secret: &NoiseSecret,
    ) -> Result<Lesson, TrainingError> {
        let scans = self.sampler.scans.len();
        let probability = sampling_probability(self.config.batch_size, scans);
        let secret = StepSecret::new(secret, step, &self.state.parameters);
        let (losses, mut sum) = self.clipped_sum(&secret, probability, privacy.clip_norm)?;
        secret.add_noise(&mut sum, privacy.noise_multiplier * privacy.clip_norm);
        let expected = probability * scans as f64;
        let gradient = sum.iter().map(|s| (s / expected) as f32).collect();
        Ok(Lesson { loss: LossTerms::mean(&losses), gradient, running: Vec::new(), mined: Vec::new() })
    }

    /// Draws patients, and adds up their gradients, each scaled down to `clip_norm` if it is longer. Without one of the
    /// patients the sum differs by `clip_norm` at most.
    fn clipped_sum(
        &self,
        secret: &StepSecret,
        probability: f64,
        clip_norm: f64,
    ) -> Result<(Vec<LossTerms>, Vec<f64>), TrainingError> {
        let mut drawn: Vec<(usize, Stream)> = self
            .sampler
            .scans
            .iter()
            .map(|scan| secret.patient(&scan.series_uid))
            .enumerate()
            .filter_map(|(scan, mut stream)| stream.chance(probability).then_some((scan, stream)))
            .collect();
        let (mut losses, mut sum) = (Vec::with_capacity(drawn.len()), vec![0.0; self.schema.len()]);
        for patients in drawn.chunks_mut(PATIENTS_AT_ONCE) {
            let examples: Result<Vec<Example>, _> =
                patients.par_iter_mut().map(|(scan, stream)| self.sampler.example_of(*scan, stream)).collect();
            let examples = examples?;
            let gradients: Vec<_> = if is_cpu(&self.device) {
                examples.par_iter().map(|example| self.gradient(example)).collect()
            } else {
                examples.iter().map(|example| self.gradient(example)).collect()
            };
            for (loss, gradient) in gradients {
                losses.push(loss);
                add_clipped(&mut sum, &gradient, clip_norm);
            }
        }
        Ok((losses, sum))
    }

    /// Loss of a single example, and its gradient.
    fn gradient(&self, example: &Example) -> (LossTerms, Vec<f32>) {
        let passes = self.forward(std::slice::from_ref(example));
        let values: Vec<f32> = passes.iter().flat_map(|pass| host(pass.maps.clone())).collect();
        let (loss, slope) = self.network.loss(&values, std::slice::from_ref(&example.targets));
        (loss, self.backward(passes, &slope))
    }

    /// Forward passes of the examples, each with a computation graph of its own where the network allows it: on a CPU
    /// whole passes side by side keep the cores busier than the loops within one (by a quarter), and their graphs must not
    /// share parameters, or Burn runs one after the other.
    fn forward(&self, examples: &[Example]) -> Vec<Pass> {
        let side = self.config.plan.patch_size;
        let alone = self.network.samples_are_independent() && is_cpu(&self.device);
        let together = if alone { 1 } else { examples.len() };
        examples
            .par_chunks(together)
            .map(|examples| {
                let network = self.network.clone().with_parameters(&self.state.parameters);
                let input: Vec<f32> = examples.iter().flat_map(|e| e.input.iter().copied()).collect();
                let shape = [examples.len(), 1, side, side, side];
                let maps = network.forward(Tensor::<5>::from_data(TensorData::new(input, shape), &self.device));
                Pass { network, maps }
            })
            .collect()
    }

    /// Whether the optimiser moves it, for every parameter.
    fn trainable(&self) -> impl Iterator<Item = bool> {
        self.schema.parameters.iter().flat_map(|p| std::iter::repeat_n(p.trainable, p.len()))
    }

    /// What a pass has changed besides the maps, by position among the parameters: the running statistics of a network
    /// that normalises batches.
    fn running_statistics(&self, passes: &[Pass]) -> Vec<(usize, f32)> {
        let [Pass { network, .. }] = passes else { return Vec::new() };
        if self.network.samples_are_independent() {
            return Vec::new();
        }
        // `valid` makes Burn take over what the forward pass has collected.
        let now = network.clone().valid().flat_parameters();
        let trainable = self.schema.parameters.iter().flat_map(|p| std::iter::repeat_n(p.trainable, p.len()));
        now.into_iter()
            .zip(trainable)
            .enumerate()
            .filter_map(|(i, (v, trained))| (!trained).then_some((i, v)))
            .collect()
    }

    /// The gradient of the loss by all parameters, from its gradient by the maps. Passes are added up in order: the same
    /// bits for any number of threads.
    fn backward(&self, passes: Vec<Pass>, slope: &[f32]) -> Vec<f32> {
        let stride = slope.len() / passes.len();
        let gradients: Vec<Vec<f32>> = passes
            .into_par_iter()
            .zip(slope.par_chunks_exact(stride))
            .map(|(Pass { network, maps }, slope)| {
                // A scalar whose gradient with respect to the maps is the loss's.
                let slope = TensorData::new(slope.to_vec(), maps.dims());
                let slope = Tensor::<5>::from_data(slope, &self.device);
                network.flat_gradients(&(maps * slope).sum().backward())
            })
            .collect();
        let mut gradients = gradients.into_iter();
        let mut total = gradients.next().unwrap_or_default();
        for gradient in gradients {
            total.iter_mut().zip(gradient).for_each(|(t, g)| *t += g);
        }
        total
    }
}

/// The strongest false positive of each example.
fn false_positives(examples: &[Example], values: &[f32]) -> Vec<Place> {
    let stride = values.len() / examples.len();
    let threshold = (MINED_PROBABILITY / (1.0 - MINED_PROBABILITY)).ln();
    let worst = |(example, maps): (&Example, &[f32])| {
        let t = &example.targets;
        let cells = t.centre.len();
        let centre = candidate_logits(maps, cells);
        let wrong = (0..cells).filter(|&i| t.centre[i] < 0.1 && t.centre_weight[i] > 0.0 && centre[i] > threshold);
        let worst = wrong.max_by(|&a, &b| centre[a].total_cmp(&centre[b]))?;
        let n = t.cells;
        Some(example.place_of([worst / (n * n), worst / n % n, worst % n].map(|i| 2.0 * i as f64 + 0.5)))
    };
    examples.iter().zip(values.chunks_exact(stride)).filter_map(worst).collect()
}

/// What says "nodule" in each cell: the centre map, or for the classic network the strongest of the cell's voxels.
fn candidate_logits(maps: &[f32], cells: usize) -> Cow<'_, [f32]> {
    if maps.len() == DetectionMaps::CHANNELS * cells {
        return Cow::Borrowed(&maps[DetectionMaps::CENTRE * cells..][..cells]);
    }
    let strongest = |cell: usize| maps[cell..].iter().step_by(cells).copied().fold(f32::NEG_INFINITY, f32::max);
    Cow::Owned((0..cells).map(strongest).collect())
}

/// A correction says nothing about the scans of the step, so noise does not hide it.
fn correct(state: &mut TrainingState, gradient: &mut [f32], trainable: &[bool], correction: Correction<'_>) {
    let length = gradient.len();
    let own = gradient.iter_mut().zip(trainable).enumerate().filter(|(_, (_, trainable))| **trainable);
    let own = own.map(|(i, (g, _))| (i, g));
    match correction {
        Correction::Proximal { mu, anchor } => {
            assert_eq!(anchor.len(), length);
            own.for_each(|(i, g)| *g += mu as f32 * (state.parameters[i] - anchor[i]));
        }
        Correction::Control { global, own: control, number } => {
            assert_eq!([global.len(), control.len(), state.control.len()], [length; 3]);
            own.for_each(|(i, g)| {
                state.control[i] += (*g - state.control[i]) / number as f32;
                *g += global[i] - control[i];
            });
        }
    }
}

fn setting<T>(setting: &'static str, found: impl ToString, expected: &str) -> Result<T, TrainingError> {
    Err(TrainingError::Setting { setting, found: found.to_string(), expected: expected.to_owned() })
}

fn validate(config: &TrainingConfig) -> Result<(), TrainingError> {
    let multiple = config.architecture.patch_multiple();
    let side = config.plan.patch_size;
    if side == 0 || !side.is_multiple_of(multiple) || side > 256 {
        return setting("patch_size", side, &format!("a multiple of {multiple}, 256 at most"));
    }
    if !(1..=MAX_BATCH_SIZE).contains(&config.batch_size) {
        return setting("batch_size", config.batch_size, &format!("1 to {MAX_BATCH_SIZE}"));
    }
    if !(config.learning_rate.is_finite() && config.learning_rate > 0.0 && config.learning_rate <= 1.0) {
        return setting("learning_rate", config.learning_rate, "above 0 and at most 1");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::UNet3dConfig;
    use imaging::luna16::Finding;
    use phantom::{HospitalStyle, PhantomSpec, Size, generate};

    const SECRET: [u8; 32] = [7; 32];

    fn config(privacy: PatientPrivacy) -> TrainingConfig {
        let mut plan = Plan::with_patch(32);
        plan.lungs.volume_ml = Size::Small.lung_volume_ml();
        TrainingConfig {
            architecture: Architecture::DetectionUnet(UNet3dConfig::xxs()),
            plan,
            batch_size: 2,
            learning_rate: 5e-3,
            warmup_steps: 0,
            total_steps: 10,
            adamw: AdamWConfig::default(),
            ema_decay: 0.99,
            sampling: Sampling::default(),
            seed: 5,
            privacy: Some(privacy),
        }
    }

    /// One phantom under several names. Every second has a nodule less.
    fn patients(folder: &std::path::Path, plan: &Plan, count: usize) -> Vec<PreparedScan> {
        let phantom = generate(&PhantomSpec::new(4, 0, HospitalStyle::ThinSoft, Size::Small));
        let path = folder.join("phantom.mhd");
        imaging::metaimage::write(&path, &phantom.volume, imaging::metaimage::Compression::None).unwrap();
        let finding = |n: &phantom::NoduleTruth| Finding {
            series_uid: "phantom".into(),
            center_mm_xyz: n.center_mm_xyz,
            diameter_mm: n.diameter_mm,
        };
        let nodules: Vec<Finding> = phantom.nodules.iter().map(finding).collect();
        let scan = PreparedScan::prepare(&path, plan, &folder.join("cache")).unwrap().with_findings(&nodules, &[]);
        let patient = |i: usize| {
            let mut scan = scan.clone();
            scan.series_uid = format!("patient-{i}");
            scan.nodules.drain(..i % 2);
            scan
        };
        (0..count).map(patient).collect()
    }

    fn start(config: &TrainingConfig) -> TrainingState {
        let schema = ParameterSchema::of(&config.architecture.build(&Device::flex()).unwrap());
        TrainingState::from_parameters(schema.initial(config.seed), config.adamw)
    }

    fn trainer<'a>(config: &'a TrainingConfig, scans: &'a [PreparedScan], secret: [u8; 32]) -> Trainer<'a> {
        Trainer::private(config, scans, &Device::flex(), start(config), NoiseSecret::new(secret)).unwrap()
    }

    /// The sum without noise, at the first step.
    fn sum(trainer: &Trainer<'_>, probability: f64, clip_norm: f64) -> (usize, Vec<f64>) {
        let secret = StepSecret::new(&NoiseSecret::new(SECRET), 0, &trainer.state.parameters);
        let (losses, sum) = trainer.clipped_sum(&secret, probability, clip_norm).unwrap();
        (losses.len(), sum)
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    /// The sensitivity that the noise is made for: one patient more or less moves the sum by the norm at most, and by the
    /// norm exactly if the patient was drawn and has a longer gradient. The others are drawn, and their patches are, as
    /// before, wherever in the list they stand.
    #[test]
    fn a_patient_moves_the_sum_by_the_norm_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(PatientPrivacy { noise_multiplier: 1.0, clip_norm: 1.0 });
        let all = patients(folder.path(), &config.plan, 5);
        let with = trainer(&config, &all, SECRET);
        // Sums of doubles over 1e5 coordinates: 1e-12 of the norm.
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b);
        for clip_norm in [1e-3, 1e9] {
            for probability in [1.0, 0.5] {
                let (drawn, whole) = sum(&with, probability, clip_norm);
                assert!(if probability == 1.0 { drawn == 5 } else { (1..5).contains(&drawn) }, "{drawn} drawn");
                let mut gone = 0;
                for i in 0..all.len() {
                    let mut others = all.clone();
                    others.remove(i);
                    let (still, rest) = sum(&trainer(&config, &others, SECRET), probability, clip_norm);
                    let moved = distance(&whole, &rest);
                    assert!(moved <= clip_norm * (1.0 + 1e-9), "moved by {moved}");
                    match drawn - still {
                        0 => assert!(moved <= 1e-9 * clip_norm.min(1.0), "not drawn, and moved by {moved}"),
                        1 if clip_norm < 1.0 => assert!(close(moved, clip_norm), "moved by {moved}"),
                        1 => assert!(moved > 0.1, "its gradient is lost: {moved}"),
                        more => panic!("{more} patients fewer"),
                    }
                    gone += drawn - still;
                }
                assert_eq!(gone, drawn, "others are drawn when one is not there");
                let reversed: Vec<PreparedScan> = all.iter().rev().cloned().collect();
                let (_, other_way) = sum(&trainer(&config, &reversed, SECRET), probability, clip_norm);
                assert!(distance(&whole, &other_way) < 1e-9 * clip_norm.min(1.0));
            }
        }
    }

    /// What is not clipped adds up to the patients' own gradients.
    #[test]
    fn the_sum_is_that_of_the_patients() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(PatientPrivacy { noise_multiplier: 1.0, clip_norm: 1.0 });
        let all = patients(folder.path(), &config.plan, 3);
        let (_, whole) = sum(&trainer(&config, &all, SECRET), 1.0, 1e9);
        let mut parts = vec![0.0; whole.len()];
        for scan in &all {
            let alone = std::slice::from_ref(scan);
            let (_, part) = sum(&trainer(&config, alone, SECRET), 1.0, 1e9);
            parts.iter_mut().zip(part).for_each(|(sum, g)| *sum += g);
        }
        assert!(distance(&whole, &parts) < 1e-9 && distance(&whole, &vec![0.0; whole.len()]) > 0.1);
    }

    /// What a step adds to the sum has the deviation of the noise, and differs between secrets of the same public seed.
    /// 1e5 parameters: the standard error of a variance is 0.5 %, of a correlation 0.3 %.
    #[test]
    fn a_step_hides_the_sum_in_noise_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let privacy = PatientPrivacy { noise_multiplier: 1.5, clip_norm: 0.2 };
        let config = config(privacy);
        let all = patients(folder.path(), &config.plan, 4);
        let noise = |secret: [u8; 32]| -> Vec<f64> {
            let trainer = trainer(&config, &all, secret);
            let secret = NoiseSecret::new(secret);
            let gradient = trainer.learn_privately(0, &privacy, &secret).unwrap().gradient;
            let step = StepSecret::new(&secret, 0, &trainer.state.parameters);
            let (_, sum) = trainer.clipped_sum(&step, 0.5, privacy.clip_norm).unwrap();
            // Two of four patients are expected.
            gradient.iter().zip(sum).map(|(&g, s)| (f64::from(g) - s / 2.0) / (1.5 * 0.2 / 2.0)).collect()
        };
        let (a, b) = (noise(SECRET), noise([8; 32]));
        assert!(a.len() > 100_000, "{} parameters", a.len());
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64;
        assert!((product(&a, &a) - 1.0).abs() < 0.02, "variance {}", product(&a, &a));
        assert!(product(&a, &b).abs() < 0.02, "correlation {}", product(&a, &b));
    }

    /// Whether somebody was drawn is a secret, too: such a step has noise as any other.
    #[test]
    fn a_step_without_patients_is_noise_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(PatientPrivacy { noise_multiplier: 1.0, clip_norm: 1.0 });
        config.batch_size = 1;
        let all = patients(folder.path(), &config.plan, 40);
        let mut trainer = trainer(&config, &all, SECRET);
        let nobody = (0..20).find_map(|_| {
            let before = trainer.state.parameters.clone();
            let report = trainer.step(None).unwrap();
            (report.loss == LossTerms::default()).then_some((report, before))
        });
        let (report, before) = nobody.expect("with a chance of 1 - 2e-4 there is such a step among 20");
        assert!(before != trainer.state.parameters && report.gradient_norm > 100.0, "{report:?}");
        assert!(trainer.state.mined.is_empty());
    }
}
