//! The carrier for one machine: sites are clients in this process, served by a few worker threads.
//!
//! With one worker the sites work one after the other, in order of their names, and their times add up against the
//! round's deadline. The global model does not depend on the number of workers.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use federation::{
    Evaluation, FailureReason, GlobalModel, Input, Output, Phase, Progress, Rejection, SessionConfig, SiteId,
    TrainerError, Update,
};

use crate::{Event, FederatedClient, FederatedServer, Observer, ServerError, SiteError, Stop, Task};

/// How often a waiting driver looks for [`Stop`].
const PATIENCE: Duration = Duration::from_millis(50);

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All rounds are done.
    Completed {
        /// The final model.
        model: PathBuf,
    },
    /// The session ended early.
    Failed {
        /// Why.
        reason: FailureReason,
    },
    /// [`Stop::suspend`] was called: the session can be resumed.
    Suspended,
}

/// Starts the session, or goes on with it, until it is over. Sites that were part of it and have no client now count
/// as gone.
pub fn run(
    server: &mut FederatedServer,
    clients: Vec<FederatedClient>,
    workers: NonZeroUsize,
    observer: &mut dyn Observer,
    stop: &Stop,
) -> Result<Outcome, ServerError> {
    let mut by_site = BTreeMap::new();
    for client in clients {
        let site = client.site().clone();
        if by_site.insert(site.clone(), Mutex::new(client)).is_some() {
            return Err(ServerError::DuplicateSite(site));
        }
    }
    let clients = by_site;
    let (jobs, queue) = mpsc::channel();
    let (reporter, reports) = mpsc::channel();
    let queue = Mutex::new(queue);
    let config = server.session().config().clone();
    thread::scope(|scope| {
        for _ in 0..workers.get() {
            let worker = Worker { queue: &queue, clients: &clients, config: &config, stop, reporter: reporter.clone() };
            scope.spawn(move || worker.work());
        }
        let mut driver = Driver { server, jobs, tasks: BTreeMap::new(), observer, stop, round: 0 };
        let outcome = driver.drive(&clients, &reports);
        driver.tasks.values().for_each(|abandoned| abandoned.store(true, Ordering::Relaxed));
        outcome
        // The driver drops the queue's sender here: workers end after their job.
    })
}

struct Job {
    site: SiteId,
    round: u32,
    task: Task,
    global: Arc<GlobalModel>,
    abandoned: Arc<AtomicBool>,
}

struct Report {
    site: SiteId,
    round: u32,
    content: Content,
}

enum Content {
    Started(Task),
    Progress(Task, Progress),
    Trained(Result<Update, SiteError>),
    Evaluated(Result<Option<Evaluation>, SiteError>),
}

struct Worker<'a> {
    queue: &'a Mutex<Receiver<Job>>,
    clients: &'a BTreeMap<SiteId, Mutex<FederatedClient>>,
    config: &'a SessionConfig,
    stop: &'a Stop,
    reporter: Sender<Report>,
}

impl Worker<'_> {
    fn work(&self) {
        loop {
            let job = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            // A driver that has gone needs no report.
            let report =
                |content| self.reporter.send(Report { site: job.site.clone(), round: job.round, content }).ok();
            let unwanted = || self.stop.requested() || job.abandoned.load(Ordering::Relaxed);
            let mut progress = |progress| {
                report(Content::Progress(job.task, progress));
                if unwanted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            // Clients do not panic while locked; a site that still works on an earlier round is waited for.
            let mut client = self.clients[&job.site].lock().unwrap_or_else(PoisonError::into_inner);
            let interrupted = unwanted().then_some(SiteError::Trainer(TrainerError::Interrupted));
            if interrupted.is_none() {
                report(Content::Started(job.task));
            }
            let content = match job.task {
                Task::Training => Content::Trained(interrupted.map_or_else(
                    || client.train_round(&job.global, job.round, &self.config.hyperparameters, &mut progress),
                    Err,
                )),
                Task::Evaluation => {
                    Content::Evaluated(interrupted.map_or_else(|| client.evaluate(&job.global, &mut progress), Err))
                }
            };
            report(content);
        }
    }
}

struct Driver<'a> {
    server: &'a mut FederatedServer,
    jobs: Sender<Job>,
    /// The newest job of every site, to be abandoned when nobody waits for it any more.
    tasks: BTreeMap<SiteId, Arc<AtomicBool>>,
    observer: &'a mut dyn Observer,
    stop: &'a Stop,
    round: u32,
}

