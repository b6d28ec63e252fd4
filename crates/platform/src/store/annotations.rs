//! Known nodules by series, and all SQL about them.

use imaging::luna16::Finding;
use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Moment;

/// What a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "AnnotationExtent")]
pub(crate) struct Extent {
    pub(crate) nodules: i64,
    pub(crate) series: i64,
}

fn finding(row: &Row<'_>) -> rusqlite::Result<Finding> {
    let center_mm_xyz = [row.get(1)?, row.get(2)?, row.get(3)?];
    Ok(Finding { series_uid: row.get(0)?, center_mm_xyz, diameter_mm: row.get(4)? })
}

/// Puts the rows in the place of all that `owner` has of the series in them.
pub(crate) fn replace(db: &Connection, owner: Option<i64>, findings: &[Finding]) -> rusqlite::Result<()> {
    let mut remove = db.prepare_cached("DELETE FROM annotations WHERE user_id IS ?1 AND series_uid = ?2")?;
    for finding in findings {
        remove.execute(params![owner, finding.series_uid])?;
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO annotations (user_id, series_uid, x_mm, y_mm, z_mm, diameter_mm) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for Finding { series_uid, center_mm_xyz: [x, y, z], diameter_mm } in findings {
        insert.execute(params![owner, series_uid, x, y, z, diameter_mm])?;
    }
    Ok(())
}

/// Forgets all of `owner`; how many there were.
pub(crate) fn remove_all(db: &Connection, owner: Option<i64>) -> rusqlite::Result<usize> {
    db.prepare_cached("DELETE FROM annotations WHERE user_id IS ?1")?.execute([owner])
}

pub(crate) fn extent(db: &Connection, owner: Option<i64>) -> rusqlite::Result<Extent> {
    let sql = "SELECT count(*), count(DISTINCT series_uid) FROM annotations WHERE user_id IS ?1";
    db.prepare_cached(sql)?.query_row([owner], |row| Ok(Extent { nodules: row.get(0)?, series: row.get(1)? }))
}

/// What holds for a user's series: the own rows where there are any, else an administrator's.
pub(crate) fn of_series(db: &Connection, user_id: i64, series_uid: &str) -> rusqlite::Result<Vec<Finding>> {
    let sql = "SELECT series_uid, x_mm, y_mm, z_mm, diameter_mm FROM annotations
               WHERE series_uid = ?2 AND user_id IS
                 (SELECT max(user_id) FROM annotations WHERE series_uid = ?2 AND (user_id = ?1 OR user_id IS NULL))
               ORDER BY id";
    db.prepare_cached(sql)?.query_map((user_id, series_uid), finding)?.collect()
}

/// What holds for all scans that a user has, in the order of the scans.
pub(crate) fn of_scans(db: &Connection, user_id: i64) -> rusqlite::Result<Vec<Finding>> {
    let sql = "SELECT a.series_uid, x_mm, y_mm, z_mm, diameter_mm
               FROM scans JOIN annotations a ON a.series_uid = scans.series_uid
               WHERE scans.user_id = ?1 AND a.user_id IS
                 (SELECT max(user_id) FROM annotations b
                  WHERE b.series_uid = scans.series_uid AND (b.user_id = ?1 OR b.user_id IS NULL))
               ORDER BY scans.id, a.id";
    db.prepare_cached(sql)?.query_map([user_id], finding)?.collect()
}

/// Users that have a scan, or a written table.
pub(crate) fn users_with_scans(db: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let sql = "SELECT id, username FROM users
               WHERE id IN (SELECT user_id FROM scans) OR id IN (SELECT user_id FROM annotation_files)";
    db.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The hash of the table in a user's folder, as it was written last.
pub(crate) fn written(db: &Connection, user_id: i64) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT sha256 FROM annotation_files WHERE user_id = ?1";
    db.prepare_cached(sql)?.query_row([user_id], |row| row.get(0)).optional()
}

pub(crate) fn set_written(db: &Connection, user_id: i64, sha256: &str, now: Moment) -> rusqlite::Result<()> {
    let sql = "INSERT INTO annotation_files VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, written_at = excluded.written_at";
    db.prepare_cached(sql)?.execute((user_id, sha256, now.0)).map(drop)
}
