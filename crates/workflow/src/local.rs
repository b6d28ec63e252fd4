//! The detector as a site's trainer in a federated session.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atomic_write_file::AtomicWriteFile;
use detector::training::{
    CheckpointError, Correction, NoiseSecret, PatientPrivacy, Sampling, Trainer, TrainingConfig, TrainingState,
    Validator, sampling_probability,
};
use detector::{Architecture, ArchitectureError, Device, ParameterSchema, Plan, PreparedScan};
use federation::{
    Algorithm, DifferentialPrivacy, Digest, Evaluation, GlobalModel, Hyperparameters, Ledger, LedgerEntry,
    LocalTrainer, Metrics, Progress, SampledGaussian, SessionId, TrainerError, Update,
};

/// Scans of a site from which the share below is kept for judging global models.
const MIN_SCANS_FOR_VALIDATION: usize = 5;
/// How much work a crash may cost: keeping it takes a fraction of a second.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// One scan in so many is never trained on.
const VALIDATION_EVERY: usize = 5;

/// Trains the detector on one site's scans.
pub struct DetectorTrainer {
    task: Arc<Task>,
    training: Vec<PreparedScan>,
    validation: Vec<PreparedScan>,
    /// Keeps the sites' random numbers apart.
    stream: u64,
    memory: Memory,
    /// ε after the newest round.
    spent: Option<f64>,
    save_every: Duration,
}

/// What a site keeps for itself from one round to the next: its optimiser's moments and the false positives it has
/// found. An AdamW that starts anew in every round takes its first steps at the full rate whatever the gradient's size,
/// and the sites drift apart. One file per round: a round that is done again after a crash finds the same start.
struct Memory {
    session: SessionId,
    /// The site's, for all sessions.
    site: PathBuf,
    folder: PathBuf,
}

/// Leave to train a round with differential privacy.
struct Release {
    secret: NoiseSecret,
    /// With this round in it.
    ledger: Ledger,
    /// What the site's data will have cost.
    epsilon: f64,
}

impl Memory {
    /// What the site has spent on its data in all sessions.
    fn ledger_path(&self) -> PathBuf {
        self.site.join("privacy_ledger.json")
    }

    /// Looks whether the round fits the budget, and takes out the session's secret, which is made at the first time.
    fn authorise(
        &self,
        privacy: &DifferentialPrivacy,
        h: &Hyperparameters,
        round: u32,
        scans: usize,
    ) -> Result<Release, TrainerError> {
        let mut ledger = match fs::read(self.ledger_path()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ledger::default(),
            Err(error) => return Err(failed(error)),
        };
        let probability = sampling_probability(h.batch_size as usize, scans);
        let mechanism =
            SampledGaussian::new(probability, privacy.noise_multiplier, steps_per_round(h)).map_err(failed)?;
        let entry = LedgerEntry { session_id: self.session.clone(), round, mechanism };
        let epsilon = ledger.authorise(&entry, privacy).map_err(failed)?;
        ledger.record(entry).map_err(failed)?;
        Ok(Release { secret: self.secret()?, ledger, epsilon })
    }

