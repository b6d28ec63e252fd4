//! One worker: a child process with commands on its standard input, events on its standard error and a document at the
//! end on its standard output.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::event::{Event, Failure};
use super::lines::{self, Line};

/// The longest line that is read: the record of a round with a thousand sites fits.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The largest document at the end.
const MAX_DOCUMENT_BYTES: usize = 16 << 20;
/// Events that wait to be dealt with; then the worker waits.
const WAITING_EVENTS: usize = 16;
/// So many lines that make no sense are logged, one by one.
const LOGGED_LINES: u64 = 3;
/// The exit code of a worker that stopped because it was asked to.
const INTERRUPTED: i32 = 130;
/// What `nice` answers where it cannot start the program.
const NO_PROGRAM: std::ops::RangeInclusive<i32> = 125..=127;

/// How workers are started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// Between asking a worker to stop and killing it.
    pub(super) grace: Duration,
    /// Pipes that something else holds open are left alone so long after the worker's end.
    pub(super) rest: Duration,
}

/// What a worker is asked for, in rising urgency: nothing takes an earlier wish back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Work,
    Suspend,
    Cancel,
    Kill,
}

/// Asks a worker to stop. Clones ask the same one.
#[derive(Debug, Clone)]
pub(crate) struct Control(Arc<watch::Sender<Wish>>);

impl Control {
    /// It stops at its next step and can go on later.
    pub(crate) fn suspend(&self) {
        self.ask(Wish::Suspend);
    }

    /// It ends for good.
    pub(crate) fn cancel(&self) {
        self.ask(Wish::Cancel);
    }

    /// It is ended, without being asked.
    pub(super) fn kill(&self) {
        self.ask(Wish::Kill);
    }

    fn ask(&self, wish: Wish) {
        self.0.send_if_modified(|present| {
            let more = wish > *present;
            *present = wish.max(*present);
            more
        });
    }
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With its work done.
    Completed,
    /// Because it was asked to; it can go on. Also one that had to be killed then.
    Suspended,
    /// By itself, with this code.
    Failed(i32),
    /// It crashed or something killed it.
    Crashed,
    /// It could not be started.
    NotStarted,
}

/// All about the end of a worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    /// The document of its standard output.
    pub(crate) document: Option<Value>,
    /// The last failure that it told of.
    pub(crate) failure: Option<Failure>,
    /// Whether the server was about to stop: nobody else need have wanted the end.
    pub(crate) server_stops: bool,
}

impl Outcome {
    pub(super) fn not_started(error: &io::Error) -> Self {
        tracing::error!(%error, "a worker could not be started");
        Self { exit: Exit::NotStarted, document: None, failure: None, server_stops: false }
    }
}

/// A worker at work.
pub(super) struct Running {
    events: mpsc::Receiver<Event>,
    control: Control,
    failure: Option<Failure>,
    end: JoinHandle<(Option<ExitStatus>, Option<Value>)>,
}

impl Program {
    /// Starts a worker with `arguments`, `nice` steps below this program in priority.
    pub(super) fn start(&self, nice: u8, arguments: &[OsString]) -> io::Result<Running> {
        if !self.path.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut command = self.command(nice);
        command.args(["--supervised", "--json"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // An interrupt from the terminal is for the server, which then asks its workers to stop.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a worker has no pipes");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let (tell, events) = mpsc::channel(WAITING_EVENTS);
        let (wish, wished) = watch::channel(Wish::Work);
        let end = tokio::spawn(attend(self.clone(), child, (stdin, stdout, stderr), tell, wished));
        Ok(Running { events, control: Control(Arc::new(wish)), failure: None, end })
    }

    /// `nice` sets the priority before the program has any thread, which no call from here could.
    #[cfg(unix)]
    fn command(&self, nice: u8) -> Command {
        let mut command = Command::new("nice");
        command.arg("-n").arg(nice.to_string()).arg(&self.path);
        command
    }

    #[cfg(not(unix))]
    fn command(&self, _: u8) -> Command {
        Command::new(&self.path)
    }
}

impl Running {
    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// The next event; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        if let Some(Event::Error(failure)) = &event {
            self.failure = Some(failure.clone());
        }
        event
    }

