//! The rules of accounts: who may become what, what a password must be, when somebody is locked out, and how long a
//! log-in lasts. Every action leaves an entry in the audit log, in the transaction that does it.
//!
//! Nothing here knows HTTP; a refusal is a [`Refusal`], which a request's answer puts into words.

mod administration;
mod email;
mod hasher;
mod limits;
mod names;
mod passwords;
mod registration;
mod sign_in;
mod strength;

use std::sync::Arc;
use std::sync::Mutex;

use crate::catalog::Message;
use crate::clock::Clock;
use crate::config::{Accounts as AccountSettings, Mail as MailSettings, Sessions};
use crate::store::{StorageError, Store};
use crate::token::TokenHash;
use crate::users::Users;

pub(crate) use administration::Change;
pub(crate) use email::{EmailAddress, mails_to};
pub(crate) use hasher::Hasher;
pub(crate) use limits::Address;
pub use names::{Role, Status};
pub(crate) use names::{is_institution, is_username};
pub(crate) use registration::Registration;
pub(crate) use sign_in::Caller;
pub(crate) use strength::{MAX_PASSWORD_BYTES, Strength, strength};

/// Everything that accounts need.
pub(crate) struct Accounts {
    store: Arc<Store>,
    users: Arc<Users>,
    clock: Clock,
    hasher: Hasher,
    settings: AccountSettings,
    sessions: Sessions,
    mail: MailSettings,
    /// The hash of the token that makes the first administrator, while there is none.
    setup: Mutex<Option<TokenHash>>,
}

/// A text that somebody entered and that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Invalid {
    pub(crate) field: &'static str,
    pub(crate) message: Message,
}

/// Why somebody does not get what they ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    Invalid(Vec<Invalid>),
    SetUpDone,
    WrongSetUpToken,
    WrongCredentials,
    WrongPassword,
    /// Too many wrong passwords for this account.
    LockedOut {
        seconds: u64,
    },
    /// Too much from this address.
    TooMany {
        seconds: u64,
    },
    /// The password is right, but nobody has approved the account.
    Pending,
    Disabled,
    NoSuchAccount,
    /// The account's state does not allow it, for instance because somebody else was faster.
    NotNow {
        status: Status,
    },
    LastAdministrator,
    ResetLinkInvalid,
    VerificationInvalid,
    /// The password is right, but the e-mail address is not verified; the mail is on its way again.
    Unverified,
    /// An administrator cannot approve before the e-mail address is verified.
    NotVerifiedYet,
    /// This server sends no mail.
    NoMail,
    /// The users' database does not answer: nothing is changed.
    UsersUnavailable {
        seconds: u64,
    },
    /// Somebody else has changed the account in the users' database.
    ChangedElsewhere,
}

/// Why an action on accounts did not take place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a password could not be hashed")]
    Hash(#[from] bcrypt::BcryptError),
    #[error("the system has no random numbers")]
    Random(#[from] getrandom::Error),
}

impl From<Refusal> for AccountError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for AccountError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl Accounts {
    pub(crate) fn new(
        store: Arc<Store>,
        users: Arc<Users>,
        clock: Clock,
        settings: AccountSettings,
        sessions: Sessions,
        mail: MailSettings,
    ) -> Self {
        let hasher = Hasher::new(settings.bcrypt_cost);
        Self { store, users, clock, hasher, settings, sessions, mail, setup: Mutex::new(None) }
    }
}
