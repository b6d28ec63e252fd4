//! Who is signed in: hashes of the tokens that browsers hold.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Moment;
use crate::token::TokenHash;

/// A stored session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) user_id: i64,
    pub(crate) created_at: Moment,
    pub(crate) seen_at: Moment,
}

pub(crate) fn insert(db: &Connection, token: &TokenHash, user_id: i64, now: Moment) -> rusqlite::Result<()> {
    let sql = "INSERT INTO sessions (token_hash, user_id, created_at, seen_at) VALUES (?1, ?2, ?3, ?3)";
    db.prepare_cached(sql)?.execute(params![token, user_id, now.0]).map(drop)
}

pub(crate) fn get(db: &Connection, token: &TokenHash) -> rusqlite::Result<Option<Session>> {
    let sql = "SELECT user_id, created_at, seen_at FROM sessions WHERE token_hash = ?1";
    let session = |row: &rusqlite::Row<'_>| {
        Ok(Session { user_id: row.get(0)?, created_at: Moment(row.get(1)?), seen_at: Moment(row.get(2)?) })
    };
    db.prepare_cached(sql)?.query_row([token], session).optional()
}

pub(crate) fn seen(db: &Connection, token: &TokenHash, now: Moment) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET seen_at = ?2 WHERE token_hash = ?1")?
        .execute(params![token, now.0])
        .map(drop)
}

pub(crate) fn remove(db: &Connection, token: &TokenHash) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM sessions WHERE token_hash = ?1")?.execute([token]).map(drop)
}

/// Ends all sessions of a user, and says how many there were.
pub(crate) fn remove_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM sessions WHERE user_id = ?1")?.execute([user_id])
}

/// Forgets sessions that nobody can use any more.
pub(crate) fn remove_expired(db: &Connection, seen_before: Moment, created_before: Moment) -> rusqlite::Result<()> {
    let sql = "DELETE FROM sessions WHERE seen_at < ?1 OR created_at < ?2";
    db.prepare_cached(sql)?.execute([seen_before.0, created_before.0]).map(drop)
}

/// How many users have a session that was used since.
pub(crate) fn users_since(db: &Connection, since: Moment) -> rusqlite::Result<i64> {
    let sql = "SELECT count(DISTINCT user_id) FROM sessions WHERE seen_at >= ?1";
    db.prepare_cached(sql)?.query_row([since.0], |row| row.get(0))
}
