//! Models, and which of them is in use; all SQL about them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::trainings::{document, json};
use crate::clock::Moment;

/// A model as stored. Its number is its version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) id: i64,
    pub(crate) training_id: i64,
    /// The model that its training started from.
    pub(crate) parent_id: Option<i64>,
    /// Below the data folder.
    pub(crate) file: String,
    pub(crate) bytes: i64,
    pub(crate) sha256: String,
    pub(crate) weights_sha256: String,
    pub(crate) network: String,
    pub(crate) created_at: Moment,
    pub(crate) note: String,
    pub(crate) metrics: Value,
}

/// A time when a model was put in use.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Promotion {
    pub(crate) model: i64,
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) is_rollback: bool,
    pub(crate) reason: String,
}

const COLUMNS: &str =
    "id, training_id, parent_id, file, bytes, sha256, weights_sha256, network, created_at, note, metrics";

fn model(row: &Row<'_>) -> rusqlite::Result<Model> {
    Ok(Model {
        id: row.get(0)?,
        training_id: row.get(1)?,
        parent_id: row.get(2)?,
        file: row.get(3)?,
        bytes: row.get(4)?,
        sha256: row.get(5)?,
        weights_sha256: row.get(6)?,
        network: row.get(7)?,
        created_at: Moment(row.get(8)?),
        note: row.get(9)?,
        metrics: document(row, 10)?,
    })
}

/// Stores a model, whose number is made here, and says it.
pub(crate) fn insert(db: &Connection, new: &Model) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO models (training_id, parent_id, file, bytes, sha256, weights_sha256, network, created_at, note, metrics)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    db.prepare_cached(sql)?.execute(params![
        new.training_id,
        new.parent_id,
        new.file,
        new.bytes,
        new.sha256,
        new.weights_sha256,
        new.network,
        new.created_at.0,
        new.note,
        json(&new.metrics)?
    ])?;
    Ok(db.last_insert_rowid())
}

pub(crate) fn get(db: &Connection, id: i64) -> rusqlite::Result<Option<Model>> {
    let sql = format!("SELECT {COLUMNS} FROM models WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id], model).optional()
}

pub(crate) fn of_training(db: &Connection, training: i64) -> rusqlite::Result<Option<Model>> {
    let sql = format!("SELECT {COLUMNS} FROM models WHERE training_id = ?1");
    db.prepare_cached(&sql)?.query_row([training], model).optional()
}

/// The newest first.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Model>> {
    let sql = format!("SELECT {COLUMNS} FROM models ORDER BY id DESC");
    db.prepare_cached(&sql)?.query_map([], model)?.collect()
}

/// The number of the model in use.
pub(crate) fn current(db: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT model_id FROM promotions ORDER BY id DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

pub(crate) fn promote(
    db: &Connection,
    model: i64,
    user: i64,
    is_rollback: bool,
    reason: &str,
    now: Moment,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO promotions (model_id, at, user_id, is_rollback, reason) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![model, now.0, user, is_rollback, reason]).map(drop)
}

/// The newest first.
pub(crate) fn promotions(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Promotion>> {
    let sql = "SELECT model_id, at, username, is_rollback, reason FROM promotions JOIN users ON users.id = user_id
               ORDER BY promotions.id DESC LIMIT ?1";
    let promotion = |row: &Row<'_>| {
        Ok(Promotion {
            model: row.get(0)?,
            at: Moment(row.get(1)?).to_string(),
            by: row.get(2)?,
            is_rollback: row.get(3)?,
            reason: row.get(4)?,
        })
    };
    db.prepare_cached(sql)?.query_map([limit], promotion)?.collect()
}

pub(crate) fn set_note(db: &Connection, id: i64, note: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE models SET note = ?2 WHERE id = ?1")?.execute(params![id, note]).map(drop)
}
