//! Trainings with the worker of `tests/worker`: rounds, stops, crashes, restarts, and who sees what.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imaging::metaimage::{Compression, write};
use imaging::{Geometry, Volume};
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;

/// The worker needs Python; without it these tests are skipped, visibly.
pub(crate) fn worker() -> Option<PathBuf> {
    let python = std::process::Command::new("python3").arg("--version").output();
    if python.is_ok_and(|output| output.status.success()) {
        return Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/worker/worker.py"));
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 is missing");
    println!("SKIPPED: trainings: python3 is missing");
    None
}

/// A scan with an annotation in an institution's folder.
pub(crate) fn give_data(data: &Path, username: &str) {
    let folder = data.join("uploads").join(format!("{username}_data"));
    fs::create_dir_all(&folder).unwrap();
    let geometry = Geometry::axis_aligned([2; 3], [1.0; 3], [0.0; 3]).unwrap();
    write(&folder.join("1.2.3.mhd"), &Volume::filled(geometry, 0i16), Compression::None).unwrap();
    fs::write(folder.join("annotations.csv"), "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,1,2,3,8\n").unwrap();
}

struct Ward {
    server: Server,
    admin: Client,
    /// city, county and province; the last takes no part unless a test says so.
    clients: [Client; 3],
}

impl Ward {
    async fn open(scenario: Value) -> Option<Self> {
        let program = worker()?;
        let server = Server::start_with(|config| config.worker.program = program).await;
        let mut admin = server.set_up().await;
        let mut clients = Vec::new();
        for name in ["city", "county", "province"] {
            clients.push(server.institution(&mut admin, name).await);
            give_data(&server.config.storage.data, name);
        }
        let ward = Self { server, admin, clients: clients.try_into().ok().unwrap() };
        ward.scenario(scenario);
        Some(ward)
    }

    fn data(&self) -> &Path {
        &self.server.config.storage.data
    }

    fn scenario(&self, scenario: Value) {
        fs::write(self.data().join("scenario.json"), scenario.to_string()).unwrap();
    }

    async fn launch(&mut self, more: Value) -> i64 {
        let mut body = json!({ "rounds": 3, "participants": ["city", "county"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.admin.post("/api/trainings", body).await.expect(201).json()["id"].as_i64().unwrap()
    }

    async fn view(&mut self, id: i64) -> Value {
        self.admin.get(&format!("/api/trainings/{id}")).await.expect(200).json()
    }

    /// Waits until this holds; how long that takes is the machine's business.
    async fn until(&mut self, id: i64, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3000 {
            let view = self.view(id).await;
            if holds(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {what}: {:#}", self.view(id).await);
    }

    async fn until_state(&mut self, id: i64, state: &str) -> Value {
        self.until(id, state, |view| view["state"] == state).await
    }

    async fn act(&mut self, id: i64, action: &str) {
        let path = format!("/api/trainings/{id}/{action}");
        self.admin.post(&path, json!({ "reason": "机房维护" })).await.expect(204);
    }

    async fn restart(self) -> Self {
        let Self { server, mut admin, mut clients } = self;
        let server = server.restart().await;
        for client in clients.iter_mut().chain([&mut admin]) {
            client.address = server.address;
            client.origin = Some(format!("http://{}", server.address));
        }
        Self { server, admin, clients }
    }
}

fn kinds(view: &Value) -> Vec<&str> {
    let mut kinds: Vec<&str> =
        view["timeline"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    kinds.reverse();
    kinds
}

fn history(data: &Path) -> Value {
    serde_json::from_slice(&fs::read(data.join("training_history.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_runs_its_rounds_and_leaves_a_model() {
    let Some(mut ward) = Ward::open(json!({})).await else { return };
    let flight = ward.admin.get("/api/trainings/pre-flight").await.expect(200).json();
    assert_eq!(flight["candidates"].as_array().unwrap().len(), 3);
    assert_eq!((&flight["candidates"][0]["ready"], &flight["speeds"]), (&json!(true), &json!([])));

    let id = ward.launch(json!({ "note": "第一次", "seed": 7, "algorithm": "FedProx" })).await;
    let view = ward.until_state(id, "completed").await;
    assert_eq!(
        (&view["completed_rounds"], &view["model"], &view["algorithm"]),
        (&json!(3), &json!(1), &json!("FedProx"))
    );
    assert_eq!(view["sites"]["city"]["doing"], "evaluated");
    let told = kinds(&view);
    assert_eq!(&told[..4], ["queued", "running", "device", "site_ready"]);
    assert_eq!(told.iter().filter(|kind| **kind == "round_completed").count(), 3);
    assert_eq!(told.last(), Some(&"completed"));
    let numbers: Vec<_> = view["timeline"].as_array().unwrap().iter().map(|e| e["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=told.len() as u64).rev().collect::<Vec<_>>());
    // Whoever asks for the events since then hears nothing old.
    let since = format!("/api/events?since={}", view["number"]);
    assert_eq!(ward.admin.get(&since).await.expect(200).json()["events"], json!([]));

    // The same numbers as in the session's own record.
    let history = history(ward.data());
    let record = &history["sessions"][0];
    assert_eq!(record["session_id"], id.to_string());
    for (ours, theirs) in view["round_records"].as_array().unwrap().iter().zip(record["rounds"].as_array().unwrap()) {
        for name in ["training_loss", "evaluation_loss", "foreground_probability"] {
            assert_eq!(ours[name], theirs[name]);
        }
        assert_eq!(ours["sites"]["city"]["training_loss"], theirs["sites"]["city"]["update"]["metrics"]["loss"]);
    }
    // From the first round on there is something to estimate from.
    let flight = ward.admin.get("/api/trainings/pre-flight").await.expect(200).json();
    assert_eq!((&flight["speeds"][0]["network"], &flight["speeds"][0]["rounds"]), (&json!("xs"), &json!(3)));

    let audit = ward.admin.get("/api/audit").await.expect(200).text;
    assert!(audit.contains("training_launched"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_of_the_form_are_told_at_once_in_both_languages() {
    let Some(mut ward) = Ward::open(json!({})).await else { return };
    let body =
        json!({ "rounds": 99, "learning_rate": 0, "participants": ["city", "county"], "network": "x", "seed": "?" });
    let answer = ward.admin.post("/api/trainings", body.clone()).await.expect_problem_json(422, "invalid");
    let fields: Vec<&str> = answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["rounds", "learning_rate", "seed", "network"]);
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("1 到 20"));
    let mut english = ward.admin.clone();
    english.cookies.insert("fednodule_language".to_owned(), "en".to_owned());
    assert!(english.post("/api/trainings", body).await.text.contains("whole number from 1 to 20"));

    // Who is not ready, not active, or nobody cannot be chosen.
    ward.server.institution(&mut ward.admin, "empty").await;
    for name in ["empty", "admin", "nobody"] {
        let body = json!({ "participants": ["city", name] });
        let answer = ward.admin.post("/api/trainings", body).await.expect_problem_json(422, "invalid");
        assert_eq!(answer["errors"][0]["field"], "participants", "{name}");
    }
    let flight = ward.admin.get("/api/trainings/pre-flight").await.expect(200).json();
    let empty = flight["candidates"].as_array().unwrap().iter().find(|site| site["username"] == "empty").unwrap();
    assert_eq!((&empty["ready"], &empty["missing"]), (&json!(false), &json!("scans")));
    let body = json!({ "participants": ["city", "county"], "initial_model": 5 });
    let answer = ward.admin.post("/api/trainings", body).await.expect_problem_json(422, "invalid");
    assert_eq!(answer["errors"][0]["field"], "initial_model");
    assert_eq!(ward.admin.get("/api/trainings").await.json()["trainings"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_pauses_goes_on_and_stops() {
    let Some(mut ward) = Ward::open(json!({ "step_ms": 30 })).await else { return };
    let id = ward.launch(json!({})).await;
    let second = ward.launch(json!({})).await;
    ward.until(id, "in its second round", |view| view["round"] == 2).await;
    assert_eq!(ward.view(second).await["place"], 1);
    ward.act(id, "pause").await;
    let view = ward.until_state(id, "paused").await;
    assert_eq!((&view["cause"], &view["reason"]), (&json!("administrator"), &json!("机房维护")));
    // The other one takes its turn, and is stopped for good.
    ward.until(second, "training", |view| view["round"] == 1).await;
    let late = ward.admin.post(&format!("/api/trainings/{id}/pause"), json!({ "reason": "" })).await;
    late.expect_problem(409, "wrong-state");
    ward.act(second, "stop").await;
    ward.until_state(second, "cancelled").await;
    assert_eq!(history(ward.data())["sessions"][0]["failure"], "the session was cancelled");
    // One that waits has no session yet; one that is paused has, and its record is closed.
    let third = ward.launch(json!({})).await;
    ward.act(third, "stop").await;
    ward.until_state(third, "cancelled").await;

    ward.act(id, "resume").await;
    let view = ward.until_state(id, "completed").await;
    assert_eq!(view["completed_rounds"], 3);
    assert_eq!(kinds(&view).iter().filter(|kind| **kind == "round_completed").count(), 3, "no round is done twice");

    let fourth = ward.launch(json!({})).await;
    ward.until(fourth, "in its second round", |view| view["round"] == 2).await;
    ward.act(fourth, "pause").await;
    ward.until_state(fourth, "paused").await;
    ward.act(fourth, "stop").await;
    ward.until_state(fourth, "cancelled").await;
    let (record, name) = (history(ward.data()), fourth.to_string());
    let record = record["sessions"].as_array().unwrap().iter().find(|s| s["session_id"] == name.as_str()).unwrap();
    assert_eq!(record["phase"], "failed");
    let audit = ward.admin.get("/api/audit").await.expect(200).text;
    for action in ["training_paused", "training_resumed", "training_stopped", "机房维护"] {
        assert!(audit.contains(action), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_worker_is_made_good_and_told() {
    let Some(mut ward) = Ward::open(json!({ "crash": [2, "county"] })).await else { return };
    let id = ward.launch(json!({})).await;
    let view = ward.until_state(id, "completed").await;
    assert_eq!((&view["resumed_at"][0]["after"], &view["resumed"]), (&json!("crash"), &json!(true)));
    assert!(kinds(&view).contains(&"interrupted"));
    assert_eq!(view["completed_rounds"], 3);
    // The interrupted round says nothing about how long one takes.
    let flight = ward.admin.get("/api/trainings/pre-flight").await.expect(200).json();
    assert_eq!(flight["speeds"][0]["rounds"], 2);

    // Bad luck has an end.
    ward.scenario(json!({ "crash_always": true }));
    let id = ward.launch(json!({})).await;
    let view = ward.until_state(id, "paused").await;
    assert_eq!((&view["cause"], view["resumed_at"].as_array().unwrap().len()), (&json!("crashes"), 3));
    ward.scenario(json!({}));
    ward.act(id, "resume").await;
    ward.until_state(id, "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_to_do() {
    let Some(mut ward) = Ward::open(json!({ "fail": 4 })).await else { return };
    let full = ward.launch(json!({})).await;
    let view = ward.until_state(full, "paused").await;
    assert_eq!((&view["cause"], &view["reason"]), (&json!("output"), &json!("no space left on device")));
    ward.scenario(json!({ "damage": true }));
    let damaged = ward.launch(json!({})).await;
    let view = ward.until_state(damaged, "failed").await;
    assert_eq!((&view["cause"], &view["model"]), (&json!("model"), &Value::Null));
    ward.scenario(json!({}));
    ward.act(full, "resume").await;
    ward.until_state(full, "completed").await;
    assert_eq!(ward.admin.get("/api/models").await.json()["versions"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_takes_its_training_along_and_goes_on_with_it() {
    let Some(mut ward) = Ward::open(json!({ "step_ms": 30 })).await else { return };
    let id = ward.launch(json!({})).await;
    let waiting = ward.launch(json!({})).await;
    ward.until(id, "in its second round", |view| view["round"] == 2).await;
    let mut ward = ward.restart().await;
    let view = ward.until_state(id, "completed").await;
    assert_eq!((&view["resumed_at"][0]["after"], &view["completed_rounds"]), (&json!("restart"), &json!(3)));
    assert_eq!(kinds(&view).iter().filter(|kind| **kind == "round_completed").count(), 3);
    assert!(ward.admin.get(&format!("/trainings/{id}")).await.expect(200).text.contains("data-resumed"));
    ward.until_state(waiting, "completed").await;
}

/// Every route that shows something about trainings or models, as an institution sees it.
#[tokio::test(flavor = "multi_thread")]
async fn an_institution_sees_itself_and_the_whole_but_no_other() {
    let Some(mut ward) = Ward::open(json!({ "drop": [2, "county"] })).await else { return };
    for (name, institution) in [("city", "第一家医院"), ("county", "第二家医院")] {
        // Names that appear nowhere else.
        let db = rusqlite::Connection::open(ward.data().join("platform.db")).unwrap();
        db.execute("UPDATE users SET institution = ?2 WHERE username = ?1", [name, institution]).unwrap();
    }
    let id = ward.launch(json!({ "note": "对照", "minimum_sites": 1 })).await;
    let whole = ward.until_state(id, "completed").await;
    assert!(whole["round_records"][1]["sites"]["county"]["outcome"] == "dropped");
    let theirs: Vec<String> = whole["round_records"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|round| round["sites"]["county"]["training_loss"].as_f64())
        .map(|loss| loss.to_string())
        .collect();
    assert!(!theirs.is_empty());
    let paths = [
        "/".to_owned(),
        "/trainings".to_owned(),
        format!("/trainings/{id}"),
        format!("/trainings/compare?ids={id}"),
        "/models".to_owned(),
        "/api/trainings".to_owned(),
        format!("/api/trainings/{id}"),
        format!("/api/trainings/export?ids={id}"),
        "/api/models".to_owned(),
        "/api/events?since=0".to_owned(),
    ];
    let [city, _, province] = &mut ward.clients;
    for path in &paths {
        let seen = city.get(path).await.expect(200).text;
        for secret in
            ["county", "第二家医院", "connection was lost"].into_iter().chain(theirs.iter().map(String::as_str))
        {
            assert!(!seen.contains(secret), "{path} shows {secret}: {seen}");
        }
    }
    let own = city.get(&format!("/api/trainings/{id}")).await.json();
    assert_eq!(own["round_records"][1]["training_loss"], whole["round_records"][1]["training_loss"]);
    assert_eq!(own["participants"][0]["site"], "city");
    assert!(kinds(&own).contains(&"site_trained") && kinds(&own).contains(&"round_completed"));
    let table = city.get(&format!("/api/trainings/export?ids={id}")).await.text;
    assert_eq!(table.lines().count(), 1 + 3 * 2, "a row for the whole and one for itself in each round: {table}");

    let heard = city.get("/api/events?since=0").await.json();
    assert!(heard["events"].as_array().unwrap().iter().any(|event| event["kind"] == "training.changed"));

    // Who takes no part does not know that there is one.
    assert!(!province.get("/api/events?since=0").await.text.contains("training"));
    province.get(&format!("/api/trainings/{id}")).await.expect_problem(404, "no-such-training");
    province.get(&format!("/trainings/{id}")).await.expect(404);
    assert_eq!(province.get("/api/trainings").await.json()["trainings"], json!([]));
    assert_eq!(province.get("/api/trainings/export").await.text.lines().count(), 1);
    for path in ["/api/models/1/safetensors", "/api/models/1/pth", "/trainings/new", "/api/trainings/pre-flight"] {
        province.get(path).await.expect(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_promoted_rolled_back_checked_and_downloaded() {
    let Some(mut ward) = Ward::open(json!({})).await else { return };
    for _ in 0..2 {
        let versions = ward.admin.get("/api/models").await.json()["versions"].as_array().unwrap().len();
        let parent = if versions > 0 { json!(1) } else { Value::Null };
        let id = ward.launch(json!({ "initial_model": parent })).await;
        ward.until_state(id, "completed").await;
    }
    let registry = ward.admin.get("/api/models").await.json();
    assert_eq!(registry["current"], Value::Null, "nothing comes into use by itself");
    assert_eq!((&registry["versions"][0]["version"], &registry["versions"][0]["lineage"]), (&json!(2), &json!([1])));
    let file = ward.data().join("models/session_1_federated_model.safetensors");
    let bytes = fs::read(&file).unwrap();

    ward.admin.post("/api/models/2/promote", json!({ "reason": "" })).await.expect(204);
    ward.admin.post("/api/models/2/promote", json!({ "reason": "" })).await.expect_problem(409, "wrong-state");
    // Going back needs a reason.
    ward.admin.post("/api/models/1/promote", json!({ "reason": " " })).await.expect_problem(422, "invalid");
    ward.admin.post("/api/models/1/promote", json!({ "reason": "误报增多" })).await.expect(204);
    let registry = ward.admin.get("/api/models").await.json();
    assert_eq!((&registry["current"], &registry["promotions"][0]["is_rollback"]), (&json!(1), &json!(true)));
    assert!(ward.clients[0].get("/api/models").await.json()["promotions"].as_array().unwrap().is_empty());
    let note = json!({ "note": "外院验证通过" }).to_string();
    ward.admin.send("PUT", "/api/models/1/note", Some(note)).await.expect(204);

    let down = ward.admin.get("/api/models/1/safetensors").await.expect(200);
    assert_eq!(down.bytes, bytes);
    assert!(down.headers["content-disposition"].to_str().unwrap().contains("fednodule-v1-session-1.safetensors"));
    let pth = ward.admin.get("/api/models/1/pth").await.expect(200).text;
    assert!(pth.starts_with("PTH of "));
    // Made once.
    assert_eq!(fs::read_dir(ward.data().join("models/pth")).unwrap().count(), 1);
    assert_eq!(ward.admin.get("/api/models/1/pth").await.expect(200).text, pth);
    let audit = ward.admin.get("/api/audit").await.expect(200).text;
    for action in ["model_promoted", "model_rolled_back", "model_noted", "model_downloaded"] {
        assert!(audit.contains(action), "{action}");
    }

    // A file that was changed on the disk is used for nothing.
    let mut changed = bytes;
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&file, changed).unwrap();
    ward.admin.post("/api/models/2/promote", json!({ "reason": "" })).await.expect(204);
    ward.admin.post("/api/models/1/promote", json!({ "reason": "x" })).await.expect_problem(409, "model-damaged");
    for path in ["/api/models/1/safetensors", "/api/models/1/pth"] {
        ward.admin.get(path).await.expect_problem(409, "model-damaged");
    }
    let id = ward.launch(json!({ "initial_model": 1 })).await;
    assert_eq!(ward.until_state(id, "failed").await["cause"], "model");
    ward.admin.get("/api/models/9/pth").await.expect_problem(404, "no-such-model");
}

/// Under secure aggregation a site's figures are its own: an administrator sees what has left it and in which sums it is, and
/// no loss of it anywhere, unless it shares them.
#[tokio::test]
async fn a_sites_own_figures_stay_its_own_unless_it_shares_them() {
    let Some(mut ward) = Ward::open(json!({ "secure": true })).await else { return };
    let participants = json!({ "participants": ["city", "county", "province"] });
    let id = ward.launch(participants).await;
    let whole = ward.until_state(id, "completed").await;
    assert_eq!(whole["protected"]["protection"], "secure_aggregation");
    assert_eq!(whole["protected"]["roster_fingerprint"], "0011 2233 4455 6677");
    let round = &whole["round_records"][0];
    assert!(round["training_loss"].is_f64() && round["evaluation_loss"].is_f64(), "{round}");
    assert_eq!(round["sum"]["survivors"], json!(["city", "county", "province"]));
    for site in ["city", "county", "province"] {
        let place = &round["sites"][site];
        assert_eq!((&place["sent_bytes"], &place["masked_sha256"].as_str().map(str::len)), (&json!(2131), &Some(64)));
        for own in ["examples", "training_loss", "evaluation_loss", "foreground_probability"] {
            assert_eq!(place[own], Value::Null, "{site}: {own}");
        }
        assert_eq!(whole["sites"][site]["loss"], Value::Null);
    }

    let path = format!("/api/trainings/{id}");
    let own = ward.clients[0].get(&path).await.expect(200).json();
    let mine = &own["round_records"][0]["sites"]["city"];
    let losses = [&mine["training_loss"], &mine["evaluation_loss"]].map(|loss| loss.as_f64().unwrap().to_string());
    // How large the sum is it may know, who else is in it it may not.
    assert_eq!(own["round_records"][0]["sum"]["survivors"], json!(["city", "", ""]));
    let elsewhere = [
        path.clone(),
        format!("/trainings/{id}"),
        format!("/api/trainings/export?ids={id}"),
        "/api/logs?kind=training".to_owned(),
        "/api/events?since=0".to_owned(),
        "/api/audit".to_owned(),
    ];
    for seen in &elsewhere {
        let text = ward.admin.get(seen).await.expect(200).text;
        losses.iter().for_each(|loss| assert!(!text.contains(loss), "{seen} shows {loss}"));
    }
    let audit = ward.admin.get("/api/audit").await.text;
    for action in ["updates_protected", "sum_completed"] {
        assert!(audit.contains(action), "{action} is missing: {audit}");
    }
    assert!(kinds(&own).contains(&"sum_completed") && kinds(&own).contains(&"protected"));

    ward.admin.put("/api/trainings/sharing", json!({ "shares": true })).await.expect_problem(403, "forbidden");
    ward.clients[0].put("/api/trainings/sharing", json!({ "shares": true })).await.expect(204);
    let shared = ward.view(id).await;
    assert_eq!(shared["sharing"], json!(["city"]));
    assert_eq!(&shared["round_records"][0]["sites"]["city"]["training_loss"], &mine["training_loss"]);
    assert_eq!(shared["round_records"][0]["sites"]["county"]["training_loss"], Value::Null);
    ward.clients[0].put("/api/trainings/sharing", json!({ "shares": false })).await.expect(204);
    assert_eq!(ward.view(id).await["round_records"][0]["sites"]["city"]["training_loss"], Value::Null);
    assert!(ward.admin.get("/api/audit").await.text.contains("curve_kept"));
}
