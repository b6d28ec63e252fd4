//! Where sessions lie on disk.
//!
//! ```text
//! {out}/training_history.json                               all sessions, a mirror for readers
//! {out}/models/session_{id}_federated_model.safetensors     the results
//! {out}/sessions/{id}/session.json                          the truth about one session
//! {out}/sessions/{id}/coordinator.key, sealing.key          the coordinator's secrets, readable by their owner only
//! {out}/sessions/{id}/objects/{sha256}                      vectors that session.json refers to: f32, or masked words of 32 bits
//! {out}/sessions/{id}/lock                                  held by the process that runs the session
//! ```
//!
//! Objects are written before the `session.json` that refers to them and removed after the one that no longer does.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use federation::secagg::Roster;
use federation::{Digest, HistoryError, Session, SessionId, SessionRecord, SigningKey, SiteId, TrainingHistory};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::disk::{self, Disk, Fill};
use crate::keys::{self, KeyError};

/// Version of `session.json`.
const FORMAT: u32 = 3;

/// Why a session cannot be stored or loaded.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Created twice.
    #[error("session {id} exists already in {}: resume it or choose another id", path.display())]
    SessionExists {
        /// The session.
        id: SessionId,
        /// Its directory.
        path: PathBuf,
    },
    /// Never created.
    #[error("there is no session {id}: {} is missing", path.display())]
    NoSession {
        /// The session.
        id: SessionId,
        /// Its state.
        path: PathBuf,
    },
    /// Another process is at work.
    #[error("session {id} is being run by another process, which holds {}: wait for it or stop it", path.display())]
    InUse {
        /// The session.
        id: SessionId,
        /// The lock.
        path: PathBuf,
    },
    /// A file does not hold what was stored in it.
    #[error("{} is damaged ({reason}): restore it from a backup, or start a new session", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Made by another program.
    #[error(
        "{} has format {found}, this program knows {FORMAT}: go on with the program that made it, or start a new session",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The history was made by a newer program.
    #[error("cannot use {}", path.display())]
    History {
        /// The history.
        path: PathBuf,
        /// Why not.
        source: HistoryError,
    },
}

pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space, then resume the session: nothing is lost"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; allow this user to write there, then resume the session"
        }
        _ => "",
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// Four bytes of a vector.
pub(crate) trait Word: Copy {
    /// From little-endian bytes.
    fn of(bytes: [u8; 4]) -> Self;
    /// As little-endian bytes.
    fn bytes(self) -> [u8; 4];
}

impl Word for f32 {
    fn of(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }

    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

impl Word for u32 {
    fn of(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }

    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }
}

/// `session.json`: a state with the hash of its text. A changed digit would be read as another state otherwise.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    format: u32,
    sha256: Digest,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// The state that `session.json` holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) session: Session,
    /// The vectors of the server optimiser's state.
    pub(crate) optimizer: Vec<Digest>,
}

impl Snapshot {
    pub(crate) fn new(session: Session, optimizer: Vec<Digest>) -> Self {
        Self { session, optimizer }
    }

    fn needed_objects(&self) -> BTreeSet<Digest> {
        self.session.needed_updates().chain([self.session.model()]).chain(self.optimizer.iter().copied()).collect()
    }
}

/// The files of one session, locked for this process.
pub(crate) struct SessionStore {
    disk: Box<dyn Disk>,
    out: PathBuf,
    id: SessionId,
    _lock: File,
}

impl SessionStore {
    /// The store of a session that does not exist yet.
    pub(crate) fn create(disk: Box<dyn Disk>, out: &Path, id: SessionId) -> Result<Self, StoreError> {
        let objects = directory(out, &id).join("objects");
        disk::create_dir(disk.as_ref(), &objects).map_err(io_error("create", &objects))?;
        let store = Self::locked(disk, out, id)?;
        let path = store.snapshot_path();
        if path.exists() {
            return Err(StoreError::SessionExists { id: store.id, path: path.with_file_name("") });
        }
        Ok(store)
    }

