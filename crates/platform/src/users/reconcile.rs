//! Bringing the copy up to what the database says. The database is the truth; what differs is reported in the audit log.

use rusqlite::Connection;
use serde_json::json;

use super::postgres::Row;
use crate::accounts::{Role, Status};
use crate::clock::Moment;
use crate::store::audit::{Action, Event, append};
use crate::store::events::{self, Audience};
use crate::store::intents::{self, Intent};
use crate::store::users::{self, User};
use crate::store::{StorageError, resets, sessions, verifications};

/// What bringing up to date came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Accounts whose copy was different.
    pub(super) changed: usize,
    /// Rows that are no users of ours.
    pub(super) unusable: usize,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("no administrator would be left")]
    NoAdministrator,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

/// Makes the copy say what these rows say, and finishes or forgets changes that were under way. `filled` of the rows were
/// made from the copy just now.
pub(super) fn all(db: &Connection, rows: &[Row], filled: usize, now: Moment) -> Result<Outcome, Refused> {
    let had = users::count(db, Role::Server, Status::Active)?;
    let mut outcome = Outcome::default();
    let intents = intents::all(db)?;
    let mut uploaded = 0;
    for row in rows {
        let Some(truth) = row.user() else {
            outcome.unusable += 1;
            continue;
        };
        let intent = intents.iter().find(|intent| intent.change_id == row.change_id);
        match one(db, &truth, intent, now)? {
            Difference::None => {}
            Difference::NumberOnly => uploaded += 1,
            Difference::Content => outcome.changed += 1,
        }
    }
    for intent in &intents {
        intents::remove(db, &intent.change_id)?;
    }
    for user in users::all(db)? {
        if rows.iter().all(|row| row.username != user.username) && absent(db, user, now)? {
            outcome.changed += 1;
        }
    }
    // A server that was stopped before it could tell of it finds only the numbers missing.
    let uploaded = uploaded.max(filled);
    if uploaded > 0 {
        let detail = uploaded.to_string();
        append(
            db,
            &Event { action: Action::UsersUploaded, actor: None, target: None, address: None, detail: &detail },
            now,
        )?;
    }
    if had > 0 && users::count(db, Role::Server, Status::Active)? == 0 {
        return Err(Refused::NoAdministrator);
    }
    Ok(outcome)
}

/// How far a copy was from the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// The same user, which the copy did not know to be in the database.
    NumberOnly,
    Content,
}

/// Makes the copy of one user say what the database says. With an intent it is the end of a change of our own.
pub(super) fn one(db: &Connection, truth: &User, intent: Option<&Intent>, now: Moment) -> rusqlite::Result<Difference> {
    let copy = users::by_name(db, &truth.username)?;
    let mut next = User { id: copy.as_ref().map_or(0, |copy| copy.id), ..truth.clone() };
    let different = copy.as_ref().map_or_else(|| vec!["added"], |copy| fields(copy, truth));
    let is_new_here = copy.as_ref().is_some_and(|copy| copy.version == 0);
    if copy.as_ref().is_none_or(|copy| *copy != next) {
        users::put(db, &mut next, now)?;
        changed(db, &next, now)?;
    }
    if different.iter().any(|field| ["status", "role", "password"].contains(field)) {
        sessions::remove_of_user(db, next.id)?;
        resets::remove_of_user(db, next.id)?;
        verifications::remove_of_user(db, next.id)?;
    }
    if let Some(intent) = intent {
        intent.event.append(db, now)?;
    } else if !different.is_empty() {
        reconciled(db, &truth.username, &different.join(" "), now)?;
    }
    Ok(match (different.is_empty(), is_new_here) {
        (false, _) => Difference::Content,
        (true, true) => Difference::NumberOnly,
        (true, false) => Difference::None,
    })
}

/// An account that the database does not have may not be used any more.
pub(super) fn absent(db: &Connection, user: User, now: Moment) -> rusqlite::Result<bool> {
    if user.version == 0 && user.status == Status::Disabled {
        return Ok(false);
    }
    let mut next = User { status: Status::Disabled, version: 0, ..user };
    users::put(db, &mut next, now)?;
    changed(db, &next, now)?;
    sessions::remove_of_user(db, next.id)?;
    resets::remove_of_user(db, next.id)?;
    verifications::remove_of_user(db, next.id)?;
    reconciled(db, &next.username, "absent", now)?;
    Ok(true)
}

/// Tells the pages of the account and of the administrators.
pub(super) fn changed(db: &Connection, user: &User, now: Moment) -> rusqlite::Result<()> {
    let User { id, username, role, status, .. } = user;
    let payload = json!({ "username": username, "role": role, "status": status });
    events::append(db, now, Audience::User(*id), "account.changed", &payload).map(drop)
}

fn reconciled(db: &Connection, username: &str, detail: &str, now: Moment) -> rusqlite::Result<()> {
    let action = Action::UsersReconciled;
    append(db, &Event { action, actor: None, target: Some(username), address: None, detail }, now)
}

/// What is different, by names that hold nothing personal.
fn fields(copy: &User, truth: &User) -> Vec<&'static str> {
    let all = [
        ("institution", copy.institution != truth.institution),
        ("role", copy.role != truth.role),
        ("status", copy.status != truth.status),
        ("password", copy.password_hash != truth.password_hash),
        ("email", copy.email != truth.email || copy.email_new != truth.email_new),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
