//! Toy sites and a toy model file.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use federation::*;
use transport::in_process::{self, Outcome};
use transport::*;

pub(crate) const DIM: usize = 50;

pub(crate) fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub(crate) fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

pub(crate) fn initial() -> GlobalModel {
    GlobalModel::initial(vec![0.5; DIM], Digest::of_bytes(b"toy"), &Algorithm::FedAvg)
}

pub(crate) fn config(rounds: u32, algorithm: &str) -> SessionConfig {
    let algorithm = algorithm.parse().unwrap();
    let hyperparameters = Hyperparameters { rounds, algorithm, learning_rate: 0.1, ..Hyperparameters::default() };
    SessionConfig { hyperparameters, ..SessionConfig::default() }
}

/// What a site does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Habit {
    None,
    Fails,
    Panics,
    Diverges,
    /// Takes long in its first round, unless it is asked to stop.
    Slow(Duration),
}

/// Descends towards its own centre; the way depends on the seed and the round, as sampling does.
pub(crate) struct Toy {
    pub(crate) seed: u32,
    pub(crate) habit: Habit,
    pub(crate) step_time: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read the training data")]
struct NoData(#[source] std::io::Error);

impl LocalTrainer for Toy {
    fn train_round(
        &mut self,
        global: &GlobalModel,
        round: u32,
        hyperparameters: &Hyperparameters,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Update, TrainerError> {
        match self.habit {
            Habit::Fails => {
                let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "scan 7 is missing");
                return Err(TrainerError::Failed(Box::new(NoData(cause))));
            }
            Habit::Panics => panic!("index out of range"),
            _ => {}
        }
        let mut w = global.parameters.clone();
        // It keeps nothing of its own, so with SCAFFOLD it corrects nothing.
        let mut mean = vec![0.0; global.control.len()];
        let steps = u64::from(hyperparameters.local_epochs) * 5;
        for step in 0..steps {
            for (k, w) in w.iter_mut().enumerate() {
                let jitter = ((self.seed * 31 + round * 17 + step as u32 * 7 + k as u32) % 13) as f32 / 13.0;
                let gradient = *w - self.seed as f32 - jitter;
                *w -= hyperparameters.learning_rate as f32 * gradient;
                if let Some(mean) = mean.get_mut(k) {
                    *mean += gradient / steps as f32;
                }
            }
            let mut pause = self.step_time;
            if let (Habit::Slow(time), 1) = (self.habit, round) {
                pause = time / steps as u32;
            }
            std::thread::sleep(pause);
            if progress(Progress { done: step + 1, total: steps, loss: Some(0.1) }).is_break() {
                return Err(TrainerError::Interrupted);
            }
        }
        if self.habit == Habit::Diverges {
            w[3] = f32::NAN;
        }
        Ok(Update {
            delta: w.iter().chain(&mean).zip(global.vector().iter()).map(|(a, b)| a - b).collect(),
            num_examples: 10 + self.seed,
            schema_hash: global.schema_hash,
            metrics: Metrics { loss: f64::from(round).recip(), foreground_probability: Some(0.5) },
        })
    }

    fn evaluate(
        &mut self,
        global: &GlobalModel,
        _progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Evaluation>, TrainerError> {
        let loss = global.parameters.iter().map(|w| f64::from((w - self.seed as f32).powi(2))).sum::<f64>();
        let metrics = Metrics { loss: loss / DIM as f64, foreground_probability: Some(0.4) };
        Ok(Some(Evaluation { num_examples: 5, metrics }))
    }
}

pub(crate) fn clients(habits: &[(&str, Habit)]) -> Vec<FederatedClient> {
    let clients = habits.iter().zip(1..).map(|(&(name, habit), seed)| {
        FederatedClient::new(site(name), Box::new(Toy { seed, habit, step_time: Duration::ZERO }))
    });
    clients.collect()
}

pub(crate) fn good_clients() -> Vec<FederatedClient> {
    clients(&[("a", Habit::None), ("b", Habit::None), ("c", Habit::None)])
}

/// Parameters behind a magic number.
pub(crate) struct Raw;

impl ModelFormat for Raw {
    fn encode(
        &self,
        model: &GlobalModel,
        session: &SessionRecord,
        signature: &ModelSignature,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        assert!(signature.is_valid(session.session_id.as_str(), model.digest()));
        Ok(b"TOY1".iter().copied().chain(model.parameters.iter().flat_map(|v| v.to_le_bytes())).collect())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        let values = bytes.strip_prefix(b"TOY1").ok_or("no TOY1 file")?;
        Ok(values.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
    }
}

pub(crate) fn run(
    server: &mut FederatedServer,
    clients: Vec<FederatedClient>,
    workers: usize,
) -> Result<Outcome, ServerError> {
    in_process::run(server, clients, NonZeroUsize::new(workers).unwrap(), &mut |_: &Event| {}, &Stop::default())
}

pub(crate) fn recorder() -> (Arc<Mutex<Vec<Event>>>, impl FnMut(&Event)) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    (events, move |event: &Event| sink.lock().unwrap().push(event.clone()))
}

/// A directory for tests that do not need a real disk but change files ten thousands of times.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Everybody who may take part.
pub(crate) fn sites() -> Vec<SiteId> {
    ["a", "b", "c"].map(site).into()
}

/// Runs a whole session in `out` without disturbance.
pub(crate) fn undisturbed(out: &Path, config: SessionConfig) -> Digest {
    let mut server = FederatedServer::create(out, id("s"), &sites(), config, initial(), Box::new(Raw)).unwrap();
    assert!(matches!(run(&mut server, good_clients(), 1), Ok(Outcome::Completed { .. })));
    server.session().model()
}
