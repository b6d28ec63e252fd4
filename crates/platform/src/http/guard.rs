//! Who may pass: the guard stands before every route and lets nobody through whom the table does not name.

use axum::extract::{Request, State};
use axum::http::header::{HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::context::cookie;
use super::openapi::{SESSION_COOKIE, WithSession};
use super::routes::{Access, Route};
use super::{App, Problem};
use crate::accounts::{Caller, Role};
use crate::config::Server;
use crate::token::{Token, hash};

/// The header in which a page sends its session's second token.
const CSRF_HEADER: &str = "x-csrf-token";

pub(super) async fn guard(
    State((app, route)): State<(App, &'static Route)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_own = is_own_origin(request.headers(), &app.server);
    // Browsers tell where a socket's page comes from; other programs tell nothing, and nobody else has their cookie.
    let is_program = route.is_socket() && !request.headers().contains_key(ORIGIN);
    if (changes || route.is_socket()) && !is_own && !is_program {
        return Err(Problem::origin());
    }
    let token = cookie(request.headers(), cookie_name(&app.server)).and_then(Token::presented);
    let caller = match token {
        Some(token) => app.accounts.authenticate(token).await?,
        None => None,
    };
    match (route.access, &caller) {
        (Access::Anyone, _) => {}
        (_, None) if route.is_page() => return Ok(redirect(&sign_in_page(&app, &request))),
        (_, None) => return Err(Problem::sign_in_first()),
        (Access::SignedIn, Some(_)) => {}
        (Access::Server, Some(caller)) if caller.role == Role::Server => {}
        (Access::Server, Some(_)) => return Err(Problem::forbidden()),
    }
    if let Some(caller) = caller {
        // What anyone may do is no more dangerous with a session than without.
        if changes
            && route.access != Access::Anyone
            && !route.is_socket()
            && !has_csrf_token(request.headers(), &caller)
        {
            return Err(Problem::csrf());
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// Browsers tell which site's page sends a request, and pages cannot lie about it.
fn is_own_origin(headers: &HeaderMap, server: &Server) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = header(ORIGIN) else { return false };
    if !server.public_url.is_empty() {
        return origin == server.public_url;
    }
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some() && host == header(HOST)
}

fn has_csrf_token(headers: &HeaderMap, caller: &Caller) -> bool {
    let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    hash("compare", sent) == hash("compare", &caller.token.csrf())
}

/// Where somebody without a session is sent, and then back from.
fn sign_in_page(app: &App, request: &Request) -> String {
    if app.accounts.awaits_set_up() {
        return "/setup".to_owned();
    }
    match request.uri().path() {
        "/" => "/login".to_owned(),
        path => format!("/login?next={path}"),
    }
}

pub(super) fn redirect(to: &str) -> Response {
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

/// Whether users reach the server over https.
fn is_secure(server: &Server) -> bool {
    server.public_url.starts_with("https://")
}

/// With the prefix, browsers take the cookie over https from this very host only.
pub(super) fn cookie_name(server: &Server) -> &'static str {
    if is_secure(server) { "__Host-fednodule_session" } else { SESSION_COOKIE }
}

/// Gives the browser its session, or takes it away.
pub(super) fn with_session<A: IntoResponse>(app: &App, token: Option<&Token>, answer: A) -> WithSession<A> {
    let name = cookie_name(&app.server);
    let (value, seconds) = token.map_or(("", 0), |token| (token.expose(), app.cookie_seconds));
    let secure = if is_secure(&app.server) { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    let mut response = answer.into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    WithSession::new(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn only_our_own_pages_change_anything() {
        let mut server = Config::load(&Sources::default()).unwrap().server;
        let own = |origin: Option<&str>, server: &Server| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "nodules.local:8080".parse().unwrap());
            origin.map(|origin| headers.insert(ORIGIN, origin.parse().unwrap()));
            is_own_origin(&headers, server)
        };
        assert!(own(Some("http://nodules.local:8080"), &server));
        for foreign in ["http://nodules.local", "http://evil.local:8080", "null", "", "ftp://nodules.local:8080"] {
            assert!(!own(Some(foreign), &server), "{foreign}");
        }
        assert!(!own(None, &server));
        server.public_url = "https://nodules.hospital.example".to_owned();
        assert!(own(Some("https://nodules.hospital.example"), &server));
        assert!(!own(Some("http://nodules.local:8080"), &server));
        assert_eq!(cookie_name(&server), "__Host-fednodule_session");
    }
}
