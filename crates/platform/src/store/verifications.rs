//! One-time links that verify an e-mail address: hashes of their tokens.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Moment;
use crate::token::TokenHash;

/// Stores a token, and forgets those whose time is over.
pub(crate) fn add(
    db: &Connection,
    token: &TokenHash,
    user_id: i64,
    email: &str,
    expires_at: Moment,
    now: Moment,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM verifications WHERE expires_at <= ?1")?.execute([now.0])?;
    let sql = "INSERT INTO verifications (token_hash, user_id, email, expires_at) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(sql)?.execute(params![token, user_id, email, expires_at.0]).map(drop)
}

/// Whose token this is and which address it verifies, if it is still good.
pub(crate) fn find(db: &Connection, token: &TokenHash, now: Moment) -> rusqlite::Result<Option<(i64, String)>> {
    let sql = "SELECT user_id, email FROM verifications WHERE token_hash = ?1 AND expires_at > ?2";
    db.prepare_cached(sql)?.query_row(params![token, now.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

pub(crate) fn remove_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM verifications WHERE user_id = ?1")?.execute([user_id]).map(drop)
}
