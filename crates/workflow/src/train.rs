//! A federated session on this machine, from the hospitals' folders to the global model's file.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atomic_write_file::AtomicWriteFile;
use detector::training::Sampling;
use detector::{
    Architecture, ArchitectureError, Device, Model, ParameterSchema, Plan, Provenance, ProvenanceSignature,
};
use federation::secagg::LEAST_SITES;
use federation::{
    Algorithm, GlobalModel, ModelSignature, Phase, SessionConfig, SessionId, SessionRecord, SiteId, SiteStatus,
};
use transport::{Event, FederatedClient, FederatedServer, ModelFormat, ServerError, Stop, in_process};

use crate::local::{DetectorTrainer, Task};
use crate::signed::LoadError;
use crate::site::{Site, SiteError, SiteRequest};

/// What to train, on what.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// The session's name: of its files, and to resume it.
    pub session: SessionId,
    /// The hospitals.
    pub sites: Vec<SiteRequest>,
    /// The network.
    pub architecture: Architecture,
    /// Preprocessing; its patch size is replaced by the hyper-parameters'.
    pub plan: Plan,
    /// Rounds, epochs, algorithm, deadlines.
    pub config: SessionConfig,
    /// How patches are drawn and varied.
    pub sampling: Sampling,
    /// Start from this model instead of random weights.
    pub initial: Option<PathBuf>,
    /// What a reader of the model must know about its data, e.g. that these are phantoms.
    pub note: String,
    /// Folder for `models/`, `sessions/`, `training_history.json` and the working copies.
    pub out: PathBuf,
    /// Where the arithmetic runs.
    pub device: Device,
}

impl TrainRequest {
    /// What the sites are told besides the hyper-parameters.
    pub fn task(&self) -> Result<Task, ArchitectureError> {
        let plan = Plan { patch_size: self.config.hyperparameters.patch_size as usize, ..self.plan.clone() };
        Task::new(self.architecture.clone(), plan, self.sampling.clone(), self.note.clone(), self.device.clone())
    }
}

/// What happens during training.
#[derive(Debug)]
pub enum TrainEvent<'a> {
    /// A site's scans are being prepared.
    Preparing {
        /// Which site.
        site: &'a SiteId,
        /// Scans done.
        done: usize,
        /// Scans of the site.
        total: usize,
    },
    /// A site is ready.
    SiteReady(&'a Site),
    /// A site cannot take part; the others go on.
    SiteUnusable(&'a SiteError),
    /// Something happened in the session.
    Session(&'a Event),
}

/// How training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainReport {
    /// Completed, failed or suspended.
    pub outcome: in_process::Outcome,
    /// The whole history of the session.
    pub record: SessionRecord,
}

/// Why training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The session.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The network.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The model to start from.
    #[error(transparent)]
    Initial(#[from] LoadError),
    /// It is of another network.
    #[error(
        "{path} holds another network than the one to be trained; leave out the network's name or the model to start from"
    )]
    InitialArchitecture {
        /// The file.
        path: PathBuf,
    },
    /// Too few hospitals are left.
    #[error("{usable} of {given} site(s) can take part, at least {minimum} are needed; first problem: {first}")]
    TooFewSites {
        /// That can train.
        usable: usize,
        /// That were named.
        given: usize,
        /// The session's minimum.
        minimum: u32,
        /// Of the unusable ones.
        first: SiteError,
    },
    /// Fewer hospitals than a round needs.
    #[error("{given} site(s) were named, every round needs {minimum}: name more with --site, or lower --min-sites")]
    FewerThanMinimum {
        /// That were named.
        given: usize,
        /// The session's minimum.
        minimum: u32,
    },
    /// Differential privacy without secure aggregation.
    #[error(
        "{given} site(s) were named; differential privacy goes with secure aggregation only, which needs {LEAST_SITES}: name \
         more with --site, or leave --privacy-noise out"
    )]
    PrivacyUnmasked {
        /// That were named.
        given: usize,
    },
    /// No hospital.
    #[error("no site was named: give --site NAME=DIR at least once")]
    NoSites,
    /// The description of the task beside the session.
    #[error("the session's description {path} cannot be {action}: {source}")]
    TaskFile {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Running statistics are no weights.
    #[error(
        "FedAvgM and FedAdam do more than average, which spoils the running statistics of the classic network's batch \
         normalisation; choose FedAvg, FedProx or SCAFFOLD, or another network"
    )]
    RunningStatistics,
    /// What an earlier session of this name left at a site.
    #[error("{path}, left by an earlier session, cannot be removed: {source}")]
    Memory {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A session of the same name, with other settings.
    #[error(
        "session {0} is already in this output folder, with other settings, sites or data than asked for now; choose \
         another output folder or another name"
    )]
    OtherSession(SessionId),
    /// A session that exists must be resumed.
    #[error("session {0} is already in this output folder; go on with --resume {0}, or choose another --session name")]
    SessionExists(SessionId),
    /// A session that is to be resumed does not exist.
    #[error("there is no session {0} in this output folder; the sessions are the folders below {1}")]
    NoSession(SessionId, PathBuf),
}

