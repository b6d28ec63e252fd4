//! Known nodules: LUNA16's table in, and how much there is; and what each institution has ready, for administrators.

use axum::Json;
use axum::body::{Body as Stream, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::accounts::Caller;
use crate::data::annotations::{self, ImportError, Imported};
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};

/// LUNA16's own has 90 KiB.
const MAX_TABLE_BYTES: usize = 8 << 20;

/// What holds: an institution's own rows, and those that an administrator took in for all.
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    let (own, common) = annotations::extents(&app.store, &caller).await?;
    Ok(Json(json!({ "own": own, "common": common })))
}

/// The body is the table itself.
pub(crate) async fn import(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    body: Stream,
) -> Result<Json<Imported>, Problem> {
    let text = to_bytes(body, MAX_TABLE_BYTES).await.map_err(|_| Problem::table_too_large(MAX_TABLE_BYTES))?;
    let (folder, now) = (app.trainings.folder(), app.clock.now());
    let imported = annotations::import(&app.store, folder, &caller, text.to_vec(), context.address, now).await;
    match imported {
        Ok(imported) => Ok(Json(imported)),
        Err(ImportError::Wrong(rows)) => Err(Problem::table(rows)),
        Err(ImportError::Data(error)) => Err(error.into()),
    }
}

pub(crate) async fn remove(State(app): State<App>, context: Context, caller: Caller) -> Result<StatusCode, Problem> {
    annotations::remove(&app.store, app.trainings.folder(), &caller, context.address, app.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What each institution has ready; counts, never images or series.
pub(crate) async fn readiness(State(app): State<App>, Administrator(_): Administrator) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "institutions": app.trainings.candidates().await? })))
}
