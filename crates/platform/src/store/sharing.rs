//! Which institutions let the coordinator see their own curves, and all SQL about it.

use std::collections::BTreeSet;

use rusqlite::Connection;

/// Everybody who does.
pub(crate) fn everybody(db: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    db.prepare_cached("SELECT user_id FROM shared_curves")?.query_map([], |row| row.get(0))?.collect()
}

/// Whether something has changed.
pub(crate) fn set(db: &Connection, user_id: i64, shares: bool) -> rusqlite::Result<bool> {
    let sql = if shares {
        "INSERT OR IGNORE INTO shared_curves (user_id) VALUES (?1)"
    } else {
        "DELETE FROM shared_curves WHERE user_id = ?1"
    };
    Ok(db.prepare_cached(sql)?.execute([user_id])? > 0)
}
