//! The users' database: one table in a schema of its own, and all SQL about it.
//!
//! Every statement stands alone, with its types named: it is prepared without a name, bound and run in one message, and
//! needs nothing that a connection remembers. So it makes no difference whether a pooler gives every transaction another
//! connection; we find out only to say so. Rows travel as JSON.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

use super::address::Address;
use super::authority;
use crate::accounts::{EmailAddress, Role, Status, is_institution, is_username};
use crate::clock::Moment;
use crate::config::Database;
use crate::store::users::{PasswordHash, User};
use crate::tls::PostgresTls;

/// The version of the table, kept beside it.
const SCHEMA: i64 = 1;
const CREATE: &str = include_str!("schema.sql");

/// Why the database is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody has asked yet.
    NotYet,
    /// No such host, or nothing answers there.
    Unreachable,
    Timeout,
    /// The connection ended.
    Closed,
    /// The certificate is not to be trusted, or there is no encryption.
    Tls(String),
    /// The user or the password is wrong.
    Credentials,
    NoDatabase,
    /// The user may not do what is needed.
    Denied,
    /// Made by a later version of this program.
    Newer(i64),
    /// What it holds would leave this server without an administrator.
    NoAdministrator,
    /// Another answer, by its SQLSTATE.
    Refused(String),
    /// The local copy cannot be brought up to date.
    Copy,
}

/// What stands between us and the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooler {
    /// Not known yet.
    Unknown,
    /// Nothing, or a pooler that gives each client a connection of its own.
    Session,
    /// A pooler that gives each transaction another connection.
    Transaction,
}

/// What a test of the connection has found.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    /// Of the server, such as `15.14`.
    pub(crate) version: String,
    pub(crate) is_encrypted: bool,
    pub(crate) pooler: Pooler,
    /// None where the table is still to be made.
    pub(crate) users: Option<i64>,
    pub(crate) row_level_security: bool,
    /// For a statement there and back.
    pub(crate) milliseconds: u64,
}

/// Whether a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    Done,
    /// The row is no longer what the change was decided on.
    Overtaken,
}

/// A user as the table holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) username: String,
    institution: String,
    role: String,
    status: String,
    password_hash: PasswordHash,
    email: Option<String>,
    email_new: Option<String>,
    created_at: i64,
    updated_at: i64,
    pub(super) version: i64,
    /// Of the change that made it so.
    pub(super) change_id: String,
}

impl Row {
    pub(super) fn of(user: &User, change_id: &str, now: Moment) -> Self {
        Self {
            username: user.username.clone(),
            institution: user.institution.clone(),
            role: user.role.name().to_owned(),
            status: user.status.name().to_owned(),
            password_hash: user.password_hash.clone(),
            email: user.email.clone(),
            email_new: user.email_new.clone(),
            created_at: user.created_at.0,
            updated_at: now.0,
            version: user.version,
            change_id: change_id.to_owned(),
        }
    }

    /// The user that it tells of. Others write into the table, too: what cannot be a user of ours is none.
    pub(super) fn user(&self) -> Option<User> {
        let fine = is_username(&self.username) && is_institution(&self.institution) && self.version > 0;
        let address = |text: &Option<String>| text.as_deref().is_none_or(EmailAddress::is_normal);
        if !fine || !self.password_hash.0.starts_with("$2") || !address(&self.email) || !address(&self.email_new) {
            return None;
        }
        Some(User {
            id: 0,
            username: self.username.clone(),
            institution: self.institution.clone(),
            role: Role::from_name(&self.role)?,
            status: Status::from_name(&self.status)?,
            password_hash: self.password_hash.clone(),
            email: self.email.clone(),
            email_new: self.email_new.clone(),
            created_at: Moment(self.created_at),
            version: self.version,
        })
    }
}

