//! The audit log: who did what to whom, and when. Entries are only ever added, each with the hash of the one before.
//!
//! It holds names of accounts and network addresses, which is what it is for; never a password, a token, or anything
//! about a patient. A chain shows that an entry was changed, taken out or put in; that the last entries were cut off shows
//! only by comparing the head with one that was noted elsewhere, or with SQLite's own count.

use std::fmt;
use std::path::Path;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{StorageError, open_to_read};
use crate::accounts::{Address, Caller};
use crate::clock::Moment;
use crate::token::hex;

/// What the first entry names as the one before it.
const GENESIS: [u8; 32] = [0; 32];

/// What happened. The names are stored: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    SetUp,
    Registered,
    Approved,
    Disabled,
    Enabled,
    RoleChanged,
    ResetIssued,
    ResetUsed,
    PasswordChanged,
    SignedIn,
    SignInFailed,
    LockedOut,
    SignedOut,
    UsersFileKeptAside,
    InferenceAsked,
    InferenceCancelled,
    InferenceRemoved,
    FindingReviewed,
    EmailChangeAsked,
    EmailVerified,
    ResetAsked,
    MailGivenUp,
    UsersUploaded,
    UsersReconciled,
    UsersDatabaseLost,
    UsersDatabaseBack,
    TrainingLaunched,
    TrainingPaused,
    TrainingResumed,
    TrainingStopped,
    ModelPromoted,
    ModelRolledBack,
    ModelNoted,
    ModelDownloaded,
    ScanAdded,
    ScanRemoved,
    AnnotationsImported,
    AnnotationsRemoved,
    UpdatesProtected,
    SumCompleted,
    SumGivenUp,
    AnswerRefused,
    CurveShared,
    CurveKept,
}

impl Action {
    pub(crate) const ALL: [Self; 44] = [
        Self::SetUp,
        Self::Registered,
        Self::Approved,
        Self::Disabled,
        Self::Enabled,
        Self::RoleChanged,
        Self::ResetIssued,
        Self::ResetUsed,
        Self::PasswordChanged,
        Self::SignedIn,
        Self::SignInFailed,
        Self::LockedOut,
        Self::SignedOut,
        Self::UsersFileKeptAside,
        Self::InferenceAsked,
        Self::InferenceCancelled,
        Self::InferenceRemoved,
        Self::FindingReviewed,
        Self::EmailChangeAsked,
        Self::EmailVerified,
        Self::ResetAsked,
        Self::MailGivenUp,
        Self::UsersUploaded,
        Self::UsersReconciled,
        Self::UsersDatabaseLost,
        Self::UsersDatabaseBack,
        Self::TrainingLaunched,
        Self::TrainingPaused,
        Self::TrainingResumed,
        Self::TrainingStopped,
        Self::ModelPromoted,
        Self::ModelRolledBack,
        Self::ModelNoted,
        Self::ModelDownloaded,
        Self::ScanAdded,
        Self::ScanRemoved,
        Self::AnnotationsImported,
        Self::AnnotationsRemoved,
        Self::UpdatesProtected,
        Self::SumCompleted,
        Self::SumGivenUp,
        Self::AnswerRefused,
        Self::CurveShared,
        Self::CurveKept,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set_up",
            Self::Registered => "registered",
            Self::Approved => "approved",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::RoleChanged => "role_changed",
            Self::ResetIssued => "reset_issued",
            Self::ResetUsed => "reset_used",
            Self::PasswordChanged => "password_changed",
            Self::SignedIn => "signed_in",
            Self::SignInFailed => "sign_in_failed",
            Self::LockedOut => "locked_out",
            Self::SignedOut => "signed_out",
            Self::UsersFileKeptAside => "users_file_kept_aside",
            Self::InferenceAsked => "inference_asked",
            Self::InferenceCancelled => "inference_cancelled",
            Self::InferenceRemoved => "inference_removed",
            Self::FindingReviewed => "finding_reviewed",
            Self::EmailChangeAsked => "email_change_asked",
            Self::EmailVerified => "email_verified",
            Self::ResetAsked => "reset_asked",
            Self::MailGivenUp => "mail_given_up",
            Self::UsersUploaded => "users_uploaded",
            Self::UsersReconciled => "users_reconciled",
            Self::UsersDatabaseLost => "users_database_lost",
            Self::UsersDatabaseBack => "users_database_back",
            Self::TrainingLaunched => "training_launched",
            Self::TrainingPaused => "training_paused",
            Self::TrainingResumed => "training_resumed",
            Self::TrainingStopped => "training_stopped",
            Self::ModelPromoted => "model_promoted",
            Self::ModelRolledBack => "model_rolled_back",
            Self::ModelNoted => "model_noted",
            Self::ModelDownloaded => "model_downloaded",
            Self::ScanAdded => "scan_added",
            Self::ScanRemoved => "scan_removed",
            Self::AnnotationsImported => "annotations_imported",
            Self::AnnotationsRemoved => "annotations_removed",
            Self::UpdatesProtected => "updates_protected",
            Self::SumCompleted => "sum_completed",
            Self::SumGivenUp => "sum_given_up",
            Self::AnswerRefused => "answer_refused",
            Self::CurveShared => "curve_shared",
            Self::CurveKept => "curve_kept",
        }
    }
}

