//! Numbered events, each part of the transaction that it tells of, and all SQL about them.

use rusqlite::{Connection, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::accounts::{Caller, Role};
use crate::clock::Moment;

/// So many are kept; who was away for longer loads the state instead.
const KEPT: i64 = 100_000;
/// Old ones are removed at every such number.
const PRUNED_EVERY: i64 = 1_000;

/// Who hears of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Administrators.
    Server,
    /// This user, and administrators.
    User(i64),
    /// This user and nobody else: about images and findings.
    Owner(i64),
    /// Everybody with an account in use.
    Everyone,
}

impl Audience {
    /// Whether this user hears of it.
    pub(crate) fn includes(self, user_id: i64, role: Role) -> bool {
        match self {
            Self::Server => role == Role::Server,
            Self::User(id) => role == Role::Server || id == user_id,
            Self::Owner(id) => id == user_id,
            Self::Everyone => true,
        }
    }

    fn columns(self) -> (&'static str, Option<i64>) {
        match self {
            Self::Server => ("server", None),
            Self::User(id) => ("user", Some(id)),
            Self::Owner(id) => ("owner", Some(id)),
            Self::Everyone => ("everyone", None),
        }
    }
}

/// An event as stored.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Event {
    /// Rises; never used again.
    pub(crate) number: i64,
    /// RFC 3339.
    pub(crate) at: String,
    #[serde(skip)]
    pub(crate) audience: Audience,
    /// For instance `scan.ready`.
    pub(crate) kind: String,
    pub(crate) payload: Value,
}

/// Adds an event; part of the transaction that does what it tells. Its number.
pub(crate) fn append(
    db: &Connection,
    now: Moment,
    audience: Audience,
    kind: &str,
    payload: &Value,
) -> rusqlite::Result<i64> {
    let (audience, user_id) = audience.columns();
    let sql = "INSERT INTO events (at, audience, user_id, kind, payload) VALUES (?1, ?2, ?3, ?4, ?5)";
    let number = db.prepare_cached(sql)?.insert(params![now.0, audience, user_id, kind, payload.to_string()])?;
    if number % PRUNED_EVERY == 0 {
        db.prepare_cached("DELETE FROM events WHERE number <= ?1")?.execute([number - KEPT])?;
    }
    Ok(number)
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (audience, user_id): (String, Option<i64>) = (row.get(2)?, row.get(3)?);
    let audience = match (audience.as_str(), user_id) {
        ("server", _) => Audience::Server,
        ("user", Some(id)) => Audience::User(id),
        ("owner", Some(id)) => Audience::Owner(id),
        ("everyone", _) => Audience::Everyone,
        _ => return Err(rusqlite::types::FromSqlError::InvalidType.into()),
    };
    let payload: String = row.get(5)?;
    let payload = serde_json::from_str(&payload)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(Event { number: row.get(0)?, at: Moment(row.get(1)?).to_string(), audience, kind: row.get(4)?, payload })
}

/// The first events after number `since`, whoever they are for.
pub(crate) fn all_since(db: &Connection, since: i64, limit: u32) -> rusqlite::Result<Vec<Event>> {
    let sql =
        "SELECT number, at, audience, user_id, kind, payload FROM events WHERE number > ?1 ORDER BY number LIMIT ?2";
    db.prepare_cached(sql)?.query_map(params![since, limit], event)?.collect()
}

/// The first events after number `since` that the caller may hear of.
pub(crate) fn since(db: &Connection, caller: &Caller, since: i64, limit: u32) -> rusqlite::Result<Vec<Event>> {
    let sql = "SELECT number, at, audience, user_id, kind, payload FROM events
               WHERE number > ?1
                 AND CASE audience WHEN 'everyone' THEN TRUE
                                   WHEN 'server' THEN ?3
                                   WHEN 'user' THEN ?3 OR user_id = ?2
                                   ELSE user_id = ?2 END
               ORDER BY number LIMIT ?4";
    let administrates = caller.role == Role::Server;
    db.prepare_cached(sql)?.query_map(params![since, caller.user_id, administrates, limit], event)?.collect()
}

/// The numbers of the oldest event that is kept and of the newest that there ever was.
pub(crate) fn bounds(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let sql = "SELECT coalesce((SELECT min(number) FROM events), 1),
                      coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";
    db.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::Token;

    fn caller(user_id: i64, role: Role) -> Caller {
        let token = Token::random().unwrap();
        Caller { user_id, username: "u".into(), institution: "i".into(), role, token, since: Moment(0) }
    }

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        for step in crate::store::STEPS {
            db.execute_batch(step).unwrap();
        }
        for id in [1, 2] {
            let sql =
                "INSERT INTO users (id, username, institution, role, status, password_hash, created_at, updated_at)
                       VALUES (?1, 'u' || ?1, 'i', 'client', 'active', '', 0, 0)";
            db.execute(sql, [id]).unwrap();
        }
        db
    }

    #[test]
    fn everybody_hears_their_own_and_nothing_else() {
        let db = database();
        let audiences =
            [Audience::Server, Audience::User(1), Audience::Owner(1), Audience::Owner(2), Audience::Everyone];
        for audience in audiences {
            append(&db, Moment(0), audience, "test", &json!({})).unwrap();
        }
        for caller in
            [caller(1, Role::Client), caller(2, Role::Client), caller(3, Role::Server), caller(2, Role::Server)]
        {
            let heard: Vec<_> = since(&db, &caller, 0, 100).unwrap().iter().map(|event| event.audience).collect();
            let expected: Vec<_> =
                audiences.into_iter().filter(|audience| audience.includes(caller.user_id, caller.role)).collect();
            assert_eq!(heard, expected, "{caller:?}");
        }
        assert_eq!(since(&db, &caller(1, Role::Client), 0, 100).unwrap().len(), 3);
    }

    #[test]
    fn old_events_go_and_numbers_never_return() {
        let db = database();
        for _ in 0..KEPT + 2 * PRUNED_EVERY {
            append(&db, Moment(0), Audience::Everyone, "test", &json!({})).unwrap();
        }
        let newest = KEPT + 2 * PRUNED_EVERY;
        assert_eq!(bounds(&db).unwrap(), (newest - KEPT + 1, newest));
        db.execute("DELETE FROM events", []).unwrap();
        assert_eq!(append(&db, Moment(0), Audience::Everyone, "test", &json!({})).unwrap(), newest + 1);
    }
}
