//! Recent failures and other limited events, by whom they count against.

use rusqlite::{Connection, params};

use crate::clock::Moment;
use crate::token::TokenHash;

pub(crate) fn add(db: &Connection, subject: &TokenHash, now: Moment) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO failures (subject, at) VALUES (?1, ?2)")?.execute(params![subject, now.0]).map(drop)
}

/// The moments since `since`, oldest first.
pub(crate) fn since(db: &Connection, subject: &TokenHash, since: Moment) -> rusqlite::Result<Vec<Moment>> {
    let sql = "SELECT at FROM failures WHERE subject = ?1 AND at > ?2 ORDER BY at";
    db.prepare_cached(sql)?.query_map(params![subject, since.0], |row| row.get(0).map(Moment))?.collect()
}

/// A success makes up for what went wrong before.
pub(crate) fn forget(db: &Connection, subject: &TokenHash) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM failures WHERE subject = ?1")?.execute([subject]).map(drop)
}

/// Forgets what no limit looks back to.
pub(crate) fn remove_before(db: &Connection, before: Moment) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM failures WHERE at <= ?1")?.execute([before.0]).map(drop)
}

/// Forgets one event of this moment.
pub(crate) fn forget_one(db: &Connection, subject: &TokenHash, at: Moment) -> rusqlite::Result<()> {
    let sql = "DELETE FROM failures WHERE rowid =
               (SELECT rowid FROM failures WHERE subject = ?1 AND at = ?2 LIMIT 1)";
    db.prepare_cached(sql)?.execute(params![subject, at.0]).map(drop)
}
