//! What handlers ask of a request: its language, where it comes from, who sends it, and a JSON body.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::{App, MAX_BODY_BYTES, Problem};
use crate::accounts::{Address, Caller, Role};
use crate::catalog::{Language, Message};
use crate::config::Server;

/// The cookie with the language that somebody chose.
pub(super) const LANGUAGE_COOKIE: &str = "fednodule_language";

/// What is known of a request before anybody looks into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) language: Language,
    pub(crate) address: Address,
}

impl Context {
    pub(super) fn of(headers: &HeaderMap, peer: IpAddr, server: &Server) -> Self {
        let language = cookie(headers, LANGUAGE_COOKIE).and_then(Language::from_tag).unwrap_or_default();
        // Only the last entry is the proxy's own; whatever stands before it, the client may have made up.
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let forwarded = forwarded.and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
        let address = forwarded.filter(|_| server.forwarded_for).unwrap_or(peer);
        Self { language, address: Address(address) }
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(Problem::internal)
    }
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Whoever is signed in. The guard of the route has found out who that is.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(Problem::sign_in_first)
    }
}

/// A caller who administrates. A handler that asks for one cannot be reached by others, whatever its route says.
pub(crate) struct Administrator(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.role == Role::Server { Ok(Self(caller)) } else { Err(Problem::forbidden()) }
    }
}

/// A body of JSON with exactly the fields of `T`, of at most `LIMIT` bytes. A complaint about it never repeats a value: it may
/// be a password.
pub(crate) struct Body<T, const LIMIT: usize = MAX_BODY_BYTES>(pub(crate) T);

impl<T: DeserializeOwned, const LIMIT: usize> FromRequest<App> for Body<T, LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let language = request.extensions().get::<Context>().map(|context| context.language).unwrap_or_default();
        let refused = |status, reason: Message| Problem::body(status, &reason, language);
        let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Another site's form cannot send this type without asking first.
        if media.split(';').next().unwrap_or_default().trim() != "application/json" {
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Message::BodyType));
        }
        let mut request = request;
        DefaultBodyLimit::max(LIMIT).apply(&mut request);
        let body = Bytes::from_request(request, app).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(failure) if failure.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                refused(failure.status(), Message::BodyLarge { limit: LIMIT.to_string() })
            }
            _ => refused(StatusCode::BAD_REQUEST, Message::BodySyntax { place: "(…)".to_owned() }),
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let place = format!("{}:{}", error.line(), error.column());
            if !error.is_data() {
                return refused(StatusCode::BAD_REQUEST, Message::BodySyntax { place });
            }
            let text = error.to_string();
            let names_a_field = text.starts_with("missing field") || text.starts_with("unknown field");
            let what = if names_a_field { text.split(" at line").next().unwrap_or_default().to_owned() } else { place };
            refused(StatusCode::UNPROCESSABLE_ENTITY, Message::BodyField { what })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn a_forwarded_address_counts_only_where_a_proxy_stands_and_only_its_own_entry() {
        let mut server = Config::load(&Sources::default()).unwrap().server;
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "1.1.1.1".parse().unwrap());
        headers.append("x-forwarded-for", "2.2.2.2, 3.3.3.3".parse().unwrap());
        let peer = "10.0.0.9".parse().unwrap();
        assert_eq!(Context::of(&headers, peer, &server).address.shown(), "10.0.0.9");
        server.forwarded_for = true;
        assert_eq!(Context::of(&headers, peer, &server).address.shown(), "3.3.3.3");
        headers.append("x-forwarded-for", "nonsense".parse().unwrap());
        assert_eq!(Context::of(&headers, peer, &server).address.shown(), "10.0.0.9");
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "xa=1; a=2; b=x=y".parse().unwrap());
        assert_eq!((cookie(&headers, "a"), cookie(&headers, "b")), (Some("2"), Some("x=y")));
        assert_eq!(cookie(&headers, "c"), None);
    }
}
