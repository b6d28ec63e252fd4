//! The server itself.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::settings::{reason, trouble_reason};
use crate::accounts::{Role, Status};
use crate::catalog::Language;
use crate::http::Online;
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::machine::Machine;
use crate::store::{StorageError, audit, mails, sessions, users};
use crate::users::Phase;

/// Somebody who asked for something within these minutes counts as present.
const PRESENT_MINUTES: u32 = 5;
/// A week is long enough to notice.
const NOTICE_MINUTES: u32 = 7 * 24 * 60;

/// What there is to know about the running server.
#[derive(Serialize, JsonSchema)]
pub(crate) struct System {
    version: &'static str,
    started_at: String,
    pub(in crate::http) database_bytes: u64,
    /// Slices and unpacked scans kept in memory.
    slices_bytes: usize,
    audit_entries: i64,
    institutions: i64,
    administrators: i64,
    pending: i64,
    disabled: i64,
    present: i64,
    pub(in crate::http) users_database: UsersDatabase,
    pub(in crate::http) mail: Mail,
    machine: Machine,
    /// When an edited users' file was last kept aside, if not long ago.
    users_file_kept_aside_at: Option<String>,
}

/// Where the users are kept.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UsersDatabase {
    /// `local`, `up` or `down`.
    state: &'static str,
    since: String,
    /// Host, port and name.
    place: Option<String>,
    /// Why it is down, and what to do.
    reason: Option<String>,
}

/// The way out for mail.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Mail {
    on: bool,
    waiting: i64,
    /// Those among the waiting that were tried in vain.
    retried: i64,
    /// Why mail does not leave at the moment, and what to do.
    trouble: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

/// For whoever watches whether the server answers. It says nothing else.
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

pub(crate) async fn show(State(app): State<App>, context: Context, _: Administrator) -> Result<Json<System>, Problem> {
    Ok(Json(system(&app, context.language).await?))
}

fn users_database(app: &App, language: Language) -> UsersDatabase {
    let crate::users::State { phase, since } = app.users.state();
    let (state, reason) = match &phase {
        Phase::Local => ("local", None),
        Phase::Up => ("up", None),
        Phase::Down(failure) => ("down", Some(reason(failure).text(language))),
    };
    UsersDatabase { state, since: since.to_string(), place: app.users.described().map(|(place, _)| place), reason }
}

pub(in crate::http) async fn system(app: &App, language: Language) -> Result<System, Problem> {
    let users_database = users_database(app, language);
    let trouble = app.post.as_ref().and_then(|post| post.trouble());
    let trouble = trouble.map(|trouble| trouble_reason(&trouble).text(language));
    let on = app.post.is_some();
    let (started_at, database_bytes) = (app.started.to_string(), app.store.size_bytes());
    let slices_bytes = app.slices.memory_bytes();
    let looking = app.clone();
    let machine = tokio::task::spawn_blocking(move || looking.machine.look()).await.map_err(|_| Problem::internal())?;
    let now = app.clock.now();
    let (present_since, noticed_since) = (now.minus_minutes(PRESENT_MINUTES), now.minus_minutes(NOTICE_MINUTES));
    let read = app.store.read(move |db| {
        let count = |role, status| users::count(db, role, status);
        let (waiting, retried) = mails::waiting(db)?;
        Ok::<_, StorageError>(System {
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            database_bytes,
            slices_bytes,
            audit_entries: audit::last(db)?,
            institutions: count(Role::Client, Status::Active)?,
            administrators: count(Role::Server, Status::Active)?,
            pending: count(Role::Client, Status::Pending)?,
            disabled: count(Role::Client, Status::Disabled)? + count(Role::Server, Status::Disabled)?,
            users_database,
            machine,
            mail: Mail { on, waiting, retried, trouble },
            present: sessions::users_since(db, present_since)?,
            users_file_kept_aside_at: audit::latest_of(db, None, audit::Action::UsersFileKeptAside)?
                .filter(|at| *at >= noticed_since)
                .map(|at| at.to_string()),
        })
    });
    Ok(read.await?)
}

/// Who is there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Presence {
    online: Vec<Online>,
}

/// Who has a page open now.
pub(crate) async fn presence(State(app): State<App>, Administrator(_): Administrator) -> Json<Presence> {
    Json(Presence { online: app.sockets.online() })
}
