//! Scans, and all SQL about them.

use rusqlite::{Connection, OptionalExtension};

/// A complete scan as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) id: i64,
    /// Whose it is.
    pub(crate) username: String,
    pub(crate) series_uid: String,
    /// The header in the user's folder.
    pub(crate) header_file: String,
    /// Of the CT values.
    pub(crate) voxels_sha256: String,
    pub(crate) hu_min: i16,
    pub(crate) hu_max: i16,
}

/// Number and series of all scans of a user, the newest first.
pub(crate) fn all_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    let sql = "SELECT id, series_uid FROM scans WHERE user_id = ?1 ORDER BY id DESC";
    db.prepare_cached(sql)?.query_map([user_id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The scan of this number if it is this user's.
pub(crate) fn of_user(db: &Connection, user_id: i64, id: i64) -> rusqlite::Result<Option<Scan>> {
    let mut found = db.prepare_cached(
        "SELECT scans.id, username, series_uid, header_file, voxels_sha256, hu_min, hu_max
         FROM scans JOIN users ON users.id = user_id WHERE scans.id = ?1 AND user_id = ?2",
    )?;
    let scan = found.query_row((id, user_id), |row| {
        Ok(Scan {
            id: row.get(0)?,
            username: row.get(1)?,
            series_uid: row.get(2)?,
            header_file: row.get(3)?,
            voxels_sha256: row.get(4)?,
            hu_min: row.get(5)?,
            hu_max: row.get(6)?,
        })
    });
    scan.optional()
}
