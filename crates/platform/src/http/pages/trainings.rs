//! Pages of trainings and models. What moves is drawn by scripts from the API; lists and forms come whole.

use axum::extract::{Path, State};
use axum::response::Html;
use minijinja::value::Serde;
use minijinja::{Value, context};

use super::inside;
use crate::accounts::{Caller, Role};
use crate::http::api::models::registry;
use crate::http::api::trainings::{all, one, pre_flight};
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::store::trainings::State as Course;
use crate::training::{ALGORITHMS, NETWORKS, SAMPLINGS};

pub(crate) async fn list(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    let trainings = Value::from(Serde(all(&app, &caller).await?));
    inside(&app, "trainings.html", "/trainings", context, &caller, context! { trainings })
}

/// What the overview shows: the training that runs, else the one that is about to, else the newest.
pub(super) async fn now(app: &App, caller: &Caller) -> Result<Option<i64>, Problem> {
    let all = all(app, caller).await?;
    let running =
        all.iter().find(|training| matches!(training.state, Course::Running | Course::Pausing | Course::Stopping));
    let open = || all.iter().rev().find(|training| !training.state.is_over());
    Ok(running.or_else(open).or(all.first()).map(|training| training.id))
}

pub(crate) async fn launch(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
) -> Result<Html<String>, Problem> {
    let known = pre_flight(&app).await?;
    let models = registry(&app, &caller).await?;
    let defaults = federation::SessionConfig::default();
    let values = context! {
        candidates => Value::from(Serde(known.candidates)),
        speeds => serde_json::to_string(&known.speeds).unwrap_or_default(),
        models => Value::from(Serde(models.versions)),
        defaults => Value::from(Serde(defaults)),
        networks => NETWORKS,
        samplings => SAMPLINGS,
        algorithms => ALGORITHMS,
    };
    inside(&app, "launch.html", "/trainings", context, &caller, values)
}

pub(crate) async fn show(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Html<String>, Problem> {
    let training = one(&app, &caller, &id).await?;
    let values = context! { training => Value::from(Serde(training)) };
    inside(&app, "training.html", "/trainings", context, &caller, values)
}

pub(crate) async fn compare(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    inside(&app, "compare.html", "/trainings", context, &caller, context! {})
}

pub(crate) async fn models(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    let registry = Value::from(Serde(registry(&app, &caller).await?));
    let manages = caller.role == Role::Server;
    inside(&app, "models.html", "/models", context, &caller, context! { registry, manages })
}
