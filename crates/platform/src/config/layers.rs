//! Puts sources over each other and remembers which value came from where.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{Config, DEFAULT};

/// What the name of an environment variable begins with; two underscores part the words of a key's path.
const PREFIX: &str = "FEDNODULE__";
/// Values that no message shows.
const SECRETS: [&str; 3] = ["accounts.setup_token", "database.url", "mail.password"];
/// Variables under the names that others have given them, in rising priority; each comes before the file and after our own
/// name for the setting.
const ALIASES: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("SUPABASE_DB_URL", "database.url")];

/// Where settings come from, in rising priority.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// A file of `NAME=value` lines; it may be missing.
    pub dot_env: Option<&'a Path>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// Key paths (`server.listen`) and values, as the command line gives them.
    pub explicit: Vec<(&'static str, String)>,
}

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// [`DEFAULT`]
    Default,
    /// A TOML file.
    File(PathBuf),
    /// A line of a `.env` file.
    DotEnv(PathBuf, String),
    /// An environment variable.
    Variable(String),
    /// The command line.
    Explicit,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::DotEnv(path, name) => write!(f, "{name} in {}", path.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::Explicit => f.write_str("the command line"),
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is not there or not readable.
    #[error("cannot read the settings in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no TOML, or a line of a `.env` file is none. The line itself is not shown: it may hold a secret.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// No setting has this name.
    #[error("{origin}: there is no setting {key}{}", meant.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        /// Where it was found.
        origin: Origin,
        /// Its path.
        key: String,
        /// A known one that looks alike.
        meant: Option<String>,
    },
    /// The value cannot be used.
    #[error("{origin}: {key} is {found}, expected {expected}")]
    Value {
        /// Where it was found.
        origin: Origin,
        /// The setting's path.
        key: String,
        /// The value, or for a secret what kind of value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
}

/// A setting with the source of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its path.
    pub key: String,
    /// As TOML writes it. A secret is hidden: `None`, also where there is none.
    pub value: Option<String>,
    /// Whether it is a secret that is set.
    pub hides: bool,
    /// Where it came from.
    pub origin: Origin,
}

/// Where each value that is not the default came from.
type Origins = BTreeMap<String, Origin>;

/// The merged settings, their types checked.
pub(super) fn merge(sources: &Sources<'_>) -> Result<Config, ConfigError> {
    let default = parse(Path::new("(default)"), DEFAULT)?;
    let sections = default.keys().cloned().collect();
    let mut layers = Layers { values: leaves(&default, &[]), origins: Origins::new(), sections };
    if let Some(path) = sources.file {
        let table = parse(path, &read(path)?)?;
        for (key, value) in leaves(&table, &layers.sections) {
            layers.set(&key, value, Origin::File(path.to_owned()))?;
        }
    }
    if let Some(path) = sources.dot_env {
        layers.set_variables(&dot_env(path)?, |name| Origin::DotEnv(path.to_owned(), name))?;
    }
    layers.set_variables(&sources.environment, Origin::Variable)?;
    for (key, value) in &sources.explicit {
        layers.set_text(key, value, Origin::Explicit)?;
    }
    let mut config = layers.config().map_err(|error| syntax(Path::new("(default)"), DEFAULT, &error))?;
    config.settings = layers.settings();
    Ok(config)
}

struct Layers {
    /// Every setting by its path: the defaults name them all.
    values: BTreeMap<String, Value>,
    origins: Origins,
    sections: Vec<String>,
}

