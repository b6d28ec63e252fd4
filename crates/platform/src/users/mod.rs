//! Where the truth about users lies: in the data folder, or, where one is set up, in a PostgreSQL database such as
//! Supabase, with the data folder as its copy.
//!
//! Everything reads the copy, so no page waits for another machine. A change goes to the database first, then into the
//! copy together with its audit entry and its other consequences. While the database cannot be reached, log-ins are served
//! from the copy and changes are refused, so the two never part. `docs/design/platform-storage.md` goes through every
//! point at which a server can stop in between.

mod address;
mod keeper;
mod postgres;
mod reconcile;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;

use crate::accounts::{AccountError, Refusal};
use crate::clock::{Clock, Moment};
use crate::config::Database;
use crate::store::audit::OwnedEvent;
use crate::store::intents::{self, Intent};
use crate::store::users::{self, User};
use crate::store::{StorageError, Store};
use crate::token::hex;

pub(crate) use address::Address;
pub(crate) use postgres::{Checked, Failure, Pooler};
use postgres::{Commit, Remote, Row};

/// A change of one user.
pub(crate) struct Planned<T> {
    /// As the user is now; none for a new account.
    pub(crate) before: Option<User>,
    /// As the user will be.
    pub(crate) after: User,
    /// What the audit log says of it.
    pub(crate) event: OwnedEvent,
    /// What else its end needs.
    pub(crate) more: T,
}

/// Whether the users' database answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none: the data folder is the truth.
    Local,
    Up,
    Down(Failure),
}

/// The same with its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) since: Moment,
}

/// The users.
pub(crate) struct Users {
    store: Arc<Store>,
    clock: Clock,
    remote: Option<Remote>,
    state: Mutex<State>,
    /// One change at a time: what it was decided on still holds when it is done.
    turn: tokio::sync::Mutex<()>,
    /// Somebody has reason to look at the database before its time.
    look: Arc<Notify>,
    check: Duration,
}

impl Users {
    /// The settings have been checked.
    pub(crate) fn new(store: Arc<Store>, clock: Clock, settings: &Database) -> std::io::Result<Self> {
        let look = Arc::new(Notify::new());
        let remote = Remote::of(settings, &look)?;
        let phase = if remote.is_some() { Phase::Down(Failure::NotYet) } else { Phase::Local };
        let state = Mutex::new(State { phase, since: clock.now() });
        let check = Duration::from_secs(settings.check_seconds);
        Ok(Self { store, clock, remote, state, turn: tokio::sync::Mutex::default(), look, check })
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes a user. `plan` decides, `finish` does what else belongs to it; both see one state of the copy, nobody else
    /// changes a user in between, and either everything happens or nothing. Once begun it comes to its end, also when nobody
    /// waits for it any more.
    pub(crate) async fn change<T, R>(
        self: &Arc<Self>,
        now: Moment,
        plan: impl FnOnce(&Connection) -> Result<Planned<T>, AccountError> + Send + 'static,
        finish: impl FnOnce(&Connection, &User, T) -> Result<R, AccountError> + Send + 'static,
    ) -> Result<R, AccountError>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let users = Arc::clone(self);
        let change = async move {
            let _turn = users.turn.lock().await;
            match &users.remote {
                None => {
                    let whole = move |db: &Connection| settle(db, plan(db)?, finish, now);
                    users.store.write(now, whole).await
                }
                Some(remote) => users.change_both(remote, now, plan, finish).await,
            }
        };
        tokio::spawn(change).await.map_err(|_| StorageError::Task)?
    }

    async fn change_both<T, R>(
        &self,
        remote: &Remote,
        now: Moment,
        plan: impl FnOnce(&Connection) -> Result<Planned<T>, AccountError> + Send + 'static,
        finish: impl FnOnce(&Connection, &User, T) -> Result<R, AccountError> + Send + 'static,
    ) -> Result<R, AccountError>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        if self.state().phase != Phase::Up {
            return Err(self.unavailable());
        }
        let mut planned = self.store.read(plan).await?;
        let before_version = planned.before.as_ref().map(|user| user.version).filter(|version| *version > 0);
        planned.after.version = before_version.unwrap_or(0) + 1;
        let intent = Intent {
            change_id: change_id()?,
            username: planned.after.username.clone(),
            before_version,
            at: now,
            event: planned.event.clone(),
        };
        let (stored, id) = (intent.clone(), intent.change_id.clone());
        self.store.write(now, move |db| intents::add(db, &stored).map_err(AccountError::from)).await?;
        let row = Row::of(&planned.after, &intent.change_id, now);
        match remote.commit(&row, before_version).await {
            Ok(Commit::Done) => {}
            Ok(Commit::Overtaken) => {
                self.forget(intent, now).await?;
                self.look.notify_one();
                return Err(Refusal::ChangedElsewhere.into());
            }
            Err((failure, is_certain)) => {
                // Whether it has arrived is found out when the database answers again.
                if is_certain {
                    self.forget(intent, now).await?;
                }
                self.lost(failure).await;
                return Err(self.unavailable());
            }
        }
        let done = self.store.write(now, move |db| {
            let done = settle(db, planned, finish, now)?;
            intents::remove(db, &id)?;
            Ok(done)
        });
        done.await.inspect_err(|_: &AccountError| self.look.notify_one())
    }

    async fn forget(&self, intent: Intent, now: Moment) -> Result<(), AccountError> {
        self.store.write(now, move |db| intents::remove(db, &intent.change_id).map_err(AccountError::from)).await
    }

    fn unavailable(&self) -> AccountError {
        Refusal::UsersUnavailable { seconds: self.check.as_secs() }.into()
    }

    /// Connects as the settings say and looks around, without touching what is in use.
    pub(crate) async fn test(&self) -> Option<Result<Checked, Failure>> {
        match &self.remote {
            Some(remote) => Some(remote.test().await),
            None => None,
        }
    }

    /// What kind of pooler stands before the database, and its address without the password.
    pub(crate) fn described(&self) -> Option<(String, Pooler)> {
        self.remote.as_ref().map(|remote| (remote.shown().to_owned(), remote.pooler()))
    }
}

/// The local part of a change.
fn settle<T, R>(
    db: &Connection,
    planned: Planned<T>,
    finish: impl FnOnce(&Connection, &User, T) -> Result<R, AccountError>,
    now: Moment,
) -> Result<R, AccountError> {
    let Planned { before: _, mut after, event, more } = planned;
    users::put(db, &mut after, now)?;
    reconcile::changed(db, &after, now)?;
    let done = finish(db, &after, more)?;
    event.append(db, now)?;
    Ok(done)
}

fn change_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// An authority's file, where one is named.
fn authority(settings: &Database) -> &Path {
    &settings.ca
}
