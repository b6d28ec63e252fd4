//! The users, and all SQL about them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::accounts::{Role, Status};
use crate::clock::Moment;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) role: Role,
    pub(crate) status: Status,
    pub(crate) password_hash: PasswordHash,
    pub(crate) created_at: Moment,
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

/// A user who is not stored yet.
pub(crate) struct NewUser<'a> {
    pub(crate) username: &'a str,
    pub(crate) institution: &'a str,
    pub(crate) role: Role,
    pub(crate) status: Status,
    pub(crate) password_hash: &'a PasswordHash,
}

const COLUMNS: &str = "id, username, institution, role, status, password_hash, created_at";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        username: row.get(1)?,
        institution: row.get(2)?,
        role: row.get(3)?,
        status: row.get(4)?,
        password_hash: PasswordHash(row.get(5)?),
        created_at: Moment(row.get(6)?),
    })
}

/// Stores a new user; `false` where the name is taken.
pub(crate) fn insert(db: &Connection, new: &NewUser<'_>, now: Moment) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO users (username, institution, role, status, password_hash, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (username) DO NOTHING";
    let row = params![new.username, new.institution, new.role, new.status, new.password_hash.0, now.0];
    Ok(db.prepare_cached(sql)?.execute(row)? == 1)
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

pub(crate) fn set_status(db: &Connection, id: i64, status: Status, now: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE users SET status = ?2, updated_at = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, status, now.0]).map(drop)
}

pub(crate) fn set_role(db: &Connection, id: i64, role: Role, now: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE users SET role = ?2, updated_at = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, role, now.0]).map(drop)
}

pub(crate) fn set_password(db: &Connection, id: i64, hash: &PasswordHash, now: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE users SET password_hash = ?2, updated_at = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, hash.0, now.0]).map(drop)
}

/// Rises with every change of any user.
pub(crate) fn generation(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT value FROM meta WHERE key = 'users_generation'")?.query_row([], |row| row.get(0))
}
