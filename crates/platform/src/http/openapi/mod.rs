//! The description of the API for programs (OpenAPI 3.1), made from [`ROUTES`]: the path, who may call and a summary stand
//! in the table; parameters, bodies and answers are what the types of the handlers say. Nothing is said twice, so nothing
//! can be out of date.

mod answers;
mod describe;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::Document as ProblemDocument;
use super::routes::{Access, ROUTES, Route};
pub(super) use answers::{Accepted, Binary, Created, Csv, Kept, NoContent, Picture, Sent, SliceOrPicture, WithSession};
pub(super) use answers::{Answers, answer};
pub(super) use describe::{Asks, Described, Operation, describe};

/// The cookie that carries a session where users reach the server over http.
pub(super) const SESSION_COOKIE: &str = "fednodule_session";
const SCHEMAS: &str = "/components/schemas";

const ABOUT: &str = "\
Everything that the pages do goes through this API.

`POST /api/session` begins a session: its answer sets a cookie, which every further request sends, and holds a token, which \
every request that changes something sends in the header `X-CSRF-Token`. Whatever changes something must also say in `Origin` \
the address at which users reach this server; browsers do so by themselves. Bodies are JSON with exactly the fields described.

Refusals and failures are problem details (RFC 9457). Programs may rely on `type` and `errors[].field`; titles and details \
are for people, in Chinese or, with the cookie `fednodule_language=en`, in English.

Times are RFC 3339 in UTC. Coordinates are LPS in millimetres.";

/// What a path's parameter is: its schema, and in words. Every parameter of the API has an entry here.
fn path_parameter(name: &str) -> Option<(Value, &'static str)> {
    let number = || json!({ "type": "integer", "format": "int64", "minimum": 1 });
    Some(match name {
        "id" => (number(), "The number of the scan or of the inference"),
        "upload" => (json!({ "type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$" }), "The name of the upload"),
        "training" => (number(), "The number of the training"),
        "model" => (number(), "The version of the model, a number"),
        "number" => (
            json!({ "type": "integer", "format": "uint32", "minimum": 1, "maximum": u32::MAX }),
            "The number of the finding, from 1, the strongest first",
        ),
        "username" => (
            json!({ "type": "string", "minLength": 3, "maxLength": 32, "pattern": "^[a-z][a-z0-9_-]*$" }),
            "The name that the account signs in with",
        ),
        "plane" => (
            json!({ "type": "string", "enum": ["axial", "coronal", "sagittal"] }),
            "Slices count from the feet to the head, from the front to the back, or from the patient's right to the left",
        ),
        "slice" => (
            json!({ "type": "string", "pattern": "^[0-9]{1,9}(\\.png)?$" }),
            "The slice, from 0: its CT values, or with `.png` a picture of it",
        ),
        _ => return None,
    })
}

/// Names of parameters in a path.
fn parameters_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// The whole description, for a server whose session's cookie has this name.
pub(super) fn document(cookie: &str) -> Value {
    let mut document = DOCUMENT.clone();
    document["components"]["securitySchemes"]["session"]["name"] = cookie.into();
    document
}

/// The description of the API as a server on plain http gives it under `/api/docs`.
pub fn openapi() -> &'static Value {
    &DOCUMENT
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

fn make() -> Value {
    // What is read may lack fields that have a default; what is written has all of them.
    let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
    let mut asked = settings().for_deserialize().into_generator();
    let mut answered = settings().for_serialize().into_generator();
    let problem = answered.subschema_for::<ProblemDocument>().to_value();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES.iter().filter(|route| route.is_api()) {
        let Some(described) = &route.described else { continue };
        let operation = (described.operation)(&mut asked, &mut answered);
        let document = operation_document(route, described, operation, &problem);
        paths.entry(route.path).or_default().insert(route.method.to_ascii_lowercase(), document);
    }
    let mut schemas = asked.take_definitions(true);
    schemas.extend(answered.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "fednodule",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This server" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION_COOKIE,
                    "description": "Set by `POST /api/session`. Over https its name begins with `__Host-`.",
                },
                "csrf": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-CSRF-Token",
                    "description": "The `csrf_token` of the session, with every request that changes something.",
                },
            },
            "parameters": {
                "Origin": {
                    "name": "Origin",
                    "in": "header",
                    "required": true,
                    "description": "The address at which users reach this server, such as `https://nodules.hospital.example`.",
                    "schema": { "type": "string", "format": "uri" },
                },
            },
        },
    })
}

