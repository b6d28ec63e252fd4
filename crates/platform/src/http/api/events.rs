//! What happened since a page looked last.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::audit::number;
use crate::accounts::Caller;
use crate::http::context::Context;
use crate::http::{App, Problem};
use crate::store::StorageError;
use crate::store::events::{Event, bounds, since};

/// The most events of one answer.
const LIMIT: i64 = 500;

/// Texts, so that a bad number is refused in our own words.
#[derive(Deserialize)]
pub(crate) struct Since {
    since: Option<String>,
    limit: Option<String>,
}

/// Events, oldest first.
#[derive(Serialize)]
pub(crate) struct Events {
    events: Vec<Event>,
    /// The newest number that there is: ask for what comes after it next, unless there is `more`.
    newest: i64,
    /// Whether more events wait after the last of these.
    more: bool,
    /// Whether events are missing before these: load the state instead.
    gap: bool,
}

pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Query(asked): Query<Since>,
) -> Result<Json<Events>, Problem> {
    let last = number(asked.since.as_deref(), "since", 0, 0..=i64::MAX, context.language)?;
    let limit = number(asked.limit.as_deref(), "limit", LIMIT, 1..=LIMIT, context.language)?;
    let limit = u32::try_from(limit).unwrap_or_default();
    let read = app.store.read(move |db| {
        let (oldest, newest) = bounds(db)?;
        let mut events = since(db, &caller, last, limit + 1)?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        // A number above the newest is from before a backup was restored.
        Ok::<_, StorageError>(Events { events, newest, more, gap: last + 1 < oldest || last > newest })
    });
    Ok(Json(read.await?))
}
