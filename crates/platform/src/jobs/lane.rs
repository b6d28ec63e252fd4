//! A lane: jobs of one kind, one after the other.

use std::ffi::OsString;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::event::Event;
use super::process::{Control, Outcome};
use super::{Inner, Jobs};

/// A job that is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: i64,
    /// The command and its arguments, after `--supervised --json`.
    pub(crate) arguments: Vec<OsString>,
}

/// What somebody wants of a job that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It can go on later.
    Suspend,
    /// For good.
    Cancel,
}

/// Where a lane's jobs come from and where their reports go. What waits, runs and has ended is kept there, not in the
/// lane: it outlives this process.
pub(crate) trait Work: Send + Sync + 'static {
    /// How far below this program in priority its workers run, 0 to 19.
    const NICE: u8;

    /// The job whose turn it is, from now on running; `None` while none waits. Called again after [`Lane::wake`], and
    /// after each end.
    fn next(&self) -> impl Future<Output = Option<Job>> + Send;

    /// Whether this job was asked to stop since it is running.
    fn stop_asked(&self, job: i64) -> impl Future<Output = Option<Stop>> + Send;

    /// Something happened.
    fn observe(&self, job: i64, event: Event) -> impl Future<Output = ()> + Send;

    /// Its worker has ended.
    fn ended(&self, job: i64, outcome: Outcome) -> impl Future<Output = ()> + Send;
}

/// Runs the jobs of a [`Work`]. Clones are the same lane.
#[derive(Clone)]
pub(crate) struct Lane(Arc<State>);

#[derive(Default)]
struct State {
    wake: Notify,
    current: Mutex<Option<(i64, Control)>>,
}

impl Lane {
    /// Begins with what waits, until the server stops.
    pub(crate) fn start<W: Work>(jobs: &Jobs, work: Arc<W>) -> Self {
        let lane = Self(Arc::default());
        let task = tokio::spawn(lane.clone().run(Arc::clone(&jobs.0), work));
        jobs.0.lanes().push(task);
        lane
    }

    /// Says that a job waits.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Asks the worker of a job to stop, where it has one. [`Work::stop_asked`] must know of it before: it is asked when
    /// the worker has just been started.
    pub(crate) fn stop(&self, job: i64, stop: Stop) {
        if let Some((_, control)) = self.current().as_ref().filter(|(current, _)| *current == job) {
            ask(control, stop);
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<(i64, Control)>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<W: Work>(self, jobs: Arc<Inner>, work: Arc<W>) {
        while !jobs.closing() {
            let next = tokio::select! {
                next = work.next() => next,
                () = jobs.closed() => break,
            };
            let Some(job) = next else {
                tokio::select! {
                    () = self.0.wake.notified() => {}
                    () = jobs.closed() => {}
                }
                continue;
            };
            let mut outcome = match jobs.program.start(W::NICE, &job.arguments) {
                Ok(mut running) => {
                    let control = running.control();
                    *self.current() = Some((job.id, control.clone()));
                    if let Some(stop) = work.stop_asked(job.id).await {
                        ask(&control, stop);
                    }
                    let _registered = jobs.register(control);
                    while let Some(event) = running.next().await {
                        work.observe(job.id, event).await;
                    }
                    let outcome = running.outcome().await;
                    *self.current() = None;
                    outcome
                }
                Err(error) => Outcome::not_started(&error),
            };
            outcome.server_stops = jobs.closing();
            work.ended(job.id, outcome).await;
        }
    }
}

fn ask(control: &Control, stop: Stop) {
    match stop {
        Stop::Suspend => control.suspend(),
        Stop::Cancel => control.cancel(),
    }
}
