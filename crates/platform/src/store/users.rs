//! The users, and all SQL about them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::accounts::{Role, Status};
use crate::clock::Moment;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// 0 until it is stored.
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) role: Role,
    pub(crate) status: Status,
    pub(crate) password_hash: PasswordHash,
    /// Verified.
    pub(crate) email: Option<String>,
    /// Not verified yet.
    pub(crate) email_new: Option<String>,
    pub(crate) created_at: Moment,
    /// Of the row in the users' database, 0 where it has none.
    pub(crate) version: i64,
}

/// What bcrypt made of a password. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PasswordHash(pub(crate) String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

const COLUMNS: &str = "id, username, institution, role, status, password_hash, email, email_new, created_at, version";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        username: row.get(1)?,
        institution: row.get(2)?,
        role: row.get(3)?,
        status: row.get(4)?,
        password_hash: PasswordHash(row.get(5)?),
        email: row.get(6)?,
        email_new: row.get(7)?,
        created_at: Moment(row.get(8)?),
        version: row.get(9)?,
    })
}

/// Stores a user as a whole, and gives one that is new its number.
pub(crate) fn put(db: &Connection, user: &mut User, now: Moment) -> rusqlite::Result<()> {
    let User { id, username, institution, role, status, password_hash, email, email_new, created_at, version } = &*user;
    let hash = &password_hash.0;
    if *id == 0 {
        let sql = "INSERT INTO users (username, institution, role, status, password_hash, email, email_new, created_at,
                   version, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let row = params![username, institution, role, status, hash, email, email_new, created_at.0, version, now.0];
        db.prepare_cached(sql)?.execute(row)?;
        user.id = db.last_insert_rowid();
    } else {
        let sql =
            "UPDATE users SET institution = ?2, role = ?3, status = ?4, password_hash = ?5, email = ?6, email_new = ?7,
                   version = ?8, updated_at = ?9 WHERE id = ?1";
        let row = params![id, institution, role, status, hash, email, email_new, version, now.0];
        db.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

pub(crate) fn by_name(db: &Connection, username: &str) -> rusqlite::Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE username = ?1");
    db.prepare_cached(&sql)?.query_row([username], user).optional()
}

pub(crate) fn by_id(db: &Connection, id: i64) -> rusqlite::Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id], user).optional()
}

/// All, those who wait first, then by name.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users ORDER BY status <> 'pending', username");
    db.prepare_cached(&sql)?.query_map([], user)?.collect()
}

/// How many have this role and status.
pub(crate) fn count(db: &Connection, role: Role, status: Status) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM users WHERE role = ?1 AND status = ?2";
    db.prepare_cached(sql)?.query_row(params![role, status], |row| row.get(0))
}

/// The accounts in use with this verified address; several may share one.
pub(crate) fn by_email(db: &Connection, address: &str) -> rusqlite::Result<Vec<User>> {
    let sql =
        format!("SELECT {COLUMNS} FROM users WHERE lower(email) = lower(?1) AND status = 'active' ORDER BY username");
    db.prepare_cached(&sql)?.query_map([address], user)?.collect()
}

/// Rises with every change of any user.
pub(crate) fn generation(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT value FROM meta WHERE key = 'users_generation'")?.query_row([], |row| row.get(0))
}
