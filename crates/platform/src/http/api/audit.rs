//! The audit log.

use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::{Language, Message};
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::store::StorageError;
use crate::store::audit::{AuditReport, Entry, page};

/// The most entries of one answer.
const LIMIT: u32 = 200;

/// Texts, so that a bad number is refused in our own words.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Range {
    /// Only what has a smaller number.
    #[schemars(with = "Option<i64>", range(min = 1))]
    before: Option<String>,
    /// The most entries of the answer.
    #[schemars(with = "Option<u32>", range(min = 1, max = LIMIT))]
    limit: Option<String>,
}

impl Range {
    /// The first number that is not wanted any more, and how many before it are.
    pub(in crate::http) fn checked(&self, usual: u32, language: Language) -> Result<(i64, u32), Problem> {
        let before = number(self.before.as_deref(), "before", i64::MAX, 1..=i64::MAX, language)?;
        let limit = number(self.limit.as_deref(), "limit", i64::from(usual), 1..=i64::from(LIMIT), language)?;
        Ok((before, u32::try_from(limit).unwrap_or(LIMIT)))
    }
}

/// A number of a query; `usual` where there is none.
pub(super) fn number(
    text: Option<&str>,
    name: &str,
    usual: i64,
    range: RangeInclusive<i64>,
    language: Language,
) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(usual) };
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let expected = Message::ExpectedNumber { from: range.start().to_string(), to: range.end().to_string() };
        Problem::query(name, &expected, language)
    })
}

pub(in crate::http) async fn entries(app: &App, before: i64, limit: u32) -> Result<Vec<Entry>, Problem> {
    Ok(app.store.read(move |db| page(db, before, limit).map_err(StorageError::from)).await?)
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Entries {
    /// The newest first.
    entries: Vec<Entry>,
}

pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    _: Administrator,
    Query(range): Query<Range>,
) -> Result<Json<Entries>, Problem> {
    let (before, limit) = range.checked(50, context.language)?;
    Ok(Json(Entries { entries: entries(&app, before, limit).await? }))
}

pub(crate) async fn verify(State(app): State<App>, _: Administrator) -> Result<Json<AuditReport>, Problem> {
    Ok(Json(app.store.verify_audit().await?))
}
