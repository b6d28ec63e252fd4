//! Marking scans: the queue, results, and what physicians say about findings.

use axum::Json;
use axum::extract::{Path, Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audit::Range;
use crate::accounts::Caller;
use crate::http::context::{Body, Context};
use crate::http::openapi::{Accepted, Csv, NoContent, Sent};
use crate::http::{App, Problem, attachment};
use crate::inference::{MAX_AT_ONCE, Progress, Submission};
use crate::store::StorageError;
use crate::store::inferences::{self as table, Finding, Inference, Mode, Review};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Submit {
    #[schemars(length(min = 1, max = MAX_AT_ONCE))]
    scan_ids: Vec<i64>,
    /// The current model where none is named.
    model_id: Option<i64>,
    mode: Mode,
    /// The least confidence of a finding.
    #[schemars(range(min = 0, max = 1))]
    threshold: f64,
}

/// One inference for each scan.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Submitted {
    ids: Vec<i64>,
}

pub(crate) async fn submit(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(entered): Body<Submit>,
) -> Result<Accepted<Json<Submitted>>, Problem> {
    let Submit { scan_ids, model_id, mode, threshold } = entered;
    let ids =
        app.inferences.submit(&caller, Submission { scan_ids, model_id, mode, threshold }, context.address).await?;
    Ok(Accepted(Json(Submitted { ids })))
}

/// The model that an inference was made with.
#[derive(Serialize, JsonSchema)]
struct UsedModel {
    id: i64,
    version: String,
    sha256: String,
    note: String,
}

/// An inference without its findings.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "InferenceSummary")]
pub(crate) struct Summary {
    id: i64,
    scan_id: i64,
    series_uid: String,
    state: table::State,
    mode: Mode,
    threshold: f64,
    model: UsedModel,
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    /// Others that are marked before this one, while it waits.
    waiting_before: Option<i64>,
    progress: Option<Progress>,
    #[schemars(with = "Option<Map<String, Value>>")]
    failure: Option<Value>,
    /// All, accepted, rejected.
    tally: [i64; 3],
}

fn summary(db: &rusqlite::Connection, inference: &Inference, progress: Option<Progress>) -> rusqlite::Result<Summary> {
    let waits = inference.state == table::State::Queued;
    Ok(Summary {
        id: inference.id,
        scan_id: inference.scan_id,
        series_uid: inference.series_uid.clone(),
        state: inference.state,
        mode: inference.mode,
        threshold: inference.threshold,
        model: UsedModel {
            id: inference.model_id,
            version: inference.model_version.clone(),
            sha256: inference.model_sha256.clone(),
            note: inference.model_note.clone(),
        },
        created_at: inference.created_at.to_string(),
        started_at: inference.started_at.map(|at| at.to_string()),
        finished_at: inference.finished_at.map(|at| at.to_string()),
        waiting_before: waits.then(|| table::waiting_before(db, inference.id)).transpose()?,
        progress,
        failure: inference.failure.clone(),
        tally: table::tally(db, inference.id)?,
    })
}

/// The caller's own, the newest first.
pub(in crate::http) async fn summaries(
    app: &App,
    caller: &Caller,
    before: i64,
    limit: u32,
) -> Result<Vec<Summary>, Problem> {
    let (user, running) = (caller.user_id, app.inferences.progress());
    let read = app.store.read(move |db| {
        let page = table::page(db, user, before, limit)?;
        let with_progress = |inference: &Inference| {
            let progress = running.filter(|progress| progress.id == inference.id);
            summary(db, inference, progress)
        };
        Ok::<_, StorageError>(page.iter().map(with_progress).collect::<rusqlite::Result<_>>()?)
    });
    Ok(read.await?)
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Inferences {
    inferences: Vec<Summary>,
}

pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Query(range): Query<Range>,
) -> Result<Json<Inferences>, Problem> {
    let (before, limit) = range.checked(50, context.language)?;
    Ok(Json(Inferences { inferences: summaries(&app, &caller, before, limit).await? }))
}

/// An inference with its findings.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Inference")]
pub(crate) struct Full {
    #[serde(flatten)]
    summary: Summary,
    /// What the worker says about its work.
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    details: Value,
    findings: Vec<Finding>,
}

pub(in crate::http) async fn full(app: &App, caller: &Caller, id: i64) -> Result<Full, Problem> {
    let (user, running) = (caller.user_id, app.inferences.progress());
    let read = app.store.read(move |db| {
        let Some(inference) = table::of_user(db, user, id)? else { return Ok::<_, StorageError>(None) };
        let details = inference.details.clone().unwrap_or_else(|| json!({}));
        let summary = summary(db, &inference, running.filter(|progress| progress.id == id))?;
        Ok(Some(Full { summary, details, findings: table::findings(db, id)? }))
    });
    read.await?.ok_or_else(Problem::not_found)
}

pub(crate) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<i64>) -> Result<Json<Full>, Problem> {
    Ok(Json(full(&app, &caller, id).await?))
}

pub(crate) async fn cancel(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<NoContent, Problem> {
    app.inferences.cancel(&caller, id, context.address).await?;
    Ok(NoContent)
}

pub(crate) async fn remove(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<NoContent, Problem> {
    app.inferences.remove(&caller, id, context.address).await?;
    Ok(NoContent)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetReview {
    review: Option<Review>,
}

pub(crate) async fn review(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path((id, number)): Path<(i64, u32)>,
    Body(SetReview { review }): Body<SetReview>,
) -> Result<NoContent, Problem> {
    app.inferences.review(&caller, id, number, review, context.address).await?;
    Ok(NoContent)
}

/// The findings as a LUNA16 submission, with what was said about them in one more column.
pub(crate) async fn csv(State(app): State<App>, caller: Caller, Path(id): Path<i64>) -> Result<Sent<Csv>, Problem> {
    let Full { summary, findings, .. } = full(&app, &caller, id).await?;
    let mut table = "seriesuid,coordX,coordY,coordZ,probability,diameter_mm,review\n".to_owned();
    for finding in &findings {
        let [x, y, z] = finding.center_mm_xyz;
        let review = finding.review.map_or("", Review::name);
        let (confidence, diameter) = (finding.confidence, finding.diameter_mm);
        table += &format!("{},{x},{y},{z},{confidence},{diameter},{review}\n", summary.series_uid);
    }
    Ok(Sent::new(attachment("text/csv; charset=utf-8", &format!("inference_{id}.csv"), table)))
}

pub(crate) async fn json_file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Sent<Json<Full>>, Problem> {
    let full = full(&app, &caller, id).await?;
    let text = serde_json::to_string_pretty(&full).map_err(|_| Problem::internal())?;
    Ok(Sent::new(attachment("application/json", &format!("inference_{id}.json"), text)))
}
