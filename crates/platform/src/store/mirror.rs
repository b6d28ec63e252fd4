//! `users.json`: the users in a form that people and other programs can read, and a backup of the accounts.
//!
//! The database is the truth. The file is replaced as a whole after each change, so it always parses, and carries a
//! checksum of itself: a file that does not fit its checksum was edited by hand. Such a file is kept under another name,
//! which the log and the audit log report, and changes nobody's account.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atomic_write_file::AtomicWriteFile;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::audit::{Action, Event, append};
use super::users::{self, PasswordHash, User};
use super::{StorageError, Writer};
use crate::accounts::{Role, Status};
use crate::clock::Moment;
use crate::token::hex;

const NAME: &str = "users.json";
const SCHEMA: u32 = 1;
const NOTE: &str = "A copy of the users in platform.db, replaced after every change. Edits are kept aside and change \
                    nothing. It holds hashes of passwords: keep it private.";

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    note: String,
    /// Rises with every change of any user.
    generation: i64,
    users: Vec<Record>,
    /// SHA-256 of this document as compact JSON with this field empty.
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    username: String,
    institution: String,
    role: Role,
    status: Status,
    password_hash: PasswordHash,
    // Files from before there was mail have neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email_new: Option<String>,
    created_at: String,
}

impl From<User> for Record {
    fn from(user: User) -> Self {
        let User {
            id: _,
            version: _,
            username,
            institution,
            role,
            status,
            password_hash,
            email,
            email_new,
            created_at,
        } = user;
        let created_at = created_at.to_string();
        Self { username, institution, role, status, password_hash, email, email_new, created_at }
    }
}

/// Brings the file up to date if users have changed since it was written. The database has committed already, so a
/// failure here takes nothing back: it is logged, and the next change or start tries again.
pub(super) fn synchronise(writer: &mut Writer, folder: &Path, now: Moment) {
    let path = folder.join(NAME);
    match update(writer, &path, now) {
        Ok(None) => {}
        Ok(Some(aside)) => {
            let aside = aside.file_name().unwrap_or_default().to_string_lossy();
            tracing::warn!(%aside, "the users' file was edited; it was kept aside and changes nothing");
        }
        Err(error) => tracing::error!(%error, "the users' file could not be written; the database is up to date"),
    }
}

/// Returns where an edited file was moved to.
fn update(writer: &mut Writer, path: &Path, now: Moment) -> Result<Option<PathBuf>, MirrorError> {
    let generation = users::generation(&writer.connection)?;
    if writer.mirrored == Some(generation) {
        return Ok(None);
    }
    let aside = keep_aside(path, now)?;
    if let Some(aside) = &aside {
        let name = aside.file_name().unwrap_or_default().to_string_lossy();
        let event =
            Event { action: Action::UsersFileKeptAside, actor: None, target: None, address: None, detail: &name };
        let transaction = writer.connection.transaction()?;
        append(&transaction, &event, now)?;
        transaction.commit()?;
    }
    write(path, &document(&writer.connection, generation)?)?;
    writer.mirrored = Some(generation);
    Ok(aside)
}

#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Storage(#[from] StorageError),
}

impl From<rusqlite::Error> for MirrorError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

fn document(db: &Connection, generation: i64) -> Result<Document, MirrorError> {
    let users = users::all(db)?.into_iter().map(Record::from).collect();
    let mut document = Document { schema: SCHEMA, note: NOTE.to_owned(), generation, users, sha256: String::new() };
    document.sha256 = checksum(&document)?;
    Ok(document)
}

fn checksum(document: &Document) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(document)?;
    value["sha256"] = "".into();
    Ok(hex(&Sha256::digest(serde_json::to_vec(&value)?)))
}

/// Moves a file that we did not write out of the way.
fn keep_aside(path: &Path, now: Moment) -> Result<Option<PathBuf>, MirrorError> {
    let found = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let is_ours = serde_json::from_slice::<Document>(&found)
        .is_ok_and(|document| checksum(&document).is_ok_and(|sum| sum == document.sha256));
    if is_ours {
        return Ok(None);
    }
    let mut aside = path.with_file_name(format!("users.edited-{}.json", now.0));
    let mut number = 1;
    while aside.exists() {
        aside = path.with_file_name(format!("users.edited-{}-{number}.json", now.0));
        number += 1;
    }
    fs::rename(path, &aside)?;
    Ok(Some(aside))
}

fn write(path: &Path, document: &Document) -> Result<(), MirrorError> {
    let mut options = AtomicWriteFile::options();
    #[cfg(unix)]
    {
        use atomic_write_file::unix::OpenOptionsExt as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.preserve_mode(false).mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(&serde_json::to_vec_pretty(document)?)?;
    file.write_all(b"\n")?;
    Ok(file.commit()?)
}
