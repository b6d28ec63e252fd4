//! Two logs, one file a day each, the oldest removed. The server's says which routes were asked for, how it went and how
//! long it took; never who asked, from where, or what was sent. That of trainings says what happened to them and to
//! whom. Administrators read both on a page, from the end backwards.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, Level};
use crate::store::make_private_folder;

/// Keeps the log going; dropping it writes what is left.
pub struct Logs {
    folder: PathBuf,
    _writers: [WorkerGuard; 2],
}

impl Logs {
    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The files cannot be written.
    #[error("cannot write the log in {}", folder.display())]
    Folder {
        /// Where they would be.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// This process writes a log already.
    #[error("this process writes a log already")]
    Taken,
}

/// What goes into the log of trainings instead of the server's.
pub(crate) const TRAINING: &str = "training";

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Server,
    Training,
}

impl Kind {
    /// How the names of its files begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Training => TRAINING,
        }
    }
}

/// Where the logs of a data folder are.
fn folder(data: &Path) -> PathBuf {
    data.join("logs")
}

/// Starts the logs of this process, in the folder `logs` of the data folder.
///
/// # Errors
/// When the files cannot be written, or the process has a log already.
pub fn log_to_files(config: &Config) -> Result<Logs, LogError> {
    let folder = folder(&config.storage.data);
    make_private_folder(&folder).map_err(|source| LogError::Folder { folder: folder.clone(), source })?;
    let files = |kind: Kind| {
        let files = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix(kind.prefix())
            .filename_suffix("log")
            .max_log_files(config.logs.days as usize)
            .build(&folder)
            .map_err(|error| LogError::Folder { folder: folder.clone(), source: io::Error::other(error) })?;
        Ok::<_, LogError>(tracing_appender::non_blocking(files))
    };
    let ((server, first), (training, second)) = (files(Kind::Server)?, files(Kind::Training)?);
    let level = match config.logs.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let of_training = |metadata: &tracing::Metadata<'_>| metadata.target() == TRAINING;
    let server = tracing_subscriber::fmt::layer().with_writer(server).with_ansi(false);
    let training = tracing_subscriber::fmt::layer().with_writer(training).with_ansi(false).with_target(false);
    tracing_subscriber::registry()
        .with(level)
        .with(server.with_filter(filter_fn(move |metadata| !of_training(metadata))))
        .with(training.with_filter(filter_fn(of_training)))
        .try_init()
        .map_err(|_| LogError::Taken)?;
    Ok(Logs { folder, _writers: [first, second] })
}

/// Lines that are read at once ...
const LINES: usize = 200;
/// ... and bytes that are searched for them: a rare word in a long log takes several answers.
const SEARCHED: u64 = 8 << 20;
const BLOCK: u64 = 64 << 10;
const LEVELS: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LogLine")]
pub(crate) struct Line {
    /// RFC 3339.
    pub(crate) at: String,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) level: String,
    pub(crate) text: String,
}

impl Line {
    /// As the files have it: time, level, and the rest.
    fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(char::is_whitespace)?;
        let (level, text) = rest.trim_start().split_once(' ')?;
        let fine = at.ends_with('Z') && LEVELS.contains(&level);
        fine.then(|| Self { at: at.to_owned(), level: level.to_lowercase(), text: text.to_owned() })
    }

    /// 0 for an error.
    fn rank(&self) -> usize {
        LEVELS.iter().position(|level| level.eq_ignore_ascii_case(&self.level)).unwrap_or(LEVELS.len())
    }
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The least important level.
    pub(crate) level: Option<String>,
    /// A part of the line, whatever its case.
    pub(crate) text: String,
    /// Older than this place, as an answer named it.
    pub(crate) before: Option<Place>,
}

/// A place in a log: the file's day, and an offset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    day: String,
    offset: u64,
}

impl Place {
    /// `2026-11-26.1234`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (day, offset) = text.split_once('.')?;
        let fine = day.len() == 10 && day.chars().all(|c| c.is_ascii_digit() || c == '-');
        Some(Self { day: day.to_owned(), offset: offset.parse().ok()? }).filter(|_| fine)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.day, self.offset)
    }
}

/// Lines, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) lines: Vec<Line>,
    /// Where to go on; `None` where there is nothing older.
    pub(crate) older: Option<Place>,
}

