//! Which values make sense.

use super::Config;

/// A value that does not.
pub(super) struct Bad {
    /// Its path.
    pub(super) key: &'static str,
    /// What it is; a secret's length only.
    pub(super) found: String,
    /// What it should be.
    pub(super) expected: &'static str,
}

pub(super) fn values(config: &Config) -> Result<(), Bad> {
    let Config { server, storage, accounts, sessions, logs, worker } = config;
    let url = &server.public_url;
    ensure(
        url.is_empty() || is_origin(url),
        "server.public_url",
        url,
        "http:// or https:// and a host, without a path",
    )?;
    within(server.request_seconds, 1..=3600, "server.request_seconds", "1 to 3600 seconds")?;
    within(server.drain_seconds, 0..=600, "server.drain_seconds", "0 to 600 seconds")?;
    let data = storage.data.display();
    ensure(!storage.data.as_os_str().is_empty(), "storage.data", data, "the path of a folder")?;
    let token = accounts.setup_token.expose().chars().count();
    let found = format!("a text of {token} characters");
    ensure(token == 0 || token >= 16, "accounts.setup_token", found, "at least 16 characters, or nothing")?;
    within(accounts.bcrypt_cost, 10..=15, "accounts.bcrypt_cost", "10 to 15")?;
    within(accounts.password_score, 2..=4, "accounts.password_score", "2 to 4")?;
    within(accounts.failures, 1..=100, "accounts.failures", "1 to 100")?;
    within(accounts.failures_per_address, 1..=10_000, "accounts.failures_per_address", "1 to 10000")?;
    within(accounts.failure_minutes, 1..=1440, "accounts.failure_minutes", "1 to 1440 minutes")?;
    within(accounts.registrations_per_address, 1..=10_000, "accounts.registrations_per_address", "1 to 10000")?;
    within(accounts.reset_link_hours, 1..=168, "accounts.reset_link_hours", "1 to 168 hours")?;
    within(sessions.idle_minutes, 1..=1440, "sessions.idle_minutes", "1 to 1440 minutes")?;
    within(sessions.absolute_hours, 1..=168, "sessions.absolute_hours", "1 to 168 hours")?;
    within(logs.days, 1..=3650, "logs.days", "1 to 3650 days")?;
    within(worker.grace_seconds, 1..=600, "worker.grace_seconds", "1 to 600 seconds")
}

fn within<T: PartialOrd + ToString>(
    value: T,
    range: std::ops::RangeInclusive<T>,
    key: &'static str,
    expected: &'static str,
) -> Result<(), Bad> {
    ensure(range.contains(&value), key, value, expected)
}

fn ensure(fine: bool, key: &'static str, found: impl ToString, expected: &'static str) -> Result<(), Bad> {
    if fine { Ok(()) } else { Err(Bad { key, found: found.to_string(), expected }) }
}

/// `https://host` or `https://host:port`, as browsers write an `Origin`.
fn is_origin(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:-[]".contains(c))
    })
}
