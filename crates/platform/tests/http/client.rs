//! A small HTTP client: keeps cookies and the session's second token, and tells the truth about its origin unless a test
//! wants a lie.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Somebody with a browser.
#[derive(Clone)]
pub(crate) struct Client {
    http: Hyper<HttpConnector, Full<Bytes>>,
    pub(crate) address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) csrf: Option<String>,
    /// What it says its page's origin is.
    pub(crate) origin: Option<String>,
    pub(crate) extra: Vec<(&'static str, String)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// As far as it is text.
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION).map(|value| value.to_str().unwrap())
    }

    /// The end of a problem's type, `None` where it is no problem.
    pub(crate) fn problem(&self) -> Option<String> {
        let media = self.headers.get(CONTENT_TYPE)?.to_str().unwrap();
        if media != "application/problem+json" {
            return None;
        }
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert!(!document["title"].as_str().unwrap().is_empty() && !document["detail"].as_str().unwrap().is_empty());
        Some(document["type"].as_str().unwrap().strip_prefix("urn:fednodule:problem:").unwrap().to_owned())
    }

    /// Complains about an answer that is not this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, kind: &str) -> Self {
        assert_eq!((self.status, self.problem().as_deref()), (status, Some(kind)), "{self:?}");
        self
    }

    /// The problem as a document.
    #[track_caller]
    pub(crate) fn expect_problem_json(self, status: u16, kind: &str) -> Value {
        self.expect_problem(status, kind).json()
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let http = Hyper::builder(TokioExecutor::new()).build_http();
        let origin = Some(format!("http://{address}"));
        Self { http, address, cookies: BTreeMap::new(), csrf: None, origin, extra: Vec::new() }
    }

    /// The same browser, of whose server the address has changed.
    pub(crate) fn moved_to(&mut self, address: SocketAddr) {
        self.address = address;
        self.origin = Some(format!("http://{address}"));
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body.to_string())).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Some(body.to_string())).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: Option<String>) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    /// Fails where the connection does.
    pub(crate) async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        let media = body.as_ref().map(|_| "application/json");
        self.try_send_bytes(method, path, media, body.unwrap_or_default().into_bytes()).await
    }

    pub(crate) async fn try_send_bytes(
        &mut self,
        method: &str,
        path: &str,
        media: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(origin) = &self.origin {
            request = request.header(ORIGIN, origin);
        }
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        if let Some(csrf) = &self.csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        for (name, value) in &self.extra {
            request = request.header(*name, value);
        }
        let request = request.body(Full::from(body))?;
        let response = self.http.request(request).await?;
        let (parts, body) = response.into_parts();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str()?;
            let (name, rest) = cookie.split_once('=').ok_or("a cookie has no name")?;
            let value = rest.split(';').next().unwrap_or_default();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let bytes = body.collect().await?.to_bytes().to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, text, bytes };
        crate::openapi::check(method, path, &answer);
        Ok(answer)
    }

    /// Signs in; the page's second token comes with the answer.
    pub(crate) async fn sign_in(&mut self, username: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "username": username, "password": password });
        let answer = self.post("/api/session", body).await;
        if answer.status == 201 {
            self.csrf = Some(answer.json()["csrf_token"].as_str().unwrap().to_owned());
        }
        answer
    }
}
