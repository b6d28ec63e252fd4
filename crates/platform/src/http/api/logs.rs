//! The logs, for administrators.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalog::Message;
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::logs::{self, Kind, Place, Wanted};

/// Texts, so that bad ones are refused in our own words.
#[derive(Deserialize)]
pub(crate) struct Asked {
    kind: Option<String>,
    level: Option<String>,
    q: Option<String>,
    before: Option<String>,
}

/// Lines, the newest first, and where older ones begin.
pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    _: Administrator,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    let bad = |name, expected: &str| {
        Problem::query(name, &Message::ExpectedWord { words: expected.to_owned() }, context.language)
    };
    let kind = match asked.kind.as_deref() {
        None | Some("server") => Kind::Server,
        Some("training") => Kind::Training,
        Some(_) => return Err(bad("kind", "server, training")),
    };
    let level = asked.level.filter(|level| !level.is_empty());
    if level.as_ref().is_some_and(|level| !["error", "warn", "info", "debug"].contains(&level.as_str())) {
        return Err(bad("level", "error, warn, info, debug"));
    }
    let before = match asked.before.as_deref() {
        None => None,
        Some(place) => Some(Place::parse(place).ok_or_else(|| bad("before", "2026-11-26.1234"))?),
    };
    let wanted = Wanted { level, text: asked.q.unwrap_or_default(), before };
    let data = app.trainings.folder().to_owned();
    let read = tokio::task::spawn_blocking(move || logs::read(&data, kind, &wanted)).await;
    let page = read.ok().and_then(Result::ok).ok_or_else(Problem::internal)?;
    Ok(Json(json!({ "lines": page.lines, "older": page.older.map(|place| place.to_string()) })))
}
