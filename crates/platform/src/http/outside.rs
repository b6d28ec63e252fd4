//! What surrounds every request: the log, the headers of safety, the words for problems, the time limit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::context::Context;
use super::routes::is_for_programs;
use super::{App, Problem, sockets};

/// Everything comes from this server, scripts and styles from files only, and no other page may frame ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// One line for a request: no address, no name, and of the path only the route's pattern.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = matched.as_ref().map_or("(unknown)", MatchedPath::as_str);
    let response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), start.elapsed().as_secs_f64() * 1e3);
    // Pages ask for these all the time.
    if ["/api/events", "/api/logs", sockets::PATH].contains(&path) && status < 400 {
        tracing::debug!(%method, path, status, ms = format_args!("{ms:.1}"), "request");
    } else {
        tracing::info!(%method, path, status, ms = format_args!("{ms:.1}"), "request");
    }
    response
}

/// Finds out what [`Context`] holds.
pub(super) async fn receive(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = Context::of(request.headers(), peer.ip(), &app.server);
    request.extensions_mut().insert(context);
    next.run(request).await
}

pub(super) async fn safety_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    // The address of a page with a one-time link is nobody else's business.
    set(REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    // Pages and answers are about somebody; assets say otherwise themselves.
    set(CACHE_CONTROL, "no-store");
    response
}

/// Puts problems into words: JSON for the API, a page for people.
pub(super) async fn in_words(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_api = is_for_programs(request.uri().path());
    let is_socket = request.uri().path() == sockets::PATH;
    let language = request.extensions().get::<Context>().map(|context| context.language).unwrap_or_default();
    let mut response = next.run(request).await;
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // What a transport refuses, its clients understand.
        None if is_socket => return response,
        // What the framework refuses by itself, such as a path that is no text.
        None if response.status().is_client_error() => Problem::unreadable(response.status()),
        None => return response,
    };
    if is_api {
        return problem.json(language);
    }
    let mut page = match app.templates.problem(&problem, language) {
        Ok(html) => (problem.status, axum::response::Html(html)).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, problem.title(language)).into_response(),
    };
    problem.add_headers(&mut page);
    page
}

/// Gives a request up that takes too long. What it has begun on the disk ends in its own time. Pieces of uploads are watched
/// by their handler: a slow line is not a fault. And a socket's transport waits until something happens.
pub(super) async fn within_time(limit: Duration, request: Request, next: Next) -> Response {
    if request.method() == Method::PATCH || request.uri().path() == sockets::PATH {
        return next.run(request).await;
    }
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| Problem::timeout().into_response())
}