/// Creates the session and runs it to its end, or until `stop`.
pub fn train(
    request: &TrainRequest,
    observer: &mut dyn FnMut(TrainEvent<'_>),
    stop: &Stop,
) -> Result<TrainReport, TrainError> {
    if session_exists(&request.out, &request.session) {
        return Err(TrainError::SessionExists(request.session.clone()));
    }
    request.config.validate().map_err(ServerError::from)?;
    let (given, minimum) = (request.sites.len(), request.config.minimum_sites);
    if given == 0 {
        return Err(TrainError::NoSites);
    }
    if given < minimum as usize {
        return Err(TrainError::FewerThanMinimum { given, minimum });
    }
    if request.config.hyperparameters.differential_privacy.is_some() && given < LEAST_SITES {
        return Err(TrainError::PrivacyUnmasked { given });
    }
    let algorithm = request.config.hyperparameters.algorithm;
    let own_rule = matches!(algorithm, Algorithm::FedAvgM { .. } | Algorithm::FedAdam { .. });
    if own_rule && matches!(request.architecture, Architecture::ClassicUnet(_)) {
        return Err(TrainError::RunningStatistics);
    }
    let task = Arc::new(request.task()?);
    let mut names = BTreeSet::new();
    for site in &request.sites {
        // Two names that a file system may not tell apart would share a site's own folder.
        if !names.insert(site.id.as_str().to_lowercase()) {
            return Err(ServerError::DuplicateSite(site.id.clone()).into());
        }
        let path = memory(&request.out, &site.id, &request.session);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(TrainError::Memory { path, source });
            }
            _ => {}
        }
    }
    let clients = clients(&request.sites, minimum, &task, &request.out, &request.session, observer)?;
    let parameters = match &request.initial {
        Some(path) => {
            let model = crate::signed::load(path)?;
            if model.architecture != request.architecture {
                return Err(TrainError::InitialArchitecture { path: path.clone() });
            }
            model.parameters
        }
        None => {
            ParameterSchema::of(&task.architecture.build(&Device::flex())?).initial(request.config.hyperparameters.seed)
        }
    };
    let initial = GlobalModel::initial(parameters, task.schema_hash, &algorithm);
    // Before the session: whoever finds a session finds its description.
    write_task(&request.out, &request.session, &task, &request.sites)?;
    let format = Box::new(Safetensors { task: task.clone() });
    let sites: Vec<SiteId> = clients.iter().map(|client| client.site().clone()).collect();
    let (out, session, config) = (&request.out, request.session.clone(), request.config.clone());
    let mut server = FederatedServer::create(out, session, &sites, config, initial, format)?;
    run(&mut server, clients, observer, stop)
}

