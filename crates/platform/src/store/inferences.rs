//! Inferences and their findings, and all SQL about them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::stored_by_name;
use crate::clock::Moment;

/// Where an inference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "InferenceState")]
pub(crate) enum State {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// How carefully a scan is searched: the words of `fednodule predict --mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Fast,
    Standard,
    Accurate,
}

/// What a physician says about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Review {
    Accepted,
    Rejected,
}

/// The patient's lung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Left,
    Right,
}

stored_by_name! {
    State { Queued "queued", Running "running", Done "done", Failed "failed", Cancelled "cancelled" }
    Mode { Fast "fast", Standard "standard", Accurate "accurate" }
    Review { Accepted "accepted", Rejected "rejected" }
    Side { Left "left", Right "right" }
}

/// An inference as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inference {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) scan_id: i64,
    pub(crate) series_uid: String,
    pub(crate) model_id: i64,
    pub(crate) model_version: String,
    pub(crate) model_sha256: String,
    pub(crate) model_note: String,
    pub(crate) mode: Mode,
    pub(crate) threshold: f64,
    pub(crate) state: State,
    pub(crate) attempts: u32,
    pub(crate) cancelling: bool,
    pub(crate) created_at: Moment,
    pub(crate) started_at: Option<Moment>,
    pub(crate) finished_at: Option<Moment>,
    pub(crate) failure: Option<Value>,
    pub(crate) details: Option<Value>,
}

/// One that is not stored yet.
#[derive(Debug, Clone)]
pub(crate) struct NewInference {
    pub(crate) user_id: i64,
    pub(crate) scan_id: i64,
    pub(crate) series_uid: String,
    pub(crate) model_id: i64,
    pub(crate) model_version: String,
    pub(crate) model_sha256: String,
    pub(crate) model_note: String,
    pub(crate) mode: Mode,
    pub(crate) threshold: f64,
}

/// A place that the network marked.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// From 1, strongest first.
    pub(crate) number: u32,
    /// World position, LPS.
    pub(crate) center_mm_xyz: [f64; 3],
    /// Continuous voxel index in the file, from 0: column, row, slice.
    pub(crate) voxel_xyz: [f64; 3],
    pub(crate) diameter_mm: f64,
    /// Of the body that the network has segmented, where it has.
    pub(crate) volume_mm3: Option<f64>,
    /// 0 to 1.
    pub(crate) confidence: f64,
    pub(crate) side: Option<Side>,
    pub(crate) review: Option<Review>,
    pub(crate) reviewed_by: Option<String>,
}

const COLUMNS: &str = "id, user_id, scan_id, series_uid, model_id, model_version, model_sha256, model_note, mode, \
                       threshold, state, attempts, cancelling, created_at, started_at, finished_at, failure, details";

fn inference(row: &Row<'_>) -> rusqlite::Result<Inference> {
    Ok(Inference {
        id: row.get(0)?,
        user_id: row.get(1)?,
        scan_id: row.get(2)?,
        series_uid: row.get(3)?,
        model_id: row.get(4)?,
        model_version: row.get(5)?,
        model_sha256: row.get(6)?,
        model_note: row.get(7)?,
        mode: row.get(8)?,
        threshold: row.get(9)?,
        state: row.get(10)?,
        attempts: row.get(11)?,
        cancelling: row.get(12)?,
        created_at: Moment(row.get(13)?),
        started_at: row.get::<_, Option<i64>>(14)?.map(Moment),
        finished_at: row.get::<_, Option<i64>>(15)?.map(Moment),
        failure: json(row, 16)?,
        details: json(row, 17)?,
    })
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(column)?;
    let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Puts it at the end of the queue.
pub(crate) fn insert(db: &Connection, new: &NewInference, now: Moment) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO inferences (user_id, scan_id, series_uid, model_id, model_version, model_sha256, model_note,
                                       mode, threshold, state, created_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'queued', ?10)";
    db.prepare_cached(sql)?.insert(params![
        new.user_id,
        new.scan_id,
        new.series_uid,
        new.model_id,
        new.model_version,
        new.model_sha256,
        new.model_note,
        new.mode,
        new.threshold,
        now.0
    ])
}

pub(crate) fn by_id(db: &Connection, id: i64) -> rusqlite::Result<Option<Inference>> {
    let sql = format!("SELECT {COLUMNS} FROM inferences WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id], inference).optional()
}

/// A user's own one.
pub(crate) fn of_user(db: &Connection, user_id: i64, id: i64) -> rusqlite::Result<Option<Inference>> {
    Ok(by_id(db, id)?.filter(|inference| inference.user_id == user_id))
}

/// A user's before number `before`, the newest first.
pub(crate) fn page(db: &Connection, user_id: i64, before: i64, limit: u32) -> rusqlite::Result<Vec<Inference>> {
    let sql = format!("SELECT {COLUMNS} FROM inferences WHERE user_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3");
    db.prepare_cached(&sql)?.query_map(params![user_id, before, limit], inference)?.collect()
}

/// How many of a user's are in a state; of everybody's where no user is named.
pub(crate) fn count(db: &Connection, user_id: Option<i64>, state: State) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM inferences WHERE state = ?1 AND (?2 IS NULL OR user_id = ?2)";
    db.prepare_cached(sql)?.query_row(params![state, user_id], |row| row.get(0))
}

