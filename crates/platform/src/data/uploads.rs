//! Scans on their way in. A browser names the files that somebody chose, and hears which can be scans and why the others
//! cannot; then it sends the voxels piece by piece, as tus 1.0 says (<https://tus.io/protocols/resumable-upload>).
//!
//! What has arrived is the length of a file, so it outlives the server. A piece is written when its check sum was
//! right, and acknowledged when it is on the disk; pieces are taken one at a time. When all bytes are there the voxels
//! are looked at, the folder moves among the user's scans as a whole, and the scan's row is written last.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use imaging::metaimage::header_text;
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};

use super::annotations::write_table;
use super::examine::{Examined, Failure, examine, header_file, sync_folder};
use super::pairing::{Left, Offered, Pair, pair};
use super::{incoming, scans_folder};
use crate::accounts::{Address, Caller};
use crate::catalog::{Language, Message};
use crate::clock::{Clock, Moment};
use crate::config;
use crate::store::audit::{self, Action};
use crate::store::events::{self, Audience};
use crate::store::scans::{self, Scan};
use crate::store::uploads::{self as table, State, Upload};
use crate::store::{StorageError, Store, inferences, make_private_folder, trainings, users};
use crate::token::Token;

/// The most bytes of one piece.
pub(crate) const MAX_PIECE: u64 = 8 << 20;
/// Pieces that are received at the same time, each in memory until its check sum is known: of everybody, of one user.
const PIECES: usize = 32;
const PIECES_PER_USER: usize = 8;
/// Uploads of one user that are not finished.
const MAX_UNFINISHED: i64 = 2000;
/// How often to look for what has expired.
const LOOK: Duration = Duration::from_secs(600);
/// When the machine failed, before it is tried again.
const AGAIN: Duration = Duration::from_secs(30);
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// Why bytes, or a request about an upload, are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such upload or scan, or it is somebody else's.
    NotFound,
    /// The file has another length.
    Offset { stored: u64 },
    /// Another connection is at it.
    Locked,
    /// Too many connections are sending.
    Busy,
    /// Everything is there already.
    NotReceiving,
    /// The file changed between the first byte and the last.
    Changed,
    /// The disk is full.
    NoRoom,
    /// A training or an inference needs the scan.
    InUse,
}

/// Why something about data does not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error("a file cannot be read or written")]
    File(#[from] io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Refusal> for DataError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for DataError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// What becomes of a header that somebody chose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Bytes are wanted from `offset` on: 0 for a new upload, all of them for one that is being checked.
    Wanted { upload: String, data_path: String, bytes: u64, offset: u64 },
    /// The series is there.
    There { scan: i64 },
    /// It is no scan, or there is no room for it.
    Refused(Message),
}

/// What becomes of everything that somebody chose.
pub(crate) struct Plan {
    /// By the header's path.
    pub(crate) scans: Vec<(String, Outcome)>,
    pub(crate) left: Vec<Left>,
}

/// An upload and how many bytes of it are there.
pub(crate) struct Progress {
    pub(crate) upload: Upload,
    pub(crate) offset: u64,
    pub(crate) expires_at: Moment,
}

/// All uploads. Clones are the same.
#[derive(Clone)]
pub(crate) struct Uploads(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    clock: Clock,
    /// The data folder.
    folder: PathBuf,
    rules: config::Uploads,
    /// Uploads that a connection is at, with their users.
    in_use: Mutex<BTreeMap<String, i64>>,
    /// Pieces that are hashed or written at this moment: as many as there are processors, so that twenty uploads leave pages
    /// their share.
    at_work: Arc<Semaphore>,
    complete: Notify,
}

