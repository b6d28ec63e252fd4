//! The logs, for administrators.

use axum::Json;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::Message;
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::logs::{self, Kind, Line, Place, Wanted};

/// Texts, so that bad ones are refused in our own words.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Asked {
    #[schemars(extend("enum" = ["server", "training"]))]
    kind: Option<String>,
    /// The least important lines that are wanted.
    #[schemars(extend("enum" = ["", "error", "warn", "info", "debug"]))]
    level: Option<String>,
    /// A part of the line, whatever its case.
    q: Option<String>,
    /// Only lines before this place, as `older` named it.
    #[schemars(regex(pattern = r"^[0-9-]{10}\.[0-9]{1,18}$"))]
    before: Option<String>,
}

/// Lines of a log, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogPage {
    lines: Vec<Line>,
    /// Where older ones begin, for `before`.
    older: Option<String>,
}

pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    _: Administrator,
    Query(asked): Query<Asked>,
) -> Result<Json<LogPage>, Problem> {
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
    Ok(Json(LogPage { lines: page.lines, older: page.older.map(|place| place.to_string()) }))
}