/// How many wait before this one; nothing where it does not wait.
pub(crate) fn waiting_before(db: &Connection, id: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM inferences WHERE state = 'queued' AND id < ?1";
    db.prepare_cached(sql)?.query_row([id], |row| row.get(0))
}

/// The next one: of the user who has waited longest for a turn, so that one hospital's hundred scans do not keep another's
/// only one waiting.
pub(crate) fn next(db: &Connection) -> rusqlite::Result<Option<Inference>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM inferences AS waiting WHERE state = 'queued'
         ORDER BY (SELECT max(started_at) FROM inferences AS other WHERE other.user_id = waiting.user_id) NULLS FIRST, id
         LIMIT 1"
    );
    db.prepare_cached(&sql)?.query_row([], inference).optional()
}

/// Those that are being marked, or were when a server died.
pub(crate) fn running(db: &Connection) -> rusqlite::Result<Vec<Inference>> {
    let sql = format!("SELECT {COLUMNS} FROM inferences WHERE state = 'running' ORDER BY id");
    db.prepare_cached(&sql)?.query_map([], inference)?.collect()
}

/// It waits again, at its old place.
/// Whether a scan is still to be marked.
pub(crate) fn wants(db: &Connection, scan_id: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM inferences WHERE scan_id = ?1 AND state IN ('queued', 'running'))";
    db.prepare_cached(sql)?.query_row([scan_id], |row| row.get(0))
}

pub(crate) fn requeue(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE inferences SET state = 'queued' WHERE id = ?1")?.execute([id]).map(drop)
}

pub(crate) fn start(db: &Connection, id: i64, now: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE inferences SET state = 'running', attempts = attempts + 1, started_at = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, now.0]).map(drop)
}

/// Its end is asked for.
pub(crate) fn cancel_running(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE inferences SET cancelling = TRUE WHERE id = ?1")?.execute([id]).map(drop)
}

/// Ends it without a result.
pub(crate) fn end(
    db: &Connection,
    id: i64,
    state: State,
    failure: Option<&Value>,
    now: Moment,
) -> rusqlite::Result<()> {
    let sql = "UPDATE inferences SET state = ?2, failure = ?3, finished_at = ?4 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, state, failure.map(Value::to_string), now.0]).map(drop)
}

/// Ends it with its result.
pub(crate) fn finish(
    db: &Connection,
    id: i64,
    details: &Value,
    findings: &[Finding],
    now: Moment,
) -> rusqlite::Result<()> {
    let sql = "UPDATE inferences SET state = 'done', details = ?2, failure = NULL, finished_at = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, details.to_string(), now.0])?;
    db.prepare_cached("DELETE FROM findings WHERE inference_id = ?1")?.execute([id])?;
    let sql = "INSERT INTO findings (inference_id, number, x_mm, y_mm, z_mm, i, j, k, diameter_mm, volume_mm3, confidence, side)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let mut insert = db.prepare_cached(sql)?;
    for finding in findings {
        let ([x, y, z], [i, j, k]) = (finding.center_mm_xyz, finding.voxel_xyz);
        let (diameter, volume, confidence) = (finding.diameter_mm, finding.volume_mm3, finding.confidence);
        insert.execute(params![id, finding.number, x, y, z, i, j, k, diameter, volume, confidence, finding.side])?;
    }
    Ok(())
}

/// Strongest first.
pub(crate) fn findings(db: &Connection, id: i64) -> rusqlite::Result<Vec<Finding>> {
    let sql = "SELECT number, x_mm, y_mm, z_mm, i, j, k, diameter_mm, volume_mm3, confidence, side, review, reviewed_by
               FROM findings WHERE inference_id = ?1 ORDER BY number";
    let finding = |row: &Row<'_>| {
        Ok(Finding {
            number: row.get(0)?,
            center_mm_xyz: [row.get(1)?, row.get(2)?, row.get(3)?],
            voxel_xyz: [row.get(4)?, row.get(5)?, row.get(6)?],
            diameter_mm: row.get(7)?,
            volume_mm3: row.get(8)?,
            confidence: row.get(9)?,
            side: row.get(10)?,
            review: row.get(11)?,
            reviewed_by: row.get(12)?,
        })
    };
    db.prepare_cached(sql)?.query_map([id], finding)?.collect()
}

/// Findings of an inference: all, accepted, rejected.
pub(crate) fn tally(db: &Connection, id: i64) -> rusqlite::Result<[i64; 3]> {
    let sql =
        "SELECT count(*), count(*) FILTER (WHERE review = 'accepted'), count(*) FILTER (WHERE review = 'rejected')
               FROM findings WHERE inference_id = ?1";
    db.prepare_cached(sql)?.query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
}

/// Keeps what a physician says; `false` where there is no such finding.
pub(crate) fn review(
    db: &Connection,
    id: i64,
    number: u32,
    review: Option<Review>,
    by: &str,
    now: Moment,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE findings SET review = ?3, reviewed_by = ?4, reviewed_at = ?5
               WHERE inference_id = ?1 AND number = ?2";
    Ok(db.prepare_cached(sql)?.execute(params![id, number, review, by, now.0])? == 1)
}

/// Forgets an inference with its findings.
pub(crate) fn remove(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM inferences WHERE id = ?1")?.execute([id]).map(drop)
}
