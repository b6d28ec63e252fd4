//! The description of the API for programs.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::http::App;
use crate::http::guard::cookie_name;
use crate::http::openapi::document;

/// An OpenAPI 3.1 document.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("required" = ["openapi", "info", "paths"]))]
pub(crate) struct OpenApi(Value);

pub(crate) async fn show(State(app): State<App>) -> Json<OpenApi> {
    Json(OpenApi(document(cookie_name(&app.server))))
}
