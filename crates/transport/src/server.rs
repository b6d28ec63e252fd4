//! The coordinator: one session, made durable step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use federation::sealing::{self, Content, SealContext, Sealed, SealingError};
use federation::secagg::Totals;
use federation::{
    AggregationError, Aggregator, Announcement, AnnouncementError, ConfigErrors, Contribution, Digest, GlobalModel,
    Input, MeanDelta, ModelSignature, OptimizerStateError, Output, Phase, Protection, Purpose, Rejection, Session,
    SessionConfig, SessionId, SessionRecord, SignedAnnouncement, SigningKey, SiteId, server_optimizer,
};
use zeroize::Zeroizing;

use crate::client::SiteError;
use crate::disk::{Disk, FileSystem};
use crate::keys::KeyError;
use crate::store::{SessionStore, Snapshot, StoreError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The file format of the final model, known to the owner of the network.
pub trait ModelFormat: Send {
    /// The whole file; the signature is the coordinator's under the model.
    fn encode(
        &self,
        model: &GlobalModel,
        session: &SessionRecord,
        signature: &ModelSignature,
    ) -> Result<Vec<u8>, BoxError>;
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
    /// A site of this machine cannot take its place.
    #[error("site {site} cannot take part")]
    Site {
        /// Who.
        site: SiteId,
        /// Why.
        source: Box<SiteError>,
    },
    /// Keys or roster.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The announcement of a model.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
}

/// Milliseconds since 1970.
pub type Clock = Box<dyn Fn() -> u64 + Send>;

/// What a server has of its machine. Tests bring their own.
pub struct Machine {
    /// Where sessions are kept.
    pub disk: Box<dyn Disk>,
    /// What deadlines are measured with. A session survives a clock that jumps, its deadlines jump with it.
    pub clock: Clock,
}

impl Default for Machine {
    fn default() -> Self {
        Self::on(Box::new(FileSystem))
    }
}

impl Machine {
    /// This machine with another disk.
    pub fn on(disk: Box<dyn Disk>) -> Self {
        Self { disk, clock: steady_clock() }
    }
}

/// A session on this machine's disk.
pub struct FederatedServer {
    session: Session,
    global: Arc<GlobalModel>,
    /// Hashes of the server optimiser's stored state.
    optimizer: Vec<Digest>,
    store: SessionStore,
    keys: Keys,
    format: Box<dyn ModelFormat>,
    /// The record that the training history holds.
    mirrored: Option<SessionRecord>,
    history_kept_aside: Option<PathBuf>,
    clock: Clock,
}

impl FederatedServer {
    /// Creates a session of these sites below the directory `out`, where they live, too.
    pub fn create(
        out: &Path,
        id: SessionId,
        sites: &[SiteId],
        config: SessionConfig,
        initial: GlobalModel,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        Self::create_on(Machine::default(), out, id, sites, config, initial, format)
    }

    /// Opens a session to go on with it.
    pub fn open(out: &Path, id: SessionId, format: Box<dyn ModelFormat>) -> Result<Self, ServerError> {
        Self::open_on(Machine::default(), out, id, format)
    }

    /// [`FederatedServer::create`] on another machine.
    pub fn create_on(
        machine: Machine,
        out: &Path,
        id: SessionId,
        sites: &[SiteId],
        config: SessionConfig,
        initial: GlobalModel,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        let Machine { disk, clock } = machine;
        config.validate()?;
        if let Some(index) = initial.parameters.iter().position(|v| !v.is_finite()) {
            return Err(ServerError::InitialModel { index, value: initial.parameters[index] });
        }
        let algorithm = &config.hyperparameters.algorithm;
        let initial = GlobalModel::initial(initial.parameters, initial.schema_hash, algorithm);
        let digest = initial.digest();
        let store = SessionStore::create(disk, out, id.clone())?;
        if store.model_path().exists() {
            return Err(ServerError::ModelExists { path: store.model_path() });
        }
        let keys = Keys::make(&store)?;
        let roster = store.local_roster(sites, &keys.identity)?;
        let session = Session::new(id, config, initial.schema(), roster, digest, clock())?;
        store.put(digest, &initial.vector())?;
        let global = Arc::new(initial);
        let mut server = Self {
            session: session.clone(),
            global,
            optimizer: Vec::new(),
            store,
            keys,
            format,
            mirrored: None,
            history_kept_aside: None,
            clock,
        };
        server.commit(session, Vec::new())?;
        Ok(server)
    }

    /// [`FederatedServer::open`] on another machine.
    pub fn open_on(
        Machine { disk, clock }: Machine,
        out: &Path,
        id: SessionId,
        format: Box<dyn ModelFormat>,
    ) -> Result<Self, ServerError> {
        let (store, Snapshot { session, optimizer, .. }) = SessionStore::open(disk, out, id)?;
        let global = Arc::new(load_global(&store, &session)?);
        let keys = Keys::known(&store, &session)?;
        let (mirrored, history_kept_aside) = (None, None);
        let mut server = Self { session, global, optimizer, store, keys, format, mirrored, history_kept_aside, clock };
        // What the commit before the crash may not have reached.
        server.mirror()?;
        server.publish_if_completed()?;
        Ok(server)
    }

    /// The directory that the session lies in.
    pub fn out(&self) -> &Path {
        self.store.out()
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
        (self.clock)()
    }

    /// What the coordinator says, and signs, about the newest global model.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn announcement(&self) -> Result<SignedAnnouncement, ServerError> {
        let record = self.session.record();
        let announcement = Announcement {
            session: self.session.id().clone(),
            round: self.session.round(),
            basis: self.session.basis(),
            protection: self.session.protection().unwrap_or(Protection::Sealed),
            sealed_because: record.sealed_because,
            sealing_key: sealing::public_key(&self.keys.sealing),
        };
        Ok(SignedAnnouncement::sign(&announcement, &self.keys.identity)?)
    }

    /// Checks and decrypts what a site sent about the newest global model.
    ///
    /// # Errors
    /// When it is not that site's message about this model and round, for this coordinator.
    pub fn open_sealed(&self, site: &SiteId, round: u32, sealed: &Sealed) -> Result<Content, SealingError> {
        let context =
            SealContext { session: self.session.id().clone(), round, site: site.clone(), model: self.session.model() };
        let key = self.session.roster().key_of(site).ok_or_else(|| SealingError::Signature(site.clone()))?;
        sealed.open(&context, &self.keys.sealing, key)
    }

    /// Takes one input. Its outputs come only after the new state is durable. [`Output::AggregateReady`] and
    /// [`Output::SumReady`] are carried out here: their consequences stand in their place. After an error the session stands before or after the input, never
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
        if let Input::Replied { words, .. } = input {
            for output in &outputs {
                if let Output::WordsAccepted { words: digest, .. } = output {
                    self.store.put(*digest, words)?;
                }
            }
        }
        if next != self.session {
            self.commit(next, self.optimizer.clone())?;
        }
        self.publish_if_completed()?;
        if let Some(Output::SumReady { purpose, .. }) = outputs.pop_if(|last| matches!(last, Output::SumReady { .. })) {
            outputs.append(&mut self.unmask(purpose)?);
        }
        if let Some(Output::AggregateReady { contributions, .. }) =
            outputs.pop_if(|last| matches!(last, Output::AggregateReady { .. }))
        {
            outputs.append(&mut self.aggregate(&contributions)?);
        }
        Ok(Ok(outputs))
    }

    /// Computes the next global model from what is stored, so that an error leaves nothing half changed in memory.
    fn aggregate(&mut self, contributions: &[Contribution]) -> Result<Vec<Output>, ServerError> {
        let next = self.mean_of(contributions).and_then(|mean| self.next_global(mean, contributions.len()));
        self.adopt(next, |model| Input::Aggregated { model })
    }

    /// Adds the stored words up, takes the masks off and goes on with what the sum says: a new model or its judgement.
    fn unmask(&mut self, purpose: Purpose) -> Result<Vec<Output>, ServerError> {
        match (self.sum(), purpose) {
            (Ok((mean, totals, sites)), Purpose::Training) => {
                let next = self.next_global(mean, sites);
                self.adopt(next, |model| Input::Summed { model, totals })
            }
            (Ok((_, totals, _)), Purpose::Evaluation) => {
                let mut next = self.session.clone();
                let outputs = next.step(&Input::EvaluationSummed { totals }, self.now_ms())?;
                self.commit(next, self.optimizer.clone())?;
                self.publish_if_completed()?;
                Ok(outputs)
            }
            (Err(error), _) => self.adopt(Err(error), |model| Input::Aggregated { model }),
        }
    }

    /// The mean, the sums of the metrics, and the number of sites in them.
    fn sum(&self) -> Result<(MeanDelta, Totals, usize), ServerError> {
        let cannot = |problem: String| AggregationError::Sum { problem };
        let (manifest, masks) = self.session.masks().map_err(|error| cannot(error.to_string()))?;
        let mut sum = vec![0_u32; manifest.words()];
        for digest in masks.survivors().values() {
            self.store.read_pieces(*digest, |offset, words: &[u32]| {
                let sum = sum.get_mut(offset..offset + words.len());
                let sum = sum.ok_or_else(|| cannot("there are more words than the manifest says".to_owned()))?;
                sum.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
                Ok::<(), ServerError>(())
            })?;
        }
        masks.take_off(&mut sum);
        let decoded = manifest.encoding().decode(sum, manifest.counters(), masks.survivors().len());
        let decoded = decoded.map_err(|error| cannot(error.to_string()))?;
        let totals = Totals::from_counters(&decoded.counters);
        let totals = totals.ok_or_else(|| cannot("the sums of the metrics are out of their range".to_owned()))?;
        // Every update is limited at its site, so the mean is, too, but for the rounding of a word each.
        let h = &self.session.config().hyperparameters;
        let (norm, longest) = (decoded.mean.norm(), h.max_update_norm * (h.algorithm.vectors() as f64).sqrt());
        if norm > longest * 1.001 {
            return Err(AggregationError::Norm { norm, longest }.into());
        }
        Ok((decoded.mean, totals, masks.survivors().len()))
    }

    /// Goes on with the next global model, or ends the session where there cannot be one.
    fn adopt(
        &mut self,
        next_global: Result<(GlobalModel, Vec<Digest>), ServerError>,
        input: impl FnOnce(Digest) -> Input,
    ) -> Result<Vec<Output>, ServerError> {
        let mut next = self.session.clone();
        match next_global {
            Ok((global, optimizer)) => {
                let model = global.digest();
                let outputs = next.step(&input(model), self.now_ms())?;
                self.store.put(model, &global.vector())?;
                self.commit_model(next, optimizer, Some(global))?;
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

    fn mean_of(&self, contributions: &[Contribution]) -> Result<MeanDelta, ServerError> {
        let parameter_count = self.session.schema().parameter_count;
        let mut aggregator = Aggregator::new(parameter_count, contributions)?;
        for contribution in contributions {
            // Checked before it is used: a damaged file is no fault of the site.
            self.store.read_pieces(contribution.update, |_, _: &[f32]| Ok::<(), ServerError>(()))?;
            self.store.read_pieces(contribution.update, |offset, values| {
                Ok::<(), ServerError>(aggregator.add(contribution.weight, offset, values)?)
            })?;
        }
        Ok(aggregator.finish()?)
    }

    fn next_global(&self, mean: MeanDelta, sites: usize) -> Result<(GlobalModel, Vec<Digest>), ServerError> {
        let parameter_count = self.global.parameters.len();
        let state = self.optimizer.iter().map(|&digest| self.store.get(digest)).collect::<Result<_, _>>()?;
        let algorithm = &self.session.config().hyperparameters.algorithm;
        let mut optimizer = server_optimizer(algorithm, parameter_count, state)?;
        let mut global = GlobalModel::clone(&self.global);
        global.advance(optimizer.as_mut(), &mean, sites as f64 / self.session.roster().members().len() as f64)?;
        drop(mean);
        if global.round == self.session.config().hyperparameters.rounds {
            // Nobody trains from it, so the finished model's hash is that of its weights.
            global.control = Vec::new();
        }
        let mut digests = Vec::new();
        for values in optimizer.state() {
            let digest = Digest::of_values(values);
            self.store.put(digest, values)?;
            digests.push(digest);
        }
        Ok((global, digests))
    }

    fn commit(&mut self, next: Session, optimizer: Vec<Digest>) -> Result<(), ServerError> {
        self.commit_model(next, optimizer, None)
    }

    /// Session and model change together, whether or not the history can be written afterwards.
    fn commit_model(
        &mut self,
        next: Session,
        optimizer: Vec<Digest>,
        global: Option<GlobalModel>,
    ) -> Result<(), ServerError> {
        let snapshot = Snapshot::new(next, optimizer);
        self.store.commit(&snapshot)?;
        self.session = snapshot.session;
        self.optimizer = snapshot.optimizer;
        if let Some(global) = global {
            self.global = Arc::new(global);
        }
        self.mirror()
    }

    /// Shows the session to readers, where they would see a difference.
    fn mirror(&mut self) -> Result<(), ServerError> {
        let record = self.session.record();
        if self.mirrored.as_ref() != Some(&record) {
            if let Some(path) = self.store.mirror(record.clone())? {
                self.history_kept_aside = Some(path);
            }
            self.mirrored = Some(record);
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
                let (id, model) = (self.session.id(), self.session.model());
                let signature = ModelSignature::sign(id, model, &self.keys.identity);
                let bytes = self.format.encode(&self.global, &self.session.record(), &signature);
                let bytes = bytes.map_err(|source| ServerError::Encode { path, source })?;
                Ok(self.store.create_model(&bytes)?)
            }
            Err(source) => Err(StoreError::Io { action: "read", path, source }.into()),
        }
    }
}

fn load_global(store: &SessionStore, session: &Session) -> Result<GlobalModel, ServerError> {
    let aggregated = session.rounds().iter().filter(|round| round.model_sha256.is_some());
    let algorithm = &session.config().hyperparameters.algorithm;
    let vector = store.get(session.model())?;
    Ok(GlobalModel::from_vector(vector, aggregated.count() as u32, session.schema(), algorithm))
}

/// The coordinator's secrets in one session.
struct Keys {
    identity: SigningKey,
    sealing: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn make(store: &SessionStore) -> Result<Self, KeyError> {
        let identity = SigningKey::from_bytes(&store.secret("coordinator.key")?);
        Ok(Self { identity, sealing: Zeroizing::new(store.secret("sealing.key")?) })
    }

    /// With another key than the roster's every site would refuse what the coordinator says.
    fn known(store: &SessionStore, session: &Session) -> Result<Self, KeyError> {
        let (identity, path) = store.known_secret("coordinator.key")?;
        let identity = SigningKey::from_bytes(&identity);
        if session.roster().coordinator() != Some(identity.verifying_key()) {
            return Err(KeyError::Foreign { path });
        }
        Ok(Self { identity, sealing: Zeroizing::new(store.known_secret("sealing.key")?.0) })
    }
}

/// The time of day at the start, continued by a clock that nobody sets.
fn steady_clock() -> Clock {
    let started_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let started = Instant::now();
    Box::new(move || started_ms + started.elapsed().as_millis() as u64)
}
