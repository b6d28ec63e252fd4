//! The coordinator: one session, made durable step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use federation::{
    AggregationError, Aggregator, ConfigErrors, Contribution, Digest, GlobalModel, Input, OptimizerStateError, Output,
    Phase, Rejection, Session, SessionConfig, SessionId, SessionRecord, SiteId, server_optimizer,
};

use crate::disk::{Disk, FileSystem};
use crate::store::{SessionStore, Snapshot, StoreError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The file format of the final model, known to the owner of the network.
pub trait ModelFormat: Send {
    /// The whole file.
    fn encode(&self, model: &GlobalModel, session: &SessionRecord) -> Result<Vec<u8>, BoxError>;
    /// The flat parameters in such a file.
    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, BoxError>;
}

/// Why a session cannot go on in this process. Its stored state is intact.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The initial model is not usable.
    #[error("parameter {index} of the initial model is {value}, not a finite number: start from another model")]
    InitialModel {
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// Files could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored state of the server optimiser does not fit.
    #[error(transparent)]
    Optimizer(#[from] OptimizerStateError),
    /// The updates cannot be combined.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
    /// The final model's file is there and holds something else.
    #[error(
        "{} exists and is not the model of this session: it is never overwritten, move it away or choose another session id",
        path.display()
    )]
    ModelExists {
        /// The file.
        path: PathBuf,
    },
    /// The final model could not be encoded.
    #[error("the final model could not be written as {}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// The session does not take an input that its driver depends on.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Two clients have one name.
    #[error("two clients are called {0}: give every site its own id")]
    DuplicateSite(SiteId),
}

/// A session on this machine's disk.
pub struct FederatedServer {
    session: Session,
    global: Arc<GlobalModel>,
    /// Hashes of the server optimiser's stored state.
    optimizer: Vec<Digest>,
    store: SessionStore,
    format: Box<dyn ModelFormat>,
    history_kept_aside: Option<PathBuf>,
    clock: Clock,
}

impl FederatedServer {
    /// Creates a session below the directory `out`.
    pub fn create(
        out: &Path,
        id: SessionId,
        config: SessionConfig,
        initial: GlobalModel,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        Self::create_on(Box::new(FileSystem), out, id, config, initial, format)
    }

    /// Opens a session to go on with it.
    pub fn open(out: &Path, id: SessionId, format: Box<dyn ModelFormat>) -> Result<Self, ServerError> {
        Self::open_on(Box::new(FileSystem), out, id, format)
    }

    /// [`FederatedServer::create`] on another disk.
    pub fn create_on(
        disk: Box<dyn Disk>,
        out: &Path,
        id: SessionId,
        config: SessionConfig,
        initial: GlobalModel,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        let clock = Clock::start();
        if let Some(index) = initial.parameters.iter().position(|v| !v.is_finite()) {
            return Err(ServerError::InitialModel { index, value: initial.parameters[index] });
        }
        let digest = initial.digest();
        let session = Session::new(id.clone(), config, initial.schema(), digest, clock.now_ms())?;
        let store = SessionStore::create(disk, out, id)?;
        if store.model_path().exists() {
            return Err(ServerError::ModelExists { path: store.model_path() });
        }
        store.put(digest, &initial.parameters)?;
        let global = Arc::new(GlobalModel { round: 0, ..initial });
        let mut server = Self {
            session: session.clone(),
            global,
            optimizer: Vec::new(),
            store,
            format,
            history_kept_aside: None,
            clock,
        };
        server.commit(session, Vec::new())?;
        Ok(server)
    }

    /// [`FederatedServer::open`] on another disk.
    pub fn open_on(
        disk: Box<dyn Disk>,
        out: &Path,
        id: SessionId,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        let (store, Snapshot { session, optimizer, .. }) = SessionStore::open(disk, out, id)?;
        let global = Arc::new(load_global(&store, &session)?);
        let clock = Clock::start();
        let mut server = Self { session, global, optimizer, store, format, history_kept_aside: None, clock };
        // What the commit before the crash may not have reached.
        server.history_kept_aside = server.store.mirror(server.session.record())?;
        server.publish_if_completed()?;
        Ok(server)
    }

    /// The session as it is stored.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The newest global model.
    pub fn global(&self) -> &Arc<GlobalModel> {
        &self.global
    }

    /// Where the final model is, once the session is completed.
    pub fn model_path(&self) -> PathBuf {
        self.store.model_path()
    }

    /// Where a training history that could not be read was moved, once.
    pub fn take_history_kept_aside(&mut self) -> Option<PathBuf> {
        self.history_kept_aside.take()
    }

