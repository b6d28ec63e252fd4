//! The queue of inferences with the worker of `tests/worker`: results, refusals, crashes, restarts, and who sees what.

use std::fs;
use std::time::Duration;

use imaging::metaimage::Compression;
use imaging::{Geometry, Volume};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::client::Client;
use crate::scans::put_scan;
use crate::server::Server;
use crate::trainings::worker;

/// The SHA-256 of nothing: of the model's file.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Clinic {
    server: Server,
    admin: Client,
    city: Client,
    scan: i64,
}

impl Clinic {
    /// With a scan and a model that is in use.
    async fn open(predict: &str) -> Option<Self> {
        let program = worker()?;
        let server = Server::start_with(|config| config.worker.program = program).await;
        let mut admin = server.set_up().await;
        let mut city = server.institution(&mut admin, "city").await;
        let volume = Volume::filled(Geometry::axis_aligned([2; 3], [1.0; 3], [0.0; 3]).unwrap(), 0i16);
        let scan = put_scan(&server, &mut city, &volume, Compression::None).await;
        let data = &server.config.storage.data;
        fs::create_dir_all(data.join("models")).unwrap();
        fs::write(data.join("models/m.safetensors"), "").unwrap();
        let db = Connection::open(data.join("platform.db")).unwrap();
        db.execute_batch(&format!(
            "INSERT INTO trainings (id, state, network, config, note, created_by, created_at, queued_at, monitor)
             VALUES (1, 'completed', 'xxs', '{{}}', '', 1, 0, 0, '{{}}');
             INSERT INTO models (id, training_id, file, bytes, sha256, weights_sha256, network, created_at, note, metrics)
             VALUES (1, 1, 'models/m.safetensors', 0, '{EMPTY}', '{EMPTY}', 'xxs', 0, '合成体模结果', '{{}}');
             INSERT INTO promotions (model_id, at, user_id, is_rollback, reason) VALUES (1, 0, 1, FALSE, '');"
        ))
        .unwrap();
        let clinic = Self { server, admin, city, scan };
        clinic.scenario(predict);
        Some(clinic)
    }

    fn scenario(&self, predict: &str) {
        fs::write(self.server.config.storage.data.join("scenario.json"), json!({ "predict": predict }).to_string())
            .unwrap();
    }

