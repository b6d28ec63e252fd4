//! A contender as a process that answers requests, a line each.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::command::shown;

/// Ends with the value.
pub(super) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// What it says besides answers goes to `log`.
    pub(super) fn start(command: &mut Command, log: File) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("the worker's answers are not piped")?);
        Ok(Self { child, requests, answers })
    }

    /// The answer to a request as text; an error is the worker's reason why there is none, or that it has died.
    pub(super) fn ask(&mut self, request: &str) -> Result<String> {
        let requests = self.requests.as_mut().context("the worker's requests are not piped")?;
        let sent = writeln!(requests, "{request}").and_then(|()| requests.flush());
        let mut line = String::new();
        if sent.is_err() || self.answers.read_line(&mut line)? == 0 {
            bail!("the process ended ({}) at `{request}`", self.child.wait()?);
        }
        match line.trim().strip_prefix("- ") {
            Some(reason) => Err(anyhow!("{reason}")),
            None => Ok(line.trim().to_owned()),
        }
    }

    /// The answer as a number.
    pub(super) fn number(&mut self, request: &str) -> Result<f64> {
        let text = self.ask(request)?;
        text.parse().with_context(|| format!("the answer to `{request}` is '{text}'"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when there is nothing more to read.
        self.requests = None;
        self.child.wait().ok();
    }
}
