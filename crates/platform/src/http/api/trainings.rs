//! Trainings: launching, following, changing their course, and their history as a table.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::{Caller, Role};
use crate::http::context::{Administrator, Body, Context};
use crate::http::openapi::{Created, Csv, NoContent, Sent};
use crate::http::{App, Problem};
use crate::store::audit::{self, Action};
use crate::store::trainings::{Speed, speeds};
use crate::store::{StorageError, sharing};
use crate::training::{Candidate, Entered, Summary, View, Wish, csv, summaries};

/// What the launch form needs to know.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PreFlight {
    pub(in crate::http) candidates: Vec<Candidate>,
    /// What times can be estimated from; nothing where no round was trained on this machine.
    pub(in crate::http) speeds: Vec<Speed>,
}

pub(in crate::http) async fn pre_flight(app: &App) -> Result<PreFlight, Problem> {
    let candidates = app.trainings.candidates().await?;
    let speeds = app.store.read(|db| speeds(db).map_err(StorageError::from)).await?;
    Ok(PreFlight { candidates, speeds })
}

pub(crate) async fn show_pre_flight(State(app): State<App>, _: Administrator) -> Result<Json<PreFlight>, Problem> {
    Ok(Json(pre_flight(&app).await?))
}

pub(in crate::http) async fn all(app: &App, caller: &Caller) -> Result<Vec<Summary>, Problem> {
    let caller = caller.clone();
    Ok(app.store.read(move |db| summaries(db, &caller)).await?)
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Trainings {
    trainings: Vec<Summary>,
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Trainings>, Problem> {
    Ok(Json(Trainings { trainings: all(&app, &caller).await? }))
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Launched {
    id: i64,
}

pub(crate) async fn launch(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Body(entered): Body<Entered>,
) -> Result<Created<Json<Launched>>, Problem> {
    let id = app.trainings.launch(caller, entered, context.address).await?;
    Ok(Created(Json(Launched { id })))
}

pub(in crate::http) async fn one(app: &App, caller: &Caller, id: &str) -> Result<View, Problem> {
    let id = id.parse().map_err(|_| Problem::no_training())?;
    app.trainings.view(caller.clone(), id).await?.ok_or_else(Problem::no_training)
}

pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<View>, Problem> {
    Ok(Json(one(&app, &caller, &id).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sharing {
    shares: bool,
}

/// An institution's own decision about its own figures.
pub(crate) async fn share(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(Sharing { shares }): Body<Sharing>,
) -> Result<NoContent, Problem> {
    if caller.role != Role::Client {
        return Err(Problem::forbidden());
    }
    let (now, address) = (app.clock.now(), context.address);
    let write = app.store.write(now, move |db| {
        if sharing::set(db, caller.user_id, shares)? {
            let action = if shares { Action::CurveShared } else { Action::CurveKept };
            audit::append_by(db, action, &caller, address, "", now)?;
        }
        Ok::<_, StorageError>(())
    });
    write.await?;
    Ok(NoContent)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: String,
}

async fn change(
    app: &App,
    context: Context,
    Administrator(caller): Administrator,
    id: &str,
    wish: Wish,
    reason: String,
) -> Result<NoContent, Problem> {
    let id = id.parse().map_err(|_| Problem::no_training())?;
    app.trainings.change(caller, id, wish, reason, context.address).await?;
    Ok(NoContent)
}

pub(crate) async fn pause(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(id): Path<String>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<NoContent, Problem> {
    change(&app, context, caller, &id, Wish::Pause, reason).await
}

pub(crate) async fn resume(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(id): Path<String>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<NoContent, Problem> {
    change(&app, context, caller, &id, Wish::Resume, reason).await
}

pub(crate) async fn stop(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(id): Path<String>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<NoContent, Problem> {
    change(&app, context, caller, &id, Wish::Stop, reason).await
}

/// Which trainings: numbers with commas between them; all where there is nothing.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Which {
    ids: Option<String>,
}

impl Which {
    /// What is no number is none of the trainings.
    pub(in crate::http) fn chosen(&self) -> Option<Vec<i64>> {
        let ids = self.ids.as_deref()?;
        Some(ids.split(',').filter_map(|id| id.trim().parse().ok()).collect())
    }
}

pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Sent<Csv>, Problem> {
    let chosen = which.chosen();
    let mut views = Vec::new();
    for summary in all(&app, &caller).await? {
        if chosen.as_ref().is_none_or(|chosen| chosen.contains(&summary.id)) {
            views.extend(app.trainings.view(caller.clone(), summary.id).await?);
        }
    }
    let headers =
        [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, "attachment; filename=\"trainings.csv\"")];
    Ok(Sent::new((headers, csv(&views)).into_response()))
}
