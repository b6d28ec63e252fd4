//! The settings of a server: an embedded, commented default, below a file, below the environment, below the command
//! line. A key that nobody knows is refused: a misspelt safety setting must not look as if it were in force.

mod check;
mod layers;
mod secret;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

pub use layers::{ConfigError, Origin, Setting, Sources};
pub use secret::Secret;

/// The default file, with comments, for people to start from.
pub const DEFAULT: &str = include_str!("default.toml");

/// All settings. What each means stands in [`DEFAULT`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The listener.
    pub server: Server,
    /// Where everything is kept.
    pub storage: Storage,
    /// Passwords and limits.
    pub accounts: Accounts,
    /// How long a log-in lasts.
    pub sessions: Sessions,
    /// The users' database.
    pub database: Database,
    /// The way out for mail.
    pub mail: Mail,
    /// Scans on their way in.
    pub uploads: Uploads,
    /// Slices of scans.
    pub viewer: Viewer,
    /// The log of requests.
    pub logs: Logs,
    /// Processes for heavy work.
    pub worker: Worker,
    /// Every setting as it was loaded, to be shown.
    #[serde(skip)]
    pub settings: Vec<Setting>,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What users type, without a path; empty where each request says it.
    pub public_url: String,
    /// Whether `X-Forwarded-For` is believed.
    pub forwarded_for: bool,
    /// Seconds.
    pub request_seconds: u64,
    /// Seconds.
    pub drain_seconds: u64,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// A relative path starts at the working folder.
    pub data: PathBuf,
}

/// `[accounts]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Empty where a random one is made.
    pub setup_token: Secret,
    /// log2 of bcrypt's rounds.
    pub bcrypt_cost: u32,
    /// 0 to 4.
    pub password_score: u8,
    /// Wrong passwords for one account.
    pub failures: u32,
    /// Wrong passwords from one address.
    pub failures_per_address: u32,
    /// Minutes.
    pub failure_minutes: u32,
    /// Registrations from one address in an hour.
    pub registrations_per_address: u32,
    /// Hours.
    pub reset_link_hours: u32,
    /// Whether a verified e-mail address is not enough.
    pub approve_always: bool,
}

/// `[sessions]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Minutes.
    pub idle_minutes: u32,
    /// Hours.
    pub absolute_hours: u32,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `postgresql://…`; empty where there is none.
    pub url: Secret,
    /// PEM; empty for the authorities that browsers know.
    pub ca: PathBuf,
    /// Seconds.
    pub timeout_seconds: u64,
    /// Seconds.
    pub check_seconds: u64,
}

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Empty where no mail is sent.
    pub host: String,
    /// The server's.
    pub port: u16,
    /// How the way to the server is kept private.
    pub encryption: Encryption,
    /// Empty where the server asks for none.
    pub username: String,
    /// The same.
    pub password: Secret,
    /// The sender.
    pub from: String,
    /// PEM; empty for the authorities that browsers know.
    pub ca: PathBuf,
    /// Seconds.
    pub timeout_seconds: u64,
    /// Hours.
    pub retry_hours: u32,
    /// Mails to one address in an hour.
    pub per_recipient: u32,
    /// Mails asked for from one network address in an hour.
    pub per_address: u32,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Begun in the open, then encrypted, or not sent at all.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all.
    None,
}

impl Mail {
    /// Whether mail is sent.
    pub fn is_on(&self) -> bool {
        !self.host.is_empty()
    }
}

/// `[uploads]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploads {
    /// GiB that one account may use.
    pub quota_gib: u32,
    /// GiB of the disk that are left to others.
    pub reserve_gib: u32,
    /// Days.
    pub expire_days: u32,
}

/// `[viewer]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Viewer {
    /// Mebibytes of slices and decoded scans kept in memory.
    pub cache_mib: usize,
}

/// `[logs]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// The least important lines to write.
    pub level: Level,
    /// Files kept.
    pub days: u32,
}

/// `[worker]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Empty where it is the program that runs.
    pub program: PathBuf,
    /// Seconds.
    pub grace_seconds: u64,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something to look at.
    Warn,
    /// Every request.
    Info,
    /// For developers.
    Debug,
}

impl Config {
    /// Puts the layers over each other and checks every value.
    ///
    /// # Errors
    /// When a source cannot be read, or holds a key that is not known or a value that makes no sense: the message names
    /// the file or variable, the key, and what was expected.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let config = layers::merge(sources)?;
        check::values(&config).map_err(|bad| {
            let setting = config.settings.iter().find(|setting| setting.key == bad.key);
            let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
            ConfigError::Value { origin, key: bad.key.to_owned(), found: bad.found, expected: bad.expected }
        })?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
