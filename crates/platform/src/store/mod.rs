//! What must not be lost: one SQLite database, whose commits are durable when they return, and a readable copy of the
//! users beside it.
//!
//! A change and its entry in the audit log are one transaction. Nothing here knows HTTP, passwords or rules: it keeps
//! what it is given. All SQL about users stands in [`users`].

pub(crate) mod annotations;
pub(crate) mod audit;
pub(crate) mod events;
pub(crate) mod failures;
pub(crate) mod inferences;
pub(crate) mod intents;
pub(crate) mod mails;
mod mirror;
pub(crate) mod models;
pub(crate) mod names;
pub(crate) mod resets;
pub(crate) mod scans;
pub(crate) mod sessions;
pub(crate) mod sharing;
pub(crate) mod trainings;
pub(crate) mod uploads;
pub(crate) mod users;
pub(crate) mod verifications;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::clock::Moment;

/// What makes the database, step by step; how many were taken is kept in SQLite's `user_version`. A step that somebody may
/// have taken is never changed: the next one goes on from it.
const STEPS: &[&str] = &[
    include_str!("schema/1_accounts.sql"),
    include_str!("schema/2_events.sql"),
    include_str!("schema/3_mail_and_remote_users.sql"),
    include_str!("schema/4_scans.sql"),
    include_str!("schema/5_trainings.sql"),
    include_str!("schema/6_inferences.sql"),
    include_str!("schema/7_uploads.sql"),
    include_str!("schema/8_preparation.sql"),
    include_str!("schema/9_sharing.sql"),
    include_str!("schema/10_volume.sql"),
];
const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// Why the stored data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder or a file in it.
    #[error("cannot use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two servers on one folder would overwrite each other's files.
    #[error("{} is in use by another server", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has no database.
    #[error("there is no database {}", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// Written by a later version of this program.
    #[error("the database {} has version {found}; this program knows versions up to {SCHEMA_VERSION}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// SQLite refuses.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A task that uses the database panicked or was given up.
    #[error("a task that uses the database did not end")]
    Task,
}

/// The open database and its folder.
pub(crate) struct Store {
    folder: PathBuf,
    /// Readers do not wait for a writer's disk. Closed before the writer, which tidies up as the last one.
    reader: Mutex<Connection>,
    writer: Mutex<Writer>,
    committed: Arc<Notify>,
    /// Held while this server runs.
    _lock: File,
}

/// The connection that changes things, and what the users' file last said.
struct Writer {
    connection: Connection,
    mirrored: Option<i64>,
}

impl Store {
    /// Opens the database of a folder, which is made where it is missing, and brings the users' file up to date.
    pub(crate) fn open(folder: &Path, now: Moment) -> Result<Self, StorageError> {
        let bad = |path: &Path| {
            let path = path.to_owned();
            |source| StorageError::Folder { path, source }
        };
        make_private_folder(folder).map_err(bad(folder))?;
        let path = folder.join("server.lock");
        let lock = private_file().open(&path).map_err(bad(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(bad(&path)(source)),
        }
        let database = database(folder);
        private_file().open(&database).map_err(bad(&database))?;
        let mut connection = Connection::open(&database)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode only FULL makes every commit durable.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection, &database)?;
        let reader = Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.set_prepared_statement_cache_capacity(64);
        let mut writer = Writer { connection, mirrored: None };
        mirror::synchronise(&mut writer, folder, now);
        Ok(Self {
            folder: folder.to_owned(),
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            committed: Arc::default(),
            _lock: lock,
        })
    }

    /// Runs `job` on the last committed state.
    pub(crate) async fn read<T: Send + 'static, E: From<StorageError> + Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let store = Arc::clone(self);
        blocking(move || job(&locked(&store.reader))).await
    }

    /// Runs `job` in a transaction. When this returns `Ok`, what it did is on the disk; otherwise nothing of it is.
    pub(crate) async fn write<T: Send + 'static, E: From<StorageError> + Send + 'static>(
        self: &Arc<Self>,
        now: Moment,
        job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let store = Arc::clone(self);
        blocking(move || {
            let writer = &mut *locked(&store.writer);
            let transaction = writer
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(StorageError::from)?;
            let done = job(&transaction)?;
            transaction.commit().map_err(StorageError::from)?;
            store.committed.notify_waiters();
            mirror::synchronise(writer, &store.folder, now);
            Ok(done)
        })
        .await
    }

    /// Ends when something is committed after this call.
    pub(crate) fn committed(&self) -> OwnedNotified {
        Arc::clone(&self.committed).notified_owned()
    }

    /// Lets go of the folder. Work on the database that was given up goes on in its own thread to its end, which is waited
    /// for; whoever starts next must find the folder free.
    pub(crate) async fn release(self: Arc<Self>) {
        for _ in 0..1000 {
            if Arc::strong_count(&self) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tracing::warn!("something still uses the database");
    }

    /// Checks the audit log on a connection of its own: a long log must not keep every other reader waiting.
    pub(crate) async fn verify_audit(self: &Arc<Self>) -> Result<audit::AuditReport, StorageError> {
        let store = Arc::clone(self);
        blocking(move || audit::verify_audit(&store.folder)).await
    }

    /// Whether a file of this name lies in the folder.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        self.folder.join(name).is_file()
    }

    /// The size of the database in bytes, with its log.
    pub(crate) fn size_bytes(&self) -> u64 {
        let files = ["platform.db", "platform.db-wal"].map(|name| self.folder.join(name));
        files.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    }
}

async fn blocking<T: Send + 'static, E: From<StorageError> + Send + 'static>(
    job: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(job).await.unwrap_or_else(|_| Err(StorageError::Task.into()))
}

/// A panic inside a transaction rolls it back, so what the mutex guards stays sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The database of a folder.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("platform.db")
}

/// Opens a database to look at it, also while a server uses it.
pub(crate) fn open_to_read(folder: &Path) -> Result<Connection, StorageError> {
    let path = database(folder);
    if !path.is_file() {
        return Err(StorageError::Missing { path });
    }
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StorageError::Newer { path, found });
    }
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StorageError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StorageError::Newer { path: path.to_owned(), found });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or_default()) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

/// Opens or makes a file that nobody else reads, also in a folder that others see. SQLite gives its other files the rights
/// of the database.
fn private_file() -> OpenOptions {
    let mut options = File::options();
    options.create(true).write(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Hashes of passwords lie in it: nobody else on the machine needs to look.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests;
