//! One-time links to set a new password: hashes of their tokens.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Moment;
use crate::token::TokenHash;

/// Stores a token, in place of any that the user had.
pub(crate) fn issue(db: &Connection, token: &TokenHash, user_id: i64, expires_at: Moment) -> rusqlite::Result<()> {
    remove_of_user(db, user_id)?;
    add(db, token, user_id, expires_at)
}

/// Stores a token besides those that the user has: the mail with it may arrive late, or twice.
pub(crate) fn add(db: &Connection, token: &TokenHash, user_id: i64, expires_at: Moment) -> rusqlite::Result<()> {
    let sql = "INSERT INTO resets (token_hash, user_id, expires_at) VALUES (?1, ?2, ?3)";
    db.prepare_cached(sql)?.execute(params![token, user_id, expires_at.0]).map(drop)
}

/// Whose token this is, if it is still good.
pub(crate) fn user_of(db: &Connection, token: &TokenHash, now: Moment) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT user_id FROM resets WHERE token_hash = ?1 AND expires_at > ?2";
    db.prepare_cached(sql)?.query_row(params![token, now.0], |row| row.get(0)).optional()
}

pub(crate) fn remove_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM resets WHERE user_id = ?1")?.execute([user_id]).map(drop)
}
