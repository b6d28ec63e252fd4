//! What happened since a page looked last.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::audit::number;
use crate::accounts::Caller;
use crate::http::context::Context;
use crate::http::{App, Problem};
use crate::live::Delivery;
use crate::store::events::{Event, bounds, since};
use crate::store::{StorageError, Store};

/// The most events of one answer.
pub(in crate::http) const LIMIT: u32 = 500;
/// The longest wait for something to happen, in seconds: less than a stopping server waits for requests.
const WAIT_SECONDS: i64 = 5;

/// Texts, so that a bad number is refused in our own words.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Since {
    /// Only what has a greater number.
    #[schemars(with = "Option<i64>", range(min = 0))]
    since: Option<String>,
    /// The most events of the answer.
    #[schemars(with = "Option<i64>", range(min = 1, max = LIMIT))]
    limit: Option<String>,
    /// Answer when there is something, or after so many seconds.
    #[schemars(with = "Option<i64>", range(min = 0, max = WAIT_SECONDS))]
    wait: Option<String>,
}

/// Events, oldest first.
#[derive(Serialize, JsonSchema)]
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
    let limit = number(asked.limit.as_deref(), "limit", LIMIT.into(), 1..=LIMIT.into(), context.language)?;
    let limit = u32::try_from(limit).unwrap_or_default();
    let wait = number(asked.wait.as_deref(), "wait", 0, 0..=WAIT_SECONDS, context.language)?;
    let end = Instant::now() + Duration::from_secs(wait.unsigned_abs());
    // From before the reading, so that nothing falls between both.
    let mut heard = app.live.listen();
    loop {
        let answer = read(&app.store, caller.clone(), last, limit).await?;
        if !answer.events.is_empty() || answer.gap || !something(&mut heard, &caller, end).await {
            return Ok(Json(answer));
        }
    }
}

/// Waits for a stored event that the caller may hear of; whether there is one before `end`.
async fn something(heard: &mut Receiver<Arc<Delivery>>, caller: &Caller, end: Instant) -> bool {
    loop {
        match timeout_at(end, heard.recv()).await {
            Ok(Ok(delivery)) => {
                if matches!(*delivery, Delivery::Event(_)) && delivery.audience().includes(caller.user_id, caller.role)
                {
                    return true;
                }
            }
            // More than it could keep: one of them may have been for the caller.
            Ok(Err(RecvError::Lagged(_))) => return true,
            Ok(Err(RecvError::Closed)) | Err(_) => return false,
        }
    }
}

/// What the caller may hear of that happened after `last`.
pub(in crate::http) async fn read(
    store: &Arc<Store>,
    caller: Caller,
    last: i64,
    limit: u32,
) -> Result<Events, Problem> {
    let read = store.read(move |db| {
        let (oldest, newest) = bounds(db)?;
        let mut events = since(db, &caller, last, limit + 1)?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        // A number above the newest is from before a backup was restored.
        Ok::<_, StorageError>(Events { events, newest, more, gap: last < oldest.saturating_sub(1) || last > newest })
    });
    Ok(read.await?)
}