    /// Of this session: whoever has it can take the noise away.
    fn secret(&self) -> Result<NoiseSecret, TrainerError> {
        let path = self.folder.join("noise.key");
        match fs::read(&path) {
            Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
                Ok(secret) => Ok(NoiseSecret::new(secret)),
                Err(_) => Err(failed(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "noise.key is damaged: start another session",
                ))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|error| failed(io::Error::other(error.to_string())))?;
                self.make_folder().map_err(failed)?;
                self.replace(&path, &secret)?;
                Ok(NoiseSecret::new(secret))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Durable when this returns, hence before the round's update leaves the site.
    fn record(&self, ledger: &Ledger) -> Result<(), TrainerError> {
        let text = serde_json::to_vec_pretty(ledger).map_err(failed)?;
        self.replace(&self.ledger_path(), &text)
    }

    /// Replaces a file that nobody but its owner may read.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), TrainerError> {
        let mut options = AtomicWriteFile::options();
        #[cfg(unix)]
        {
            use atomic_write_file::unix::OpenOptionsExt;
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600).preserve_mode(false);
        }
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(content).and_then(|()| file.commit()).map_err(failed)
    }

    /// For its owner alone: weights after a round tell as much as the update that is encrypted elsewhere.
    fn make_folder(&self) -> io::Result<()> {
        let mut folder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
        folder.recursive(true).create(&self.folder)
    }

    fn path(&self, round: u32) -> PathBuf {
        self.folder.join(format!("round_{round:03}.safetensors"))
    }

    /// The latest round before `round` in which the site took part.
    fn latest_before(&self, round: u32) -> Option<u32> {
        (1..round).rev().find(|r| self.path(*r).exists())
    }

    /// What that round left.
    fn before(&self, round: u32) -> Result<Option<TrainingState>, CheckpointError> {
        let latest = self.latest_before(round);
        latest.map(|r| TrainingState::load(&self.path(r)).map(|(state, ..)| state)).transpose()
    }

    /// Durable when this returns, hence before the round's update leaves the site.
    fn keep(
        &self,
        round: u32,
        rounds: u32,
        state: &TrainingState,
        config: &TrainingConfig,
    ) -> Result<(), TrainerError> {
        self.make_folder().map_err(failed)?;
        // Of a folder that was just made, the entries in those around it must last, too: the session's, the site's, the
        // sites'. (Windows cannot open a directory to flush it; NTFS journals its entries.)
        if cfg!(unix) {
            for folder in self.folder.ancestors().skip(1).take(3).filter(|f| !f.as_os_str().is_empty()) {
                fs::File::open(folder).and_then(|f| f.sync_all()).map_err(failed)?;
            }
        }
        state.save(config, "", &self.path(round)).map_err(failed)?;
        // The round's own start stays, for it may have to be done again; what an earlier session of the same name left
        // in later rounds does not.
        let start = self.latest_before(round);
        for other in (1..=rounds).filter(|r| *r != round && Some(*r) != start) {
            match fs::remove_file(self.path(other)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        // It is of no more use; left behind it would not be taken for another round's.
        fs::remove_file(self.unfinished_path()).ok();
        Ok(())
    }

    fn unfinished_path(&self) -> PathBuf {
        self.folder.join("unfinished.safetensors")
    }

    /// Keeps what a round has done so far, if it can: a full disk must not end a training that needs nothing of it yet.
    fn keep_unfinished(&self, state: &TrainingState, done: &Done, config: &TrainingConfig) {
        if let (Ok(about), Ok(())) = (serde_json::to_string(done), self.make_folder()) {
            state.save(config, &about, &self.unfinished_path()).ok();
        }
    }

    /// What was done of exactly this training. A file that is damaged, or another round's, is no loss but of time.
    fn unfinished(&self, round: u32, global: Digest, config: &TrainingConfig) -> Option<(TrainingState, Done)> {
        let (state, of, about) = TrainingState::load(&self.unfinished_path()).ok()?;
        let done: Done = serde_json::from_str(&about).ok()?;
        (of == *config && done.round == round && done.global == global).then_some((state, done))
    }
}

/// How far the training of a round is, beside the trainer's own state.
#[derive(serde::Serialize, serde::Deserialize)]
struct Done {
    round: u32,
    /// Where it started.
    global: Digest,
    steps: u64,
    mean: Mean,
}

/// What all sites of a session share besides the hyper-parameters.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The network.
    pub architecture: Architecture,
    /// Preprocessing.
    pub plan: Plan,
    /// How patches are drawn and varied.
    pub sampling: Sampling,
    /// What a reader of the model must know, e.g. that it saw phantoms only.
    pub note: String,
    /// Hash of the parameters' names and shapes.
    pub schema_hash: Digest,
    /// Where the arithmetic runs.
    #[serde(skip, default = "Device::flex")]
    pub device: Device,
}