    /// The store of a session that exists.
    pub(crate) fn open(disk: Box<dyn Disk>, out: &Path, id: SessionId) -> Result<(Self, Snapshot), StoreError> {
        let path = directory(out, &id).join("session.json");
        if !path.exists() {
            return Err(StoreError::NoSession { id, path });
        }
        let store = Self::locked(disk, out, id)?;
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        let damaged = |reason: String| StoreError::Damaged { path: path.clone(), reason };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if version.format != FORMAT {
            return Err(StoreError::Format { path, found: version.format });
        }
        let stored: Stored<'_> = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let found = Digest::of_bytes(stored.state.get().as_bytes());
        if found != stored.sha256 {
            return Err(damaged(format!("the SHA-256 of its state is {found}, written is {}", stored.sha256)));
        }
        let snapshot: Snapshot = serde_json::from_str(stored.state.get()).map_err(|e| damaged(e.to_string()))?;
        if snapshot.session.id() != &store.id {
            return Err(damaged(format!("it belongs to session {}", snapshot.session.id())));
        }
        // What the last commit before a crash did not get to.
        store.remove_unneeded(&snapshot.needed_objects());
        Ok((store, snapshot))
    }

    fn locked(disk: Box<dyn Disk>, out: &Path, id: SessionId) -> Result<Self, StoreError> {
        let path = directory(out, &id).join("lock");
        let lock = File::create(&path).map_err(io_error("create", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { disk, out: out.to_owned(), id, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { id, path }),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { action: "lock", path, source }),
        }
    }

