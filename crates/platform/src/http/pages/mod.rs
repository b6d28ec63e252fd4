//! Pages. They show what there is at the moment; what people do on them goes to the API.

pub(super) mod docs;
pub(super) mod trainings;

use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::response::{Html, IntoResponse, Response};
use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Deserialize;

use crate::accounts::{Caller, Role};
use crate::catalog::Language;
use crate::http::api::accounts::accounts;
use crate::http::api::audit::{Range, entries};
use crate::http::api::inferences::full;
use crate::http::api::settings::{Shown, settings as all_settings};
use crate::http::api::slices::own_scan;
use crate::http::api::system::system;
use crate::http::checklist::checklist;
use crate::http::context::{Administrator, Context, LANGUAGE_COOKIE};
use crate::http::guard::redirect;
use crate::http::{App, Problem};
use crate::store::{StorageError, users};
use crate::users::Phase;

/// Entries of the audit log on one page, and of the newest on the overview.
const ENTRIES: u32 = 50;
const NEWEST: u32 = 8;

/// Where to go after signing in, or after the language has changed.
#[derive(Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

impl Next {
    /// A path on this server: nobody is sent elsewhere by a link to us.
    fn path(&self) -> &str {
        let fine = |path: &&str| {
            path.starts_with('/') && !path.starts_with("//") && path.chars().all(|c| c.is_ascii_graphic() && c != '\\')
        };
        self.next.as_deref().filter(fine).unwrap_or("/")
    }
}

/// A page before signing in.
fn door(app: &App, name: &str, here: &str, context: Context, values: Value) -> Result<Response, Problem> {
    let frame = context! {
        here => here,
        password_score => app.password_score,
        has_mail => app.accounts.has_mail(),
        mail_is_enough => app.accounts.mail_is_enough(),
    };
    let html = app.templates.render(name, context.language, context! { ..values, ..frame })?;
    Ok(Html(html).into_response())
}

pub(crate) async fn set_up(State(app): State<App>, context: Context) -> Result<Response, Problem> {
    if !app.accounts.awaits_set_up() {
        return Ok(redirect("/login"));
    }
    door(&app, "setup.html", "/setup", context, context! {})
}

pub(crate) async fn login(
    State(app): State<App>,
    context: Context,
    Query(next): Query<Next>,
) -> Result<Response, Problem> {
    if app.accounts.awaits_set_up() {
        return Ok(redirect("/setup"));
    }
    door(&app, "login.html", "/login", context, context! { next => next.path() })
}

pub(crate) async fn register(State(app): State<App>, context: Context) -> Result<Response, Problem> {
    if app.accounts.awaits_set_up() {
        return Ok(redirect("/setup"));
    }
    door(&app, "register.html", "/register", context, context! {})
}

pub(crate) async fn reset(State(app): State<App>, context: Context) -> Result<Response, Problem> {
    door(&app, "reset.html", "/reset", context, context! {})
}

/// Keeps the chosen language in a cookie, for a year.
pub(crate) async fn language(Path(tag): Path<String>, Query(next): Query<Next>) -> Result<Response, Problem> {
    let language = Language::from_tag(&tag).ok_or_else(Problem::not_found)?;
    let cookie = format!("{LANGUAGE_COOKIE}={}; Path=/; SameSite=Lax; Max-Age=31536000", language.tag());
    let cookie = HeaderValue::from_str(&cookie).map_err(|_| Problem::internal())?;
    Ok(([(SET_COOKIE, cookie)], redirect(next.path())).into_response())
}

/// A page of somebody who is signed in.
fn inside(
    app: &App,
    name: &str,
    here: &str,
    context: Context,
    caller: &Caller,
    values: Value,
) -> Result<Html<String>, Problem> {
    let frame = context! {
        here => here,
        password_score => app.password_score,
        has_mail => app.accounts.has_mail(),
        users_database_is_down => matches!(app.users.state().phase, Phase::Down(_)),
        csrf => caller.token.csrf(),
        me => context! {
            username => caller.username.as_str(),
            institution => caller.institution.as_str(),
            role => caller.role.name(),
            since => caller.since.to_string(),
        },
    };
    app.templates.render(name, context.language, context! { ..values, ..frame }).map(Html)
}

pub(crate) async fn overview(
    State(app): State<App>,
    context: Context,
    caller: Caller,
) -> Result<Html<String>, Problem> {
    let values = if caller.role == Role::Server {
        let system = system(&app, context.language).await?;
        let database_kib = system.database_bytes.div_ceil(1024);
        context! { system => Value::from(Serde(system)), database_kib, newest => newest(&app).await? }
    } else {
        context! {}
    };
    let training_now = trainings::now(&app, &caller).await?;
    inside(&app, "overview.html", "/", context, &caller, context! { training_now, ..values })
}

