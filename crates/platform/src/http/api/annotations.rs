//! Known nodules: LUNA16's table in, and how much there is; and what each institution has ready, for administrators.

use axum::Json;
use axum::body::{Body as Stream, to_bytes};
use axum::extract::{FromRequest, Request, State};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;

use crate::accounts::Caller;
use crate::data::annotations::{self, ImportError, Imported};
use crate::http::context::{Administrator, Context};
use crate::http::openapi::{Asks, NoContent, Operation};
use crate::http::{App, Problem};
use crate::store::annotations::Extent;
use crate::training::Candidate;

/// LUNA16's own has 90 KiB.
const MAX_TABLE_BYTES: usize = 8 << 20;

/// The table itself.
pub(crate) struct Table(Stream);

impl<S: Send + Sync> FromRequest<S> for Table {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(request.into_body()))
    }
}

impl Asks for Table {
    fn add_to(operation: &mut Operation, _: &mut SchemaGenerator) {
        operation.body = Some(("text/csv", json!({ "type": "string" })));
    }
}

/// What is known.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Known {
    /// By the caller's own tables.
    own: Extent,
    /// By administrators' tables, which hold for everybody.
    common: Extent,
}

/// What institutions have ready.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Readiness {
    institutions: Vec<Candidate>,
}

/// What holds: an institution's own rows, and those that an administrator took in for all.
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Known>, Problem> {
    let (own, common) = annotations::extents(&app.store, &caller).await?;
    Ok(Json(Known { own, common }))
}

pub(crate) async fn import(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Table(body): Table,
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

pub(crate) async fn remove(State(app): State<App>, context: Context, caller: Caller) -> Result<NoContent, Problem> {
    annotations::remove(&app.store, app.trainings.folder(), &caller, context.address, app.clock.now()).await?;
    Ok(NoContent)
}

/// What each institution has ready; counts, never images or series.
pub(crate) async fn readiness(
    State(app): State<App>,
    Administrator(_): Administrator,
) -> Result<Json<Readiness>, Problem> {
    Ok(Json(Readiness { institutions: app.trainings.candidates().await? }))
}
