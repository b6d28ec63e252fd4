//! The server itself.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::{Role, Status};
use crate::http::context::Administrator;
use crate::http::{App, Problem};
use crate::store::{StorageError, audit, sessions, users};

/// Somebody who asked for something within these minutes counts as present.
const PRESENT_MINUTES: u32 = 5;
/// A week is long enough to notice.
const NOTICE_MINUTES: u32 = 7 * 24 * 60;

/// What there is to know about the running server.
#[derive(Serialize)]
pub(crate) struct System {
    version: &'static str,
    started_at: String,
    pub(in crate::http) database_bytes: u64,
    audit_entries: i64,
    institutions: i64,
    administrators: i64,
    pending: i64,
    disabled: i64,
    present: i64,
    /// When an edited users' file was last kept aside, if not long ago.
    users_file_kept_aside_at: Option<String>,
}

/// For whoever watches whether the server answers. It says nothing else.
pub(crate) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub(crate) async fn show(State(app): State<App>, _: Administrator) -> Result<Json<System>, Problem> {
    Ok(Json(system(&app).await?))
}

pub(in crate::http) async fn system(app: &App) -> Result<System, Problem> {
    let (started_at, database_bytes) = (app.started.to_string(), app.store.size_bytes());
    let now = app.clock.now();
    let (present_since, noticed_since) = (now.minus_minutes(PRESENT_MINUTES), now.minus_minutes(NOTICE_MINUTES));
    let read = app.store.read(move |db| {
        let count = |role, status| users::count(db, role, status);
        Ok::<_, StorageError>(System {
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            database_bytes,
            audit_entries: audit::last(db)?,
            institutions: count(Role::Client, Status::Active)?,
            administrators: count(Role::Server, Status::Active)?,
            pending: count(Role::Client, Status::Pending)?,
            disabled: count(Role::Client, Status::Disabled)? + count(Role::Server, Status::Disabled)?,
            present: sessions::users_since(db, present_since)?,
            users_file_kept_aside_at: audit::latest_of(db, None, audit::Action::UsersFileKeptAside)?
                .filter(|at| *at >= noticed_since)
                .map(|at| at.to_string()),
        })
    });
    Ok(read.await?)
}