impl Driver<'_> {
    fn drive(
        &mut self,
        clients: &BTreeMap<SiteId, Mutex<FederatedClient>>,
        reports: &Receiver<Report>,
    ) -> Result<Outcome, ServerError> {
        self.begin(clients)?;
        loop {
            match self.server.session().phase() {
                Phase::Completed => return Ok(Outcome::Completed { model: self.server.model_path() }),
                Phase::Failed => {
                    let reason = self.server.session().failure().cloned().unwrap_or(FailureReason::Cancelled);
                    return Ok(Outcome::Failed { reason });
                }
                _ => {}
            }
            if self.stop.cancelled() {
                self.step(&Input::Cancel)?.ok();
                continue;
            }
            if self.stop.requested() {
                return Ok(Outcome::Suspended);
            }
            if self.server.session().deadline_ms().is_some_and(|deadline| self.server.now_ms() >= deadline) {
                self.step(&Input::Tick)?.ok();
                continue;
            }
            match reports.recv_timeout(PATIENCE) {
                Ok(report) => self.report(report)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    fn begin(&mut self, clients: &BTreeMap<SiteId, Mutex<FederatedClient>>) -> Result<(), ServerError> {
        let session = self.server.session();
        let minimum = session.config().minimum_sites;
        if !session.phase().is_over() && clients.len() < minimum as usize {
            return Err(Rejection::TooFewSites { joined: clients.len(), minimum }.into());
        }
        self.step(&Input::Resume)?.ok();
        for site in clients.keys() {
            if self.server.session().sites().get(site) != Some(&true) {
                self.step(&Input::SiteJoined { site: site.clone() })?.ok();
            }
        }
        let present = self.server.session().sites().iter().filter(|(_, present)| **present);
        let gone: Vec<SiteId> =
            present.map(|(site, _)| site).filter(|site| !clients.contains_key(*site)).cloned().collect();
        for site in gone {
            self.step(&Input::SiteLeft { site, reason: "it has no data on this machine".into() })?.ok();
        }
        if self.server.session().phase() == Phase::Initialising {
            self.step(&Input::Start)??;
        }
        Ok(())
    }

    fn report(&mut self, Report { site, round, content }: Report) -> Result<(), ServerError> {
        let (input, event) = match content {
            Content::Started(task) => {
                self.observer.observe(&Event::SiteStarted { site, round, task });
                return Ok(());
            }
            Content::Progress(task, Progress { done, total, loss }) => {
                self.observer.observe(&Event::SiteProgress { site, round, task, done, total, loss });
                return Ok(());
            }
            Content::Trained(Ok(update)) => {
                let (num_examples, metrics) = (update.num_examples, update.metrics);
                let event = Event::SiteTrained { site: site.clone(), round, num_examples, metrics };
                (Input::UpdateReceived { site: site.clone(), round, update }, Some(event))
            }
            Content::Evaluated(Ok(evaluation)) => {
                let event = Event::SiteEvaluated { site: site.clone(), round, evaluation };
                (Input::EvaluationReceived { site: site.clone(), round, evaluation }, Some(event))
            }
            Content::Trained(Err(_)) | Content::Evaluated(Err(_)) if self.stop.requested() => return Ok(()),
            Content::Trained(Err(error)) | Content::Evaluated(Err(error)) => {
                (Input::SiteFailed { site: site.clone(), round, reason: chain(&error) }, None)
            }
        };
        let is_answer = event.is_some();
        if let (Err(rejection), true) = (self.step_with(&input, event)?, is_answer) {
            self.observer.observe(&Event::SiteRejected { site: site.clone(), reason: rejection.to_string() });
        }
        // It was late, and is free again.
        if self.server.session().sites().get(&site) == Some(&false) {
            self.step(&Input::SiteJoined { site })?.ok();
        }
        Ok(())
    }

    fn step(&mut self, input: &Input) -> Result<Result<(), Rejection>, ServerError> {
        self.step_with(input, None)
    }

    /// `event` is what an accepted answer of a site means to the observer.
    fn step_with(&mut self, input: &Input, event: Option<Event>) -> Result<Result<(), Rejection>, ServerError> {
        let outputs = match self.server.step(input)? {
            Ok(outputs) => outputs,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Some(path) = self.server.take_history_kept_aside() {
            self.observer.observe(&Event::HistoryKeptAside { path });
        }
        // An answer whose content was refused is told as an exclusion.
        if !matches!(outputs.first(), Some(Output::SiteExcluded { .. }))
            && let Some(event) = event
        {
            self.observer.observe(&event);
        }
        for output in outputs {
            self.carry_out(output);
        }
        Ok(Ok(()))
    }

    fn carry_out(&mut self, output: Output) {
        let event = match output {
            Output::StartRound { site, round } => {
                if round != self.round {
                    self.round = round;
                    self.observer.observe(&Event::RoundStarted { round });
                }
                return self.request(site, round, Task::Training);
            }
            Output::Evaluate { site, round } => return self.request(site, round, Task::Evaluation),
            // The server has stored the update and combines the updates itself.
            Output::UpdateAccepted { .. } | Output::AggregateReady { .. } => return,
            Output::SiteExcluded { site, round, reason } => Event::SiteExcluded { site, round, reason },
            Output::SiteLate { site, round } => {
                self.abandon(&site);
                Event::SiteLate { site, round }
            }
            Output::SiteDropped { site, reason } => {
                self.abandon(&site);
                Event::SiteDropped { site, reason }
            }
            Output::Aggregated { round, model } => Event::Aggregated { round, model_sha256: model },
            Output::RoundCompleted { record } => Event::RoundCompleted { record },
            Output::SessionCompleted { model } => {
                Event::SessionCompleted { model_sha256: model, path: self.server.model_path() }
            }
            Output::SessionFailed { reason } => Event::SessionFailed { reason: reason.to_string() },
        };
        self.observer.observe(&event);
    }

    fn request(&mut self, site: SiteId, round: u32, task: Task) {
        let abandoned = Arc::new(AtomicBool::new(false));
        let job = Job {
            site: site.clone(),
            round,
            task,
            global: Arc::clone(self.server.global()),
            abandoned: Arc::clone(&abandoned),
        };
        self.tasks.insert(site, abandoned);
        // Workers live as long as the driver.
        self.jobs.send(job).ok();
    }

    fn abandon(&self, site: &SiteId) {
        if let Some(abandoned) = self.tasks.get(site) {
            abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// An error with its causes, for a history that outlives it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