impl Task {
    /// Patches are of the plan's size.
    pub fn new(
        architecture: Architecture,
        plan: Plan,
        sampling: Sampling,
        note: String,
        device: Device,
    ) -> Result<Self, ArchitectureError> {
        let schema = ParameterSchema::of(&architecture.build(&Device::flex())?);
        Ok(Self { architecture, plan, sampling, note, schema_hash: schema_hash(&schema), device })
    }
}

/// Of the parameters' names and shapes.
fn schema_hash(schema: &ParameterSchema) -> Digest {
    let text: String = schema.parameters.iter().map(|p| format!("{} {:?}\n", p.name, p.shape)).collect();
    Digest::of_bytes(text.as_bytes())
}

/// One site's part of a run, for federated, local-only and pooled training alike.
pub fn training_config(
    task: &Task,
    h: &Hyperparameters,
    batch_size: usize,
    seed: u64,
    total_steps: u64,
) -> TrainingConfig {
    TrainingConfig {
        architecture: task.architecture.clone(),
        plan: task.plan.clone(),
        batch_size,
        learning_rate: h.learning_rate,
        warmup_steps: (total_steps / 20).min(500),
        total_steps,
        adamw: Default::default(),
        ema_decay: 0.999,
        sampling: task.sampling.clone(),
        seed,
        privacy: None,
    }
}

/// Optimiser steps of one round.
pub fn steps_per_round(h: &Hyperparameters) -> u64 {
    u64::from(h.local_epochs) * u64::from(h.patches_per_epoch.div_ceil(h.batch_size))
}

/// What a site trains on, and what it keeps for validation: every fifth scan when there are five or more.
pub fn split(scans: Vec<PreparedScan>) -> (Vec<PreparedScan>, Vec<PreparedScan>) {
    let hold_out = scans.len() >= MIN_SCANS_FOR_VALIDATION;
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (i, scan) in scans.into_iter().enumerate() {
        let target =
            if hold_out && i % VALIDATION_EVERY == VALIDATION_EVERY - 1 { &mut validation } else { &mut training };
        target.push(scan);
    }
    // A training part without nodules cannot be learned from; then nothing is held out.
    if training.iter().all(|s| s.nodules.is_empty()) {
        training.append(&mut validation);
    }
    (training, validation)
}

impl DetectorTrainer {
    /// A trainer on `scans`, [`split`]. `own` is the site's own folder: what is in it never leaves the site. `session` has a
    /// folder of its name there.
    pub fn new(task: Arc<Task>, scans: Vec<PreparedScan>, stream: u64, own: PathBuf, session: SessionId) -> Self {
        let (training, validation) = split(scans);
        let memory = Memory { folder: own.join(session.as_str()), site: own, session };
        Self { task, training, validation, stream, memory, spent: None, save_every: SAVE_EVERY }
    }

    /// The same trainer, which keeps what a round has done so far after this time, in place of a minute.
    pub fn saving_every(self, time: Duration) -> Self {
        Self { save_every: time, ..self }
    }
}

