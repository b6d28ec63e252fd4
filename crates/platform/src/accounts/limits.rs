//! Who has failed too often.

use std::net::{IpAddr, Ipv6Addr};

use rusqlite::Connection;

use super::{AccountError, Accounts, Refusal};
use crate::clock::Moment;
use crate::store::failures;
use crate::token::{TokenHash, hash};

/// The longest time that any limit looks back.
const LONGEST_MINUTES: u32 = 1440;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) IpAddr);

impl Address {
    /// As the audit log shows it.
    pub(crate) fn shown(self) -> String {
        self.0.to_canonical().to_string()
    }

    /// What limits count: whoever has one address of an IPv6 network has all of its last 64 bits.
    fn network(self) -> String {
        match self.0.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
            }
        }
    }

    pub(super) fn failures(self) -> TokenHash {
        hash("failures of address", &self.network())
    }

    pub(super) fn mails(self) -> TokenHash {
        hash("mails for address", &self.network())
    }

    pub(super) fn registrations(self) -> TokenHash {
        hash("registrations of address", &self.network())
    }
}

/// What wrong passwords for an account count against, whether there is such an account or not.
pub(super) fn account(username: &str) -> TokenHash {
    hash("failures of account", username)
}

/// An attempt that counts as a failure until it is forgiven, so that many at once do not get around the limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    account: TokenHash,
    address: TokenHash,
    at: Moment,
    /// Whether one more failure than this one locks the account.
    pub(super) last: bool,
}

impl Accounts {
    /// Counts an attempt to prove who one is, or refuses it.
    pub(super) fn attempt(
        &self,
        username: &str,
        address: Address,
        now: Moment,
    ) -> impl FnOnce(&Connection) -> Result<Attempt, AccountError> + Send + use<> {
        let (by_account, by_address) = (account(username), address.failures());
        let settings = &self.settings;
        let (minutes, failures, per_address) =
            (settings.failure_minutes, settings.failures, settings.failures_per_address);
        move |db| {
            failures::remove_before(db, now.minus_minutes(LONGEST_MINUTES))?;
            if let Some(seconds) = exhausted(db, &by_address, per_address, minutes, now)? {
                return Err(Refusal::TooMany { seconds }.into());
            }
            if let Some(seconds) = exhausted(db, &by_account, failures, minutes, now)? {
                return Err(Refusal::LockedOut { seconds }.into());
            }
            failures::add(db, &by_account, now)?;
            failures::add(db, &by_address, now)?;
            let last = exhausted(db, &by_account, failures, minutes, now)?.is_some();
            Ok(Attempt { account: by_account, address: by_address, at: now, last })
        }
    }
}

impl Attempt {
    /// It was no failure, and makes up for those before on this account.
    pub(super) fn forgive(&self, db: &Connection) -> rusqlite::Result<()> {
        failures::forget(db, &self.account)?;
        failures::forget_one(db, &self.address, self.at)
    }
}

/// Where `limit` events lie within the last minutes: the seconds until the oldest of them is forgotten.
pub(super) fn exhausted(
    db: &Connection,
    subject: &TokenHash,
    limit: u32,
    minutes: u32,
    now: Moment,
) -> rusqlite::Result<Option<u64>> {
    let events = failures::since(db, subject, now.minus_minutes(minutes))?;
    let counts = events.len().checked_sub(limit as usize).map(|first| events[first]);
    Ok(counts.map(|oldest| oldest.plus_minutes(minutes).seconds_since(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_its_network() {
        let address = |text: &str| Address(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1").failures(), address("2001:db8:1:2:ffff::9").failures());
        assert_ne!(address("2001:db8:1:2::1").failures(), address("2001:db8:1:3::1").failures());
        assert_eq!(address("::ffff:10.0.0.1").failures(), address("10.0.0.1").failures());
        assert_ne!(address("10.0.0.1").failures(), address("10.0.0.2").failures());
        assert_ne!(address("10.0.0.1").failures(), address("10.0.0.1").registrations());
        assert_eq!(address("::ffff:10.0.0.1").shown(), "10.0.0.1");
    }
}
