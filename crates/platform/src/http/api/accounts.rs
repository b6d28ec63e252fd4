//! Accounts: set-up, registration, passwords, administration.

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::accounts::{self, Caller, Change, Registration, Role, Status, Strength};
use crate::http::context::{Administrator, Body, Context};
use crate::http::guard::with_session;
use crate::http::openapi::{Accepted, Created, NoContent, WithSession};
use crate::http::{App, Problem};
use crate::store::audit::{Action, latest_of};
use crate::store::users;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetUp {
    token: String,
    /// Upper case counts as lower case.
    #[schemars(regex(pattern = r"^\s*[A-Za-z][A-Za-z0-9_-]{2,31}\s*$"))]
    username: String,
    /// 2 to 64 visible characters.
    #[schemars(length(min = 2))]
    institution: String,
    /// At most 72 bytes, and strong enough (`POST /api/password-strength`).
    #[schemars(length(min = 1))]
    password: String,
}

pub(crate) async fn set_up(
    State(app): State<App>,
    context: Context,
    Body(entered): Body<SetUp>,
) -> Result<Created<()>, Problem> {
    let SetUp { token, username, institution, password } = entered;
    let registration = Registration { username, institution, password, email: None };
    app.accounts.set_up(&token, registration, context.address).await?;
    Ok(Created(()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// Upper case counts as lower case.
    #[schemars(regex(pattern = r"^\s*[A-Za-z][A-Za-z0-9_-]{2,31}\s*$"))]
    username: String,
    /// 2 to 64 visible characters.
    #[schemars(length(min = 2))]
    institution: String,
    /// At most 72 bytes, and strong enough (`POST /api/password-strength`).
    #[schemars(length(min = 1))]
    password: String,
    /// Where mail is sent.
    email: Option<String>,
}

pub(crate) async fn register(
    State(app): State<App>,
    context: Context,
    Body(entered): Body<Register>,
) -> Result<Created<()>, Problem> {
    let Register { username, institution, password, email } = entered;
    let registration = Registration { username, institution, password, email };
    app.accounts.register(registration, context.language, context.address).await?;
    Ok(Created(()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {
    token: String,
}

/// What an address that is confirmed means for the account.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verified {
    status: Status,
}

pub(crate) async fn verify_email(
    State(app): State<App>,
    context: Context,
    Body(Verify { token }): Body<Verify>,
) -> Result<Json<Verified>, Problem> {
    let status = app.accounts.verify_email(&token, context.language, context.address).await?;
    Ok(Json(Verified { status }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgot {
    /// A user name or an e-mail address.
    account: String,
}

/// The same answer whether there is such an account or not.
pub(crate) async fn forgot(
    State(app): State<App>,
    context: Context,
    Body(Forgot { account }): Body<Forgot>,
) -> Result<Accepted<()>, Problem> {
    app.accounts.forgot(&account, context.language, context.address).await?;
    Ok(Accepted(()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeEmail {
    email: String,
    current_password: String,
}

pub(crate) async fn change_email(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(ChangeEmail { email, current_password }): Body<ChangeEmail>,
) -> Result<Accepted<()>, Problem> {
    app.accounts.change_email(caller, current_password, &email, context.language, context.address).await?;
    Ok(Accepted(()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    password: String,
    /// What the person entered besides.
    #[serde(default)]
    about: Vec<String>,
}

pub(crate) async fn strength(
    State(app): State<App>,
    context: Context,
    Body(Rate { password, about }): Body<Rate>,
) -> Result<Json<Strength>, Problem> {
    let (needed, language) = (app.password_score, context.language);
    // A rating takes milliseconds of arithmetic.
    let rate = tokio::task::spawn_blocking(move || {
        let about: Vec<&str> = about.iter().map(String::as_str).take(4).collect();
        accounts::strength(&password, &about, needed, language)
    });
    rate.await.map(Json).map_err(|_| Problem::internal())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    current: String,
    password: String,
}

pub(crate) async fn change_password(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(ChangePassword { current, password }): Body<ChangePassword>,
) -> Result<WithSession<NoContent>, Problem> {
    let token = app.accounts.change_password(caller, current, password, context.address).await?;
    Ok(with_session(&app, Some(&token), NoContent))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    token: String,
    password: String,
}

pub(crate) async fn reset(
    State(app): State<App>,
    context: Context,
    Body(Reset { token, password }): Body<Reset>,
) -> Result<NoContent, Problem> {
    app.accounts.reset(&token, password, context.address).await?;
    Ok(NoContent)
}

/// An account as an administrator sees it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Account {
    username: String,
    institution: String,
    role: Role,
    status: Status,
    email: Option<String>,
    email_new: Option<String>,
    created_at: String,
    signed_in_at: Option<String>,
}

pub(in crate::http) async fn accounts(app: &App) -> Result<Vec<Account>, Problem> {
    let read = app.store.read(|db| {
        let account = |user: users::User| {
            let signed_in_at = latest_of(db, Some(&user.username), Action::SignedIn)?;
            Ok(Account {
                username: user.username,
                institution: user.institution,
                role: user.role,
                status: user.status,
                email: user.email,
                email_new: user.email_new,
                created_at: user.created_at.to_string(),
                signed_in_at: signed_in_at.map(|at| at.to_string()),
            })
        };
        users::all(db)?.into_iter().map(account).collect::<Result<Vec<_>, crate::store::StorageError>>()
    });
    Ok(read.await?)
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
}

pub(crate) async fn list(State(app): State<App>, _: Administrator) -> Result<Json<Accounts>, Problem> {
    Ok(Json(Accounts { accounts: accounts(&app).await? }))
}

async fn change(
    app: &App,
    Administrator(caller): Administrator,
    username: String,
    change: Change,
    context: Context,
) -> Result<NoContent, Problem> {
    app.accounts.change(caller, username, change, context.language, context.address).await?;
    Ok(NoContent)
}

pub(crate) async fn approve(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(username): Path<String>,
) -> Result<NoContent, Problem> {
    change(&app, caller, username, Change::Approve, context).await
}

pub(crate) async fn disable(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(username): Path<String>,
) -> Result<NoContent, Problem> {
    change(&app, caller, username, Change::Disable, context).await
}

pub(crate) async fn enable(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(username): Path<String>,
) -> Result<NoContent, Problem> {
    change(&app, caller, username, Change::Enable, context).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRole {
    role: Role,
}

pub(crate) async fn set_role(
    State(app): State<App>,
    context: Context,
    caller: Administrator,
    Path(username): Path<String>,
    Body(SetRole { role }): Body<SetRole>,
) -> Result<NoContent, Problem> {
    change(&app, caller, username, Change::Become(role), context).await
}

/// A one-time link, which only this answer tells.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResetLink {
    /// On this server.
    path: String,
    expires_at: String,
}

pub(crate) async fn issue_reset(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Path(username): Path<String>,
) -> Result<Json<ResetLink>, Problem> {
    let (token, expires_at) = app.accounts.issue_reset(caller, username, context.address).await?;
    // Behind the # it stays in the browser: no server's log and no proxy sees it.
    let path = format!("/reset#{}", token.expose());
    Ok(Json(ResetLink { path, expires_at: expires_at.to_string() }))
}
