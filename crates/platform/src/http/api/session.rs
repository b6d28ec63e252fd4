//! Signing in and out.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::{Caller, Role};
use crate::http::context::{Body, Context};
use crate::http::guard::with_session;
use crate::http::openapi::{Created, NoContent, WithSession};
use crate::http::{App, Problem};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    username: String,
    password: String,
}

/// A session that has begun.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Session {
    role: Role,
    /// For the header `X-CSRF-Token`.
    csrf_token: String,
}

pub(crate) async fn sign_in(
    State(app): State<App>,
    context: Context,
    Body(SignIn { username, password }): Body<SignIn>,
) -> Result<WithSession<Created<Json<Session>>>, Problem> {
    let session = app.accounts.sign_in(&username, password, context.language, context.address).await?;
    let answer = Session { role: session.role, csrf_token: session.token.csrf() };
    Ok(with_session(&app, Some(&session.token), Created(Json(answer))))
}

/// Whoever is signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Me {
    username: String,
    institution: String,
    role: Role,
    /// When the session began.
    since: String,
    /// For the header `X-CSRF-Token`.
    csrf_token: String,
}

pub(crate) async fn show(caller: Caller) -> Json<Me> {
    Json(Me {
        since: caller.since.to_string(),
        csrf_token: caller.token.csrf(),
        username: caller.username,
        institution: caller.institution,
        role: caller.role,
    })
}

pub(crate) async fn sign_out(
    State(app): State<App>,
    context: Context,
    caller: Caller,
) -> Result<WithSession<NoContent>, Problem> {
    app.accounts.sign_out(caller, context.address).await?;
    Ok(with_session(&app, None, NoContent))
}
