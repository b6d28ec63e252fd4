//! Which values make sense.

use std::path::Path;

use super::{Config, Database, Mail, Secret};
use crate::tls;

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
    let Config { server, storage, accounts, sessions, uploads, viewer, database, mail, logs, worker, settings: _ } =
        config;
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
    let token = &accounts.setup_token;
    let fine = matches!(token.expose().chars().count(), 0 | 16..);
    ensure(fine, "accounts.setup_token", length(token), "at least 16 characters, or nothing")?;
    within(accounts.bcrypt_cost, 10..=15, "accounts.bcrypt_cost", "10 to 15")?;
    within(accounts.password_score, 2..=4, "accounts.password_score", "2 to 4")?;
    within(accounts.failures, 1..=100, "accounts.failures", "1 to 100")?;
    within(accounts.failures_per_address, 1..=10_000, "accounts.failures_per_address", "1 to 10000")?;
    within(accounts.failure_minutes, 1..=1440, "accounts.failure_minutes", "1 to 1440 minutes")?;
    within(accounts.registrations_per_address, 1..=10_000, "accounts.registrations_per_address", "1 to 10000")?;
    within(accounts.reset_link_hours, 1..=168, "accounts.reset_link_hours", "1 to 168 hours")?;
    within(sessions.idle_minutes, 1..=1440, "sessions.idle_minutes", "1 to 1440 minutes")?;
    within(sessions.absolute_hours, 1..=168, "sessions.absolute_hours", "1 to 168 hours")?;
    check_database(database)?;
    check_mail(mail, url)?;
    within(uploads.quota_gib, 1..=1_000_000, "uploads.quota_gib", "1 to 1000000 GiB")?;
    within(uploads.reserve_gib, 0..=100_000, "uploads.reserve_gib", "0 to 100000 GiB")?;
    within(uploads.expire_days, 1..=365, "uploads.expire_days", "1 to 365 days")?;
    within(viewer.cache_mib, 1..=65_536, "viewer.cache_mib", "1 to 65536 MiB")?;
    within(logs.days, 1..=3650, "logs.days", "1 to 3650 days")?;
    within(worker.grace_seconds, 1..=600, "worker.grace_seconds", "1 to 600 seconds")
}

fn check_database(database: &Database) -> Result<(), Bad> {
    let address = database.url.expose();
    let fine = address.is_empty() || crate::users::Address::parse(address).is_ok();
    let expected = "postgresql://user:password@host:5432/database, with at most ?sslmode=require or ?sslmode=disable";
    ensure(fine, "database.url", length(&database.url), expected)?;
    authority(&database.ca, "database.ca")?;
    within(database.timeout_seconds, 1..=60, "database.timeout_seconds", "1 to 60 seconds")?;
    within(database.check_seconds, 1..=3600, "database.check_seconds", "1 to 3600 seconds")
}

fn check_mail(mail: &Mail, public_url: &str) -> Result<(), Bad> {
    let host = &mail.host;
    let fine = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    ensure(host.chars().all(fine), "mail.host", host, "the name of a server, such as \"smtp.hospital.example\"")?;
    if mail.is_on() {
        // A link must not lead where a request's own header says.
        let expected = "the address that users type: the links in mails begin with it, and mail.host is set";
        ensure(!public_url.is_empty(), "server.public_url", "empty", expected)?;
        let expected = "an e-mail address, because mail.host is set";
        ensure(crate::accounts::EmailAddress::parse(&mail.from).is_ok(), "mail.from", &mail.from, expected)?;
    }
    let both = mail.username.is_empty() == mail.password.expose().is_empty();
    ensure(both, "mail.password", length(&mail.password), "a password where mail.username is set, and only there")?;
    authority(&mail.ca, "mail.ca")?;
    within(mail.port, 1..=65535, "mail.port", "1 to 65535")?;
    within(mail.timeout_seconds, 1..=120, "mail.timeout_seconds", "1 to 120 seconds")?;
    within(mail.retry_hours, 1..=168, "mail.retry_hours", "1 to 168 hours")?;
    within(mail.per_recipient, 1..=1000, "mail.per_recipient", "1 to 1000")?;
    within(mail.per_address, 1..=10_000, "mail.per_address", "1 to 10000")
}

fn length(secret: &Secret) -> String {
    format!("a text of {} characters", secret.expose().chars().count())
}

fn authority(path: &Path, key: &'static str) -> Result<(), Bad> {
    let fine = path.as_os_str().is_empty() || tls::authorities(path).is_ok();
    ensure(fine, key, path.display(), "a PEM file with a certificate, or nothing")
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