impl LocalTrainer for DetectorTrainer {
    fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        h: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Update, TrainerError> {
        let steps = steps_per_round(h);
        let total = steps * u64::from(h.rounds);
        let mut config = training_config(&self.task, h, h.batch_size as usize, h.seed ^ self.stream, total);
        let release =
            h.differential_privacy.map(|privacy| self.memory.authorise(&privacy, h, round, self.training.len()));
        let release = release.transpose()?;
        config.privacy = h
            .differential_privacy
            .map(|privacy| PatientPrivacy { noise_multiplier: privacy.noise_multiplier, clip_norm: privacy.clip_norm });
        // The learning rate and the random numbers follow the whole session, not the round.
        let first = steps * u64::from(round - 1);
        let before = self.memory.before(round).map_err(failed)?;
        // A site that has no control variate yet corrects nothing.
        let own = before.as_ref().map(|before| before.control.clone()).filter(|own| !own.is_empty());
        let own = own.unwrap_or_else(|| global.control.clone());
        let unfinished = self.memory.unfinished(round, global.digest(), &config);
        let (state, mut done) = unfinished.unwrap_or_else(|| {
            let mut state = TrainingState::from_parameters(global.parameters.clone(), config.adamw);
            if let Some(before) = before {
                (state.optimizer, state.mined) = (before.optimizer, before.mined);
            }
            (state.step, state.control) = (first, vec![0.0; global.control.len()]);
            (state, Done { round, global: global.digest(), steps: 0, mean: Mean::default() })
        });
        let trainer = match &release {
            None => Trainer::new(&config, &self.training, &self.task.device, state),
            Some(release) => {
                Trainer::private(&config, &self.training, &self.task.device, state, release.secret.clone())
            }
        };
        let mut trainer = trainer.map_err(failed)?;
        let mut saved = Instant::now();
        while done.steps < steps {
            done.steps += 1;
            let correction = match h.algorithm {
                Algorithm::FedProx { mu } if mu > 0.0 => Some(Correction::Proximal { mu, anchor: &global.parameters }),
                Algorithm::Scaffold => {
                    Some(Correction::Control { global: &global.control, own: &own, number: done.steps })
                }
                _ => None,
            };
            let report = trainer.step(correction).map_err(failed)?;
            done.mean.add(&report.loss);
            let lately = Progress { done: done.steps, total: steps, loss: Some(report.loss.total) };
            let stops = progress(lately).is_break();
            if stops || saved.elapsed() >= self.save_every {
                self.memory.keep_unfinished(trainer.state(), &done, &config);
                saved = Instant::now();
            }
            if stops {
                return Err(TrainerError::Interrupted);
            }
        }
        let trained = trainer.into_state();
        self.memory.keep(round, h.rounds, &trained, &config)?;
        if let Some(Release { ledger, epsilon, .. }) = release {
            self.memory.record(&ledger)?;
            self.spent = Some(epsilon);
        }
        let difference = |(new, old): (&f32, &f32)| new - old;
        let control = trained.control.iter().zip(&global.control).map(difference);
        Ok(Update {
            delta: trained.parameters.iter().zip(&global.parameters).map(difference).chain(control).collect(),
            num_examples: u32::try_from(self.training.len()).unwrap_or(u32::MAX),
            schema_hash: global.schema_hash,
            metrics: done.mean.metrics(),
        })
    }

    fn evaluate(
        &mut self,
        global: &GlobalModel,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Evaluation>, TrainerError> {
        if self.validation.is_empty() {
            return Ok(None);
        }
        let validator = Validator::new(&self.task.architecture, &self.task.plan, &global.parameters, &self.task.device);
        let validator = validator.map_err(failed)?;
        let total = self.validation.len() as u64;
        let mut mean = Mean::default();
        for (i, scan) in self.validation.iter().enumerate() {
            let loss = validator.scan_loss(scan).map_err(failed)?;
            mean.add(&loss);
            if progress(Progress { done: i as u64 + 1, total, loss: Some(loss.total) }).is_break() {
                return Err(TrainerError::Interrupted);
            }
        }
        Ok(Some(Evaluation { num_examples: self.validation.len() as u32, metrics: mean.metrics() }))
    }

    fn privacy_spent(&self) -> Option<f64> {
        self.spent
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> TrainerError {
    TrainerError::Failed(Box::new(error))
}

/// Means over steps; probabilities weighted by the number of nodules.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Mean {
    losses: f64,
    count: usize,
    probability: f64,
    positives: usize,
}

impl Mean {
    /// A step that drew no patient has no loss.
    fn add(&mut self, loss: &detector::training::LossTerms) {
        if !loss.total.is_finite() {
            return;
        }
        self.losses += loss.total;
        self.count += 1;
        self.probability += loss.positive_probability * loss.positives as f64;
        self.positives += loss.positives;
    }

    fn metrics(&self) -> Metrics {
        Metrics {
            loss: self.losses / self.count.max(1) as f64,
            foreground_probability: (self.positives > 0).then(|| self.probability / self.positives as f64),
        }
    }
}
