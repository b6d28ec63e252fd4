//! Mail: a queue in the database, emptied through an SMTP server.
//!
//! What changes something puts a mail into the queue in the same transaction. A mail is written when it is sent, so no token
//! lies in the queue; one that cannot be sent is tried again, less and less often, and given up in the end. No log holds
//! an address.

mod letter;
mod sender;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::sleep;

use crate::accounts::{Status, mails_to};
use crate::clock::{Clock, Moment};
use crate::store::audit::{Action, Event, append};
use crate::store::mails::{self, Kind, Mail};
use crate::store::users::{self, User};
use crate::store::{StorageError, Store, failures, resets, verifications};
use crate::token::Token;
use letter::Letter;
pub(crate) use sender::{Sender, Trouble};

/// How often the queue is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Mails of one look.
const BATCH: u32 = 20;
/// The times between two attempts, in minutes; the last one repeats.
const PAUSES: [u32; 7] = [1, 2, 5, 10, 20, 40, 60];
/// The most accounts that one mail names.
const ACCOUNTS: usize = 10;
const HOUR: u32 = 60;

/// Empties the queue.
pub(crate) struct Post {
    store: Arc<Store>,
    clock: Clock,
    sender: Sender,
    /// What links begin with.
    base: String,
    link_hours: u32,
    retry_hours: u32,
    per_recipient: u32,
    /// Why the last mail did not leave, until one does.
    trouble: Mutex<Option<Trouble>>,
}

/// The settings of the queue.
pub(crate) struct Rules {
    pub(crate) base: String,
    pub(crate) link_hours: u32,
    pub(crate) retry_hours: u32,
    pub(crate) per_recipient: u32,
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the system has no random numbers")]
    Random(#[from] getrandom::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Post {
    pub(crate) fn new(store: Arc<Store>, clock: Clock, sender: Sender, rules: Rules) -> Self {
        let Rules { base, link_hours, retry_hours, per_recipient } = rules;
        Self { store, clock, sender, base, link_hours, retry_hours, per_recipient, trouble: Mutex::new(None) }
    }

    /// Why mail does not leave at the moment.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn test(&self) -> Result<(), Trouble> {
        self.sender.test().await
    }

    /// Sends what is due, as long as the server runs.
    pub(crate) async fn keep(&self) {
        loop {
            if let Err(error) = self.empty().await {
                tracing::error!(%error, "the queue of mails cannot be read or written");
            }
            sleep(TICK).await;
        }
    }

    async fn empty(&self) -> Result<(), WriteError> {
        let now = self.clock.now();
        for mail in self.store.read(move |db| mails::due(db, now, BATCH).map_err(StorageError::from)).await? {
            self.deliver(mail).await?;
        }
        Ok(())
    }

    /// One attempt at one mail. After a crash behind the sending it is sent again, with another link.
    async fn deliver(&self, mail: Mail) -> Result<(), WriteError> {
        let now = self.clock.now();
        let (id, attempts, queued_at, account) = (mail.id, mail.attempts, mail.queued_at, mail.username.clone());
        let expires_at = now.plus_minutes(HOUR * self.link_hours);
        let (base, per_recipient) = (self.base.clone(), self.per_recipient);
        let written = self.store.write(now, move |db| write(db, &mail, &base, per_recipient, expires_at, now)).await?;
        let Some(letter) = written else {
            // Nobody to write to, or too much written already.
            return self.finish(id, None, now).await;
        };
        match self.sender.send(&letter).await {
            Ok(()) => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                tracing::info!(mail = id, "a mail was sent");
                self.finish(id, None, now).await
            }
            Err(trouble) => {
                let next = PAUSES[PAUSES.len().min(attempts as usize + 1) - 1];
                let next_at = now.plus_minutes(next);
                let is_last = trouble.is_final() || next_at > queued_at.plus_minutes(HOUR * self.retry_hours);
                tracing::warn!(mail = id, trouble = trouble.name(), given_up = is_last, "a mail was not sent");
                // A refused address says nothing about the server.
                if !trouble.is_final() {
                    *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
                }
                if is_last {
                    return self.finish(id, Some((account, trouble.name())), now).await;
                }
                self.store.write(now, move |db| Ok(mails::postpone(db, id, next_at)?)).await
            }
        }
    }

    /// Takes a mail out of the queue; one that was given up leaves an entry in the audit log.
    async fn finish(
        &self,
        id: i64,
        given_up: Option<(Option<String>, &'static str)>,
        now: Moment,
    ) -> Result<(), WriteError> {
        self.store
            .write(now, move |db| {
                mails::remove(db, id)?;
                if let Some((account, detail)) = given_up {
                    let (action, target) = (Action::MailGivenUp, account.as_deref());
                    append(db, &Event { action, actor: None, target, address: None, detail }, now)?;
                }
                Ok(())
            })
            .await
    }
}

/// Puts a mail into words and stores the hashes of its tokens. `None` where there is nobody to write to any more, or the
/// address has had its share.
fn write(
    db: &Connection,
    mail: &Mail,
    base: &str,
    per_recipient: u32,
    expires_at: Moment,
    now: Moment,
) -> Result<Option<Letter>, WriteError> {
    let named = match &mail.username {
        Some(name) => users::by_name(db, name)?,
        None => None,
    };
    let language = mail.language;
    let (to, accounts) = match (mail.kind, named, &mail.address) {
        (Kind::Verify, Some(user), _) if user.status != Status::Disabled => match user.email_new.clone() {
            Some(to) => (to, vec![user]),
            None => return Ok(None),
        },
        (Kind::Approved, Some(user), _) if user.status == Status::Active => match user.email.clone() {
            Some(to) => (to, vec![user]),
            None => return Ok(None),
        },
        (Kind::Moved, Some(user), Some(former)) => (former.clone(), vec![user]),
        (Kind::Reset, Some(user), _) if user.status == Status::Active => match user.email.clone() {
            Some(to) => (to, vec![user]),
            None => return Ok(None),
        },
        (Kind::Reset, None, Some(address)) => {
            let mut found = users::by_email(db, address)?;
            found.truncate(ACCOUNTS);
            match found.first().and_then(|user| user.email.clone()) {
                Some(to) => (to, found),
                None => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    // An attempt that failed has not reached anybody, so only the first one counts.
    if mail.attempts == 0 {
        let subject = mails_to(&to);
        if failures::since(db, &subject, now.minus_minutes(HOUR))?.len() >= per_recipient as usize {
            tracing::warn!(mail = mail.id, "a mail was left out: its address has had its share of this hour");
            return Ok(None);
        }
        failures::add(db, &subject, now)?;
    }
    let mut links = Vec::new();
    for User { id, username, .. } in &accounts {
        let link = match mail.kind {
            Kind::Verify => {
                let token = Token::random()?;
                verifications::add(db, &token.hash(), *id, &to, expires_at, now)?;
                format!("{base}/verify#{}", token.expose())
            }
            Kind::Reset => {
                let token = Token::random()?;
                resets::add(db, &token.hash(), *id, expires_at)?;
                if mail.attempts == 0 {
                    let (action, target) = (Action::ResetAsked, Some(username.as_str()));
                    append(db, &Event { action, actor: None, target, address: None, detail: "" }, now)?;
                }
                format!("{base}/reset#{}", token.expose())
            }
            Kind::Moved | Kind::Approved => format!("{base}/login"),
        };
        links.push((username.clone(), link));
    }
    Ok(Some(Letter::new(mail.kind, to, &links, expires_at, language)))
}
