//! E-mail addresses: personal data that only administrators and their owner see, and that no log holds.

use std::fmt;

use lettre::Address as Mailbox;
use rusqlite::Connection;

use super::{AccountError, Accounts, Address, Caller, Invalid, Refusal, Status, limits};
use crate::catalog::{Language, Message};
use crate::clock::Moment;
use crate::store::audit::{Action, OwnedEvent};
use crate::store::mails::{self, Kind, To};
use crate::store::users::{self, User};
use crate::store::{failures, verifications};
use crate::token::{Token, TokenHash, hash};
use crate::users::Planned;

const HOUR: u32 = 60;

/// An address as it is stored: the host in lower case, what stands before it as its owner writes it. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EmailAddress(String);

impl EmailAddress {
    /// Plain addresses only: at most 254 characters of ASCII, nothing quoted, a host with a dot.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let refused = Invalid { field: "email", message: Message::BadEmail };
        let text = text.trim();
        let Some((local, host)) = text.rsplit_once('@') else { return Err(refused) };
        let fine = text.len() <= 254
            && local.len() <= 64
            && local.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c))
            && host.contains('.')
            && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        let address = format!("{local}@{}", host.to_ascii_lowercase());
        if fine && address.parse::<Mailbox>().is_ok() { Ok(Self(address)) } else { Err(refused) }
    }

    /// Whether a text is the normal form of an address.
    pub(crate) fn is_normal(text: &str) -> bool {
        Self::parse(text).is_ok_and(|address| address.0 == text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What mails to one address count against, whoever asks for them.
pub(crate) fn mails_to(address: &str) -> TokenHash {
    hash("mails to address", &address.to_lowercase())
}

impl Accounts {
    /// Whether mail is sent.
    pub(crate) fn has_mail(&self) -> bool {
        self.mail.is_on()
    }

    /// Whether a verified address does without an administrator's approval.
    pub(crate) fn mail_is_enough(&self) -> bool {
        self.mail.is_on() && !self.settings.approve_always
    }

    /// Counts something that makes this server send mail, or refuses it.
    pub(super) fn count_mail(
        &self,
        address: Address,
        now: Moment,
    ) -> impl Fn(&Connection) -> Result<(), AccountError> + Send + use<> {
        let (subject, limit) = (address.mails(), self.mail.per_address);
        move |db| {
            if let Some(seconds) = limits::exhausted(db, &subject, limit, HOUR, now)? {
                return Err(Refusal::TooMany { seconds }.into());
            }
            Ok(failures::add(db, &subject, now)?)
        }
    }

    /// Verifies an address with the token of a link, which is used up by that. The account's state afterwards.
    pub(crate) async fn verify_email(
        &self,
        token: &str,
        language: Language,
        address: Address,
    ) -> Result<Status, AccountError> {
        let now = self.clock.now();
        let token = Token::presented(token).ok_or(Refusal::VerificationInvalid)?.hash();
        let is_enough = self.mail_is_enough();
        let plan = move |db: &Connection| {
            let (id, email) = verifications::find(db, &token, now)?.ok_or(Refusal::VerificationInvalid)?;
            let user = users::by_id(db, id)?.ok_or(Refusal::VerificationInvalid)?;
            if user.status == Status::Disabled || user.email_new.as_ref() != Some(&email) {
                return Err(Refusal::VerificationInvalid.into());
            }
            let status = if is_enough { Status::Active } else { user.status };
            let after = User { email: Some(email), email_new: None, status, ..user.clone() };
            let former = user.email.clone();
            Ok(Planned {
                event: event(Action::EmailVerified, &user.username, None, address),
                before: Some(user),
                after,
                more: former,
            })
        };
        self.users
            .change(now, plan, move |db, user, former| {
                verifications::remove_of_user(db, user.id)?;
                // Whoever reads at the former address learns that it no longer counts.
                if let Some(former) = former.filter(|former| Some(former) != user.email.as_ref()) {
                    mails::queue(db, Kind::Moved, To::Address(&former, Some(&user.username)), language, now)?;
                }
                Ok(user.status)
            })
            .await
    }

    /// Notes another address of the caller, which counts when it is verified.
    pub(crate) async fn change_email(
        &self,
        caller: Caller,
        password: String,
        email: &str,
        language: Language,
        address: Address,
    ) -> Result<(), AccountError> {
        if !self.mail.is_on() {
            return Err(Refusal::NoMail.into());
        }
        let now = self.clock.now();
        let email = EmailAddress::parse(email).map_err(|invalid| Refusal::Invalid(vec![invalid]))?;
        self.prove(&caller, password, address, now).await?;
        let count = self.count_mail(address, now);
        let id = caller.user_id;
        let plan = move |db: &Connection| {
            let user = users::by_id(db, id)?.ok_or(Refusal::NoSuchAccount)?;
            let after = User { email_new: Some(email.as_str().to_owned()), ..user.clone() };
            let event = event(Action::EmailChangeAsked, &user.username, Some(&user.username), address);
            Ok(Planned { before: Some(user), after, event, more: () })
        };
        // Counted first: a change of both places must not be refused at its end.
        self.store.write(now, move |db| count(db)).await?;
        self.users
            .change(now, plan, move |db, user, ()| {
                verifications::remove_of_user(db, user.id)?;
                Ok(mails::queue(db, Kind::Verify, To::Account(&user.username), language, now)?)
            })
            .await
    }

    /// Asks for a link to set a new password, by the name of an account or by its address. Nobody learns from the answer
    /// whether there is one: the queue finds out.
    pub(crate) async fn forgot(&self, account: &str, language: Language, address: Address) -> Result<(), AccountError> {
        if !self.mail.is_on() {
            return Err(Refusal::NoMail.into());
        }
        let now = self.clock.now();
        let invalid = || Refusal::Invalid(vec![Invalid { field: "account", message: Message::BadAccount }]);
        let email = EmailAddress::parse(account).ok();
        let name = super::names::Username::parse(account).ok();
        if email.is_none() && name.is_none() {
            return Err(invalid().into());
        }
        let count = self.count_mail(address, now);
        self.store
            .write(now, move |db| {
                count(db)?;
                let to = match (&email, &name) {
                    (Some(email), _) => To::Address(email.as_str(), None),
                    (None, Some(name)) => To::Account(name.as_str()),
                    (None, None) => return Err(invalid().into()),
                };
                Ok(mails::queue(db, Kind::Reset, to, language, now)?)
            })
            .await
    }
}

/// An entry about one account.
pub(super) fn event(action: Action, target: &str, actor: Option<&str>, address: Address) -> OwnedEvent {
    OwnedEvent {
        action,
        actor: actor.map(str::to_owned),
        target: Some(target.to_owned()),
        address: Some(address.shown()),
        detail: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_normalised_or_refused() {
        assert_eq!(EmailAddress::parse(" Li.Wei+ct@Hospital.EXAMPLE ").unwrap().as_str(), "Li.Wei+ct@hospital.example");
        let long = format!("{}@a.example", "x".repeat(65));
        for bad in [
            "",
            "a",
            "a@b",
            "@b.example",
            "a@",
            "a b@c.example",
            "\"a\"@b.example",
            "a@[1.2.3.4]",
            "a@b..example",
            "a@b.example\r\nBcc: c@d.example",
            "李@医院.example",
            "a@-b.example",
            "a..b@c.example",
            &long,
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", EmailAddress::parse("a@b.example").unwrap()), "(hidden)");
    }

    proptest! {
        #[test]
        fn a_parsed_address_is_its_own_normal_form(text in "[A-Za-z0-9.+ -]{0,12}@[A-Za-z0-9.-]{0,16}|\\PC{0,20}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert!(EmailAddress::is_normal(address.as_str()));
                prop_assert!(!address.as_str().contains(['\r', '\n', ' ', '<', '>', ',']));
            }
        }
    }
}
