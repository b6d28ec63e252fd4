//! The training loop's one step, with all of its state in one value that a checkpoint can hold.

use std::borrow::Cow;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::examples::{Example, Place, Sampler, Sampling};
use super::loss::LossTerms;
use super::optimizer::{AdamW, AdamWConfig, cosine_rate};
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
    /// Decides everything random.
    pub seed: u64,
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
}

impl TrainingState {
    /// The start from given weights.
    pub fn from_parameters(parameters: Vec<f32>, adamw: AdamWConfig) -> Self {
        let optimizer = AdamW::new(adamw, parameters.len());
        Self { ema: parameters.clone(), optimizer, parameters, mined: Vec::new(), step: 0 }
    }
}

/// FedProx (Li et al. 2020, eq. 2): local weights are drawn towards the round's global ones.
#[derive(Debug, Clone, Copy)]
pub struct Proximal<'a> {
    /// Strength µ.
    pub mu: f64,
    /// The global weights.
    pub anchor: &'a [f32],
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Loss before the step.
    pub loss: LossTerms,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate used.
    pub rate: f64,
}

/// A forward pass, waiting for its gradient.
struct Pass {
    network: Network,
    maps: Tensor<5>,
}

/// Most patches of a step.
pub const MAX_BATCH_SIZE: usize = 64;
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
    _memory: KeptMemory,
}

impl<'a> Trainer<'a> {
    /// Checks everything that can be checked before the first step.
    pub fn new(
        config: &'a TrainingConfig,
        scans: &'a [PreparedScan],
        device: &Device,
        mut state: TrainingState,
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
        Ok(Self { config, sampler, device, schema, network, state, _memory: KeptMemory })
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
    pub fn step(&mut self, proximal: Option<Proximal<'_>>) -> Result<StepReport, TrainingError> {
        let config = self.config;
        let step = self.state.step;
        let examples = (0..config.batch_size as u64)
            .into_par_iter()
            .map(|e| self.sampler.example(config.seed, step, e, &self.state.mined))
            .collect::<Result<Vec<_>, _>>()?;

        let passes = self.forward(&examples);
        let values: Vec<f32> = passes.iter().flat_map(|pass| host(pass.maps.clone())).collect();
        let targets: Vec<_> = examples.iter().map(|e| e.targets.clone()).collect();
        let (loss, slope) = self.network.loss(&values, &targets);
        let rate = cosine_rate(config.learning_rate, step, config.total_steps, config.warmup_steps);
        if !loss.total.is_finite() {
            return Err(TrainingError::Diverged { step, loss: loss.total, rate });
        }
        let running = self.running_statistics(&passes);
        let mut gradient = self.backward(passes, &slope);
        if let Some(Proximal { mu, anchor }) = proximal {
            let mu = mu as f32;
            let pull = self.state.parameters.iter().zip(anchor).zip(self.trainable());
            gradient
                .iter_mut()
                .zip(pull)
                .filter(|(_, (_, trainable))| *trainable)
                .for_each(|(g, ((p, a), _))| *g += mu * (p - a));
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
        self.mine(&examples, &values);
        Ok(StepReport { step: step + 1, loss, gradient_norm, rate })
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

    /// Remembers the strongest false positive of each example.
    fn mine(&mut self, examples: &[Example], values: &[f32]) {
        let stride = values.len() / examples.len();
        let threshold = (MINED_PROBABILITY / (1.0 - MINED_PROBABILITY)).ln();
        for (example, maps) in examples.iter().zip(values.chunks_exact(stride)) {
            let t = &example.targets;
            let cells = t.centre.len();
            let centre = candidate_logits(maps, cells);
            let wrong = (0..cells).filter(|&i| t.centre[i] < 0.1 && t.centre_weight[i] > 0.0 && centre[i] > threshold);
            if let Some(worst) = wrong.max_by(|&a, &b| centre[a].total_cmp(&centre[b])) {
                let n = t.cells;
                let cell = [worst / (n * n), worst / n % n, worst % n].map(|i| 2.0 * i as f64 + 0.5);
                self.state.mined.push(example.place_of(cell));
            }
        }
        let excess = self.state.mined.len().saturating_sub(MINED_LIMIT);
        self.state.mined.drain(..excess);
    }
}

/// What says "nodule" in each cell: the centre map, or for the classic network the strongest of the cell's voxels.
fn candidate_logits(maps: &[f32], cells: usize) -> Cow<'_, [f32]> {
    if maps.len() == DetectionMaps::CHANNELS * cells {
        return Cow::Borrowed(&maps[DetectionMaps::CENTRE * cells..][..cells]);
    }
    let strongest = |cell: usize| maps[cell..].iter().step_by(cells).copied().fold(f32::NEG_INFINITY, f32::max);
    Cow::Owned((0..cells).map(strongest).collect())
}

fn validate(config: &TrainingConfig) -> Result<(), TrainingError> {
    let setting = |setting, found: String, expected: &str| {
        Err(TrainingError::Setting { setting, found, expected: expected.to_owned() })
    };
    let multiple = config.architecture.patch_multiple();
    let side = config.plan.patch_size;
    if side == 0 || !side.is_multiple_of(multiple) || side > 256 {
        return setting("patch_size", side.to_string(), &format!("a multiple of {multiple}, 256 at most"));
    }
    if !(1..=MAX_BATCH_SIZE).contains(&config.batch_size) {
        return setting("batch_size", config.batch_size.to_string(), &format!("1 to {MAX_BATCH_SIZE}"));
    }
    if !(config.learning_rate.is_finite() && config.learning_rate > 0.0 && config.learning_rate <= 1.0) {
        return setting("learning_rate", config.learning_rate.to_string(), "above 0 and at most 1");
    }
    Ok(())
}