fn operation_document(route: &Route, described: &Described, operation: Operation, problem: &Value) -> Value {
    let changes = !matches!(route.method, "GET" | "HEAD");
    let path_parameters: Vec<&str> = parameters_of(route.path).collect();
    let mut parameters: Vec<Value> = path_parameters.iter().map(|name| in_path(name)).collect();
    let mut refusals: Vec<u16> = described.refusals.to_vec();
    let mut refused = |statuses: &[u16]| refusals.extend(statuses);
    refused(&[500, 503]);
    if changes {
        parameters.push(json!({ "$ref": "#/components/parameters/Origin" }));
        refused(&[403]);
    }
    if route.access != Access::Anyone {
        refused(&[401]);
    }
    if route.access == Access::Server {
        refused(&[403]);
    }
    if !path_parameters.is_empty() {
        refused(&[400, 404]);
    }
    if !operation.parameters.is_empty() {
        refused(&[400]);
    }
    if operation.body.is_some() {
        refused(&[400, 413, 415, 422]);
    }
    parameters.extend(operation.parameters);
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for status in refusals {
        let mut response = json!({
            "description": refusal(status),
            "content": { "application/problem+json": { "schema": problem } },
        });
        if matches!(status, 429 | 503) {
            let seconds = json!({ "type": "integer", "minimum": 0 });
            response["headers"] = json!({ "Retry-After": { "description": "Seconds", "schema": seconds } });
        }
        responses.insert(status.to_string(), response);
    }
    responses.extend(operation.answers.into_iter().map(|(status, answer)| (status.to_string(), answer)));
    let mut document = json!({
        "operationId": operation_id(described.handler),
        "summary": described.summary,
        "description": who(route.access),
        "tags": [route.path.split('/').nth(2).unwrap_or_default()],
        "x-access": access_word(route.access),
        "security": security(route.access, changes),
        "responses": responses,
    });
    if !parameters.is_empty() {
        document["parameters"] = parameters.into();
    }
    if let Some((media_type, schema)) = operation.body {
        document["requestBody"] = json!({ "required": true, "content": { media_type: { "schema": schema } } });
    }
    document
}

fn in_path(name: &str) -> Value {
    let (schema, description) = path_parameter(name).unwrap_or((json!({ "type": "string" }), ""));
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

/// `api::accounts::set_up` → `accounts_set_up`.
fn operation_id(handler: &str) -> String {
    handler.trim_start_matches("api::").replace("::", "_")
}

fn who(access: Access) -> &'static str {
    match access {
        Access::Anyone => "For everybody, also without an account.",
        Access::SignedIn => "For everybody who is signed in.",
        Access::Server => "For administrators.",
    }
}

/// The same for programs, in a field that OpenAPI leaves to us.
fn access_word(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::SignedIn => "signed_in",
        Access::Server => "server",
    }
}

fn security(access: Access, changes: bool) -> Value {
    match (access, changes) {
        (Access::Anyone, _) => json!([]),
        (_, false) => json!([{ "session": [] }]),
        (_, true) => json!([{ "session": [], "csrf": [] }]),
    }
}

fn refusal(status: u16) -> &'static str {
    match status {
        400 => "A parameter or the body cannot be read.",
        401 => "Nobody is signed in.",
        403 => "The caller may not do this, or the request does not come from this server's own pages.",
        404 => "There is no such thing, or it is none of the caller's business.",
        408 => "The bytes stopped coming.",
        409 => "Not in the state in which it is now.",
        412 => "Another version of the protocol.",
        413 => "The body is too large.",
        415 => "The body is not declared as what it must be.",
        422 => "A value cannot be used; `errors` names the fields.",
        423 => "Another connection is at it.",
        429 => "Too often. `Retry-After` says when to try again.",
        460 => "The check sum differs.",
        507 => "The disk is full.",
        503 => "It takes too long, or the database of users cannot be reached.",
        _ => "The server failed. The reason is in its log.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_api_is_described_and_nothing_else() {
        for route in ROUTES.iter().filter(|route| route.is_api()) {
            let name = format!("{} {}", route.method, route.path);
            assert!(
                route.described.is_some(),
                "{name} is not described. In http/routes.rs, add after its handler `, \"what it does\"`, then the statuses \
                 of refusals that are its own (as in `, \"Starts a training\" 409;`). Parameters, body and answer come from \
                 the handler's types: Query<T> and Body<T> with T: JsonSchema, and Json<T>, Created<…>, Accepted<…>, \
                 NoContent, Sent<…> or Kept<…> for the answer."
            );
            for parameter in parameters_of(route.path) {
                let known = path_parameter(parameter).is_some();
                assert!(known, "{name}: say in `path_parameter` of http/openapi/mod.rs what {{{parameter}}} is");
            }
        }
        let paths = openapi()["paths"].as_object().unwrap();
        let documented = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (path.as_str(), method.to_ascii_uppercase()))
        });
        let mut documented: Vec<_> = documented.collect();
        let routes = ROUTES.iter().filter(|route| route.is_api());
        let mut routes: Vec<_> = routes.map(|route| (route.path, route.method.to_owned())).collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn pages_are_not_described() {
        assert!(ROUTES.iter().all(|route| !route.is_page() || route.described.is_none()));
    }

    #[test]
    fn a_name_stands_for_one_schema() {
        let text = openapi()["components"]["schemas"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        // The generator adds a number to a name that another type has already: `#[schemars(rename = "…")]` makes it clear.
        let numbered: Vec<_> = text.iter().filter(|name| name.ends_with(|c: char| c.is_ascii_digit())).collect();
        assert!(numbered.is_empty(), "{numbered:?}");
        let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
        let mut asked = settings().for_deserialize().into_generator();
        let mut answered = settings().for_serialize().into_generator();
        for described in ROUTES.iter().filter_map(|route| route.described.as_ref()) {
            (described.operation)(&mut asked, &mut answered);
        }
        for (name, schema) in asked.definitions() {
            let other = answered.definitions().get(name);
            assert!(other.is_none_or(|other| other == schema), "{name} is read and written in different ways");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere() {
        let document = openapi();
        let operations = document["paths"].as_object().unwrap().values();
        let operations = operations.flat_map(|item| item.as_object().unwrap().values());
        let mut names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
