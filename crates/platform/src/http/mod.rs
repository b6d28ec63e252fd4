//! HTTP: from a request to the rules of [`crate::accounts`], and from their answer to JSON or a page.
//!
//! A request passes, from the outside in: the log, the headers of safety, the words for problems, the time limit, then the
//! guard of its route, which knows who may use it. Only what stands in [`routes::ROUTES`] can be reached.

mod api;
mod assets;
mod checklist;
mod context;
mod guard;
pub(crate) mod openapi;
mod outside;
mod pages;
mod problem;
pub(crate) mod routes;
mod sockets;
mod templates;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::accounts::Accounts;
use crate::clock::{Clock, Moment};
use crate::config::{Server, Setting};
use crate::data::slices::Slices;
use crate::data::uploads::Uploads;
use crate::inference::Inferences;
use crate::jobs::Jobs;
use crate::live::Live;
use crate::machine::Watch;
use crate::mail::Post;
use crate::store::Store;
use crate::training::Trainings;
use crate::users::Users;
use problem::Problem;
pub(crate) use sockets::{Online, Sockets};
pub(crate) use templates::Templates;

/// The largest body of a request; everything that is sent so far is a small form.
const MAX_BODY_BYTES: usize = 16 << 10;

/// What every handler can use.
pub(crate) struct Inner {
    pub(crate) accounts: Accounts,
    pub(crate) users: Arc<Users>,
    /// Who sends the mails, where there is an SMTP server.
    pub(crate) post: Option<Post>,
    /// As they were loaded, to be shown.
    pub(crate) settings: Vec<Setting>,
    pub(crate) store: Arc<Store>,
    pub(crate) live: Live,
    pub(crate) sockets: Sockets,
    pub(crate) machine: Watch,
    pub(crate) clock: Clock,
    pub(crate) server: Server,
    /// The least score of a password.
    pub(crate) password_score: u8,
    /// How long a browser keeps a session's cookie, in seconds.
    pub(crate) cookie_seconds: u64,
    pub(crate) started: Moment,
    pub(crate) templates: Templates,
    pub(crate) slices: Slices,
    pub(crate) uploads: Uploads,
    pub(crate) inferences: Inferences,
    pub(crate) jobs: Jobs,
    pub(crate) trainings: Trainings,
}

/// The same, shared.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

impl App {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A file to keep.
fn attachment(media_type: &'static str, name: &str, content: String) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let disposition = disposition.unwrap_or(HeaderValue::from_static("attachment"));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(media_type)), (CONTENT_DISPOSITION, disposition)];
    (headers, content).into_response()
}

/// The whole application.
pub(crate) fn router(app: &App) -> Router {
    let mut router = Router::new();
    for route in routes::ROUTES {
        let guarded = route.handler().route_layer(from_fn_with_state((app.clone(), route), guard::guard));
        router = router.route(route.path, guarded);
    }
    let limit = Duration::from_secs(app.server.request_seconds);
    router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(move |request, next| outside::within_time(limit, request, next)))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(from_fn_with_state(app.clone(), outside::in_words))
        .layer(from_fn(outside::safety_headers))
        .layer(from_fn_with_state(app.clone(), outside::receive))
        .layer(from_fn(outside::log))
        .with_state(app.clone())
}