impl Uploads {
    /// Takes up what an earlier server left in the middle.
    pub(crate) async fn start(
        store: Arc<Store>,
        clock: Clock,
        folder: PathBuf,
        rules: config::Uploads,
    ) -> Result<Self, StorageError> {
        let uploads = Self(Arc::new(Inner {
            store,
            clock,
            folder,
            rules,
            in_use: Mutex::default(),
            at_work: Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZeroUsize::get))),
            complete: Notify::new(),
        }));
        uploads.0.remove_folders().await?;
        uploads.0.recover().await?;
        Ok(uploads)
    }

    /// What one account may use.
    pub(crate) fn quota_bytes(&self) -> u64 {
        u64::from(self.0.rules.quota_gib) << 30
    }

    /// Begins or takes up an upload for everything among `files` that can be a scan.
    pub(crate) async fn plan(&self, caller: &Caller, files: Vec<Offered>) -> Result<Plan, DataError> {
        let (inner, caller, now) = (Arc::clone(&self.0), caller.clone(), self.0.clock.now());
        let paired = tokio::task::spawn_blocking(move || pair(&files)).await.map_err(|_| StorageError::Task)?;
        let plan = self.0.store.write(now, move |db| {
            let (paired, left) = paired;
            let mut room = inner.room(db)?;
            let mut scans = Vec::with_capacity(paired.len());
            let mut began = false;
            for paired in paired {
                let outcome = match paired.result {
                    Ok(pair) => inner.begin(db, &caller, pair, &paired.path, &mut room, now)?,
                    Err(reason) => Outcome::Refused(reason),
                };
                began |= matches!(outcome, Outcome::Wanted { .. });
                scans.push((paired.path, outcome));
            }
            if began {
                tell(db, caller.user_id, &caller.username, now)?;
            }
            Ok::<_, DataError>(Plan { scans, left })
        });
        plan.await
    }

    /// The caller's unfinished uploads, the oldest first.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<Progress>, DataError> {
        let (inner, user) = (Arc::clone(&self.0), caller.user_id);
        let list = self.0.store.read(move |db| {
            let uploads = table::all_of_user(db, user)?;
            Ok::<_, DataError>(uploads.into_iter().map(|upload| inner.progress(upload)).collect())
        });
        list.await
    }

    pub(crate) async fn show(&self, caller: &Caller, id: &str) -> Result<Progress, DataError> {
        let upload = self.0.of_user(caller, id).await?;
        let inner = Arc::clone(&self.0);
        Ok(tokio::task::spawn_blocking(move || inner.progress(upload)).await.map_err(|_| StorageError::Task)?)
    }

    /// Gets ready to take the piece that begins at `offset`; nobody else can meanwhile.
    pub(crate) async fn open(&self, caller: &Caller, id: &str, offset: u64) -> Result<Slot, DataError> {
        let guard = Guard::take(&self.0, caller.user_id, id)?;
        let Progress { upload, offset: stored, .. } = self.show(caller, id).await?;
        if upload.state != State::Receiving {
            return Err(Refusal::NotReceiving.into());
        }
        if stored != offset {
            return Err(Refusal::Offset { stored }.into());
        }
        Ok(Slot { upload, offset, guard })
    }

    /// Forgets an upload that is not finished, and what has arrived of it.
    pub(crate) async fn cancel(&self, caller: &Caller, id: &str) -> Result<(), DataError> {
        let guard = Guard::take(&self.0, caller.user_id, id)?;
        let upload = self.0.of_user(caller, id).await?;
        if upload.state == State::Checking {
            return Err(Refusal::NotReceiving.into());
        }
        let (now, username) = (self.0.clock.now(), caller.username.clone());
        self.0.store.write(now, move |db| drop_upload(db, &upload, &username, now)).await?;
        drop(guard);
        Ok(self.0.remove_folders().await?)
    }

    /// Removes a scan with its files.
    pub(crate) async fn remove_scan(&self, caller: &Caller, id: i64, address: Address) -> Result<(), DataError> {
        let (inner, now, caller) = (Arc::clone(&self.0), self.0.clock.now(), caller.clone());
        let remove = self.0.store.write(now, move |db| {
            let scan = scans::of_user(db, caller.user_id, id)?.ok_or(Refusal::NotFound)?;
            if inferences::wants(db, id)? || trainings::has_open(db, caller.user_id)? {
                return Err(Refusal::InUse.into());
            }
            scans::remove(db, id)?;
            // The header lies in the scan's own folder.
            // One without would name the folder of all: nothing is removed then.
            if let Some((of_scan, _)) = scan.header_file.split_once('/').filter(|(of_scan, _)| !of_scan.is_empty()) {
                let folder = scans_folder(Path::new(""), &scan.username).join(of_scan);
                table::add_removal(db, &folder.to_string_lossy())?;
            }
            write_table(db, &inner.folder, caller.user_id, &caller.username, now)?;
            tell(db, caller.user_id, &caller.username, now)?;
            audit::append_by(db, Action::ScanRemoved, &caller, address, &id.to_string(), now)?;
            Ok::<_, DataError>(())
        });
        remove.await?;
        Ok(self.0.remove_folders().await?)
    }

    /// Looks at what is complete, and forgets what has expired, for ever.
    pub(crate) async fn keep(&self) {
        loop {
            let next = self.0.store.read(|db| table::next_to_check(db).map_err(StorageError::from)).await;
            let pause = match next {
                Ok(Some(upload)) => match self.0.check(upload).await {
                    Ok(()) => continue,
                    Err(error) => {
                        tracing::error!(%error, "a complete upload could not be looked at");
                        AGAIN
                    }
                },
                Ok(None) => {
                    if let Err(error) = self.0.expire().await {
                        tracing::error!(%error, "expired uploads could not be removed");
                    }
                    LOOK
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "uploads cannot be read");
                    AGAIN
                }
            };
            tokio::select! {
                () = self.0.complete.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// The right to send a piece of an upload.
struct Guard {
    inner: Arc<Inner>,
    id: String,
}

impl Guard {
    fn take(inner: &Arc<Inner>, user_id: i64, id: &str) -> Result<Self, Refusal> {
        let mut in_use = inner.in_use();
        if in_use.contains_key(id) {
            return Err(Refusal::Locked);
        }
        let own = in_use.values().filter(|user| **user == user_id).count();
        if in_use.len() >= PIECES || own >= PIECES_PER_USER {
            return Err(Refusal::Busy);
        }
        in_use.insert(id.to_owned(), user_id);
        Ok(Self { inner: Arc::clone(inner), id: id.to_owned() })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inner.in_use().remove(&self.id);
    }
}

/// Where the next piece of an upload goes.
pub(crate) struct Slot {
    upload: Upload,
    offset: u64,
    guard: Guard,
}

impl Slot {
    /// Bytes that are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.upload.bytes.saturating_sub(self.offset)
    }

    /// Whether `check` likes a piece.
    pub(crate) async fn looks_right(
        &self,
        piece: Vec<u8>,
        check: impl FnOnce(&[u8]) -> bool + Send + 'static,
    ) -> Result<(bool, Vec<u8>), DataError> {
        let permit = Arc::clone(&self.guard.inner.at_work).acquire_owned().await.map_err(|_| StorageError::Task)?;
        let look = move || {
            let _permit = permit;
            (check(&piece), piece)
        };
        Ok(tokio::task::spawn_blocking(look).await.map_err(|_| StorageError::Task)?)
    }

    /// Puts a piece whose check sum is right on the disk; `whole` is the hash that the complete file must have. The new
    /// length.
    pub(crate) async fn write(self, piece: Vec<u8>, whole: Option<[u8; 32]>) -> Result<u64, DataError> {
        // A browser that goes away does not stop this half-way: the guard goes along.
        let task = tokio::spawn(self.write_through(piece, whole));
        task.await.map_err(|_| StorageError::Task)?
    }

    async fn write_through(self, piece: Vec<u8>, whole: Option<[u8; 32]>) -> Result<u64, DataError> {
        let Self { upload, offset, guard } = self;
        let inner = Arc::clone(&guard.inner);
        let path = incoming(&inner.folder, &upload.id).join(&upload.data_file);
        let bytes = upload.bytes;
        let permit = Arc::clone(&inner.at_work).acquire_owned().await.map_err(|_| StorageError::Task)?;
        let append = move || -> Result<(u64, Guard), DataError> {
            let _permit = permit;
            let end = append(&path, offset, &piece)?;
            if end == bytes
                && let Some(wanted) = whole
                && hash_of(&path)? != wanted
            {
                let file = File::options().write(true).open(&path)?;
                file.set_len(0)?;
                file.sync_all()?;
                return Err(Refusal::Changed.into());
            }
            Ok((end, guard))
        };
        let (end, guard) = tokio::task::spawn_blocking(append).await.map_err(|_| StorageError::Task)??;
        let now = inner.clock.now();
        if end == bytes {
            let complete = inner.store.write(now, move |db| set_complete(db, &upload, now));
            complete.await?;
            inner.complete.notify_one();
        } else if now > upload.touched_at.plus_minutes(60) {
            inner.store.write(now, move |db| table::touch(db, &upload.id, now).map_err(StorageError::from)).await?;
        }
        drop(guard);
        Ok(end)
    }
}

fn set_complete(db: &Connection, upload: &Upload, now: Moment) -> Result<(), StorageError> {
    table::set_state(db, &upload.id, State::Checking, None)?;
    match users::by_id(db, upload.user_id)? {
        Some(user) => Ok(tell(db, user.id, &user.username, now)?),
        None => Ok(()),
    }
}

fn append(path: &Path, offset: u64, piece: &[u8]) -> Result<u64, DataError> {
    let write = || -> io::Result<u64> {
        let folder = path.parent().unwrap_or(path);
        make_private_folder(folder)?;
        let new = !path.exists();
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(piece)?;
        file.sync_data()?;
        if new {
            sync_folder(folder)?;
            folder.parent().map_or(Ok(()), sync_folder)?;
        }
        Ok(offset + piece.len() as u64)
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::NoRoom.into(),
        _ => error.into(),
    })
}

