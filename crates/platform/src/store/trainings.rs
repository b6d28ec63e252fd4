//! Trainings, who takes part, what happened; all SQL about them.

use federation::SessionConfig;
use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::stored_by_name;
use crate::clock::Moment;
use crate::training::{Cause, Monitor};

/// Where a training stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TrainingState")]
pub(crate) enum State {
    /// Its turn comes.
    Queued,
    Running,
    /// Asked to pause; the worker is at its last step.
    Pausing,
    /// Goes on when somebody wants it to.
    Paused,
    /// Asked to end for good.
    Stopping,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

stored_by_name! {
    State {
        Queued "queued", Running "running", Pausing "pausing", Paused "paused", Stopping "stopping", Completed "completed",
        Failed "failed", Cancelled "cancelled",
    }
}

/// A training as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Training {
    pub(crate) id: i64,
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<String>,
    pub(crate) network: String,
    pub(crate) config: SessionConfig,
    pub(crate) initial_model: Option<i64>,
    pub(crate) note: String,
    pub(crate) created_at: Moment,
    pub(crate) started_at: Option<Moment>,
    pub(crate) finished_at: Option<Moment>,
    pub(crate) crashes: u32,
    pub(crate) monitor: Monitor,
    pub(crate) preparation: Preparation,
}

/// How scans are prepared and sampled: the words of `fednodule train`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preparation {
    /// Lungs are not smaller, millilitres.
    pub(crate) min_lung_ml: u32,
    /// `usual`, or `brief` for runs of minutes.
    pub(crate) sampling: String,
}

/// One that is not stored yet.
pub(crate) struct NewTraining<'a> {
    pub(crate) preparation: &'a Preparation,
    pub(crate) network: &'a str,
    pub(crate) config: &'a SessionConfig,
    pub(crate) initial_model: Option<i64>,
    pub(crate) note: &'a str,
    pub(crate) created_by: i64,
    pub(crate) sites: &'a [Site],
}

/// Who takes part, with what there was at the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) user_id: i64,
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) scans: u32,
    pub(crate) nodules: u32,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "TimelineEntry")]
pub(crate) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<i64>,
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) kind: String,
    pub(crate) site: Option<String>,
    pub(crate) detail: Value,
}

const COLUMNS: &str = "id, state, cause, reason, network, config, initial_model, note, created_at, started_at,
                       finished_at, crashes, monitor, preparation";

fn training(row: &Row<'_>) -> rusqlite::Result<Training> {
    Ok(Training {
        id: row.get(0)?,
        state: row.get(1)?,
        cause: row.get(2)?,
        reason: row.get(3)?,
        network: row.get(4)?,
        config: document(row, 5)?,
        initial_model: row.get(6)?,
        note: row.get(7)?,
        created_at: Moment(row.get(8)?),
        started_at: row.get::<_, Option<i64>>(9)?.map(Moment),
        finished_at: row.get::<_, Option<i64>>(10)?.map(Moment),
        crashes: row.get(11)?,
        monitor: document(row, 12)?,
        preparation: document(row, 13)?,
    })
}

/// A column of JSON.
pub(super) fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(crate) fn insert(db: &Connection, new: &NewTraining<'_>, now: Moment) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO trainings
                 (state, network, config, initial_model, note, created_by, created_at, queued_at, monitor, preparation)
               VALUES ('queued', ?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)";
    let monitor = Monitor::new(new.sites.iter().map(|site| site.username.as_str()));
    let values = params![
        new.network,
        json(new.config)?,
        new.initial_model,
        new.note,
        new.created_by,
        now.0,
        json(&monitor)?,
        json(new.preparation)?
    ];
    db.prepare_cached(sql)?.execute(values)?;
    let id = db.last_insert_rowid();
    let sql = "INSERT INTO training_sites (training_id, user_id, scans, nodules) VALUES (?1, ?2, ?3, ?4)";
    for site in new.sites {
        db.prepare_cached(sql)?.execute(params![id, site.user_id, site.scans, site.nodules])?;
    }
    Ok(id)
}

pub(crate) fn get(db: &Connection, id: i64) -> rusqlite::Result<Option<Training>> {
    let sql = format!("SELECT {COLUMNS} FROM trainings WHERE id = ?1");
    db.prepare_cached(&sql)?.query_row([id], training).optional()
}

/// All, or those in which a user takes part; the newest first.
pub(crate) fn all(db: &Connection, of: Option<i64>) -> rusqlite::Result<Vec<Training>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM trainings
         WHERE ?1 IS NULL OR id IN (SELECT training_id FROM training_sites WHERE user_id = ?1) ORDER BY id DESC"
    );
    db.prepare_cached(&sql)?.query_map([of], training)?.collect()
}

/// Those in a state, in the order of the queue.
pub(crate) fn in_state(db: &Connection, state: State) -> rusqlite::Result<Vec<i64>> {
    let sql = "SELECT id FROM trainings WHERE state = ?1 ORDER BY queued_at, id";
    db.prepare_cached(sql)?.query_map([state], |row| row.get(0))?.collect()
}

/// Those who take part, by name.
/// Whether a user takes part in a training that is not over.
pub(crate) fn has_open(db: &Connection, user_id: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM training_sites JOIN trainings ON trainings.id = training_id
               WHERE user_id = ?1 AND state NOT IN ('completed', 'failed', 'cancelled'))";
    db.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))
}

