//! The server's own log: one file a day, the oldest removed. It says which routes were asked for, how it went and how
//! long it took; never who asked, from where, or what was sent.

use std::io;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, Level};
use crate::store::make_private_folder;

/// Keeps the log going; dropping it writes what is left.
pub struct Logs {
    folder: PathBuf,
    _writer: WorkerGuard,
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

/// Starts the log of this process, in the folder `logs` of the data folder.
///
/// # Errors
/// When the files cannot be written, or the process has a log already.
pub fn log_to_files(config: &Config) -> Result<Logs, LogError> {
    let folder = config.storage.data.join("logs");
    make_private_folder(&folder).map_err(|source| LogError::Folder { folder: folder.clone(), source })?;
    let files = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("server")
        .filename_suffix("log")
        .max_log_files(config.logs.days as usize)
        .build(&folder)
        .map_err(|error| LogError::Folder { folder: folder.clone(), source: io::Error::other(error) })?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    let level = match config.logs.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_max_level(level)
        .finish()
        .try_init()
        .map_err(|_| LogError::Taken)?;
    Ok(Logs { folder, _writer: guard })
}