    /// The directory of all sessions' files.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    fn snapshot_path(&self) -> PathBuf {
        directory(&self.out, &self.id).join("session.json")
    }

    fn object_path(&self, digest: Digest) -> PathBuf {
        directory(&self.out, &self.id).join("objects").join(digest.to_string())
    }

    /// Where the final model belongs.
    pub(crate) fn model_path(&self) -> PathBuf {
        self.out.join("models").join(format!("session_{}_federated_model.safetensors", self.id))
    }

    /// A secret of the coordinator in this session, made at the first time.
    pub(crate) fn secret(&self, name: &str) -> Result<[u8; 32], KeyError> {
        keys::secret(self.disk.as_ref(), &directory(&self.out, &self.id).join(name))
    }

    /// A secret that was made before, with its path.
    pub(crate) fn known_secret(&self, name: &str) -> Result<([u8; 32], PathBuf), KeyError> {
        let path = directory(&self.out, &self.id).join(name);
        Ok((keys::known_secret(&path)?, path))
    }

    /// The roster of sites that live below the same directory.
    pub(crate) fn local_roster(&self, sites: &[SiteId], coordinator: &SigningKey) -> Result<Roster, KeyError> {
        keys::local_roster(self.disk.as_ref(), &self.out, &self.id, sites, coordinator)
    }

    /// Stores a vector under its hash.
    pub(crate) fn put<T: Word>(&self, digest: Digest, values: &[T]) -> Result<(), StoreError> {
        let path = self.object_path(digest);
        let mut fill = |writer: &mut dyn io::Write| values.iter().try_for_each(|v| writer.write_all(&v.bytes()));
        disk::replace(self.disk.as_ref(), &path, &mut fill).map_err(io_error("write", &path))
    }

    /// Reads a vector in pieces; `each` gets their position. Fails at the end if the hash of the whole is not the name.
    pub(crate) fn read_pieces<T: Word, E: From<StoreError>>(
        &self,
        digest: Digest,
        mut each: impl FnMut(usize, &[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.object_path(digest);
        let mut file = File::open(&path).map_err(io_error("read", &path))?;
        let mut hasher = federation::Hasher::default();
        let (mut bytes, mut values, mut offset) = (vec![0; 1 << 18], Vec::with_capacity(1 << 16), 0);
        loop {
            let count = fill_from(&mut file, &mut bytes).map_err(io_error("read", &path))?;
            if count == 0 {
                break;
            }
            values.clear();
            values.extend(bytes[..count].as_chunks().0.iter().map(|bytes| T::of(*bytes)));
            hasher.update(&bytes[..count]);
            each(offset, &values)?;
            offset += values.len();
        }
        let found = hasher.finish();
        if found != digest {
            let reason = format!("its SHA-256 is {found}");
            return Err(StoreError::Damaged { path, reason }.into());
        }
        Ok(())
    }

    /// Reads a whole vector.
    pub(crate) fn get(&self, digest: Digest) -> Result<Vec<f32>, StoreError> {
        let mut all = Vec::new();
        self.read_pieces(digest, |_, values: &[f32]| {
            all.extend_from_slice(values);
            Ok::<(), StoreError>(())
        })?;
        Ok(all)
    }

    /// Makes a state the one to resume from.
    pub(crate) fn commit(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let path = self.snapshot_path();
        let mut fill = |writer: &mut dyn io::Write| {
            let state = serde_json::value::to_raw_value(snapshot)?;
            let sha256 = Digest::of_bytes(state.get().as_bytes());
            Ok(serde_json::to_writer(writer, &Stored { format: FORMAT, sha256, state: &state })?)
        };
        disk::replace(self.disk.as_ref(), &path, &mut fill).map_err(io_error("write", &path))?;
        self.remove_unneeded(&snapshot.needed_objects());
        Ok(())
    }

    /// What cannot be removed now is removed after the next commit.
    fn remove_unneeded(&self, needed: &BTreeSet<Digest>) {
        let entries = fs::read_dir(directory(&self.out, &self.id).join("objects")).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().into_string().unwrap_or_default();
            if !Digest::try_from(name).is_ok_and(|digest| needed.contains(&digest)) {
                self.disk.remove_file(&entry.path()).ok();
            }
        }
    }

    /// Puts the session's record into the training history. A history that cannot be read is kept aside: its new path
    /// is returned.
    pub(crate) fn mirror(&self, record: SessionRecord) -> Result<Option<PathBuf>, StoreError> {
        let path = history_path(&self.out);
        let lock_path = self.out.join("training_history.lock");
        let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
        lock.lock().map_err(io_error("lock", &lock_path))?;
        let (mut history, aside) = match read_history(&self.out) {
            Ok(history) => (history, None),
            Err(StoreError::Damaged { .. }) => {
                let free = (1u32..).map(|n| self.out.join(format!("training_history.damaged-{n}.json")));
                let aside = free.into_iter().find(|p| !p.exists()).unwrap_or_default();
                self.disk.rename(&path, &aside).map_err(io_error("move", &path))?;
                (TrainingHistory::default(), Some(aside))
            }
            Err(other) => return Err(other),
        };
        history.record(record);
        let mut fill =
            |writer: &mut dyn io::Write| serde_json::to_writer_pretty(writer, &history).map_err(io::Error::from);
        disk::replace(self.disk.as_ref(), &path, &mut fill).map_err(io_error("write", &path))?;
        Ok(aside)
    }

    /// Creates the final model's file; fails with `AlreadyExists` when it is there.
    pub(crate) fn create_model(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.model_path();
        let models = self.out.join("models");
        disk::create_dir(self.disk.as_ref(), &models).map_err(io_error("create", &models))?;
        let fill: Fill<'_> = &mut |writer| writer.write_all(bytes);
        disk::create(self.disk.as_ref(), &path, fill).map_err(io_error("create", &path))
    }

    /// Removes the second name that the final model keeps when a crash hits its creation.
    pub(crate) fn remove_temporary_model(&self) {
        self.disk.remove_file(&disk::temporary(&self.model_path())).ok();
    }
}

fn directory(out: &Path, id: &SessionId) -> PathBuf {
    out.join("sessions").join(id.as_str())
}

fn history_path(out: &Path) -> PathBuf {
    out.join("training_history.json")
}

/// Reads until the buffer is full or the file ends.
fn fill_from(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// The training history in the output directory `out`; empty where there is none.
pub fn read_history(out: &Path) -> Result<TrainingHistory, StoreError> {
    let path = history_path(out);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(TrainingHistory::default()),
        Err(e) => return Err(io_error("read", &path)(e)),
    };
    #[derive(Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let damaged = |e: serde_json::Error| StoreError::Damaged { path: path.clone(), reason: e.to_string() };
    // The version first: the rest of a newer history need not parse.
    let Version { schema_version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if let Err(source) = (TrainingHistory { schema_version, sessions: Vec::new() }).validated() {
        return Err(StoreError::History { path, source });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}