impl Layers {
    fn settings(&self) -> Vec<Setting> {
        let setting = |(key, value): (&String, &Value)| {
            let is_secret = SECRETS.contains(&key.as_str());
            Setting {
                key: key.clone(),
                value: (!is_secret).then(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
                hides: is_secret && value.as_str().is_some_and(|text| !text.is_empty()),
                origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
            }
        };
        // In the order of the default file, where what belongs together stands together.
        let place = |setting: &Setting| {
            let (section, name) = setting.key.split_once('.')?;
            let section = DEFAULT.find(&format!("[{section}]"))?;
            Some(section + DEFAULT[section..].find(&format!("\n{name} ="))?)
        };
        let mut settings: Vec<Setting> = self.values.iter().map(setting).collect();
        settings.sort_by_key(place);
        settings
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let shown = if SECRETS.contains(&key) { "hidden".to_owned() } else { value.to_string() };
        let bad =
            |origin| ConfigError::Value { origin, key: key.to_owned(), found: shown.clone(), expected: expected(key) };
        let Some(known) = self.values.get_mut(key) else { return Err(self.unknown(key, origin)) };
        if !known.same_type(&value) {
            return Err(bad(origin));
        }
        *known = value;
        // Everything before was fine, so a complaint is about this value.
        if self.config().is_err() {
            return Err(bad(origin));
        }
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }

    /// A value that came as text takes the type of the default.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let parsed = match self.values.get(key) {
            Some(Value::Integer(_)) => text.trim().parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.trim().parse().ok().map(Value::Boolean),
            _ => None,
        };
        self.set(key, parsed.unwrap_or_else(|| Value::String(text.to_owned())), origin)
    }

    /// Other programs' variables are none of our business.
    fn set_variables(
        &mut self,
        variables: &[(String, String)],
        origin: impl Fn(String) -> Origin,
    ) -> Result<(), ConfigError> {
        for (alias, key) in ALIASES {
            for (name, value) in variables.iter().filter(|(name, value)| name == alias && !value.is_empty()) {
                self.set_text(key, value, origin(name.clone()))?;
            }
        }
        for (name, value) in variables {
            if let Some(path) = name.strip_prefix(PREFIX) {
                self.set_text(&path.to_ascii_lowercase().replace("__", "."), value, origin(name.clone()))?;
            }
        }
        Ok(())
    }

    fn unknown(&self, key: &str, origin: Origin) -> ConfigError {
        let near = self.values.keys().map(|known| (distance(known, key), known)).min();
        let meant = near.filter(|(distance, _)| *distance <= 3).map(|(_, known)| known.clone());
        ConfigError::UnknownKey { origin, key: key.to_owned(), meant }
    }

    fn config(&self) -> Result<Config, toml::de::Error> {
        let mut sections = Table::new();
        for (key, value) in &self.values {
            if let Some((section, name)) = key.split_once('.')
                && let Value::Table(section) = sections.entry(section).or_insert_with(|| Value::Table(Table::new()))
            {
                section.insert(name.to_owned(), value.clone());
            }
        }
        Config::deserialize(sections)
    }
}

/// What would do for a setting whose value does not even have the right form.
fn expected(key: &str) -> &'static str {
    match key {
        "server.listen" => "an address and a port, such as \"127.0.0.1:8080\"",
        "server.public_url"
        | "storage.data"
        | "accounts.setup_token"
        | "database.url"
        | "database.ca"
        | "mail.host"
        | "mail.username"
        | "mail.password"
        | "mail.from"
        | "mail.ca"
        | "worker.program" => "a text",
        "server.forwarded_for" | "accounts.approve_always" => "true or false",
        "mail.port" => "a port, such as 587",
        "mail.encryption" => "\"starttls\", \"tls\" or \"none\"",
        "logs.level" => "\"error\", \"warn\", \"info\" or \"debug\"",
        _ => "a whole number that is not negative",
    }
}

/// The values of a table by their paths.
fn leaves(table: &Table, sections: &[String]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open: Vec<(String, &Table)> = vec![(String::new(), table)];
    while let Some((path, table)) = open.pop() {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                Value::Table(inner) if !inner.is_empty() => open.push((path, inner)),
                Value::Table(_) if path.contains('.') => {
                    found.insert(path, value.clone());
                }
                // `[server]` with nothing below it changes nothing; any other empty section is unknown.
                Value::Table(_) if sections.contains(&path) => {}
                value => {
                    found.insert(path, value.clone());
                }
            }
        }
    }
    found
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn parse(path: &Path, text: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| syntax(path, text, &error))
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    ConfigError::Syntax { path: path.to_owned(), line, message: error.message().to_owned() }
}

fn dot_env(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
    };
    let parsed: Result<_, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    parsed.map_err(|error| {
        let line = match &error {
            dotenvy::Error::LineParse(bad, _) => text.lines().position(|line| line == bad).map_or(1, |at| at + 1),
            _ => 1,
        };
        ConfigError::Syntax { path: path.to_owned(), line, message: "expected NAME=value".to_owned() }
    })
}

/// How many letters must be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
