//! The description of the API against the server: every answer that any test gets is compared with it, and programs of
//! others read it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use boon::{Compiler, SchemaIndex, Schemas};
use platform::{ROUTES, Route, openapi};
use serde_json::Value;

use crate::client::Answer;

/// Where the description stands, as the validator sees it.
const PLACE: &str = "http://localhost/api/docs";

/// The schemas of all answers, by their places in the description.
struct Answers {
    schemas: Schemas,
    by_place: BTreeMap<String, SchemaIndex>,
}

static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
    let mut compiler = Compiler::new();
    compiler.add_resource(PLACE, openapi().clone()).unwrap();
    let (mut schemas, mut by_place) = (Schemas::new(), BTreeMap::new());
    let operations = openapi()["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
    });
    for (path, method, operation) in operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for media in response["content"].as_object().into_iter().flat_map(|content| content.keys()) {
                let escaped = |part: &str| part.replace('~', "~0").replace('/', "~1");
                let (path, media) = (escaped(path), escaped(media));
                let place = format!("/paths/{path}/{method}/responses/{status}/content/{media}/schema");
                // Braces have no place in an address.
                let fragment = place.replace('{', "%7B").replace('}', "%7D");
                let index = compiler.compile(&format!("{PLACE}#{fragment}"), &mut schemas);
                by_place.insert(place, index.unwrap_or_else(|error| panic!("{error:#}")));
            }
        }
    }
    Answers { schemas, by_place }
});

/// The route that a request goes to; words of a path come before parameters.
fn route(method: &str, path: &str) -> Option<&'static Route> {
    let path: Vec<&str> = path.split('?').next()?.split('/').collect();
    let fits = |route: &&Route| {
        let parts: Vec<&str> = route.path.split('/').collect();
        parts.len() == path.len() && parts.iter().zip(&path).all(|(part, is)| part.starts_with('{') || part == is)
    };
    let fitting = ROUTES.iter().filter(|route| route.path.starts_with("/api/")).filter(fits);
    let best = fitting.clone().map(|route| route.path.matches('{').count()).min()?;
    fitting.filter(|route| route.path.matches('{').count() == best).find(|route| route.method == method)
}

/// Complains about an answer that is not as described.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let Some(route) = route(method, path) else { return };
    let operation = &openapi()["paths"][route.path][route.method.to_ascii_lowercase()];
    let (status, name) = (answer.status.to_string(), format!("{} {}", route.method, route.path));
    let response = &operation["responses"][&status];
    assert!(
        !response.is_null(),
        "{name} answers {status}, which its description lacks: a refusal of its own stands behind its summary in \
         http/routes.rs, another answer in the type of its handler; {answer:?}"
    );
    let media = answer.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap().split(';').next().unwrap());
    let Some(media) = media else {
        assert!(response["content"].is_null() && answer.bytes.is_empty(), "{name} {status}: an answer of no type");
        return;
    };
    assert!(!response["content"][media].is_null(), "{name} {status} answers {media}, which its description lacks");
    if media.ends_with("json") {
        let place = format!(
            "/paths/{}/{}/responses/{status}/content/{}/schema",
            route.path.replace('/', "~1"),
            route.method.to_ascii_lowercase(),
            media.replace('/', "~1")
        );
        let document: Value = serde_json::from_slice(&answer.bytes).unwrap();
        let Answers { schemas, by_place } = &*ANSWERS;
        if let Err(error) = schemas.validate(&document, by_place[&place]) {
            panic!("{name} {status}: {error:#}\n{document:#}");
        }
    }
}
