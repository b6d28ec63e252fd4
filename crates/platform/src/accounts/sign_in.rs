//! Signing in and out, and who is behind a request.

use std::sync::Arc;

use rusqlite::Connection;

use super::names::Username;
use super::{AccountError, Accounts, Address, Refusal, Role, Status};
use crate::catalog::Language;
use crate::clock::Moment;
use crate::store::audit::{Action, Event, append};
use crate::store::mails::{self, Kind, To};
use crate::store::sessions::Session;
use crate::store::users::User;
use crate::store::{sessions, users};
use crate::token::{Token, TokenHash};

/// `seen_at` is written again after this time only, so that not every request costs a write.
const SEEN_EVERY_MINUTES: u32 = 1;

/// A new session.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) token: Token,
    pub(crate) role: Role,
}

/// The user who sends a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user_id: i64,
    pub(crate) username: String,
    pub(crate) institution: String,
    pub(crate) role: Role,
    pub(crate) token: Token,
    pub(crate) since: Moment,
}

impl Accounts {
    /// Opens a session for whoever knows the password. An unknown name is refused as a wrong password is: with the same
    /// words, after the same work.
    pub(crate) async fn sign_in(
        &self,
        username: &str,
        password: String,
        language: Language,
        address: Address,
    ) -> Result<SignedIn, AccountError> {
        let now = self.clock.now();
        // A name that cannot exist is no different from one that does not.
        let name = Username::parse(username).map_or_else(|_| username.to_owned(), |name| name.to_string());
        let attempt = self.store.write(now, self.attempt(&name, address, now)).await?;
        self.users.freshen(&name).await;
        let user = self.store.read(move |db| users::by_name(db, &name).map_err(AccountError::from)).await?;
        let fits = self.hasher.verify(password, user.as_ref().map(|user| &user.password_hash)).await?;
        let token = Token::random()?;
        let (idle, absolute) = self.session_limits(now);
        let (has_mail, may_mail) = (self.mail.is_on(), self.count_mail(address, now));
        let outcome = self.store.write(now, move |db| {
            let address = address.shown();
            let target = user.as_ref().map(|user| user.username.as_str());
            let event =
                |action, actor, target, detail| Event { action, actor, target, address: Some(&address), detail };
            // Whatever happened to the account while the password was being checked counts.
            let current = user.as_ref().map(|user| users::by_id(db, user.id)).transpose()?.flatten();
            let current =
                current.filter(|current| user.as_ref().is_some_and(|u| u.password_hash == current.password_hash));
            let Some(current) = current.filter(|_| fits) else {
                append(db, &event(Action::SignInFailed, None, target, ""), now)?;
                if attempt.last {
                    append(db, &event(Action::LockedOut, None, target, ""), now)?;
                }
                return Ok(Err(Refusal::WrongCredentials));
            };
            attempt.forgive(db)?;
            if let Err(mut refusal) = usable(&current) {
                // The mail may have been lost. Whether one more goes out is the queue's to decide, not a secret.
                if has_mail && refusal == Refusal::Pending && current.email.is_none() && current.email_new.is_some() {
                    refusal = Refusal::Unverified;
                    if may_mail(db).is_ok() {
                        mails::queue(db, Kind::Verify, To::Account(&current.username), language, now)?;
                    }
                }
                append(db, &event(Action::SignInFailed, None, target, current.status.name()), now)?;
                return Ok(Err(refusal));
            }
            sessions::remove_expired(db, idle, absolute)?;
            sessions::insert(db, &token.hash(), current.id, now)?;
            append(db, &event(Action::SignedIn, target, target, ""), now)?;
            Ok::<_, AccountError>(Ok(SignedIn { token, role: current.role }))
        });
        Ok(outcome.await??)
    }

    /// Ends the caller's session.
    pub(crate) async fn sign_out(&self, caller: Caller, address: Address) -> Result<(), AccountError> {
        let now = self.clock.now();
        self.store
            .write(now, move |db| {
                sessions::remove(db, &caller.token.hash())?;
                let (address, name) = (address.shown(), Some(caller.username.as_str()));
                let event =
                    Event { action: Action::SignedOut, actor: name, target: name, address: Some(&address), detail: "" };
                Ok(append(db, &event, now)?)
            })
            .await
    }

    /// Whose session a token is, if it is still good and its user may still use it.
    pub(crate) async fn authenticate(&self, token: Token) -> Result<Option<Caller>, AccountError> {
        let now = self.clock.now();
        let Some((user, session)) = self.session(&token, now).await? else { return Ok(None) };
        let seen_before = |minutes| session.seen_at < now.minus_minutes(minutes);
        if seen_before(SEEN_EVERY_MINUTES) {
            let (store, hash) = (Arc::clone(&self.store), token.hash());
            let write = async move {
                store.write(now, move |db| sessions::seen(db, &hash, now).map_err(AccountError::from)).await
            };
            if seen_before(self.sessions.idle_minutes / 2) {
                write.await?;
            } else {
                // Nobody waits for the disk to have been seen a little later.
                tokio::spawn(write);
            }
        }
        let User { id, username, institution, role, .. } = user;
        Ok(Some(Caller { user_id: id, username, institution, role, token, since: session.created_at }))
    }

    /// Those whose sessions do not hold any more for what they held when it was found out. Nobody counts as active by that: a
    /// page that is left open does not keep its session.
    pub(crate) async fn ended(&self, callers: Vec<Caller>) -> Result<Vec<Caller>, AccountError> {
        let limits = self.session_limits(self.clock.now());
        let find = self.store.read(move |db: &Connection| {
            let mut ended = Vec::new();
            for caller in callers {
                let found = good_session(db, &caller.token.hash(), limits)?;
                let holds = found.is_some_and(|(user, _)| (user.id, user.role) == (caller.user_id, caller.role));
                if !holds {
                    ended.push(caller);
                }
            }
            Ok::<_, AccountError>(ended)
        });
        find.await
    }

    async fn session(&self, token: &Token, now: Moment) -> Result<Option<(User, Session)>, AccountError> {
        let (limits, hash) = (self.session_limits(now), token.hash());
        self.store.read(move |db: &Connection| Ok(good_session(db, &hash, limits)?)).await
    }

    /// Sessions last seen before the first moment, or opened before the second, have ended.
    pub(super) fn session_limits(&self, now: Moment) -> (Moment, Moment) {
        (now.minus_minutes(self.sessions.idle_minutes), now.minus_minutes(60 * self.sessions.absolute_hours))
    }
}

/// A session within its limits, and its user, who may use it.
fn good_session(
    db: &Connection,
    token: &TokenHash,
    (idle, absolute): (Moment, Moment),
) -> rusqlite::Result<Option<(User, Session)>> {
    let Some(session) = sessions::get(db, token)? else { return Ok(None) };
    let is_good = session.seen_at >= idle && session.created_at >= absolute;
    let user = if is_good { users::by_id(db, session.user_id)? } else { None };
    Ok(user.filter(|user| user.status == Status::Active).map(|user| (user, session)))
}

fn usable(user: &User) -> Result<(), Refusal> {
    match user.status {
        Status::Active => Ok(()),
        Status::Pending => Err(Refusal::Pending),
        Status::Disabled => Err(Refusal::Disabled),
    }
}
