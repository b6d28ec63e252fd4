//! Changing a password: by who knows the old one, or with a link from an administrator or from a mail.

use rusqlite::Connection;

use super::email::event;
use super::strength::check;
use super::{AccountError, Accounts, Address, Caller, Refusal, Status, limits};
use crate::clock::Moment;
use crate::store::audit::{Action, Event, append};
use crate::store::users::{PasswordHash, User};
use crate::store::{failures, resets, sessions, users};
use crate::token::Token;
use crate::users::Planned;

impl Accounts {
    /// Makes sure that the caller knows the password; wrong ones count as at a log-in. The hash that it fits.
    pub(super) async fn prove(
        &self,
        caller: &Caller,
        password: String,
        address: Address,
        now: Moment,
    ) -> Result<PasswordHash, AccountError> {
        let id = caller.user_id;
        let attempt = self.store.write(now, self.attempt(&caller.username, address, now)).await?;
        let user = self.store.read(move |db| users::by_id(db, id).map_err(AccountError::from)).await?;
        let known = user.map(|user| user.password_hash);
        if self.hasher.verify(password, known.as_ref()).await?
            && let Some(known) = known
        {
            self.store.write(now, move |db| attempt.forgive(db).map_err(AccountError::from)).await?;
            return Ok(known);
        }
        let name = caller.username.clone();
        self.store
            .write(now, move |db| {
                let (address, name) = (address.shown(), Some(name.as_str()));
                let event = |action| Event { action, actor: name, target: name, address: Some(&address), detail: "" };
                append(db, &event(Action::SignInFailed), now)?;
                if attempt.last {
                    append(db, &event(Action::LockedOut), now)?;
                }
                Ok::<_, AccountError>(())
            })
            .await?;
        Err(Refusal::WrongPassword.into())
    }

    /// Replaces the caller's password, ends all their sessions and opens a new one for the caller.
    pub(crate) async fn change_password(
        &self,
        caller: Caller,
        current: String,
        new: String,
        address: Address,
    ) -> Result<Token, AccountError> {
        let now = self.clock.now();
        let known = self.prove(&caller, current, address, now).await?;
        let about = [caller.username.as_str(), caller.institution.as_str()];
        check(&new, &about, self.settings.password_score).map_err(|invalid| Refusal::Invalid(vec![invalid]))?;
        let hash = self.hasher.hash(new).await?;
        let (token, id) = (Token::random()?, caller.user_id);
        let plan = move |db: &Connection| {
            // Another change may have come first; its sessions and password stay.
            let user =
                users::by_id(db, id)?.filter(|user| user.status == Status::Active && user.password_hash == known);
            let user = user.ok_or(Refusal::WrongPassword)?;
            let event = event(Action::PasswordChanged, &user.username, Some(&user.username), address);
            let after = User { password_hash: hash, ..user.clone() };
            Ok(Planned { before: Some(user), after, event, more: () })
        };
        self.users
            .change(now, plan, move |db, user, ()| {
                end_all(db, user.id)?;
                sessions::insert(db, &token.hash(), user.id, now)?;
                Ok(token)
            })
            .await
    }

    /// Makes a one-time link's token for an account, and says until when it is good.
    pub(crate) async fn issue_reset(
        &self,
        caller: Caller,
        username: String,
        address: Address,
    ) -> Result<(Token, Moment), AccountError> {
        let now = self.clock.now();
        let expires_at = now.plus_minutes(60 * self.settings.reset_link_hours);
        let token = Token::random()?;
        self.store
            .write(now, move |db| {
                let user = users::by_name(db, &username)?.ok_or(Refusal::NoSuchAccount)?;
                if user.status != Status::Active {
                    return Err(Refusal::NotNow { status: user.status }.into());
                }
                resets::issue(db, &token.hash(), user.id, expires_at)?;
                let address = address.shown();
                let event = Event {
                    action: Action::ResetIssued,
                    actor: Some(&caller.username),
                    target: Some(&user.username),
                    address: Some(&address),
                    detail: "",
                };
                append(db, &event, now)?;
                Ok((token, expires_at))
            })
            .await
    }

    /// Sets a password with the token of a link, which is used up by that.
    pub(crate) async fn reset(&self, token: &str, new: String, address: Address) -> Result<(), AccountError> {
        let now = self.clock.now();
        let token = Token::presented(token).ok_or(Refusal::ResetLinkInvalid)?.hash();
        let find = move |db: &Connection| {
            let id = resets::user_of(db, &token, now)?.ok_or(Refusal::ResetLinkInvalid)?;
            let user = users::by_id(db, id)?.ok_or(Refusal::ResetLinkInvalid)?;
            if user.status == Status::Active { Ok(user) } else { Err(AccountError::from(Refusal::ResetLinkInvalid)) }
        };
        let user = self.store.read(find).await?;
        check(&new, &[&user.username, &user.institution], self.settings.password_score)
            .map_err(|invalid| Refusal::Invalid(vec![invalid]))?;
        let hash = self.hasher.hash(new).await?;
        let plan = move |db: &Connection| {
            let user = find(db)?;
            let event = event(Action::ResetUsed, &user.username, Some(&user.username), address);
            let after = User { password_hash: hash, ..user.clone() };
            Ok(Planned { before: Some(user), after, event, more: () })
        };
        self.users
            .change(now, plan, move |db, user, ()| {
                failures::forget(db, &limits::account(&user.username))?;
                Ok(end_all(db, user.id)?)
            })
            .await
    }
}

/// Whoever knew the old password, or holds a link, is out.
fn end_all(db: &Connection, id: i64) -> rusqlite::Result<()> {
    resets::remove_of_user(db, id)?;
    sessions::remove_of_user(db, id).map(drop)
}
