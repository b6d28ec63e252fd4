//! The model registry.

use std::path::PathBuf;

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use crate::accounts::Caller;
use crate::http::context::{Administrator, Body, Context};
use crate::http::openapi::{Binary, NoContent, Sent};
use crate::http::{App, Problem};
use crate::models::{self, Registry};
use crate::store::models::{Model, get};

pub(in crate::http) async fn registry(app: &App, caller: &Caller) -> Result<Registry, Problem> {
    let caller = caller.clone();
    Ok(app.store.read(move |db| models::registry(db, &caller)).await?)
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Registry>, Problem> {
    Ok(Json(registry(&app, &caller).await?))
}

async fn model(app: &App, version: &str) -> Result<Model, Problem> {
    let version: i64 = version.parse().map_err(|_| Problem::no_model())?;
    let found = app.store.read(move |db| get(db, version).map_err(crate::store::StorageError::from)).await?;
    found.ok_or_else(Problem::no_model)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Promote {
    reason: String,
}

pub(crate) async fn promote(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Path(version): Path<String>,
    Body(Promote { reason }): Body<Promote>,
) -> Result<NoContent, Problem> {
    let model = model(&app, &version).await?;
    // What was changed on the disk does not come into use.
    models::verify(app.trainings.folder(), &model).await.map_err(models::ModelError::from)?;
    let now = app.clock.now();
    let job = move |db: &rusqlite::Connection| models::promote(db, &caller, model.id, &reason, context.address, now);
    app.store.write(now, job).await?;
    Ok(NoContent)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    note: String,
}

pub(crate) async fn set_note(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Path(version): Path<String>,
    Body(Note { note }): Body<Note>,
) -> Result<NoContent, Problem> {
    let model = model(&app, &version).await?;
    let now = app.clock.now();
    let job = move |db: &rusqlite::Connection| models::set_note(db, &caller, model.id, &note, context.address, now);
    app.store.write(now, job).await?;
    Ok(NoContent)
}

/// The file holds the names of the sites that took part, so it is for administrators.
pub(crate) async fn safetensors(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Path(version): Path<String>,
) -> Result<Sent<Binary>, Problem> {
    let model = model(&app, &version).await?;
    let path = models::verify(app.trainings.folder(), &model).await.map_err(models::ModelError::from)?;
    download(&app, context, caller, &model, path, "safetensors").await
}

pub(crate) async fn pth(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Path(version): Path<String>,
) -> Result<Sent<Binary>, Problem> {
    let model = model(&app, &version).await?;
    let path = models::pth(app.trainings.folder(), &model, &app.jobs).await?;
    download(&app, context, caller, &model, path, "pth").await
}

async fn download(
    app: &App,
    context: Context,
    caller: Caller,
    model: &Model,
    path: PathBuf,
    extension: &str,
) -> Result<Sent<Binary>, Problem> {
    let file = tokio::fs::File::open(path).await.map_err(|_| Problem::internal())?;
    let bytes = file.metadata().await.map_err(|_| Problem::internal())?.len();
    let now = app.clock.now();
    let what = format!("v{} .{extension}", model.id);
    let job = move |db: &rusqlite::Connection| models::downloaded(db, &caller, &what, context.address, now);
    app.store.write(now, job).await?;
    let name = format!("attachment; filename=\"fednodule-v{}-session-{}.{extension}\"", model.id, model.training_id);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_LENGTH, bytes.into()),
        (CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(|_| Problem::internal())?),
    ];
    Ok(Sent::new((headers, Stream::from_stream(ReaderStream::new(file))).into_response()))
}