    async fn submit(&mut self, scans: &[i64]) -> Vec<i64> {
        let body = json!({ "scan_ids": scans, "mode": "fast", "threshold": 0.1 });
        let answer = self.city.post("/api/inferences", body).await.expect(202).json();
        answer["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
    }

    async fn show(&mut self, id: i64) -> Value {
        self.city.get(&format!("/api/inferences/{id}")).await.expect(200).json()
    }

    /// Waits until this holds; how long that takes is the machine's business.
    async fn until(&mut self, id: i64, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3000 {
            let shown = self.show(id).await;
            if holds(&shown) {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not happen: {}", self.show(id).await);
    }

    async fn state(&mut self, id: i64, state: &str) -> Value {
        self.until(id, |shown| shown["state"] == state).await
    }
}

#[tokio::test]
async fn a_scan_is_marked_and_only_its_owner_sees_it() {
    let Some(mut clinic) = Clinic::open("").await else { return };
    let scan = clinic.scan;
    let id = clinic.submit(&[scan]).await[0];
    let done = clinic.state(id, "done").await;
    assert_eq!((&done["model"]["version"], &done["model"]["sha256"]), (&json!("v1"), &json!(EMPTY)));
    assert_eq!(done["findings"][0]["center_mm_xyz"], json!([1.0, 2.0, 3.0]));
    assert_eq!((&done["findings"][0]["side"], &done["findings"][1]["side"]), (&json!("left"), &Value::Null));

    let review = format!("/api/inferences/{id}/findings/1/review");
    let accepted = json!({ "review": "accepted" }).to_string();
    clinic.city.send("PUT", &review, Some(accepted.clone())).await.expect(204);
    clinic.city.send("PUT", &review, Some("{\"review\":\"perhaps\"}".to_owned())).await.expect(422);
    let missing = format!("/api/inferences/{id}/findings/3/review");
    clinic.city.send("PUT", &missing, Some(accepted.clone())).await.expect_problem(404, "not-found");
    assert_eq!(clinic.show(id).await["tally"], json!([2, 1, 0]));
    let table = clinic.city.get(&format!("/api/inferences/{id}/detections.csv")).await.expect(200).text;
    assert_eq!(table.lines().nth(1).unwrap().rsplit(',').next(), Some("accepted"));

    // Not even administrators: findings are about a patient.
    let mut county = clinic.server.institution(&mut clinic.admin, "county").await;
    for client in [&mut clinic.admin, &mut county] {
        let own = client.get("/api/inferences").await.expect(200).json();
        assert_eq!(own["inferences"], json!([]));
        for path in ["", "/detections.csv", "/detections.json"] {
            client.get(&format!("/api/inferences/{id}{path}")).await.expect_problem(404, "not-found");
        }
        client.post(&format!("/api/inferences/{id}/cancel"), json!({})).await.expect_problem(404, "not-found");
        client.send("PUT", &review, Some(accepted.clone())).await.expect_problem(404, "not-found");
        client.send("DELETE", &format!("/api/inferences/{id}"), None).await.expect_problem(404, "not-found");
        let events = client.get("/api/events?since=0").await.expect(200).text;
        assert!(!events.contains("inference."), "{events}");
        let body = json!({ "scan_ids": [scan], "mode": "fast", "threshold": 0.1 });
        client.post("/api/inferences", body).await.expect_problem(422, "invalid");
    }
    let results = clinic.server.config.storage.data.join("results").join(id.to_string());
    assert!(results.is_dir());
    clinic.city.send("DELETE", &format!("/api/inferences/{id}"), None).await.expect(204);
    clinic.city.get(&format!("/api/inferences/{id}")).await.expect_problem(404, "not-found");
    assert!(!results.exists());
}

#[tokio::test]
async fn what_cannot_be_queued_is_refused_as_a_whole() {
    let Some(mut clinic) = Clinic::open("wait").await else { return };
    let scan = clinic.scan;
    let many = vec![scan; 101];
    for (scans, model, threshold) in [
        (json!([]), Value::Null, 0.1),
        (json!(many), Value::Null, 0.1),
        (json!([scan, 99]), Value::Null, 0.1),
        (json!([scan]), json!(99), 0.1),
        (json!([scan]), Value::Null, 1.1),
    ] {
        let body = json!({ "scan_ids": scans, "model_id": model, "mode": "fast", "threshold": threshold });
        clinic.city.post("/api/inferences", body).await.expect_problem(422, "invalid");
    }
    assert_eq!(clinic.city.get("/api/inferences").await.expect(200).json()["inferences"], json!([]));
    for _ in 0..5 {
        clinic.submit(&many[..100]).await;
    }
    let body = json!({ "scan_ids": [scan, scan], "mode": "fast", "threshold": 0.1 });
    clinic.city.post("/api/inferences", body).await.expect_problem(409, "wrong-state");
}

#[tokio::test]
async fn jobs_are_cancelled_while_they_wait_and_while_they_run() {
    let Some(mut clinic) = Clinic::open("wait").await else { return };
    let scan = clinic.scan;
    let ids = clinic.submit(&[scan, scan]).await;
    let running = clinic.until(ids[0], |shown| shown["progress"]["stage"] == "inference").await;
    assert_eq!(running["progress"]["total"], 3);
    assert_eq!(clinic.show(ids[1]).await["waiting_before"], 0);
    for id in [ids[1], ids[0]] {
        clinic.city.send("DELETE", &format!("/api/inferences/{id}"), None).await.expect_problem(409, "wrong-state");
        clinic.city.post(&format!("/api/inferences/{id}/cancel"), json!({})).await.expect(204);
        clinic.state(id, "cancelled").await;
        clinic.city.post(&format!("/api/inferences/{id}/cancel"), json!({})).await.expect_problem(409, "wrong-state");
    }
}

#[tokio::test]
async fn a_worker_that_fails_or_dies_gives_a_reason() {
    let Some(mut clinic) = Clinic::open("fail").await else { return };
    let scan = clinic.scan;
    let id = clinic.submit(&[scan]).await[0];
    let failed = clinic.state(id, "failed").await;
    assert_eq!(failed["failure"], json!({ "kind": "input", "message": "no lungs in it", "advice": "take a chest" }));
    for (predict, kind, attempts) in [("crash", "crashed", 3), ("other", "bad_result", 1)] {
        clinic.scenario(predict);
        let id = clinic.submit(&[scan]).await[0];
        assert_eq!(clinic.state(id, "failed").await["failure"], json!({ "kind": kind }));
        let db = Connection::open(clinic.server.config.storage.data.join("platform.db")).unwrap();
        let begun: i64 = db.query_row("SELECT attempts FROM inferences WHERE id = ?1", [id], |row| row.get(0)).unwrap();
        assert_eq!(begun, attempts, "{predict}");
    }
    clinic.scenario("");
    fs::write(clinic.server.config.storage.data.join("models/m.safetensors"), "changed").unwrap();
    let id = clinic.submit(&[scan]).await[0];
    assert_eq!(clinic.state(id, "failed").await["failure"], json!({ "kind": "model_damaged" }));
}

#[tokio::test]
async fn a_stopped_server_goes_on_with_what_ran_and_waited() {
    let Some(mut clinic) = Clinic::open("wait").await else { return };
    let scan = clinic.scan;
    let ids = clinic.submit(&[scan, scan]).await;
    clinic.state(ids[0], "running").await;
    let Clinic { server, admin, mut city, scan } = clinic;
    fs::write(server.config.storage.data.join("scenario.json"), "{}").unwrap();
    let server = server.restart().await;
    city.address = server.address;
    city.origin = Some(format!("http://{}", server.address));
    let mut clinic = Clinic { server, admin, city, scan };
    for id in ids {
        clinic.state(id, "done").await;
    }
}

/// One hospital's hundred scans do not keep another's only one waiting.
#[tokio::test]
async fn hospitals_take_turns() {
    let Some(mut clinic) = Clinic::open("wait").await else { return };
    let scan = clinic.scan;
    let ids = clinic.submit(&[scan; 3]).await;
    clinic.state(ids[0], "running").await;
    let mut county = clinic.server.institution(&mut clinic.admin, "county").await;
    let volume = Volume::filled(Geometry::axis_aligned([2; 3], [1.0; 3], [0.0; 3]).unwrap(), 0i16);
    let other = put_scan(&clinic.server, &mut county, &volume, Compression::None).await;
    let body = json!({ "scan_ids": [other], "mode": "fast", "threshold": 0.1 });
    let id = county.post("/api/inferences", body).await.expect(202).json()["ids"][0].clone();
    clinic.city.post(&format!("/api/inferences/{}/cancel", ids[0]), json!({})).await.expect(204);
    for _ in 0..3000 {
        if county.get(&format!("/api/inferences/{id}")).await.json()["state"] == "running" {
            assert_eq!(clinic.show(ids[1]).await["state"], "queued");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the other hospital's turn did not come");
}
