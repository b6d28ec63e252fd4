//! Changing a password: by who knows the old one, or with a link from an administrator.

use rusqlite::Connection;

use super::strength::check;
use super::{AccountError, Accounts, Address, Caller, Refusal, Status, limits};
use crate::clock::Moment;
use crate::store::audit::{Action, Event, append};
use crate::store::users::PasswordHash;
use crate::store::{failures, resets, sessions, users};
use crate::token::Token;

impl Accounts {
    /// Replaces the caller's password, ends all their sessions and opens a new one for the caller.
    pub(crate) async fn change_password(
        &self,
        caller: Caller,
        current: String,
        new: String,
        address: Address,
    ) -> Result<Token, AccountError> {
        let now = self.clock.now();
        let id = caller.user_id;
        let attempt = self.store.write(now, self.attempt(&caller.username, address, now)).await?;
        let user = self.store.read(move |db| users::by_id(db, id).map_err(AccountError::from)).await?;
        let known = user.map(|user| user.password_hash);
        if !self.hasher.verify(current, known.as_ref()).await? {
            let name = caller.username;
            self.store
                .write(now, move |db| {
                    let (address, name) = (address.shown(), Some(name.as_str()));
                    let event =
                        |action| Event { action, actor: name, target: name, address: Some(&address), detail: "" };
                    append(db, &event(Action::SignInFailed), now)?;
                    if attempt.last {
                        append(db, &event(Action::LockedOut), now)?;
                    }
                    Ok::<_, AccountError>(())
                })
                .await?;
            return Err(Refusal::WrongPassword.into());
        }
        self.store.write(now, move |db| attempt.forgive(db).map_err(AccountError::from)).await?;
        let about = [caller.username.as_str(), caller.institution.as_str()];
        check(&new, &about, self.settings.password_score).map_err(|invalid| Refusal::Invalid(vec![invalid]))?;
        let hash = self.hasher.hash(new).await?;
        let token = Token::random()?;
        self.store
            .write(now, move |db| {
                // Another change may have come first; its sessions and password stay.
                let current = users::by_id(db, id)?;
                let unchanged = current
                    .is_some_and(|user| user.status == Status::Active && Some(&user.password_hash) == known.as_ref());
                if !unchanged {
                    return Err(Refusal::WrongPassword.into());
                }
                replace(db, id, &hash, now)?;
                sessions::insert(db, &token.hash(), id, now)?;
                let (address, name) = (address.shown(), Some(caller.username.as_str()));
                let action = Action::PasswordChanged;
                append(db, &Event { action, actor: name, target: name, address: Some(&address), detail: "" }, now)?;
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
        self.store
            .write(now, move |db| {
                let user = find(db)?;
                replace(db, user.id, &hash, now)?;
                let (address, name) = (address.shown(), Some(user.username.as_str()));
                failures::forget(db, &limits::account(&user.username))?;
                let action = Action::ResetUsed;
                append(db, &Event { action, actor: name, target: name, address: Some(&address), detail: "" }, now)?;
                Ok(())
            })
            .await
    }
}

/// Whoever knew the old password, or holds a link, is out.
fn replace(db: &Connection, id: i64, hash: &PasswordHash, now: Moment) -> rusqlite::Result<()> {
    users::set_password(db, id, hash, now)?;
    resets::remove_of_user(db, id)?;
    sessions::remove_of_user(db, id).map(drop)
}
