//! Scans on their way in, folders on their way out, and all SQL about both.

use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::names::stored_by_name;
use crate::clock::Moment;

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "UploadState")]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Bytes are missing.
    Receiving,
    /// All bytes are there; the voxels are looked at.
    Checking,
    /// They are no scan.
    Refused,
}

stored_by_name! {
    State { Receiving "receiving", Checking "checking", Refused "refused" }
}

/// An upload as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) user_id: i64,
    pub(crate) series_uid: String,
    pub(crate) header_name: String,
    pub(crate) data_name: String,
    /// Written anew; empty where one file holds everything.
    pub(crate) header: String,
    /// Of the text as it was sent.
    pub(crate) header_sha256: String,
    pub(crate) data_file: String,
    pub(crate) bytes: u64,
    pub(crate) state: State,
    /// In both languages.
    pub(crate) refusal: Option<Value>,
    pub(crate) created_at: Moment,
    /// When something arrived last, within the hour.
    pub(crate) touched_at: Moment,
}

const COLUMNS: &str =
    "id, user_id, series_uid, header_name, data_name, header_sha256, data_file, bytes, state, refusal,
                       created_at, header, touched_at";

fn upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let refusal: Option<String> = row.get(9)?;
    Ok(Upload {
        id: row.get(0)?,
        user_id: row.get(1)?,
        series_uid: row.get(2)?,
        header_name: row.get(3)?,
        data_name: row.get(4)?,
        header_sha256: row.get(5)?,
        data_file: row.get(6)?,
        bytes: row.get::<_, i64>(7)?.unsigned_abs(),
        state: row.get(8)?,
        refusal: refusal.and_then(|text| serde_json::from_str(&text).ok()),
        created_at: Moment(row.get(10)?),
        header: row.get(11)?,
        touched_at: Moment(row.get(12)?),
    })
}

pub(crate) fn insert(db: &Connection, new: &Upload) -> rusqlite::Result<()> {
    let Upload { id, user_id, series_uid, header_name, data_name, header, header_sha256, data_file, .. } = new;
    let bytes = i64::try_from(new.bytes).unwrap_or(i64::MAX);
    let sql = "INSERT INTO uploads (id, user_id, series_uid, header_name, data_name, header, header_sha256, data_file,
                 bytes, state, created_at, touched_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let times = (new.created_at.0, new.touched_at.0);
    db.prepare_cached(sql)?
        .execute(params![
            id,
            user_id,
            series_uid,
            header_name,
            data_name,
            header,
            header_sha256,
            data_file,
            bytes,
            new.state,
            times.0,
            times.1,
        ])
        .map(drop)
}

/// Something arrived.
pub(crate) fn touch(db: &Connection, id: &str, now: Moment) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE uploads SET touched_at = ?2 WHERE id = ?1")?.execute((id, now.0)).map(drop)
}

/// Of everybody.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Upload>> {
    let sql = format!("SELECT {COLUMNS} FROM uploads ORDER BY created_at, id");
    db.prepare_cached(&sql)?.query_map([], upload)?.collect()
}

pub(crate) fn all_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<Vec<Upload>> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE user_id = ?1 ORDER BY created_at, id");
    db.prepare_cached(&sql)?.query_map([user_id], upload)?.collect()
}

/// The upload of this name if it is this user's.
pub(crate) fn of_user(db: &Connection, user_id: i64, id: &str) -> rusqlite::Result<Option<Upload>> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE id = ?1 AND user_id = ?2");
    db.prepare_cached(&sql)?.query_row((id, user_id), upload).optional()
}

/// The one of this series.
pub(crate) fn of_series(db: &Connection, user_id: i64, series_uid: &str) -> rusqlite::Result<Option<Upload>> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE user_id = ?1 AND series_uid = ?2");
    db.prepare_cached(&sql)?.query_row((user_id, series_uid), upload).optional()
}

/// One that waits for its check.
pub(crate) fn next_to_check(db: &Connection) -> rusqlite::Result<Option<Upload>> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE state = 'checking' ORDER BY created_at, id LIMIT 1");
    db.prepare_cached(&sql)?.query_row([], upload).optional()
}

pub(crate) fn set_state(db: &Connection, id: &str, state: State, refusal: Option<&Value>) -> rusqlite::Result<()> {
    let sql = "UPDATE uploads SET state = ?2, refusal = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, state, refusal.map(Value::to_string)]).map(drop)
}

pub(crate) fn remove(db: &Connection, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM uploads WHERE id = ?1")?.execute([id]).map(drop)
}

/// How many a user has, and the bytes that they are to have.
pub(crate) fn expected_of_user(db: &Connection, user_id: i64) -> rusqlite::Result<(i64, i64)> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM uploads WHERE user_id = ?1";
    db.prepare_cached(sql)?.query_row([user_id], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// What is on its way, and when something about a user's data happened last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    pub(crate) unfinished: u32,
    pub(crate) last: Option<Moment>,
}

pub(crate) fn activity(db: &Connection, user_id: i64) -> rusqlite::Result<Activity> {
    let sql = "SELECT (SELECT count(*) FROM uploads WHERE user_id = ?1),
                      (SELECT max(at) FROM (SELECT max(touched_at) AS at FROM uploads WHERE user_id = ?1 UNION ALL
                         SELECT max(created_at) FROM scans WHERE user_id = ?1 UNION ALL
                         SELECT max(written_at) FROM annotation_files WHERE user_id = ?1))";
    let activity =
        |row: &Row<'_>| Ok(Activity { unfinished: row.get(0)?, last: row.get::<_, Option<i64>>(1)?.map(Moment) });
    db.prepare_cached(sql)?.query_row([user_id], activity)
}

/// Marks a folder as nobody's, in the transaction that makes it so; `path` is below the data folder.
pub(crate) fn add_removal(db: &Connection, path: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO removals VALUES (?1)")?.execute([path]).map(drop)
}

pub(crate) fn removals(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT path FROM removals")?.query_map([], |row| row.get(0))?.collect()
}

/// Such a folder is gone.
pub(crate) fn forget_removal(db: &Connection, path: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM removals WHERE path = ?1")?.execute([path]).map(drop)
}
