//! Signing in and out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::Caller;
use crate::http::context::{Body, Context};
use crate::http::guard::with_session;
use crate::http::{App, Problem};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    username: String,
    password: String,
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    context: Context,
    Body(SignIn { username, password }): Body<SignIn>,
) -> Result<impl IntoResponse, Problem> {
    let session = app.accounts.sign_in(&username, password, context.language, context.address).await?;
    let answer = json!({ "role": session.role, "csrf_token": session.token.csrf() });
    Ok(with_session(&app, Some(&session.token), (StatusCode::CREATED, Json(answer))))
}

pub(crate) async fn show(caller: Caller) -> Json<Value> {
    Json(json!({
        "username": caller.username,
        "institution": caller.institution,
        "role": caller.role,
        "since": caller.since.to_string(),
        "csrf_token": caller.token.csrf(),
    }))
}

pub(crate) async fn sign_out(
    State(app): State<App>,
    context: Context,
    caller: Caller,
) -> Result<impl IntoResponse, Problem> {
    app.accounts.sign_out(caller, context.address).await?;
    Ok(with_session(&app, None, StatusCode::NO_CONTENT))
}
