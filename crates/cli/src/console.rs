//! Where text goes: results to standard output, everything else to standard error.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use detector::{ChosenDevice, DeviceError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use unicode_width::UnicodeWidthStr;
use workflow::catalog::{Language, Message};
use workflow::failure::{Failure, FailureKind};
use workflow::files::OutputError;

/// How the program ends. The numbers are part of the interface: `fednodule --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success = 0,
    Run = 1,
    Usage = 2,
    Input = 3,
    Output = 4,
    /// As a shell reports a program ended by SIGINT.
    Interrupted = 130,
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Run => Self::Run,
            FailureKind::Usage => Self::Usage,
            FailureKind::Input => Self::Input,
            FailureKind::Output => Self::Output,
            FailureKind::Interrupted => Self::Interrupted,
        }
    }
}

/// An error as machines read it.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorRecord {
    kind: FailureKind,
    exit_code: u8,
    message: String,
    advice: String,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    pub(crate) language: Language,
    /// One JSON document on standard output instead of text.
    pub(crate) json: bool,
    /// One JSON object a line on standard error instead of text; see [`crate::supervised`].
    pub(crate) supervised: bool,
}

impl Console {
    pub(crate) fn text(&self, message: Message<'_>) -> String {
        message.text(self.language)
    }

    /// A line for a person who watches.
    pub(crate) fn note(&self, message: Message<'_>) {
        let text = self.text(message);
        if self.supervised { self.event(&json!({ "event": "note", "text": text })) } else { to_stderr(&text) }
    }

    /// Something that a supervisor hears of, and nobody else.
    pub(crate) fn event(&self, event: &impl Serialize) {
        if self.supervised {
            // Our own plain data: nothing in it cannot be written.
            to_stderr(&serde_json::to_string(event).unwrap_or_default());
        }
    }

    /// Says where the arithmetic runs, and why not on a GPU where one was looked for.
    pub(crate) fn device(&self, chosen: &ChosenDevice) {
        let device = chosen.name.to_uppercase();
        let reason = chosen.fallback.as_ref().map(|error| {
            self.text(match error {
                DeviceError::NotBuilt => Message::GpuNotBuilt,
                DeviceError::NotFound => Message::GpuNotFound,
            })
        });
        match &reason {
            _ if self.supervised => {
                self.event(&json!({ "event": "device", "name": device, "fallback": reason }));
            }
            None => self.note(Message::RunsOn { device: &device }),
            Some(reason) => self.note(Message::RunsOnInstead { device: &device, reason }),
        }
    }

    /// A line for a person who watches, marked as something to look at.
    pub(crate) fn warn(&self, text: &str) {
        if self.supervised {
            self.event(&json!({ "event": "warning", "text": text }));
        } else {
            to_stderr(&self.labelled(Message::Warning, text));
        }
    }

    /// The result of the command: `document` for machines, or else `text`.
    pub(crate) fn result(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let shown = if self.json { serde_json::to_string_pretty(document)? } else { text() };
        let mut out = io::stdout().lock();
        match writeln!(out, "{shown}").and_then(|()| out.flush()) {
            // Whoever read it has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(source) => Err(OutputError::Write { path: PathBuf::from("(stdout)"), source }.into()),
            Ok(()) => Ok(()),
        }
    }

    /// `name: value` for a person.
    pub(crate) fn field(&self, name: Message<'_>, value: &str) -> String {
        self.labelled(name, value)
    }

    fn labelled(&self, label: Message<'_>, text: &str) -> String {
        let label = self.text(label);
        match self.language {
            Language::Zh => format!("{label}：{text}"),
            Language::En => format!("{label}: {text}"),
        }
    }