async fn newest(app: &App) -> Result<Value, Problem> {
    Ok(Value::from(Serde(entries(app, i64::MAX, NEWEST).await?)))
}

pub(crate) async fn users(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
) -> Result<Html<String>, Problem> {
    let accounts = Value::from(Serde(accounts(&app).await?));
    inside(&app, "users.html", "/users", context, &caller, context! { accounts })
}

pub(crate) async fn audit(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
    Query(range): Query<Range>,
) -> Result<Html<String>, Problem> {
    let (before, limit) = range.checked(ENTRIES, context.language)?;
    let entries = entries(&app, before, limit).await?;
    // Number 1 is the first, so whatever lies before the last entry shown has a smaller number.
    let older = entries.last().map(|last| last.seq).filter(|first| *first > 1);
    let is_newest = before == i64::MAX;
    let values = context! { entries => Value::from(Serde(entries)), older, is_newest };
    inside(&app, "audit.html", "/audit", context, &caller, values)
}

/// The caller's own scans, on their way in and there; for administrators also what institutions have ready.
pub(crate) async fn data(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    inside(&app, "data.html", "/data", context, &caller, context! {})
}

pub(crate) async fn logs(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
) -> Result<Html<String>, Problem> {
    inside(&app, "logs.html", "/logs", context, &caller, context! {})
}

/// The viewer on a scan.
pub(crate) async fn scan(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Html<String>, Problem> {
    let scan = own_scan(&app, &caller, id).await?;
    let values = context! { scan => scan.id, inference => "" };
    inside(&app, "viewer.html", &format!("/scans/{id}"), context, &caller, values)
}

/// The queue of the caller's own.
pub(crate) async fn inferences(
    State(app): State<App>,
    context: Context,
    caller: Caller,
) -> Result<Html<String>, Problem> {
    inside(&app, "inferences.html", "/inferences", context, &caller, context! {})
}

/// The viewer on a result of the caller's own.
pub(crate) async fn inference(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Html<String>, Problem> {
    full(&app, &caller, id).await?;
    let values = context! { scan => "", inference => id };
    inside(&app, "viewer.html", &format!("/inferences/{id}"), context, &caller, values)
}

/// A result of the caller's own, to print.
pub(crate) async fn report(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Html<String>, Problem> {
    full(&app, &caller, id).await?;
    let values = context! { inference => id, printed => app.clock.now().to_string() };
    inside(&app, "report.html", &format!("/inferences/{id}/report"), context, &caller, values)
}

pub(crate) async fn account(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    let id = caller.user_id;
    let user = app.store.read(move |db| users::by_id(db, id).map_err(StorageError::from)).await?;
    let (email, email_new) = user.map(|user| (user.email, user.email_new)).unwrap_or_default();
    inside(&app, "account.html", "/account", context, &caller, context! { email, email_new })
}

pub(crate) async fn forgot(State(app): State<App>, context: Context) -> Result<Response, Problem> {
    door(&app, "forgot.html", "/forgot", context, context! {})
}

pub(crate) async fn verify(State(app): State<App>, context: Context) -> Result<Response, Problem> {
    door(&app, "verify.html", "/verify", context, context! {})
}

pub(crate) async fn settings(
    State(app): State<App>,
    context: Context,
    Administrator(caller): Administrator,
) -> Result<Html<String>, Problem> {
    let mut sections: Vec<(String, Vec<Shown>)> = Vec::new();
    for shown in all_settings(&app) {
        let name = shown.key.split('.').next().unwrap_or_default().to_owned();
        match sections.last_mut().filter(|(last, _)| *last == name) {
            Some((_, settings)) => settings.push(shown),
            None => sections.push((name, vec![shown])),
        }
    }
    inside(&app, "settings.html", "/settings", context, &caller, context! { sections => Value::from(Serde(sections)) })
}

pub(crate) async fn help(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    let steps = checklist(&app, &caller).await?;
    let done = steps.iter().filter(|step| step.done).count();
    inside(&app, "help.html", "/help", context, &caller, context! { steps => Value::from(Serde(steps)), done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let path = |next: &str| Next { next: Some(next.to_owned()) }.path().to_owned();
        assert_eq!(path("/audit?before=9"), "/audit?before=9");
        for foreign in ["https://evil", "//evil", "/\\evil", "evil", "", "/a\r\nX: y", "/\tevil"] {
            assert_eq!(path(foreign), "/", "{foreign:?}");
        }
    }
}
