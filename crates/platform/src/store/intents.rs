//! Changes of users on their way to the users' database, each with what the audit log will say of it.
//!
//! An intent is stored before the change is sent, and removed in the transaction that does the rest of it here. One that is
//! found later tells that this server was stopped, or lost the connection, in between.

use rusqlite::{Connection, params};

use super::audit::{Action, OwnedEvent};
use crate::clock::Moment;

/// A change that was sent, or was about to be.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    /// Stands in the row of the users' database once the change has arrived.
    pub(crate) change_id: String,
    pub(crate) username: String,
    /// The version of the row that it replaces; none for a new account.
    pub(crate) before_version: Option<i64>,
    pub(crate) at: Moment,
    pub(crate) event: OwnedEvent,
}

pub(crate) fn add(db: &Connection, intent: &Intent) -> rusqlite::Result<()> {
    let Intent { change_id, username, before_version, at, event } = intent;
    let OwnedEvent { action, actor, target, address, detail } = event;
    let sql = "INSERT INTO intents (change_id, username, before_version, at, action, actor, target, address, detail)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let row = params![change_id, username, before_version, at.0, action.name(), actor, target, address, detail];
    db.prepare_cached(sql)?.execute(row).map(drop)
}

pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Intent>> {
    let sql = "SELECT change_id, username, before_version, at, action, actor, target, address, detail FROM intents ORDER BY at";
    let intent = |row: &rusqlite::Row<'_>| {
        let action: String = row.get(4)?;
        let event = OwnedEvent {
            action: Action::from_name(&action).ok_or(rusqlite::Error::InvalidQuery)?,
            actor: row.get(5)?,
            target: row.get(6)?,
            address: row.get(7)?,
            detail: row.get(8)?,
        };
        Ok(Intent {
            change_id: row.get(0)?,
            username: row.get(1)?,
            before_version: row.get(2)?,
            at: Moment(row.get(3)?),
            event,
        })
    };
    db.prepare_cached(sql)?.query_map([], intent)?.collect()
}

pub(crate) fn remove(db: &Connection, change_id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM intents WHERE change_id = ?1")?.execute([change_id]).map(drop)
}
