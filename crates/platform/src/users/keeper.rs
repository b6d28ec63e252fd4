//! Who looks after the users' database: connects, compares, notices when it is lost and when it is back.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::postgres::{Failure, Remote, Row};
use super::reconcile::{self, Refused};
use super::{Phase, State, Users};
use crate::store::audit::{Action, Event, append};
use crate::store::events::{self, Audience};
use crate::store::users::{self, User};
use crate::store::{StorageError, intents};

/// A log-in waits for the database at most this part of its limit.
const SIGN_IN_PART: u32 = 4;
/// The shortest time between two looks, whoever asks for one.
const PAUSE: Duration = Duration::from_millis(200);

impl Users {
    /// Looks for the first time, within a limit: a server starts also without its users' database.
    pub(crate) async fn begin(&self) {
        if let Some(remote) = &self.remote
            && timeout(2 * remote.limit(), self.attend(remote, &mut None)).await.is_err()
        {
            self.lost(Failure::Timeout).await;
        }
    }

    /// Waits until it is time, or somebody has reason, and looks again. `known` is what was found the last time. Without a
    /// database it waits for ever.
    pub(crate) async fn look_again(&self, known: &mut Option<(i64, i64)>) {
        let Some(remote) = &self.remote else { return std::future::pending().await };
        tokio::select! {
            () = sleep(self.check) => {}
            () = self.look.notified() => sleep(PAUSE).await,
        }
        self.attend(remote, known).await;
    }

    /// Connects if need be, and compares if there is reason to: after a loss, or when the rows have changed.
    async fn attend(&self, remote: &Remote, known: &mut Option<(i64, i64)>) {
        let was_up = self.state().phase == Phase::Up;
        let looked = async {
            remote.prepare().await?;
            let waiting = self.store.read(|db| intents::all(db).map_err(StorageError::from)).await;
            let has_intents = !waiting.map_err(|_| Failure::Copy)?.is_empty();
            // Whoever is about to make a change has an intent, too: then it is his turn.
            if was_up && !has_intents && *known == Some(remote.fingerprint().await?) {
                return Ok(());
            }
            *known = None;
            *known = Some(self.compare(remote).await?);
            Ok(())
        };
        match looked.await {
            Ok(()) => self.found().await,
            Err(failure) => self.lost(failure).await,
        }
    }

    /// Brings the copy up to date. What it was compared with.
    async fn compare(&self, remote: &Remote) -> Result<(i64, i64), Failure> {
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        let read = self.store.read(|db| Ok::<_, StorageError>((intents::all(db)?, users::all(db)?)));
        let (intents, copies) = read.await.map_err(|_| Failure::Copy)?;
        for intent in intents {
            let arrived = remote.one(&intent.username).await?.is_some_and(|row| row.change_id == intent.change_id);
            // It may still be on its way, for instance in a database that is only slow. Then it shall find another version.
            if let (false, Some(version)) = (arrived, intent.before_version) {
                remote.outdate(&intent.username, version).await?;
            }
        }
        let mut rows = remote.all().await?;
        let mut filled = 0;
        // The first time, or after somebody has emptied the table: what the copy is there for.
        if rows.is_empty() && !copies.is_empty() {
            let copied: Vec<Row> = copies.iter().map(|user| Row::of(&first(user), "first", now)).collect();
            filled = remote.fill(&copied).await?;
            rows = remote.all().await?;
        }
        let fingerprint = (rows.len() as i64, rows.iter().map(|row| row.version).sum());
        let settled = self.store.write(now, move |db| reconcile::all(db, &rows, filled, now)).await;
        let outcome = settled.map_err(|refused| match refused {
            Refused::NoAdministrator => Failure::NoAdministrator,
            Refused::Storage(_) => Failure::Copy,
        })?;
        if outcome.changed > 0 || outcome.unusable > 0 {
            let reconcile::Outcome { changed, unusable } = outcome;
            tracing::warn!(changed, unusable, "the users' database differed from its copy, which now follows it");
        }
        Ok(fingerprint)
    }

    /// Before somebody logs in: what the database says of this account now. Never long, and nothing where it does not answer.
    pub(crate) async fn freshen(&self, username: &str) {
        let Some(remote) = self.remote.as_ref().filter(|_| self.state().phase == Phase::Up) else { return };
        // Whoever changes a user brings the copy up to date, too.
        let Ok(_turn) = self.turn.try_lock() else { return };
        let found = match timeout(remote.limit() / SIGN_IN_PART, remote.one(username)).await {
            Ok(Ok(found)) => found,
            Ok(Err(failure)) => return self.lost(failure).await,
            Err(_) => return self.lost(Failure::Timeout).await,
        };
        let name = username.to_owned();
        let copy =
            self.store.read(move |db| users::by_name(db, &name).map_err(StorageError::from)).await.ok().flatten();
        let Some(row) = found else {
            // Taken out: a whole comparison tells what to do, and makes sure that somebody administrates afterwards.
            if copy.is_some_and(|copy| copy.version > 0) {
                self.look.notify_one();
            }
            return;
        };
        let Some(truth) = row.user() else { return };
        if copy.is_some_and(|copy| copy == User { id: copy.id, ..truth.clone() }) {
            return;
        }
        let now = self.clock.now();
        let settled =
            self.store.write(now, move |db| reconcile::one(db, &truth, None, now).map_err(StorageError::from));
        if settled.await.is_err() {
            self.lost(Failure::Copy).await;
        }
    }

    /// Puts a new state into force, the log and the audit log.
    async fn enter(&self, phase: Phase) {
        let now = self.clock.now();
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.phase == phase {
                return;
            }
            let since =
                if matches!((&state.phase, &phase), (Phase::Down(_), Phase::Down(_))) { state.since } else { now };
            std::mem::replace(&mut *state, State { phase: phase.clone(), since }).phase
        };
        let action = match (&before, &phase) {
            (Phase::Up | Phase::Down(Failure::NotYet), Phase::Down(failure)) => {
                tracing::warn!(
                    ?failure,
                    "the users' database is lost: log-ins are served from its copy, changes are refused"
                );
                self.look.notify_one();
                Action::UsersDatabaseLost
            }
            (Phase::Down(failure), Phase::Up) => {
                tracing::info!(after = ?failure, "the users' database answers");
                // A server that starts with its database has nothing to tell.
                if *failure == Failure::NotYet {
                    return;
                }
                Action::UsersDatabaseBack
            }
            _ => return,
        };
        let tell = move |db: &rusqlite::Connection| {
            let event = Event { action, actor: None, target: None, address: None, detail: "" };
            append(db, &event, now)?;
            let state = if action == Action::UsersDatabaseBack { "up" } else { "down" };
            events::append(db, now, Audience::Everyone, "users_database.state", &json!({ "state": state }))?;
            Ok::<_, StorageError>(())
        };
        if self.store.write(now, tell).await.is_err() {
            tracing::error!("the audit log could not be told of it");
        }
    }

    async fn found(&self) {
        self.enter(Phase::Up).await;
    }

    pub(super) async fn lost(&self, failure: Failure) {
        if let Some(remote) = &self.remote {
            remote.disconnect();
        }
        self.enter(Phase::Down(failure)).await;
    }
}

/// A user as the database is told for the first time.
fn first(user: &User) -> User {
    User { version: user.version.max(1), ..user.clone() }
}