/// Goes on with the session where one of its name is there, provided that it is the one asked for.
pub fn train_or_resume(
    request: &TrainRequest,
    observer: &mut dyn FnMut(TrainEvent<'_>),
    stop: &Stop,
) -> Result<TrainReport, TrainError> {
    let TrainRequest { out, session, device, .. } = request;
    if !session_exists(out, session) {
        return train(request, observer, stop);
    }
    let (stored, sites) = read_task(out, session)?;
    let stored = Task { device: device.clone(), ..stored };
    let config = FederatedServer::open(out, session.clone(), Box::new(Safetensors { task: Arc::new(stored.clone()) }))?
        .session()
        .config()
        .clone();
    let wanted: Vec<SiteRequest> = request.sites.iter().map(absolute).collect();
    if stored != request.task()? || config != request.config || sites != wanted {
        return Err(TrainError::OtherSession(session.clone()));
    }
    resume(out, session, device, observer, stop)
}

/// Goes on with a session that was stopped or killed. The sites' folders are those of its start.
pub fn resume(
    out: &Path,
    session: &SessionId,
    device: &Device,
    observer: &mut dyn FnMut(TrainEvent<'_>),
    stop: &Stop,
) -> Result<TrainReport, TrainError> {
    if !session_exists(out, session) {
        return Err(TrainError::NoSession(session.clone(), out.join("sessions")));
    }
    let (mut task, sites) = read_task(out, session)?;
    task.device = device.clone();
    let task = Arc::new(task);
    let mut server = FederatedServer::open(out, session.clone(), Box::new(Safetensors { task: task.clone() }))?;
    if matches!(server.session().phase(), Phase::Completed | Phase::Failed) {
        return run(&mut server, Vec::new(), observer, stop);
    }
    let minimum = server.session().needed_sites();
    let clients = clients(&sites, minimum, &task, out, session, observer)?;
    run(&mut server, clients, observer, stop)
}

fn run(
    server: &mut FederatedServer,
    clients: Vec<FederatedClient>,
    observer: &mut dyn FnMut(TrainEvent<'_>),
    stop: &Stop,
) -> Result<TrainReport, TrainError> {
    // One worker: a site's training already uses all cores.
    let mut forward = |event: &Event| observer(TrainEvent::Session(event));
    let outcome = in_process::run(server, clients, NonZeroUsize::MIN, &mut forward, stop)?;
    Ok(TrainReport { outcome, record: server.session().record().clone() })
}

fn clients(
    requests: &[SiteRequest],
    minimum: u32,
    task: &Arc<Task>,
    out: &Path,
    session: &SessionId,
    observer: &mut dyn FnMut(TrainEvent<'_>),
) -> Result<Vec<FederatedClient>, TrainError> {
    let mut clients = Vec::new();
    let mut first_problem = None;
    for (i, request) in requests.iter().enumerate() {
        let mut progress = |done, total| observer(TrainEvent::Preparing { site: &request.id, done, total });
        let work = out.join("work").join(request.id.as_str());
        match Site::load(request, &task.plan, &work, &mut progress) {
            Ok(site) => {
                observer(TrainEvent::SiteReady(&site));
                let trainer =
                    DetectorTrainer::new(task.clone(), site.scans, stream(i), own(out, &site.id), session.clone());
                clients.push(FederatedClient::new(site.id, Box::new(trainer)));
            }
            Err(problem) => {
                observer(TrainEvent::SiteUnusable(&problem));
                first_problem.get_or_insert(problem);
            }
        }
    }
    let usable = clients.len();
    match first_problem {
        Some(first) if usable < minimum as usize => {
            Err(TrainError::TooFewSites { usable, given: requests.len(), minimum, first })
        }
        _ if requests.is_empty() => Err(TrainError::NoSites),
        _ => Ok(clients),
    }
}

/// Where a site keeps what is its own.
fn own(out: &Path, site: &SiteId) -> PathBuf {
    out.join("work").join(site.as_str())
}

/// Where it does so in a session.
fn memory(out: &Path, site: &SiteId, session: &SessionId) -> PathBuf {
    own(out, site).join(session.as_str())
}

/// Spreads the sites' indices over the seeds (Weyl sequence of the golden ratio).
pub(crate) fn stream(site: usize) -> u64 {
    (site as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The file of the final model.
struct Safetensors {
    task: Arc<Task>,
}

impl ModelFormat for Safetensors {
    fn encode(
        &self,
        model: &GlobalModel,
        session: &SessionRecord,
        signature: &ModelSignature,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let sites: BTreeSet<&SiteId> = session
            .rounds
            .iter()
            .flat_map(|r| &r.sites)
            .filter(|(_, s)| s.status == SiteStatus::Trained)
            .map(|(id, _)| id)
            .collect();
        let provenance = Provenance {
            session: session.session_id.as_str().to_owned(),
            rounds: session.rounds.len() as u32,
            sites: sites.into_iter().map(|s| s.as_str().to_owned()).collect(),
            note: self.task.note.clone(),
            signature: Some(ProvenanceSignature {
                coordinator: signature.coordinator.to_string(),
                signature: signature.signature.clone(),
            }),
        };
        let model = Model {
            architecture: self.task.architecture.clone(),
            plan: self.task.plan.clone(),
            parameters: model.parameters.clone(),
            provenance,
        };
        Ok(model.to_state_dict()?.to_safetensors())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Model::from_safetensors(bytes, Path::new("the session's model"))?.parameters)
    }
}

// ---------------------------------------------------------------- the task beside the session

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    schema_version: u32,
    task: Task,
    sites: Vec<TaskSite>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskSite {
    id: SiteId,
    folder: PathBuf,
    annotations: Option<PathBuf>,
}

const TASK_VERSION: u32 = 1;

fn session_folder(out: &Path, session: &SessionId) -> PathBuf {
    out.join("sessions").join(session.as_str())
}

/// Is there a session of this name in the folder, running or over?
pub fn session_exists(out: &Path, session: &SessionId) -> bool {
    session_folder(out, session).exists()
}

fn task_path(out: &Path, session: &SessionId) -> PathBuf {
    out.join("work").join(format!("{}.task.json", session.as_str()))
}

/// A resumed session may be called from another folder.
fn absolute(site: &SiteRequest) -> SiteRequest {
    let absolute = |p: &PathBuf| std::path::absolute(p).unwrap_or_else(|_| p.clone());
    SiteRequest {
        id: site.id.clone(),
        folder: absolute(&site.folder),
        annotations: site.annotations.as_ref().map(absolute),
    }
}

fn write_task(out: &Path, session: &SessionId, task: &Task, sites: &[SiteRequest]) -> Result<(), TrainError> {
    let path = task_path(out, session);
    let sites = sites.iter().map(absolute).map(|s| TaskSite { id: s.id, folder: s.folder, annotations: s.annotations });
    let sites = sites.collect();
    let file = TaskFile { schema_version: TASK_VERSION, task: task.clone(), sites };
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut target = AtomicWriteFile::open(&path)?;
        serde_json::to_writer_pretty(&mut target, &file)?;
        target.commit()
    };
    write().map_err(|source| TrainError::TaskFile { path: path.clone(), action: "written", source })
}

fn read_task(out: &Path, session: &SessionId) -> Result<(Task, Vec<SiteRequest>), TrainError> {
    let path = task_path(out, session);
    let read = || -> std::io::Result<TaskFile> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
    let file = read().map_err(|source| TrainError::TaskFile { path: path.clone(), action: "read", source })?;
    let sites = file.sites.into_iter();
    Ok((file.task, sites.map(|s| SiteRequest { id: s.id, folder: s.folder, annotations: s.annotations }).collect()))
}