impl Action {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// An entry to be.
pub(crate) struct Event<'a> {
    pub(crate) action: Action,
    /// The account that did it; `None` for the server itself and for people who are not signed in.
    pub(crate) actor: Option<&'a str>,
    /// The account that it was done to.
    pub(crate) target: Option<&'a str>,
    /// Where the request came from.
    pub(crate) address: Option<&'a str>,
    /// More, such as the new role.
    pub(crate) detail: &'a str,
}

/// An entry to be that may have to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedEvent {
    pub(crate) action: Action,
    pub(crate) actor: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) detail: String,
}

impl OwnedEvent {
    pub(crate) fn append(&self, db: &Connection, now: Moment) -> rusqlite::Result<()> {
        let Self { action, actor, target, address, detail } = self;
        let (actor, target, address) = (actor.as_deref(), target.as_deref(), address.as_deref());
        append(db, &Event { action: *action, actor, target, address, detail }, now)
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) actor: Option<String>,
    pub(crate) action: String,
    pub(crate) target: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) detail: String,
    pub(crate) hash: String,
}

/// Adds an entry; part of the transaction that does what it tells.
pub(crate) fn append(db: &Connection, event: &Event<'_>, now: Moment) -> rusqlite::Result<()> {
    let last = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let last = db.prepare_cached(last)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (seq, previous): (i64, [u8; 32]) = last.unwrap_or((0, GENESIS));
    let row = Content {
        seq: seq + 1,
        at: now.0,
        actor: event.actor,
        action: event.action.name(),
        target: event.target,
        address: event.address,
        detail: event.detail,
    };
    let sql = "INSERT INTO audit (seq, at, actor, action, target, address, detail, previous, hash)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let hash = row.hash(&previous);
    db.prepare_cached(sql)?
        .execute(params![row.seq, row.at, row.actor, row.action, row.target, row.address, row.detail, previous, hash])
        .map(drop)
}

/// Adds an entry about what a caller did; part of the transaction that does it.
pub(crate) fn append_by(
    db: &Connection,
    action: Action,
    caller: &Caller,
    address: Address,
    detail: &str,
    now: Moment,
) -> rusqlite::Result<()> {
    let address = address.shown();
    let (actor, address) = (Some(caller.username.as_str()), Some(address.as_str()));
    append(db, &Event { action, actor, target: None, address, detail }, now)
}

/// The entries before number `before`, the newest first.
pub(crate) fn page(db: &Connection, before: i64, limit: u32) -> rusqlite::Result<Vec<Entry>> {
    let sql = "SELECT seq, at, actor, action, target, address, detail, hash FROM audit
               WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2";
    let entry = |row: &Row<'_>| {
        Ok(Entry {
            seq: row.get(0)?,
            at: Moment(row.get(1)?).to_string(),
            actor: row.get(2)?,
            action: row.get(3)?,
            target: row.get(4)?,
            address: row.get(5)?,
            detail: row.get(6)?,
            hash: hex(&row.get::<_, [u8; 32]>(7)?),
        })
    };
    db.prepare_cached(sql)?.query_map(params![before, limit], entry)?.collect()
}

/// The number of the newest entry.
pub(crate) fn last(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(seq), 0) FROM audit")?.query_row([], |row| row.get(0))
}

/// When this account last did this.
pub(crate) fn latest_of(db: &Connection, actor: Option<&str>, action: Action) -> rusqlite::Result<Option<Moment>> {
    let sql = "SELECT max(at) FROM audit WHERE actor IS ?1 AND action = ?2";
    let at: Option<i64> = db.prepare_cached(sql)?.query_row(params![actor, action.name()], |row| row.get(0))?;
    Ok(at.map(Moment))
}