/// A connection, whose task ends with it.
struct Connected {
    client: Client,
    task: AbortHandle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Moves what a connection sends and gets. How it ends, the statements on it find out.
fn drive(connection: impl Future + Send + 'static, ended: Arc<Notify>) -> AbortHandle {
    let task = async move {
        connection.await;
        ended.notify_one();
    };
    tokio::spawn(task).abort_handle()
}

/// The database and the connection to it, if there is one.
pub(super) struct Remote {
    address: Address,
    tls: PostgresTls,
    limit: Duration,
    connection: Mutex<Option<Arc<Connected>>>,
    pooler: AtomicU8,
    /// Told when a connection ends by itself.
    ended: Arc<Notify>,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl Remote {
    pub(super) fn of(settings: &Database, ended: &Arc<Notify>) -> io::Result<Option<Self>> {
        let url = settings.url.expose();
        if url.is_empty() {
            return Ok(None);
        }
        let address = Address::parse(url).map_err(|()| io::Error::other("database.url is no address"))?;
        let tls = PostgresTls::new(authority(settings))?;
        let limit = Duration::from_secs(settings.timeout_seconds);
        let pooler = AtomicU8::new(Pooler::Unknown as u8);
        Ok(Some(Self { address, tls, limit, connection: Mutex::new(None), pooler, ended: Arc::clone(ended) }))
    }

    pub(super) fn shown(&self) -> &str {
        &self.address.shown
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn pooler(&self) -> Pooler {
        match self.pooler.load(Ordering::Relaxed) {
            code if code == Pooler::Transaction as u8 => Pooler::Transaction,
            code if code == Pooler::Session as u8 => Pooler::Session,
            _ => Pooler::Unknown,
        }
    }

    async fn connect(&self) -> Result<Connected, Failure> {
        let config = &self.address.config;
        let ended = Arc::clone(&self.ended);
        let connect = async {
            if self.address.is_encrypted() {
                let (client, connection) = config.connect(self.tls.clone()).await?;
                Ok(Connected { client, task: drive(connection, ended) })
            } else {
                let (client, connection) = config.connect(NoTls).await?;
                Ok(Connected { client, task: drive(connection, ended) })
            }
        };
        match timeout(self.limit, connect).await {
            Ok(connected) => connected.map_err(|error: tokio_postgres::Error| failure(&error)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    fn current(&self) -> Option<Arc<Connected>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the connection: what is still under way on it must not surprise the next one.
    pub(super) fn disconnect(&self) {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Makes sure that there is a connection and a table.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        if let Some(connected) = self.current()
            && !connected.client.is_closed()
        {
            return Ok(());
        }
        self.disconnect();
        let connected = self.connect().await?;
        if self.pooler() == Pooler::Unknown {
            self.pooler.store(self.find_pooler(&connected).await? as u8, Ordering::Relaxed);
        }
        match self.schema(&connected).await? {
            None => self.within(connected.client.batch_execute(CREATE)).await?,
            Some(SCHEMA) => {}
            Some(found) => return Err(Failure::Newer(found)),
        }
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(connected));
        Ok(())
    }

    async fn within<T>(&self, job: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        match timeout(self.limit, job).await {
            Ok(done) => done.map_err(|error| failure(&error)),
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// The version of the table, if it is there.
    async fn schema(&self, connected: &Connected) -> Result<Option<i64>, Failure> {
        let exists = "SELECT to_regclass('fednodule.meta') IS NOT NULL AND to_regclass('fednodule.users') IS NOT NULL";
        let row = self.within(connected.client.query_typed_one(exists, &[])).await?;
        if !row.get::<_, bool>(0) {
            return Ok(None);
        }
        let version = "SELECT coalesce(max(value), 0) FROM fednodule.meta WHERE key = 'schema'";
        Ok(Some(self.within(connected.client.query_typed_one(version, &[])).await?.get(0)))
    }

    /// Two clients of the database itself never share a connection. A pooler that gives connections to transactions only
    /// hands the one that was used last to whoever comes next.
    async fn find_pooler(&self, connected: &Connected) -> Result<Pooler, Failure> {
        if self.address.names_transaction_pooler {
            return Ok(Pooler::Transaction);
        }
        let other = self.connect().await?;
        let number = "SELECT pg_backend_pid()";
        let mine: i32 = self.within(connected.client.query_typed_one(number, &[])).await?.get(0);
        let others: i32 = self.within(other.client.query_typed_one(number, &[])).await?.get(0);
        Ok(if mine == others { Pooler::Transaction } else { Pooler::Session })
    }

    /// Runs one statement. A connection on which one has failed to come back is not used again.
    async fn run(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<tokio_postgres::Row>, (Failure, bool)> {
        let Some(connected) = self.current() else { return Err((Failure::Closed, true)) };
        let done = timeout(self.limit, connected.client.query_typed(sql, parameters)).await;
        let failed = match done {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => (failure(&error), is_certain(&error)),
            Err(_) => (Failure::Timeout, false),
        };
        if !failed.1 {
            self.disconnect();
        }
        Err(failed)
    }

    async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let rows = self.run(sql, parameters).await.map_err(|(failure, _)| failure)?;
        let parsed = rows.iter().map(|row| serde_json::from_str(row.get(0)));
        // Our own table cannot hold another shape, unless somebody has changed the table.
        parsed.collect::<Result<_, _>>().map_err(|_| Failure::Refused("shape".to_owned()))
    }

    pub(super) async fn all(&self) -> Result<Vec<Row>, Failure> {
        self.rows("SELECT row_to_json(u)::text FROM fednodule.users u ORDER BY username", &[]).await
    }

    pub(super) async fn one(&self, username: &str) -> Result<Option<Row>, Failure> {
        let sql = "SELECT row_to_json(u)::text FROM fednodule.users u WHERE username = $1";
        Ok(self.rows(sql, &[(&username, Type::TEXT)]).await?.pop())
    }

    /// Changes with every change of any row: the number of rows, and how often they were changed.
    pub(super) async fn fingerprint(&self) -> Result<(i64, i64), Failure> {
        let sql = "SELECT count(*), coalesce(sum(version), 0)::bigint FROM fednodule.users";
        let rows = self.run(sql, &[]).await.map_err(|(failure, _)| failure)?;
        let row = rows.first().ok_or(Failure::Closed)?;
        Ok((row.get(0), row.get(1)))
    }

    /// Makes a change, on the condition that the row is still of this version, or still not there. Where it fails, the
    /// answer says whether it is certain that nothing was changed.
    pub(super) async fn commit(&self, row: &Row, before: Option<i64>) -> Result<Commit, (Failure, bool)> {
        let json = serde_json::to_string(row).map_err(|_| (Failure::Copy, true))?;
        let insert =
            "INSERT INTO fednodule.users SELECT r.* FROM json_populate_record(NULL::fednodule.users, $1::json) r
                      ON CONFLICT (username) DO NOTHING RETURNING 1";
        let update = "UPDATE fednodule.users u SET institution = r.institution, role = r.role, status = r.status,
                      password_hash = r.password_hash, email = r.email, email_new = r.email_new, updated_at = r.updated_at,
                      version = r.version, change_id = r.change_id
                      FROM json_populate_record(NULL::fednodule.users, $1::json) r
                      WHERE u.username = r.username AND u.version = $2 RETURNING 1";
        let text: Parameter<'_> = (&json, Type::TEXT);
        let rows = match &before {
            None => self.run(insert, &[text]).await?,
            Some(version) => self.run(update, &[text, (version, Type::INT8)]).await?,
        };
        Ok(if rows.is_empty() { Commit::Overtaken } else { Commit::Done })
    }

    /// Makes sure that a change which is still on its way, for a row of this version, comes too late.
    pub(super) async fn outdate(&self, username: &str, version: i64) -> Result<(), Failure> {
        let sql = "UPDATE fednodule.users SET version = version + 1 WHERE username = $1 AND version = $2 RETURNING 1";
        let parameters: [Parameter<'_>; 2] = [(&username, Type::TEXT), (&version, Type::INT8)];
        self.run(sql, &parameters).await.map(drop).map_err(|(failure, _)| failure)
    }

    /// Fills an empty table, at once or not at all. How many rows there are more.
    pub(super) async fn fill(&self, rows: &[Row]) -> Result<usize, Failure> {
        let json = serde_json::to_string(rows).map_err(|_| Failure::Copy)?;
        let sql =
            "INSERT INTO fednodule.users SELECT r.* FROM json_populate_recordset(NULL::fednodule.users, $1::json) r
                   WHERE NOT EXISTS (SELECT 1 FROM fednodule.users) ON CONFLICT (username) DO NOTHING RETURNING 1";
        self.run(sql, &[(&json, Type::TEXT)]).await.map(|rows| rows.len()).map_err(|(failure, _)| failure)
    }

    /// Connects anew and looks around; changes nothing.
    pub(super) async fn test(&self) -> Result<Checked, Failure> {
        let connected = self.connect().await?;
        let pooler = match self.pooler() {
            Pooler::Unknown => self.find_pooler(&connected).await?,
            known => known,
        };
        let start = Instant::now();
        let version = self.within(connected.client.query_typed_one("SHOW server_version", &[])).await?;
        let milliseconds = u64::try_from(start.elapsed().as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let (users, row_level_security) = match self.schema(&connected).await? {
            Some(found) if found > SCHEMA => return Err(Failure::Newer(found)),
            Some(_) => {
                let sql = "SELECT (SELECT count(*) FROM fednodule.users),
                           (SELECT relrowsecurity FROM pg_class WHERE oid = 'fednodule.users'::regclass)";
                let row = self.within(connected.client.query_typed_one(sql, &[])).await?;
                (Some(row.get(0)), row.get(1))
            }
            None => (None, false),
        };
        let version: String = version.get(0);
        let version = version.split(' ').next().unwrap_or_default().to_owned();
        let is_encrypted = self.address.is_encrypted();
        Ok(Checked { version, is_encrypted, pooler, users, row_level_security, milliseconds })
    }
}

/// Whether an error proves that a statement has changed nothing: the database said so, and not a pooler or a database that
/// is about to stop.
fn is_certain(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| !["08", "57", "58", "XX"].iter().any(|class| code.code().starts_with(class)))
}

/// What an error means. Its own words may name a user, so they are not kept.
fn failure(error: &tokio_postgres::Error) -> Failure {
    if let Some(code) = error.code() {
        return match code {
            code if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Failure::Credentials
            }
            code if *code == SqlState::INVALID_CATALOG_NAME => Failure::NoDatabase,
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE => Failure::Denied,
            code if code.code().starts_with("57P") => Failure::Closed,
            code => Failure::Refused(code.code().to_owned()),
        };
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return Failure::Tls(tls.to_string());
            }
            return if error.kind() == io::ErrorKind::UnexpectedEof { Failure::Closed } else { Failure::Unreachable };
        }
        cause = error.source();
    }
    let text = error.to_string();
    if error.is_closed() {
        Failure::Closed
    } else if text.contains("TLS") {
        Failure::Tls("the server offers no encryption".to_owned())
    } else if text.contains("authentication") || text.contains("password") {
        Failure::Credentials
    } else {
        Failure::Unreachable
    }
}
