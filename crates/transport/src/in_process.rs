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

use federation::secagg::{Reply, Request};
use federation::{
    Evaluation, FailureReason, GlobalModel, Input, Output, Phase, Progress, Rejection, SessionConfig,
    SignedAnnouncement, SiteId, TrainerError, sealing,
};

use crate::client::{self, Own};
use crate::observer::Sent;
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
    let mut clients = by_site;
    let session = server.session();
    if !session.phase().is_over() {
        for (site, client) in &mut clients {
            let client = client.get_mut().unwrap_or_else(PoisonError::into_inner);
            client
                .join(server.out(), session.id(), session.roster())
                .map_err(|error| ServerError::Site { site: site.clone(), source: Box::new(error) })?;
        }
    }
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
    work: Work,
    abandoned: Arc<AtomicBool>,
}

enum Work {
    Task(Task, Arc<GlobalModel>, Arc<SignedAnnouncement>),
    Reply(Box<Request>),
}

struct Report {
    site: SiteId,
    round: u32,
    content: Content,
}

enum Content {
    Started(Task),
    Progress(Task, Progress),
    Trained(Result<(client::Outcome, Own), SiteError>),
    Evaluated(Result<(client::Outcome, Option<Own>), SiteError>),
    Replied(Result<Option<(Reply, Vec<u32>)>, SiteError>),
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
            // Clients do not panic while locked; a site that still works on an earlier round is waited for.
            let mut client = self.clients[&job.site].lock().unwrap_or_else(PoisonError::into_inner);
            let (task, global, announcement) = match &job.work {
                Work::Task(task, global, announcement) => (*task, global, announcement),
                Work::Reply(request) => {
                    report(Content::Replied(client.answer(request)));
                    continue;
                }
            };
            let mut progress = |progress| {
                report(Content::Progress(task, progress));
                if unwanted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let interrupted = unwanted().then_some(SiteError::Trainer(TrainerError::Interrupted));
            if interrupted.is_none() {
                report(Content::Started(task));
            }
            let hyperparameters = &self.config.hyperparameters;
            let content = match task {
                Task::Training => Content::Trained(interrupted.map_or_else(
                    || client.train_round(global, announcement, job.round, hyperparameters, &mut progress),
                    Err,
                )),
                Task::Evaluation => Content::Evaluated(interrupted.map_or_else(
                    || client.evaluate(global, announcement, job.round, hyperparameters, &mut progress),
                    Err,
                )),
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
        self.tell_protection();
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
        let minimum = session.needed_sites();
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

    /// Tells how updates travel, once that is decided.
    fn tell_protection(&mut self) {
        let session = self.server.session();
        if let Some(protection) = session.protection() {
            let sealed_because = session.record().sealed_because;
            let roster_fingerprint = session.roster().fingerprint();
            self.observer.observe(&Event::Protected { protection, sealed_because, roster_fingerprint });
        }
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
            Content::Trained(Ok((outcome, Own { num_examples, metrics, norm, epsilon }))) => {
                let event = Event::SiteTrained { site: site.clone(), round, num_examples, metrics, norm, epsilon };
                match self.input(&site, round, outcome, Task::Training) {
                    Ok(input) => (input, Some(event)),
                    Err(reason) => return self.refused(site, reason),
                }
            }
            Content::Evaluated(Ok((outcome, own))) => {
                let evaluation = own.map(|Own { num_examples, metrics, .. }| Evaluation { num_examples, metrics });
                let event = Event::SiteEvaluated { site: site.clone(), round, evaluation };
                match self.input(&site, round, outcome, Task::Evaluation) {
                    Ok(input) => (input, Some(event)),
                    Err(reason) => return self.refused(site, reason),
                }
            }
            Content::Replied(Ok(None)) => return Ok(()),
            Content::Replied(Ok(Some((reply, words)))) => {
                let sent = Event::SiteReplied { site: site.clone(), round, message: Sent::of(&reply, &words) };
                (Input::Replied { site: site.clone(), reply, words }, Some(sent))
            }
            Content::Trained(Err(_)) | Content::Evaluated(Err(_)) if self.stop.requested() => return Ok(()),
            // The machine's trouble, not the site's: nothing is lost, and the session goes on when it is well again.
            Content::Trained(Err(error @ SiteError::Vault(_)))
            | Content::Evaluated(Err(error @ SiteError::Vault(_)))
            | Content::Replied(Err(error)) => return Err(ServerError::Site { site, source: Box::new(error) }),
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

    /// What the coordinator takes from a site's result; why not, where it is not what the site has signed.
    fn input(&mut self, site: &SiteId, round: u32, outcome: client::Outcome, task: Task) -> Result<Input, String> {
        let site = site.clone();
        Ok(match (outcome, task) {
            (client::Outcome::Ready { samples_at_most }, Task::Training) => {
                Input::SiteTrained { site, round, samples_at_most }
            }
            (client::Outcome::Ready { .. }, Task::Evaluation) => Input::SiteEvaluated { site, round },
            (client::Outcome::Sealed(sealed), _) => {
                let sent = Event::SiteReplied { site: site.clone(), round, message: Sent::sealed(&sealed) };
                self.observer.observe(&sent);
                match self.server.open_sealed(&site, round, &sealed).map_err(|error| error.to_string())? {
                    sealing::Content::Update(update) => Input::UpdateReceived { site, round, update },
                    sealing::Content::Evaluation(evaluation) => Input::EvaluationReceived { site, round, evaluation },
                }
            }
        })
    }

    fn refused(&mut self, site: SiteId, reason: String) -> Result<(), ServerError> {
        self.observer.observe(&Event::SiteRejected { site, reason });
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
            self.carry_out(output)?;
        }
        Ok(Ok(()))
    }

    fn carry_out(&mut self, output: Output) -> Result<(), ServerError> {
        let event = match output {
            Output::StartRound { site, round } => {
                if round != self.round {
                    self.round = round;
                    self.observer.observe(&Event::RoundStarted { round });
                }
                return self.request(site, round, Task::Training);
            }
            Output::Evaluate { site, round } => return self.request(site, round, Task::Evaluation),
            Output::Ask { site } => {
                self.ask(site);
                return Ok(());
            }
            // The server has stored the update, or the words, and combines them itself.
            Output::UpdateAccepted { .. }
            | Output::AggregateReady { .. }
            | Output::WordsAccepted { .. }
            | Output::SumReady { .. } => return Ok(()),
            Output::SiteReady { site, round } => Event::SiteAwaitsSum { site, round },
            Output::SumStarted { round, purpose, sum } => Event::SumStarted { round, purpose, sum },
            Output::SumGivenUp { round, purpose, reason } => Event::SumGivenUp { round, purpose, reason },
            Output::SumCompleted { round, purpose, sum } => Event::SumCompleted { round, purpose, sum },
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
        Ok(())
    }

    fn request(&mut self, site: SiteId, round: u32, task: Task) -> Result<(), ServerError> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let announcement = Arc::new(self.server.announcement()?);
        let work = Work::Task(task, Arc::clone(self.server.global()), announcement);
        let job = Job { site: site.clone(), round, work, abandoned: Arc::clone(&abandoned) };
        self.tasks.insert(site, abandoned);
        // Workers live as long as the driver.
        self.jobs.send(job).ok();
        Ok(())
    }

    fn ask(&mut self, site: SiteId) {
        if let Some(request) = self.server.session().request(&site) {
            let work = Work::Reply(Box::new(request.clone()));
            let abandoned = Arc::new(AtomicBool::new(false));
            self.jobs.send(Job { site, round: self.server.session().round(), work, abandoned }).ok();
        }
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
