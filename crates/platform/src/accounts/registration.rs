//! New accounts: the first administrator, and institutions that wait for approval or for their mail.

use std::sync::PoisonError;

use rusqlite::Connection;

use super::email::{EmailAddress, event};
use super::names::{Username, institution};
use super::strength::check;
use super::{AccountError, Accounts, Address, Invalid, Refusal, Role, Status, limits};
use crate::catalog::{Language, Message};
use crate::clock::Moment;
use crate::config::Secret;
use crate::store::audit::{Action, OwnedEvent};
use crate::store::failures;
use crate::store::mails::{self, Kind, To};
use crate::store::users::{self, User};
use crate::token::{Token, hash};
use crate::users::Planned;

/// What somebody enters to get an account.
pub(crate) struct Registration {
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) password: String,
    /// Where mail is sent.
    pub(crate) email: Option<String>,
}

/// The same, found fine.
struct Checked {
    username: Username,
    institution: String,
    password: String,
    email: Option<EmailAddress>,
}

const MINUTES: u32 = 60;

impl Registration {
    fn check(self, score: u8, needs_email: bool) -> Result<Checked, Refusal> {
        let username = Username::parse(&self.username);
        let institution = institution(&self.institution);
        let password = check(&self.password, &[&self.username, &self.institution], score);
        let email = match self.email.filter(|text| !text.trim().is_empty()) {
            Some(_) if !needs_email => Err(Invalid { field: "email", message: Message::NoMailHere }),
            None if needs_email => Err(Invalid { field: "email", message: Message::BadEmail }),
            email => email.map(|text| EmailAddress::parse(&text)).transpose(),
        };
        match (username, institution, password, email) {
            (Ok(username), Ok(institution), Ok(()), Ok(email)) => {
                Ok(Checked { username, institution, password: self.password, email })
            }
            (username, institution, password, email) => {
                let all = [username.err(), institution.err(), email.err(), password.err()];
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

    /// Looks after the users' database, if there is one, as long as the server runs.
    pub(crate) async fn keep_users(&self) {
        let mut known = None;
        loop {
            self.users.look_again(&mut known).await;
            // It may hold an administrator whom this server did not know when it started.
            let found = self.store.read(|db| has_administrator(db).map_err(AccountError::from)).await;
            if self.awaits_set_up() && found.unwrap_or(false) {
                *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
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
        let checked = registration.check(self.settings.password_score, false)?;
        let user = self.user(checked, Role::Server, Status::Active, now).await?;
        let plan = move |db: &Connection| {
            if has_administrator(db)? {
                return Err(Refusal::SetUpDone.into());
            }
            let event = event(Action::SetUp, &user.username, Some(&user.username), address);
            planned(db, user, event)
        };
        self.users.change(now, plan, |_, _, ()| Ok(())).await?;
        *self.setup.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Makes an account of an institution. It can be used when an administrator has approved it or, where mail is sent, its
    /// address is verified. An address may belong to several accounts, so nobody learns from the answer who uses it.
    pub(crate) async fn register(
        &self,
        registration: Registration,
        language: Language,
        address: Address,
    ) -> Result<(), AccountError> {
        let now = self.clock.now();
        let limit = self.settings.registrations_per_address;
        let by_address = address.registrations();
        let within = move |db: &Connection| match limits::exhausted(db, &by_address, limit, MINUTES, now)? {
            Some(seconds) => Err(AccountError::from(Refusal::TooMany { seconds })),
            None => Ok(()),
        };
        self.store.read(within).await?;
        let checked = registration.check(self.settings.password_score, self.mail.is_on())?;
        let user = self.user(checked, Role::Client, Status::Pending, now).await?;
        let plan = move |db: &Connection| {
            within(db)?;
            let event = event(Action::Registered, &user.username, None, address);
            planned(db, user, event)
        };
        self.users
            .change(now, plan, move |db, user, ()| {
                failures::add(db, &by_address, now)?;
                if user.email_new.is_some() {
                    mails::queue(db, Kind::Verify, To::Account(&user.username), language, now)?;
                }
                Ok(())
            })
            .await
    }

    async fn user(&self, checked: Checked, role: Role, status: Status, now: Moment) -> Result<User, AccountError> {
        let Checked { username, institution, password, email } = checked;
        Ok(User {
            id: 0,
            username: username.to_string(),
            institution,
            role,
            status,
            password_hash: self.hasher.hash(password).await?,
            email: None,
            email_new: email.map(|email| email.as_str().to_owned()),
            created_at: now,
            version: 0,
        })
    }
}

fn planned(db: &Connection, after: User, event: OwnedEvent) -> Result<Planned<()>, AccountError> {
    if users::by_name(db, &after.username)?.is_some() {
        return Err(taken());
    }
    Ok(Planned { before: None, after, event, more: () })
}

fn taken() -> AccountError {
    Refusal::Invalid(vec![Invalid { field: "username", message: Message::UsernameTaken }]).into()
}

fn has_administrator(db: &Connection) -> rusqlite::Result<bool> {
    Ok(users::count(db, Role::Server, Status::Active)? + users::count(db, Role::Server, Status::Disabled)? > 0)
}