    /// Milliseconds since 1970, as [`FederatedServer::step`] reads them.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Takes one input. Its outputs come only after the new state is durable. [`Output::AggregateReady`] is carried out
    /// here: its consequences stand in its place. After an error the session stands before or after the input, never
    /// between; [`Input::Resume`] then repeats every unanswered request.
    pub fn step(&mut self, input: &Input) -> Result<Result<Vec<Output>, Rejection>, ServerError> {
        let mut next = self.session.clone();
        let mut outputs = match next.step(input, self.now_ms()) {
            Ok(outputs) => outputs,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Input::UpdateReceived { update, .. } = input {
            for output in &outputs {
                if let Output::UpdateAccepted { update: digest, .. } = output {
                    self.store.put(*digest, &update.delta)?;
                }
            }
        }
        if next != self.session {
            self.commit(next, self.optimizer.clone())?;
        }
        self.publish_if_completed()?;
        if let Some(Output::AggregateReady { contributions, .. }) =
            outputs.pop_if(|last| matches!(last, Output::AggregateReady { .. }))
        {
            outputs.append(&mut self.aggregate(&contributions)?);
        }
        Ok(Ok(outputs))
    }

    /// Computes the next global model from what is stored, so that an error leaves nothing half changed in memory.
    fn aggregate(&mut self, contributions: &[Contribution]) -> Result<Vec<Output>, ServerError> {
        let mut next = self.session.clone();
        match self.next_global(contributions) {
            Ok((global, optimizer)) => {
                let model = global.digest();
                let outputs = next.step(&Input::Aggregated { model }, self.now_ms())?;
                self.store.put(model, &global.parameters)?;
                self.commit(next, optimizer)?;
                self.global = Arc::new(global);
                self.publish_if_completed()?;
                Ok(outputs)
            }
            Err(ServerError::Aggregation(problem)) => {
                let failed = Input::AggregationFailed { reason: problem.to_string() };
                let outputs = next.step(&failed, self.now_ms())?;
                self.commit(next, self.optimizer.clone())?;
                Ok(outputs)
            }
            Err(other) => Err(other),
        }
    }

    fn next_global(&self, contributions: &[Contribution]) -> Result<(GlobalModel, Vec<Digest>), ServerError> {
        let parameter_count = self.session.schema().parameter_count;
        let mut aggregator = Aggregator::new(parameter_count, contributions)?;
        for contribution in contributions {
            // Checked before it is used: a damaged file is no fault of the site.
            self.store.read_pieces(contribution.update, |_, _| Ok::<(), ServerError>(()))?;
            self.store.read_pieces(contribution.update, |offset, values| {
                Ok::<(), ServerError>(aggregator.add(contribution.weight, offset, values)?)
            })?;
        }
        let mean = aggregator.finish()?;
        let state = self.optimizer.iter().map(|&digest| self.store.get(digest)).collect::<Result<_, _>>()?;
        let algorithm = &self.session.config().hyperparameters.algorithm;
        let mut optimizer = server_optimizer(algorithm, parameter_count, state)?;
        let mut global = GlobalModel::clone(&self.global);
        global.advance(optimizer.as_mut(), &mean)?;
        drop(mean);
        let mut digests = Vec::new();
        for values in optimizer.state() {
            let digest = Digest::of_values(values);
            self.store.put(digest, values)?;
            digests.push(digest);
        }
        Ok((global, digests))
    }

    fn commit(&mut self, next: Session, optimizer: Vec<Digest>) -> Result<(), ServerError> {
        let snapshot = Snapshot::new(next, optimizer);
        self.store.commit(&snapshot)?;
        self.session = snapshot.session;
        self.optimizer = snapshot.optimizer;
        if let Some(path) = self.store.mirror(self.session.record())? {
            self.history_kept_aside = Some(path);
        }
        Ok(())
    }

    /// The file is created once; a crash before that is made up for when the session is opened again.
    fn publish_if_completed(&self) -> Result<(), ServerError> {
        if self.session.phase() != Phase::Completed {
            return Ok(());
        }
        let path = self.model_path();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let same = self.format.decode(&bytes).is_ok_and(|p| Digest::of_values(&p) == self.session.model());
                if !same {
                    return Err(ServerError::ModelExists { path });
                }
                self.store.remove_temporary_model();
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let bytes = self.format.encode(&self.global, &self.session.record());
                let bytes = bytes.map_err(|source| ServerError::Encode { path, source })?;
                Ok(self.store.create_model(&bytes)?)
            }
            Err(source) => Err(StoreError::Io { action: "read", path, source }.into()),
        }
    }
}

fn load_global(store: &SessionStore, session: &Session) -> Result<GlobalModel, ServerError> {
    let aggregated = session.rounds().iter().filter(|round| round.model_sha256.is_some());
    let (round, schema_hash) = (aggregated.count() as u32, session.schema().hash);
    Ok(GlobalModel { round, parameters: store.get(session.model())?, schema_hash })
}

/// The time of day at the start, continued by a clock that nobody sets.
struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: since_1970.as_millis() as u64 }
    }

    fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }
}
