//! Mails that are still to be sent. What they say is put together when they are.

use rusqlite::{Connection, params};

use crate::catalog::Language;
use crate::clock::Moment;

/// What a mail is for. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the address that an account has not verified yet.
    Verify,
    /// To the verified address of the account, or of all accounts with the address.
    Reset,
    /// To the address that an account had before.
    Moved,
    /// To the verified address of an account that was approved.
    Approved,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Verify, Self::Reset, Self::Moved, Self::Approved];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
            Self::Moved => "moved",
            Self::Approved => "approved",
        }
    }
}

/// Who gets a mail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    /// An account, by its name.
    Account(&'a str),
    /// Whoever reads at an address; the account that it is about, if there is one.
    Address(&'a str, Option<&'a str>),
}

/// A mail in the queue.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) id: i64,
    pub(crate) kind: Kind,
    pub(crate) username: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) language: Language,
    pub(crate) queued_at: Moment,
    pub(crate) attempts: u32,
}

/// Puts a mail into the queue, in the transaction of what it is about.
pub(crate) fn queue(db: &Connection, kind: Kind, to: To<'_>, language: Language, now: Moment) -> rusqlite::Result<()> {
    let (username, address) = match to {
        To::Account(name) => (Some(name), None),
        To::Address(address, name) => (name, Some(address)),
    };
    let sql =
        "INSERT INTO mails (kind, username, address, language, queued_at, next_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
    db.prepare_cached(sql)?.execute(params![kind.name(), username, address, language.tag(), now.0]).map(drop)
}

/// Those whose time has come, the oldest first.
pub(crate) fn due(db: &Connection, now: Moment, limit: u32) -> rusqlite::Result<Vec<Mail>> {
    let sql = "SELECT id, kind, username, address, language, queued_at, attempts FROM mails
               WHERE next_at <= ?1 ORDER BY next_at, id LIMIT ?2";
    let mail = |row: &rusqlite::Row<'_>| {
        let (kind, language): (String, String) = (row.get(1)?, row.get(4)?);
        let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).ok_or(rusqlite::Error::InvalidQuery)?;
        Ok(Mail {
            id: row.get(0)?,
            kind,
            username: row.get(2)?,
            address: row.get(3)?,
            language: Language::from_tag(&language).unwrap_or_default(),
            queued_at: Moment(row.get(5)?),
            attempts: row.get(6)?,
        })
    };
    db.prepare_cached(sql)?.query_map(params![now.0, limit], mail)?.collect()
}

/// It is tried again at this moment.
pub(crate) fn postpone(db: &Connection, id: i64, until: Moment) -> rusqlite::Result<()> {
    let sql = "UPDATE mails SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute([id, until.0]).map(drop)
}

pub(crate) fn remove(db: &Connection, id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM mails WHERE id = ?1")?.execute([id]).map(drop)
}

/// How many are waiting, and how many of them were tried in vain.
pub(crate) fn waiting(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let sql = "SELECT count(*), coalesce(sum(attempts > 0), 0) FROM mails";
    db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}
