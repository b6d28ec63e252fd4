//! New accounts: the first administrator, and institutions that wait for approval.

use std::sync::PoisonError;

use super::names::{Username, institution};
use super::strength::check;
use super::{AccountError, Accounts, Address, Invalid, Refusal, Role, Status, limits};
use crate::config::Secret;
use crate::store::audit::{Action, Event, append};
use crate::store::failures;
use crate::store::users::{self, NewUser};
use crate::token::{Token, hash};

/// What somebody enters to get an account.
pub(crate) struct Registration {
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) password: String,
}

/// The same, found fine.
struct Checked {
    username: Username,
    institution: String,
    password: String,
}

const MINUTES: u32 = 60;

impl Registration {
    fn check(self, score: u8) -> Result<Checked, Refusal> {
        let username = Username::parse(&self.username);
        let institution = institution(&self.institution);
        let password = check(&self.password, &[&self.username, &self.institution], score);
        match (username, institution, password) {
            (Ok(username), Ok(institution), Ok(())) => Ok(Checked { username, institution, password: self.password }),
            (username, institution, password) => {
                let all = [username.err(), institution.err(), password.err()];
                Err(Refusal::Invalid(all.into_iter().flatten().collect()))
            }
        }
    }
}

impl Accounts {
    /// Whether there is no administrator yet. If so, the token that makes one is drawn up: the given one, or a random
    /// one, which is returned to be shown once.
    pub(crate) async fn prepare_set_up(&self) -> Result<Option<Secret>, AccountError> {
        if self.store.read(|db| has_administrator(db).map_err(AccountError::from)).await? {
            return Ok(None);
        }
        let given = &self.settings.setup_token;
        let token = if given.expose().is_empty() { Secret::new(Token::random()?.expose()) } else { given.clone() };
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash("set-up", token.expose()));
        Ok(Some(token))
    }

    /// Whether somebody must set up the server before anything else.
    pub(crate) fn awaits_set_up(&self) -> bool {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Makes the first administrator.
    pub(crate) async fn set_up(
        &self,
        token: &str,
        registration: Registration,
        address: Address,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        let expected = *self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = expected.ok_or(Refusal::SetUpDone)?;
        // Guesses at the token count as guesses at the account of that name, which nobody can register.
        let attempt = self.store.write(now, self.attempt("(set-up)", address, now)).await?;
        if hash("set-up", token.trim()) != expected {
            return Err(Refusal::WrongSetUpToken.into());
        }
        self.store.write(now, move |db| attempt.forgive(db).map_err(AccountError::from)).await?;
        let Checked { username, institution, password } = registration.check(self.settings.password_score)?;
        let password_hash = self.hasher.hash(password).await?;
        self.store
            .write(now, move |db| {
                if has_administrator(db)? {
                    return Err(Refusal::SetUpDone.into());
                }
                let name = username.as_str();
                let (role, status) = (Role::Server, Status::Active);
                let new =
                    NewUser { username: name, institution: &institution, role, status, password_hash: &password_hash };
                if !users::insert(db, &new, now)? {
                    return Err(taken());
                }
                let address = address.shown();
                let event = Event {
                    action: Action::SetUp,
                    actor: Some(name),
                    target: Some(name),
                    address: Some(&address),
                    detail: "",
                };
                Ok(append(db, &event, now)?)
            })
            .await?;
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Makes an account of an institution, which an administrator must approve.
    pub(crate) async fn register(&self, registration: Registration, address: Address) -> Result<(), AccountError> {
        let now = self.clock.now();
        let limit = self.settings.registrations_per_address;
        let by_address = address.registrations();
        let is_over = self
            .store
            .read(move |db| limits::exhausted(db, &by_address, limit, MINUTES, now).map_err(AccountError::from));
        if let Some(seconds) = is_over.await? {
            return Err(Refusal::TooMany { seconds }.into());
        }
        let Checked { username, institution, password } = registration.check(self.settings.password_score)?;
        let password_hash = self.hasher.hash(password).await?;
        self.store
            .write(now, move |db| {
                if let Some(seconds) = limits::exhausted(db, &by_address, limit, MINUTES, now)? {
                    return Err(Refusal::TooMany { seconds }.into());
                }
                let name = username.as_str();
                let (role, status) = (Role::Client, Status::Pending);
                let new =
                    NewUser { username: name, institution: &institution, role, status, password_hash: &password_hash };
                if !users::insert(db, &new, now)? {
                    return Err(taken());
                }
                failures::add(db, &by_address, now)?;
                let address = address.shown();
                let event = Event {
                    action: Action::Registered,
                    actor: None,
                    target: Some(name),
                    address: Some(&address),
                    detail: "",
                };
                Ok(append(db, &event, now)?)
            })
            .await
    }
}

fn taken() -> AccountError {
    let message = crate::catalog::Message::UsernameTaken;
    Refusal::Invalid(vec![Invalid { field: "username", message }]).into()
}

fn has_administrator(db: &rusqlite::Connection) -> rusqlite::Result<bool> {
    Ok(users::count(db, Role::Server, Status::Active)? + users::count(db, Role::Server, Status::Disabled)? > 0)
}