    /// An error as machines read it.
    pub(crate) fn record(&self, error: &(dyn Error + 'static)) -> ErrorRecord {
        self.record_as(error, Failure::of(error))
    }

    fn record_as(&self, error: &(dyn Error + 'static), failure: Failure) -> ErrorRecord {
        let Failure { kind, advice } = failure;
        let causes = std::iter::successors(Some(error), |&error| error.source());
        let mut messages: Vec<String> = causes.map(ToString::to_string).collect();
        // Some errors repeat their cause.
        messages.dedup_by(|cause, outer| outer.contains(cause.as_str()));
        let message = messages.join(": ");
        ErrorRecord { kind, exit_code: Exit::from(kind) as u8, message, advice: self.text(advice) }
    }

    /// Says what went wrong and what to do, on standard error.
    pub(crate) fn complain(&self, record: &ErrorRecord) {
        if self.supervised {
            self.event(&Event { event: "error", content: record });
            return;
        }
        to_stderr(&self.labelled(Message::Failed, &record.message));
        to_stderr(&self.labelled(Message::Advice, &record.advice));
    }

    /// Ends the program with an error.
    pub(crate) fn failed(&self, error: &anyhow::Error) -> Exit {
        let error: &(dyn Error + 'static) = error.as_ref();
        self.failed_as(error, Failure::of(error))
    }

    /// Ends the program with an error of the web platform, which the jobs' own sorting does not know.
    pub(crate) fn failed_as(&self, error: &(dyn Error + 'static), failure: Failure) -> Exit {
        let record = self.record_as(error, failure);
        self.complain(&record);
        self.error_document(&record);
        Exit::from(record.kind)
    }

    /// Ends the program because its arguments make no sense.
    pub(crate) fn bad_arguments(&self, complaint: &str, suggestions: &[String], command: &str) -> Exit {
        let mut message = complaint.to_owned();
        if !suggestions.is_empty() {
            let meant = suggestions.join(", ");
            message = format!("{message}{}", self.text(Message::DidYouMean { meant: &meant }));
        }
        let advice = self.text(Message::AdviceUsage { command: &command });
        let record = ErrorRecord { kind: FailureKind::Usage, exit_code: Exit::Usage as u8, message, advice };
        self.complain(&record);
        self.error_document(&record);
        Exit::Usage
    }

    fn error_document(&self, record: &ErrorRecord) {
        if self.json {
            // A second failure to print has nowhere to go.
            self.result(&json!({ "error": record }), String::new).ok();
        }
    }

    /// A progress bar on standard error; hidden where nobody watches.
    pub(crate) fn bar(&self) -> ProgressBar {
        let watched = io::stderr().is_terminal() && !self.supervised;
        let target = if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// An event with the fields of something else.
#[derive(Serialize)]
struct Event<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    content: &'a T,
}

/// A table whose columns stand below each other in a terminal, numbers to the right.
pub(crate) fn table(titles: &[String], rows: &[Vec<String>]) -> String {
    let lines: Vec<&[String]> = std::iter::once(titles).chain(rows.iter().map(Vec::as_slice)).collect();
    let widths: Vec<usize> =
        (0..titles.len()).map(|column| lines.iter().map(|line| line[column].width()).max().unwrap_or(0)).collect();
    let is_number = |column: usize| {
        rows.iter().map(|row| &row[column]).all(|cell| cell.starts_with(|c: char| "+-–0123456789".contains(c)))
    };
    let line = |cells: &[String]| {
        let cells = cells.iter().enumerate().map(|(column, cell)| {
            let space = " ".repeat(widths[column] - cell.width());
            if is_number(column) { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn to_stderr(line: &str) {
    // Where standard error is closed there is nobody to tell.
    writeln!(io::stderr().lock(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_also_in_chinese() {
        let cells = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        let rows = [cells(&["联邦", "0.5", ""]), cells(&["site", "12.25", "计入"])];
        let text = table(&cells(&["训练方式", "CPM", "状态"]), &rows);
        assert_eq!(text, "训练方式    CPM  状态\n联邦        0.5\nsite      12.25  计入");
    }
}