    /// Waits for its end.
    pub(super) async fn outcome(mut self) -> Outcome {
        while self.next().await.is_some() {}
        let (status, document) = (&mut self.end).await.unwrap_or_default();
        let asked = *self.control.0.borrow() != Wish::Work;
        let exit = match status.and_then(|status| status.code()) {
            Some(0) => Exit::Completed,
            Some(INTERRUPTED) => Exit::Suspended,
            Some(code) if NO_PROGRAM.contains(&code) => Exit::NotStarted,
            Some(code) => Exit::Failed(code),
            None if asked => Exit::Suspended,
            None => Exit::Crashed,
        };
        Outcome { exit, document, failure: self.failure.take(), server_stops: false }
    }
}

impl Drop for Running {
    /// Only an unfinished one is still being attended to.
    fn drop(&mut self) {
        self.end.abort();
    }
}

/// Passes wishes on and waits for the end.
async fn attend(
    program: Program,
    mut child: Child,
    (mut stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
    tell: mpsc::Sender<Event>,
    mut wished: watch::Receiver<Wish>,
) -> (Option<ExitStatus>, Option<Value>) {
    let ended = watch::Sender::new(false);
    // A worker may fill one pipe while it waits for the other.
    let told = tokio::spawn(read_events(stderr, tell, given_up(ended.subscribe(), program.rest)));
    let document = tokio::spawn(read_document(stdout, given_up(ended.subscribe(), program.rest)));
    let mut patience: Option<Instant> = None;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            changed = wished.changed() => {
                let wish = if changed.is_ok() { *wished.borrow_and_update() } else { Wish::Kill };
                let word = match wish {
                    Wish::Work => continue,
                    Wish::Suspend => "suspend\n",
                    Wish::Cancel => "cancel\n",
                    Wish::Kill => {
                        child.start_kill().ok();
                        continue;
                    }
                };
                patience = Some(Instant::now() + program.grace);
                // Where the worker does not listen any more, patience ends.
                stdin.write_all(word.as_bytes()).await.ok();
            }
            () = until(patience) => {
                tracing::warn!("a worker did not stop in time and is killed");
                patience = None;
                child.start_kill().ok();
            }
        }
    };
    ended.send_replace(true);
    told.await.ok();
    (status, document.await.unwrap_or_default())
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Ends a while after the worker did.
async fn given_up(mut ended: watch::Receiver<bool>, rest: Duration) {
    ended.wait_for(|ended| *ended).await.ok();
    sleep(rest).await;
}

async fn read_events(stderr: ChildStderr, tell: mpsc::Sender<Event>, given_up: impl Future<Output = ()>) {
    let (mut reader, mut buffer, mut given_up) = (BufReader::new(stderr), Vec::new(), pin!(given_up));
    let mut senseless = 0_u64;
    loop {
        let read = tokio::select! {
            biased;
            read = lines::next(&mut reader, &mut buffer, MAX_LINE_BYTES) => read,
            () = &mut given_up => break,
        };
        let (event, bytes) = match read {
            Ok(Some(Line::Text(line))) => (Event::read(line), line.len()),
            Ok(Some(Line::TooLong)) => (None, MAX_LINE_BYTES),
            Ok(None) | Err(_) => break,
        };
        match event {
            Some(Event::Unknown) => {}
            Some(event) => {
                // Nobody listens any more; the pipe is emptied all the same.
                tell.send(event).await.ok();
            }
            None => {
                senseless += 1;
                if senseless <= LOGGED_LINES {
                    // The line itself may name a file or a patient.
                    tracing::warn!(bytes, "a worker wrote a line that is no event");
                }
            }
        }
    }
    if senseless > LOGGED_LINES {
        tracing::warn!(lines = senseless, "a worker wrote lines that are no events");
    }
}

async fn read_document(mut stdout: ChildStdout, given_up: impl Future<Output = ()>) -> Option<Value> {
    let content = tokio::select! {
        biased;
        content = lines::all(&mut stdout, MAX_DOCUMENT_BYTES) => content.ok()?,
        () = given_up => None,
    };
    let Some(content) = content else {
        tracing::warn!("a worker's document is too large, or has no end");
        return None;
    };
    serde_json::from_slice(&content).ok()
}