pub(crate) fn sites(db: &Connection, id: i64) -> rusqlite::Result<Vec<Site>> {
    let sql = "SELECT user_id, username, institution, scans, nodules FROM training_sites
               JOIN users ON users.id = user_id WHERE training_id = ?1 ORDER BY username";
    let site = |row: &Row<'_>| {
        Ok(Site {
            user_id: row.get(0)?,
            username: row.get(1)?,
            institution: row.get(2)?,
            scans: row.get(3)?,
            nodules: row.get(4)?,
        })
    };
    db.prepare_cached(sql)?.query_map([id], site)?.collect()
}

/// What changes when a training goes from one state to another.
pub(crate) struct Change<'a> {
    pub(crate) state: State,
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<&'a str>,
}

pub(crate) fn set_state(db: &Connection, id: i64, change: &Change<'_>, now: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE trainings SET state = ?2, cause = ?3, reason = ?4,
               started_at = CASE WHEN ?2 = 'running' THEN coalesce(started_at, ?5) ELSE started_at END,
               finished_at = CASE WHEN ?2 IN ('completed', 'failed', 'cancelled') THEN ?5 ELSE NULL END
               WHERE id = ?1";
    let values = params![id, change.state, change.cause, change.reason, now.0];
    db.prepare_cached(sql)?.execute(values).map(drop)
}

/// To the end of the queue.
pub(crate) fn queue_last(db: &Connection, id: i64, now: Moment) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE trainings SET queued_at = ?2 WHERE id = ?1")?.execute(params![id, now.0]).map(drop)
}

pub(crate) fn set_crashes(db: &Connection, id: i64, crashes: u32) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE trainings SET crashes = ?2 WHERE id = ?1")?.execute(params![id, crashes]).map(drop)
}

/// What happened to an earlier server says nothing about this one.
pub(crate) fn forget_crashes(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE trainings SET crashes = 0 WHERE crashes > 0")?.execute([]).map(drop)
}

pub(crate) fn set_monitor(db: &Connection, id: i64, monitor: &Monitor) -> rusqlite::Result<()> {
    let sql = "UPDATE trainings SET monitor = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, json(monitor)?]).map(drop)
}

/// Adds an entry and says its number.
pub(crate) fn add_entry(
    db: &Connection,
    id: i64,
    kind: &str,
    site: Option<&str>,
    detail: &Value,
    now: Moment,
) -> rusqlite::Result<i64> {
    let number = last_entry(db, id)? + 1;
    let sql =
        "INSERT INTO training_entries (training_id, number, at, kind, site, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?.execute(params![id, number, now.0, kind, site, json(detail)?])?;
    Ok(number)
}

pub(crate) fn last_entry(db: &Connection, id: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(number), 0) FROM training_entries WHERE training_id = ?1";
    db.prepare_cached(sql)?.query_row([id], |row| row.get(0))
}

/// The newest entries, the newest first.
pub(crate) fn entries(db: &Connection, id: i64, limit: u32) -> rusqlite::Result<Vec<Entry>> {
    let sql = "SELECT number, at, kind, site, detail FROM training_entries
               WHERE training_id = ?1 ORDER BY number DESC LIMIT ?2";
    let entry = |row: &Row<'_>| {
        Ok(Entry {
            number: row.get(0)?,
            at: Moment(row.get(1)?).to_string(),
            kind: row.get(2)?,
            site: row.get(3)?,
            detail: document(row, 4)?,
        })
    };
    db.prepare_cached(sql)?.query_map(params![id, limit], entry)?.collect()
}

/// How long a round took.
pub(crate) struct RoundTime<'a> {
    pub(crate) training_id: i64,
    pub(crate) round: u32,
    pub(crate) network: &'a str,
    pub(crate) patch_size: u32,
    pub(crate) patches: u64,
    pub(crate) ms: u64,
}

pub(crate) fn add_round_time(db: &Connection, time: &RoundTime<'_>) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO round_times (training_id, round, network, patch_size, patches, ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (patches, ms) = (time.patches.cast_signed(), time.ms.cast_signed());
    let values = params![time.training_id, time.round, time.network, time.patch_size, patches, ms];
    db.prepare_cached(sql)?.execute(values).map(drop)
}

/// How fast rounds of a network with a patch size were.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Speed {
    pub(crate) network: String,
    pub(crate) patch_size: u32,
    /// Mean over all of them.
    pub(crate) ms_per_patch: f64,
    pub(crate) rounds: u32,
}

pub(crate) fn speeds(db: &Connection) -> rusqlite::Result<Vec<Speed>> {
    let sql = "SELECT network, patch_size, CAST(sum(ms) AS REAL) / sum(patches), count(*) FROM round_times
               WHERE patches > 0 GROUP BY network, patch_size ORDER BY network, patch_size";
    let speed = |row: &Row<'_>| {
        Ok(Speed { network: row.get(0)?, patch_size: row.get(1)?, ms_per_patch: row.get(2)?, rounds: row.get(3)? })
    };
    db.prepare_cached(sql)?.query_map([], speed)?.collect()
}
