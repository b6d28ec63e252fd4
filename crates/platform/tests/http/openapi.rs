//! The description of the API against the server: every answer that any test gets is compared with it, and programs of
//! others read it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use boon::{Compiler, SchemaIndex, Schemas};
use imaging::metaimage::Compression;
use imaging::{Geometry, Volume};
use platform::{ROUTES, Route, openapi};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::peers;
use crate::scans::{put_inference, put_scan};
use crate::server::Server;
use crate::trainings::{give_data, worker};
use crate::uploads::{files, plan};

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

/// So many that some are left when others were removed.
const INFERENCES: usize = 60;

/// A server on which the administrator has something of everything, each with the number 1.
async fn with_data() -> Option<(Server, Client)> {
    let program = worker()?;
    let server = Server::start_with(|config| config.worker.program = program).await;
    let mut admin = server.set_up().await;
    for name in ["city", "county"] {
        server.institution(&mut admin, name).await;
        give_data(&server.config.storage.data, name);
    }
    let volume = Volume::filled(Geometry::axis_aligned([8; 3], [1.0; 3], [0.0; 3]).unwrap(), 0i16);
    let scan = put_scan(&server, &mut admin, &volume, Compression::None).await;
    let launch = json!({ "rounds": 1, "participants": ["city", "county"], "note": "第一次" });
    admin.post("/api/trainings", launch).await.expect(201);
    for _ in 0..3000 {
        if admin.get("/api/trainings/1").await.json()["state"] == "completed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    admin.post("/api/models/1/promote", json!({ "reason": "第一个" })).await.expect(204);
    let marks = [([1.0, 2.0, 3.0], 6.0, 0.9, Some("left"), Some("accepted")), ([4.0; 3], 5.0, 0.4, None, None)];
    for state in ["done", "failed", "queued"].iter().cycle().take(INFERENCES) {
        put_inference(&server, "admin", scan, state, &marks);
    }
    Some((server, admin))
}

/// Whether all its lists are empty: then nothing is known about what is in them.
fn says_nothing(answer: &Answer) -> bool {
    let document: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
    let mut lists = document.as_object().into_iter().flat_map(|object| object.values()).filter_map(Value::as_array);
    lists.clone().count() > 0 && lists.all(Vec::is_empty)
}

/// The check of [`check`] stands behind every request; here it sees every GET with something in the answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_get_of_the_api_answers_as_described() {
    let Some((server, mut admin)) = with_data().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let planned = plan(&mut admin, &files(folder.path(), "1.2.3.mhd", 1, Compression::None)).await;
    let upload = planned["upload"].as_str().unwrap().to_owned();
    std::fs::create_dir_all(server.config.storage.data.join("logs")).unwrap();
    let log = server.config.storage.data.join("logs/server.2026-11-26.log");
    std::fs::write(log, "2026-11-26T01:02:03.4Z  WARN there: it was\n").unwrap();
    // Somebody is there.
    let transport = "/socket.io/?EIO=4&transport=polling";
    let opened: Value = serde_json::from_str(&admin.get(transport).await.expect(200).text[1..]).unwrap();
    let transport = format!("{transport}&sid={}", opened["sid"].as_str().unwrap());
    admin.try_send_bytes("POST", &transport, Some("text/plain"), b"40".to_vec()).await.unwrap().expect(200);
    for route in ROUTES.iter().filter(|route| route.method == "GET" && route.is_api()) {
        let path = route
            .path
            .replace("{id}", "1")
            .replace("{upload}", &upload)
            .replace("{training}", "1")
            .replace("{model}", "1");
        let path = path.replace("{plane}", "axial").replace("{slice}", "3.png");
        assert!(!path.contains('{'), "{path}: what stands for the parameter?");
        let answer = admin.get(&path).await.expect(200);
        assert!(!answer.bytes.is_empty() && !says_nothing(&answer), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_check_notices_what_is_not_described() {
    let server = Server::start().await;
    let health = || async { server.client().get("/api/health").await };
    let complains = |answer: Answer| catch_unwind(AssertUnwindSafe(|| check("GET", "/api/health", &answer))).is_err();
    assert!(!complains(health().await));
    assert!(complains(Answer { status: 418, ..health().await }));
    assert!(complains(Answer { bytes: b"{}".to_vec(), ..health().await }));
    let mut text = health().await;
    text.headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    assert!(complains(text));
    assert_eq!(route("GET", "/api/trainings/pre-flight?x").unwrap().path, "/api/trainings/pre-flight");
    assert_eq!(route("GET", "/api/trainings/7").unwrap().path, "/api/trainings/{training}");
    assert!(route("PATCH", "/api/session").is_none() && route("GET", "/api/nothing").is_none());
}

#[tokio::test]
async fn the_description_names_the_cookie_that_the_server_takes() {
    let server = Server::start_with(|config| config.server.public_url = "https://nodules.example".to_owned()).await;
    let document = server.client().get("/api/docs").await.expect(200).json();
    assert_eq!(document["components"]["securitySchemes"]["session"]["name"], "__Host-fednodule_session");
}

/// Runs a program to its end, in a folder of its own.
async fn run(mut command: Command) {
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path()).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ended.status.success(), "{said}");
    println!("{said}");
}

#[tokio::test]
async fn the_description_is_valid_openapi() {
    let Some(python) = peers::python_with("openapi_spec_validator") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openapi.json");
    std::fs::write(&path, openapi().to_string()).unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(path);
    run(command).await;
}

/// Schemathesis invents requests from the description, good and bad ones, as an administrator.
#[tokio::test(flavor = "multi_thread")]
async fn no_invented_request_gets_an_answer_that_is_not_described() {
    let Some(python) = peers::python_with("schemathesis") else { return };
    let Some((server, mut admin)) = with_data().await else { return };
    // There is something to approve, to pause and to stop, too.
    server.register("waiting").await;
    std::fs::write(server.config.storage.data.join("scenario.json"), r#"{"step_ms":1000}"#).unwrap();
    for _ in 0..2 {
        admin.post("/api/trainings", json!({ "participants": ["city", "county"] })).await.expect(201);
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/schemathesis.toml");
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(config);
    command.args(["--no-color", "run", &format!("http://{}/api/docs", server.address)]);
    command.env("FEDNODULE_SESSION", &admin.cookies["fednodule_session"]);
    command.env("FEDNODULE_CSRF", admin.csrf.as_ref().unwrap());
    command.env("FEDNODULE_ORIGIN", format!("http://{}", server.address));
    run(command).await;
}
