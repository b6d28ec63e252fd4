//! What is still to be done until a server, or an institution on it, can work; found out, not ticked off by hand.

use rusqlite::Connection;
use serde::Serialize;

use super::{App, Problem};
use crate::accounts::{Caller, Role, Status};
use crate::store::{StorageError, users};
use crate::users::Phase;

/// A step with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// The end of its text's name.
    pub(super) name: &'static str,
    pub(super) done: bool,
    /// Nothing depends on it.
    pub(super) optional: bool,
    /// Where it is done; empty where it is not done on a page.
    pub(super) page: &'static str,
}

const fn needed(name: &'static str, done: bool, page: &'static str) -> Step {
    Step { name, done, optional: false, page }
}

const fn optional(name: &'static str, done: bool, page: &'static str) -> Step {
    Step { name, done, optional: true, page }
}

/// The steps of whoever asks.
pub(super) async fn checklist(app: &App, caller: &Caller) -> Result<Vec<Step>, Problem> {
    let (id, role) = (caller.user_id, caller.role);
    let has_mail = app.accounts.has_mail();
    let mail_works = app.post.as_ref().is_some_and(|post| post.trouble().is_none());
    let https = app.server.public_url.starts_with("https://");
    let database = app.users.state().phase == Phase::Up;
    let trained = app.store.has_file("training_history.json");
    let read = app.store.read(move |db| {
        let steps = match role {
            Role::Server => vec![
                needed("administrator", users::count(db, Role::Server, Status::Active)? > 0, "/users"),
                needed("https", https, "/settings"),
                optional("mail", mail_works, "/settings"),
                optional("database", database, "/settings"),
                needed("approved", users::count(db, Role::Client, Status::Active)? > 0, "/users"),
                needed("scans", has_scans(db, None)?, "/data"),
                needed("training", trained, ""),
            ],
            Role::Client => {
                let verified = users::by_id(db, id)?.is_some_and(|user| user.email.is_some());
                let mut steps = vec![needed("account", true, "/account")];
                if has_mail {
                    steps.push(optional("email", verified, "/account"));
                }
                steps.extend([needed("own_scans", has_scans(db, Some(id))?, "/data"), needed("training", trained, "")]);
                steps
            }
        };
        Ok::<_, StorageError>(steps)
    });
    Ok(read.await?)
}

/// Whether there is a scan at all, or one of this user.
fn has_scans(db: &Connection, owner: Option<i64>) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM scans WHERE user_id = ?1 OR ?1 IS NULL)";
    db.query_row(sql, [owner], |row| row.get(0))
}
