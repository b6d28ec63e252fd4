//! What a worker tells while it works: one JSON object a line. Events and fields that this version does not know are
//! passed over, so that a newer worker can say more.

use std::path::PathBuf;

use federation::{Digest, Evaluation, Metrics, Protection, Purpose, RoundRecord, SealedBecause, SiteId, SumRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest text of an event that is kept, in characters.
const MAX_TEXT: usize = 1000;

/// A line of a worker.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// What it calculates on, and why not on something faster.
    Device {
        name: String,
        #[serde(default)]
        fallback: Option<String>,
    },
    Note {
        text: String,
    },
    Warning {
        text: String,
    },
    /// Why it is about to end.
    Error(Failure),

    /// A site's scans are being read and resampled.
    Preparing {
        site: SiteId,
        done: u64,
        total: u64,
    },
    SiteReady {
        site: SiteId,
        scans: u64,
        nodules: u64,
        #[serde(default)]
        problems: u64,
        #[serde(default)]
        unknown_series: u64,
    },
    SiteUnusable {
        site: SiteId,
        error: Failure,
    },
    /// How updates travel.
    Protected {
        protection: Protection,
        #[serde(default)]
        sealed_because: Option<SealedBecause>,
        roster_fingerprint: String,
    },
    RoundStarted {
        round: u32,
    },
    SumStarted {
        round: u32,
        purpose: Purpose,
        sum: Box<SumRecord>,
    },
    SumGivenUp {
        round: u32,
        purpose: Purpose,
        reason: String,
    },
    SumCompleted {
        round: u32,
        purpose: Purpose,
        sum: Box<SumRecord>,
    },
    /// A message left a site.
    SiteReplied {
        site: SiteId,
        round: u32,
        message: Sent,
    },
    SiteStarted {
        site: SiteId,
        round: u32,
        task: Task,
    },
    SiteProgress {
        site: SiteId,
        round: u32,
        task: Task,
        done: u64,
        total: u64,
        #[serde(default)]
        loss: Option<f64>,
    },
    SiteTrained {
        site: SiteId,
        round: u32,
        num_examples: u32,
        metrics: Metrics,
        /// With differential privacy, what the site's data have cost so far.
        #[serde(default)]
        epsilon: Option<f64>,
    },
    SiteEvaluated {
        site: SiteId,
        round: u32,
        #[serde(default)]
        evaluation: Option<Evaluation>,
    },
    SiteExcluded {
        site: SiteId,
        round: u32,
        reason: String,
    },
    SiteLate {
        site: SiteId,
        round: u32,
    },
    SiteDropped {
        site: SiteId,
        reason: String,
    },
    SiteRejected {
        site: SiteId,
        reason: String,
    },
    Aggregated {
        round: u32,
        model_sha256: Digest,
    },
    RoundCompleted {
        record: Box<RoundRecord>,
    },
    SessionCompleted {
        model_sha256: Digest,
        path: PathBuf,
    },
    SessionFailed {
        reason: String,
    },
    HistoryKeptAside {
        path: PathBuf,
    },

    ScanStarted {
        number: u32,
        total: u32,
    },
    Progress {
        stage: Stage,
        done: u64,
        total: u64,
    },
    ScanFinished {
        seriesuid: String,
        detections: u64,
    },
    ScanFailed {
        error: Failure,
    },

    /// One of a newer worker.
    #[serde(other)]
    Unknown,
}

/// What left a site.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Of a masked update.
    #[serde(default)]
    pub(crate) words_sha256: Option<Digest>,
}

/// What a site is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    Training,
    Evaluation,
}

/// Where a prediction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "InferenceStage")]
pub(crate) enum Stage {
    Loading,
    Preprocessing,
    Inference,
    Detection,
    Rendering,
}

/// What a worker could not do. The texts may name files: they are for whoever owns them, never for a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// `run`, `usage`, `input` or `output`.
    pub(crate) kind: String,
    pub(crate) exit_code: i32,
    pub(crate) message: String,
    #[serde(default, deserialize_with = "text_or_null")]
    pub(crate) advice: String,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Failure {
    fn shortened(mut self) -> Self {
        for text in [&mut self.kind, &mut self.message, &mut self.advice] {
            shorten(text);
        }
        self
    }
}

impl Event {
    /// The site that it is about.
    pub(crate) fn site(&self) -> Option<&SiteId> {
        match self {
            Self::Preparing { site, .. }
            | Self::SiteReady { site, .. }
            | Self::SiteUnusable { site, .. }
            | Self::SiteStarted { site, .. }
            | Self::SiteProgress { site, .. }
            | Self::SiteTrained { site, .. }
            | Self::SiteEvaluated { site, .. }
            | Self::SiteExcluded { site, .. }
            | Self::SiteLate { site, .. }
            | Self::SiteDropped { site, .. }
            | Self::SiteReplied { site, .. }
            | Self::SiteRejected { site, .. } => Some(site),
            _ => None,
        }
    }

    /// Reads a line; `None` where it is no event.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let mut event = serde_json::from_slice(line).ok()?;
        match &mut event {
            Self::Note { text } | Self::Warning { text } => shorten(text),
            Self::Device { name, fallback } => {
                shorten(name);
                fallback.iter_mut().for_each(shorten);
            }
            Self::SiteExcluded { reason, .. }
            | Self::SiteDropped { reason, .. }
            | Self::SiteRejected { reason, .. }
            | Self::SumGivenUp { reason, .. }
            | Self::SessionFailed { reason } => shorten(reason),
            Self::Protected { roster_fingerprint, .. } => shorten(roster_fingerprint),
            Self::ScanFinished { seriesuid, .. } => shorten(seriesuid),
            Self::Error(error) | Self::SiteUnusable { error, .. } | Self::ScanFailed { error } => {
                *error = error.clone().shortened();
            }
            _ => {}
        }
        Some(event)
    }
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Option<Event> {
        Event::read(line.as_bytes())
    }

    #[test]
    fn lines_of_this_and_of_newer_workers_are_read() {
        let ready =
            r#"{"event":"site_ready","site":"a","scans":4,"nodules":9,"problems":1,"unknown_series":0,"new":[1]}"#;
        let site = SiteId::new("a").unwrap();
        let expected = Event::SiteReady { site, scans: 4, nodules: 9, problems: 1, unknown_series: 0 };
        assert_eq!(read(ready), Some(expected));
        assert_eq!(read(r#"{"event":"something_new","x":1}"#), Some(Event::Unknown));
        let error = r#"{"event":"error","kind":"input","exit_code":3,"message":"m","advice":null}"#;
        assert!(matches!(read(error), Some(Event::Error(Failure { exit_code: 3, .. }))));
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "{\"event\":7}",
            r#"{"event":"site_late","site":"../etc","round":1}"#,
            "thread main panicked",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(Event::read(b"{\"event\":\"note\",\"text\":\"\xff\"}"), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let line = format!(r#"{{"event":"note","text":"{}"}}"#, "院".repeat(5000));
        let Some(Event::Note { text }) = read(&line) else { panic!() };
        assert_eq!(text.chars().count(), MAX_TEXT + 1);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            Event::read(&line);
        }
    }
}
