//! Heavy work in processes of their own: a crash or a lack of memory there leaves the server standing, a stop is certain,
//! and pages stay quick.
//!
//! A [`Lane`] runs the jobs of a [`Work`] one after the other. Nothing here knows what a job is about, keeps a queue or
//! a result: that is the work's, in the database. When the server stops, every worker is asked to suspend; when it dies,
//! a worker sees the end of its input and suspends by itself.

mod event;
mod lane;
mod lines;
mod process;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::config::Worker;
pub(crate) use event::{Event, Stage, Task};
pub(crate) use lane::{Job, Lane, Stop, Work};
use process::Program;
pub(crate) use process::{Control, Exit, Outcome};

/// Whatever a worker left in its pipes is read long before.
const REST: Duration = Duration::from_secs(5);
/// What is left after a kill: reading the pipes to their end, and storing how the job ended.
const AFTER_KILL: Duration = Duration::from_secs(8);

/// All lanes and their workers. Clones are the same.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Inner>);

pub(crate) struct Inner {
    program: Program,
    closing: watch::Sender<bool>,
    lanes: Mutex<Vec<JoinHandle<()>>>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    next: u64,
    controls: BTreeMap<u64, Control>,
}

impl Jobs {
    /// Without any lane yet.
    ///
    /// # Errors
    /// When this program does not know its own path, and the settings name no other.
    pub(crate) fn new(settings: &Worker) -> io::Result<Self> {
        let path = match settings.program.as_os_str().is_empty() {
            true => std::env::current_exe()?,
            // A name alone would be looked for elsewhere.
            false => std::path::absolute(&settings.program)?,
        };
        let program = Program { path, grace: Duration::from_secs(settings.grace_seconds), rest: REST };
        let closing = watch::Sender::new(false);
        Ok(Self(Arc::new(Inner { program, closing, lanes: Mutex::default(), running: Mutex::default() })))
    }

    /// Runs a short job beside all lanes and waits for its end, or the server's.
    pub(crate) async fn run(&self, nice: u8, arguments: &[std::ffi::OsString]) -> Outcome {
        match self.0.program.start(nice, arguments) {
            Ok(running) => {
                let _registered = self.0.register(running.control());
                running.outcome().await
            }
            Err(error) => Outcome::not_started(&error),
        }
    }

    /// Starts no more jobs, asks all workers to suspend, and waits for the lanes to end. What is not ready `within` is
    /// killed. Whether that was not needed.
    pub(crate) async fn close(&self, within: Duration) -> bool {
        self.0.closing.send_replace(true);
        self.0.running().controls.values().for_each(Control::suspend);
        let mut lanes = std::mem::take(&mut *self.0.lanes());
        if ended(&mut lanes, within).await {
            return true;
        }
        self.0.running().controls.values().for_each(Control::kill);
        if !ended(&mut lanes, AFTER_KILL).await {
            lanes.iter().for_each(JoinHandle::abort);
            ended(&mut lanes, AFTER_KILL).await;
        }
        false
    }
}

/// Whether all tasks end in this time. Those that have ended are taken out.
async fn ended(tasks: &mut Vec<JoinHandle<()>>, within: Duration) -> bool {
    let end = Instant::now() + within;
    while let Some(task) = tasks.last_mut() {
        if timeout_at(end, task).await.is_err() {
            return false;
        }
        tasks.pop();
    }
    true
}

impl Inner {
    fn closing(&self) -> bool {
        *self.closing.borrow()
    }

    async fn closed(&self) {
        // The sender lives as long as `self`.
        self.closing.subscribe().wait_for(|closing| *closing).await.ok();
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, control: Control) -> Registered<'_> {
        let mut running = self.running();
        running.next += 1;
        let number = running.next;
        running.controls.insert(number, control.clone());
        drop(running);
        // Whoever closes asks those who are registered; this one may have come after that.
        if self.closing() {
            control.suspend();
        }
        Registered { inner: self, number }
    }
}

/// A worker that is asked to suspend when the server stops, as long as this lives.
struct Registered<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.inner.running().controls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