/// What an entry says, without its place in the chain.
struct Content<'a> {
    seq: i64,
    at: i64,
    actor: Option<&'a str>,
    action: &'a str,
    target: Option<&'a str>,
    address: Option<&'a str>,
    detail: &'a str,
}

impl Content<'_> {
    /// SHA-256 over the hash before and every field, each with its length, so that no two entries read the same.
    fn hash(&self, previous: &[u8; 32]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"fednodule audit 1\0");
        hasher.update(previous);
        hasher.update(self.seq.to_le_bytes());
        hasher.update(self.at.to_le_bytes());
        for field in [self.actor, Some(self.action), self.target, self.address, Some(self.detail)] {
            // An absent field differs from an empty one.
            let length = field.map_or(u64::MAX, |text| text.len() as u64);
            hasher.update(length.to_le_bytes());
            hasher.update(field.unwrap_or_default());
        }
        hasher.finalize().into()
    }
}

/// What is wrong with an entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Its number does not follow the one before: entries are missing.
    Gap,
    /// It does not name the hash of the entry before it.
    Unlinked,
    /// Its content does not fit its hash.
    Changed,
    /// The database once held entries up to this number: the end was cut off.
    CutOff,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "entries before it are missing",
            Self::Unlinked => "it does not follow the entry before it",
            Self::Changed => "its content was changed",
            Self::CutOff => "the entries up to it were cut off",
        })
    }
}

/// The first entry that cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Broken {
    /// Its number.
    pub entry: i64,
    /// What is wrong.
    pub fault: Fault,
}

/// What a check of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditReport {
    /// The number of sound entries before the first broken one, or of all.
    pub entries: i64,
    /// The hash of the last of them, in hexadecimal. Noted elsewhere, it proves later that nothing before was changed.
    pub head: String,
    /// The first broken one.
    pub broken: Option<Broken>,
}

/// Checks the audit log in the data folder of a server, which may be running.
///
/// # Errors
/// When the folder has no database of ours, or it cannot be read. A broken chain is a result, not an error.
pub fn verify_audit(data: &Path) -> Result<AuditReport, StorageError> {
    Ok(verify(&open_to_read(data)?)?)
}

/// The first columns of a row of the log.
fn content<'a>(row: &'a Row<'_>) -> Result<Content<'a>, FromSqlError> {
    let field = |column| row.get_ref(column).map_err(|_| FromSqlError::InvalidType);
    Ok(Content {
        seq: field(0)?.as_i64()?,
        at: field(1)?.as_i64()?,
        actor: field(2)?.as_str_or_null()?,
        action: field(3)?.as_str()?,
        target: field(4)?.as_str_or_null()?,
        address: field(5)?.as_str_or_null()?,
        detail: field(6)?.as_str()?,
    })
}

pub(super) fn verify(db: &Connection) -> rusqlite::Result<AuditReport> {
    let sql = "SELECT seq, at, actor, action, target, address, detail, previous, hash FROM audit ORDER BY seq";
    // One statement reads one state of the database, whatever is added meanwhile.
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut entries, mut head) = (0, GENESIS);
    let report = |entries, head: [u8; 32], broken| AuditReport { entries, head: hex(&head), broken };
    while let Some(row) = rows.next()? {
        let entry: i64 = row.get(0)?;
        let (previous, hash) = (row.get_ref(7)?, row.get_ref(8)?);
        // Text that is no text was put there by somebody else.
        let expected = content(row).map(|content| content.hash(&head)).ok();
        let fault = if entry != entries + 1 {
            Some(Fault::Gap)
        } else if previous.as_bytes() != Ok(&head) {
            Some(Fault::Unlinked)
        } else if expected.as_ref().is_none_or(|expected| hash.as_bytes() != Ok(expected)) {
            Some(Fault::Changed)
        } else {
            None
        };
        if let Some(fault) = fault {
            return Ok(report(entries, head, Some(Broken { entry, fault })));
        }
        (entries, head) = (entry, expected.unwrap_or(head));
    }
    // SQLite counts the rows that there ever were.
    let ever = db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'audit'", [], |row| row.get(0)).optional()?;
    let ever = ever.unwrap_or(0);
    let broken = (ever > entries).then_some(Broken { entry: ever, fault: Fault::CutOff });
    Ok(report(entries, head, broken))
}