fn hash_of(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Whose lists have changed: the owner's, and what administrators see of them.
pub(super) fn tell(db: &Connection, user_id: i64, username: &str, now: Moment) -> rusqlite::Result<()> {
    let payload = json!({ "username": username });
    events::append(db, now, Audience::User(user_id), "data.changed", &payload).map(drop)
}

fn drop_upload(db: &Connection, upload: &Upload, username: &str, now: Moment) -> Result<(), StorageError> {
    table::remove(db, &upload.id)?;
    table::add_removal(db, &incoming(Path::new(""), &upload.id).to_string_lossy())?;
    Ok(tell(db, upload.user_id, username, now)?)
}

fn in_both_languages(message: &Message) -> Value {
    Language::ALL.into_iter().map(|language| (language.tag(), message.text(language))).collect()
}

impl Inner {
    fn in_use(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self, upload: &Upload) -> u64 {
        let path = incoming(&self.folder, &upload.id).join(&upload.data_file);
        match upload.state {
            State::Checking => upload.bytes,
            State::Receiving | State::Refused => fs::metadata(path).map_or(0, |file| file.len()),
        }
    }

    fn progress(&self, upload: Upload) -> Progress {
        let expires_at = upload.touched_at.plus_minutes(self.rules.expire_days * MINUTES_OF_A_DAY);
        Progress { offset: self.stored(&upload), expires_at, upload }
    }

    async fn of_user(&self, caller: &Caller, id: &str) -> Result<Upload, DataError> {
        let (user, id) = (caller.user_id, id.to_owned());
        let found = self.store.read(move |db| table::of_user(db, user, &id).map_err(StorageError::from)).await?;
        Ok(found.ok_or(Refusal::NotFound)?)
    }

    /// Bytes that may still be promised to somebody.
    fn room(&self, db: &Connection) -> Result<u64, DataError> {
        let free = fs4::available_space(&self.folder)?.saturating_sub(u64::from(self.rules.reserve_gib) << 30);
        let promised = table::all(db)?.iter().map(|upload| upload.bytes - self.stored(upload).min(upload.bytes)).sum();
        Ok(free.saturating_sub(promised))
    }

    fn begin(
        &self,
        db: &Connection,
        caller: &Caller,
        pair: Pair,
        header_path: &str,
        room: &mut u64,
        now: Moment,
    ) -> Result<Outcome, DataError> {
        let user_id = caller.user_id;
        let Pair { series_uid, header, header_sha256, data_path, data_bytes: bytes } = pair;
        if let Some(scan) = scans::of_series(db, user_id, &series_uid)? {
            return Ok(Outcome::There { scan });
        }
        let known = table::of_series(db, user_id, &series_uid)?;
        if let Some(known) = known {
            let same = known.header_sha256 == header_sha256 && known.bytes == bytes && known.state != State::Refused;
            return Ok(if same {
                let offset = self.stored(&known);
                if known.state == State::Receiving && offset == bytes {
                    table::set_state(db, &known.id, State::Checking, None)?;
                    self.complete.notify_one();
                }
                Outcome::Wanted { upload: known.id, data_path, bytes, offset }
            } else {
                Outcome::Refused(Message::PairUnfinished)
            });
        }
        let (unfinished, expected) = table::expected_of_user(db, user_id)?;
        if unfinished >= MAX_UNFINISHED {
            return Ok(Outcome::Refused(Message::PairTooMany { limit: MAX_UNFINISHED.to_string() }));
        }
        let used = scans::bytes_of_user(db, user_id)?.unsigned_abs() + expected.unsigned_abs();
        let quota = u64::from(self.rules.quota_gib) << 30;
        if used + bytes > quota {
            let used = format!("{:.1}", used as f64 / f64::from(1 << 30));
            return Ok(Outcome::Refused(Message::PairQuota { used, limit: self.rules.quota_gib.to_string() }));
        }
        let Some(left) = room.checked_sub(bytes) else { return Ok(Outcome::Refused(Message::PairDisk)) };
        *room = left;
        // Random, so that a folder's name is never used again.
        let id = Token::random().map_err(|_| StorageError::Task)?.expose().replace('-', "_");
        let single = data_path == header_path;
        let kind = match (single, header.compressed) {
            (true, _) => "mha",
            (false, true) => "zraw",
            (false, false) => "raw",
        };
        let data_file = format!("{series_uid}.{kind}");
        let upload = Upload {
            header: if single { String::new() } else { header_text(&header, &data_file) },
            id,
            user_id,
            series_uid,
            header_name: name(header_path),
            data_name: name(&data_path),
            header_sha256,
            data_file,
            bytes,
            state: State::Receiving,
            refusal: None,
            created_at: now,
            touched_at: now,
        };
        table::insert(db, &upload)?;
        Ok(Outcome::Wanted { upload: upload.id, data_path, bytes, offset: 0 })
    }

    /// Makes a scan of a complete upload, or says why it is none.
    async fn check(self: &Arc<Self>, upload: Upload) -> Result<(), DataError> {
        let user = upload.user_id;
        let owner = self.store.read(move |db| users::by_id(db, user).map_err(StorageError::from)).await?;
        let username = owner.map(|user| user.username).unwrap_or_default();
        let (from, to) = (incoming(&self.folder, &upload.id), scans_folder(&self.folder, &username).join(&upload.id));
        let looked_at = upload.clone();
        let examined = tokio::task::spawn_blocking(move || examine(&from, &to, &looked_at));
        let examined = match examined.await.map_err(|_| StorageError::Task)? {
            Err(Failure::System(error)) => return Err(io::Error::other(error).into()),
            Err(Failure::Refused(reason)) => Err(reason),
            Ok(examined) => Ok(examined),
        };
        let (now, inner) = (self.clock.now(), Arc::clone(self));
        let finish = self.store.write(now, move |db| {
            let Examined { about, geometry, bytes } = match examined {
                Ok(examined) => examined,
                Err(reason) => {
                    table::set_state(db, &upload.id, State::Refused, Some(&in_both_languages(&reason)))?;
                    return Ok::<_, DataError>(tell(db, upload.user_id, &username, now)?);
                }
            };
            let scan = Scan {
                id: 0,
                username: username.clone(),
                header_file: format!("{}/{}", upload.id, header_file(&upload)),
                series_uid: upload.series_uid,
                voxels_sha256: about.voxels_sha256,
                hu_min: about.hu_min,
                hu_max: about.hu_max,
                bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                grid: Some(geometry),
                created_at: now,
            };
            let id = scans::insert(db, upload.user_id, &scan)?;
            table::remove(db, &upload.id)?;
            write_table(db, &inner.folder, upload.user_id, &username, now)?;
            tell(db, upload.user_id, &username, now)?;
            let detail = id.to_string();
            let actor = Some(username.as_str());
            let entry = audit::Event { action: Action::ScanAdded, actor, target: None, address: None, detail: &detail };
            Ok(audit::append(db, &entry, now)?)
        });
        finish.await
    }

    async fn expire(self: &Arc<Self>) -> Result<(), DataError> {
        let now = self.clock.now();
        let last = now.minus_minutes(self.rules.expire_days * MINUTES_OF_A_DAY);
        let over = |upload: &Upload| upload.touched_at < last && upload.state != State::Checking;
        let uploads = self.store.read(|db| table::all(db).map_err(StorageError::from)).await?;
        for upload in uploads.into_iter().filter(over) {
            let Ok(_guard) = Guard::take(self, upload.user_id, &upload.id) else { continue };
            let drop = self.store.write(now, move |db| {
                let username = users::by_id(db, upload.user_id)?.map(|user| user.username).unwrap_or_default();
                drop_upload(db, &upload, &username, now)
            });
            drop.await?;
        }
        Ok(self.remove_folders().await?)
    }

    /// What a crash left between a file's last byte and the row that tells so.
    async fn recover(self: &Arc<Self>) -> Result<(), StorageError> {
        let (inner, now) = (Arc::clone(self), self.clock.now());
        let recover = self.store.write(now, move |db| {
            let uploads = table::all(db)?;
            for upload in &uploads {
                if upload.state == State::Receiving && inner.stored(upload) == upload.bytes {
                    table::set_state(db, &upload.id, State::Checking, None)?;
                }
            }
            Ok::<_, StorageError>(uploads.into_iter().map(|upload| upload.id).collect::<Vec<_>>())
        });
        let known = recover.await?;
        let folder = incoming(&self.folder, "");
        let remove_strangers = move || {
            let strangers = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in strangers.filter(|entry| !known.iter().any(|id| entry.file_name() == id.as_str())) {
                remove(&entry.path());
            }
        };
        tokio::task::spawn_blocking(remove_strangers).await.map_err(|_| StorageError::Task)
    }

    /// Removes what nothing refers to any more; what cannot be removed now is tried again.
    async fn remove_folders(&self) -> Result<(), StorageError> {
        let paths = self.store.read(|db| table::removals(db).map_err(StorageError::from)).await?;
        if paths.is_empty() {
            return Ok(());
        }
        let data = self.folder.clone();
        let remove_all = move || paths.into_iter().filter(|path| remove(&data.join(path))).collect::<Vec<_>>();
        let removed = tokio::task::spawn_blocking(remove_all).await.map_err(|_| StorageError::Task)?;
        let forget = self.store.write(self.clock.now(), move |db| {
            removed.iter().try_for_each(|path| table::forget_removal(db, path)).map_err(StorageError::from)
        });
        forget.await
    }
}

/// Whether it is gone now.
fn remove(path: &Path) -> bool {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(%error, "a folder of removed data cannot be removed yet");
            false
        }
    }
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
