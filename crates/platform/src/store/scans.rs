//! Scans, and all SQL about them.

use crate::clock::Moment;
use imaging::Geometry;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A complete scan as stored.
#[derive(Debug, Clone, PartialEq)]
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
    /// Of its files.
    pub(crate) bytes: i64,
    /// Of its file; `None` for one that was put there by hand.
    pub(crate) grid: Option<Geometry>,
    pub(crate) created_at: Moment,
}

const COLUMNS: &str =
    "scans.id, username, series_uid, header_file, voxels_sha256, hu_min, hu_max, bytes, grid, scans.created_at";

fn scan(row: &Row<'_>) -> rusqlite::Result<Scan> {
    let grid: String = row.get(8)?;
    Ok(Scan {
        id: row.get(0)?,
        username: row.get(1)?,
        series_uid: row.get(2)?,
        header_file: row.get(3)?,
        voxels_sha256: row.get(4)?,
        hu_min: row.get(5)?,
        hu_max: row.get(6)?,
        bytes: row.get(7)?,
        grid: serde_json::from_str(&grid).unwrap_or_default(),
        created_at: Moment(row.get(9)?),
    })
}

/// Adds a scan of a user; its `id` and `username` are not looked at. Its number.
pub(crate) fn insert(db: &Connection, user_id: i64, scan: &Scan) -> rusqlite::Result<i64> {
    let grid = serde_json::to_string(&scan.grid).unwrap_or_else(|_| "null".to_owned());
    let sql = "INSERT INTO scans
                 (user_id, series_uid, header_file, voxels_sha256, hu_min, hu_max, bytes, grid, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let Scan { series_uid, header_file, voxels_sha256, hu_min, hu_max, bytes, created_at, .. } = scan;
    db.prepare_cached(sql)?.insert(params![
        user_id,
        series_uid,
        header_file,
        voxels_sha256,
        hu_min,
        hu_max,
        bytes,
        grid,
        created_at.0
    ])
}

/// All scans of a user, the newest first.
pub(crate) fn all_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<Vec<Scan>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM scans JOIN users ON users.id = user_id WHERE user_id = ?1 ORDER BY scans.id DESC"
    );
    db.prepare_cached(&sql)?.query_map([user_id], scan)?.collect()
}

/// The scan of this number if it is this user's.
pub(crate) fn of_user(db: &Connection, user_id: i64, id: i64) -> rusqlite::Result<Option<Scan>> {
    let sql =
        format!("SELECT {COLUMNS} FROM scans JOIN users ON users.id = user_id WHERE scans.id = ?1 AND user_id = ?2");
    db.prepare_cached(&sql)?.query_row((id, user_id), scan).optional()
}

/// The number of the scan of this series.
pub(crate) fn of_series(db: &Connection, user_id: i64, series_uid: &str) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT id FROM scans WHERE user_id = ?1 AND series_uid = ?2";
    db.prepare_cached(sql)?.query_row((user_id, series_uid), |row| row.get(0)).optional()
}

pub(crate) fn remove(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM scans WHERE id = ?1")?.execute([id]).map(drop)
}

/// Bytes of all scans of a user.
pub(crate) fn bytes_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(sum(bytes), 0) FROM scans WHERE user_id = ?1";
    db.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))
}