/// Reads a log backwards.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn read(data: &Path, kind: Kind, wanted: &Wanted) -> io::Result<Page> {
    let folder = folder(data);
    let beginning = format!("{}.", kind.prefix());
    let mut days: Vec<String> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_prefix(&beginning)?.strip_suffix(".log")?.to_owned()))
        .filter(|day| wanted.before.as_ref().is_none_or(|before| *day <= before.day))
        .collect();
    days.sort();
    let least =
        wanted.level.as_ref().and_then(|least| LEVELS.iter().position(|level| level.eq_ignore_ascii_case(least)));
    let sought = wanted.text.to_lowercase();
    let fits = |line: &Line| {
        least.is_none_or(|least| line.rank() <= least)
            && (sought.is_empty() || line.text.to_lowercase().contains(&sought))
    };
    let mut page = Page::default();
    let mut searched = 0;
    while let Some(day) = days.pop() {
        let mut file = File::open(folder.join(format!("{beginning}{day}.log")))?;
        let length = file.metadata()?.len();
        let before = wanted.before.as_ref().filter(|before| before.day == day);
        let mut backwards =
            Backwards { end: before.map_or(length, |before| before.offset.min(length)), rest: Vec::new() };
        while let Some((offset, line)) = backwards.next(&mut file, &mut searched)? {
            page.lines.extend(Line::parse(&line).filter(fits));
            if page.lines.len() == LINES || searched > SEARCHED {
                page.older = (offset > 0 || !days.is_empty()).then_some(Place { day, offset });
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The lines of a file from a place on backwards.
struct Backwards {
    /// Before this the file was not read yet.
    end: u64,
    /// What was read and not given out, from `end` on.
    rest: Vec<u8>,
}

impl Backwards {
    /// The line before, and where it begins.
    fn next(&mut self, file: &mut File, searched: &mut u64) -> io::Result<Option<(u64, String)>> {
        if self.rest.last() == Some(&b'\n') {
            self.rest.pop();
        }
        loop {
            if let Some(start) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let line = self.rest.split_off(start + 1);
                let offset = self.end + self.rest.len() as u64;
                return Ok(Some((offset, String::from_utf8_lossy(&line).into_owned())));
            }
            if self.end == 0 {
                let line = std::mem::take(&mut self.rest);
                return Ok((!line.is_empty()).then(|| (0, String::from_utf8_lossy(&line).into_owned())));
            }
            let length = BLOCK.min(self.end);
            *searched += length;
            self.end -= length;
            file.seek(SeekFrom::Start(self.end))?;
            let mut block = vec![0; length as usize];
            file.read_exact(&mut block)?;
            let is_first = self.rest.is_empty();
            block.append(&mut self.rest);
            self.rest = block;
            if is_first && self.rest.last() == Some(&b'\n') {
                self.rest.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &Path, name: &str, lines: impl Iterator<Item = String>) {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).unwrap();
        fs::write(logs.join(name), lines.map(|line| line + "\n").collect::<String>()).unwrap();
    }

    #[test]
    fn a_log_is_read_backwards_over_blocks_and_days() {
        let folder = tempfile::tempdir().unwrap();
        let line = |day: u32, number: u32| {
            let level = if number.is_multiple_of(10) { " WARN" } else { " INFO" };
            let long = "x".repeat(if number == 7 { 200_000 } else { number as usize % 300 });
            format!("2026-11-{day}T00:00:00.{number:06}Z {level} request number={day}-{number} {long}")
        };
        log(folder.path(), "server.2026-11-24.log", (0..700).map(|number| line(24, number)));
        log(folder.path(), "server.2026-11-25.log", (0..300).map(|number| line(25, number)));
        log(folder.path(), "training.2026-11-25.log", [line(25, 9000)].into_iter());
        fs::write(folder.path().join("logs/server.2026-11-26.log"), "").unwrap();
        let all = |level: Option<&str>, text: &str| {
            let (level, text) = (level.map(str::to_owned), text.to_owned());
            let mut wanted = Wanted { level, text, before: None };
            let mut lines = Vec::new();
            loop {
                let page = read(folder.path(), Kind::Server, &wanted).unwrap();
                assert!(page.lines.len() <= LINES);
                lines.extend(page.lines.into_iter().map(|line| line.text.split(' ').nth(1).unwrap().to_owned()));
                let Some(older) = page.older else { return lines };
                wanted.before = Place::parse(&older.to_string());
            }
        };
        let newest_first = |number: &dyn Fn(u32) -> bool| {
            let of = |day: u32, count: u32| (0..count).rev().map(move |i| (day, i));
            let all = of(25, 300).chain(of(24, 700)).filter(|(_, i)| number(*i));
            all.map(|(day, i)| format!("number={day}-{i}")).collect::<Vec<_>>()
        };
        assert_eq!(all(None, ""), newest_first(&|_| true));
        assert_eq!(all(Some("warn"), ""), newest_first(&|i| i.is_multiple_of(10)));
        assert_eq!(all(None, "NUMBER=24-699"), ["number=24-699"]);
        assert_eq!(all(Some("error"), ""), Vec::<String>::new());
        let training = read(folder.path(), Kind::Training, &Wanted::default()).unwrap();
        assert_eq!((training.lines.len(), training.older), (1, None));
        assert!(read(&folder.path().join("missing"), Kind::Server, &Wanted::default()).unwrap().lines.is_empty());
        for bad in ["", "x", "2026-11-26", "../../../x.0", "2026-11-26.-1"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
