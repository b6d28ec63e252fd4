//! Everything that happens to accounts is in the audit log, and nothing that is secret.

use platform::verify_audit;
use serde_json::{Value, json};

use crate::server::{OTHER_PASSWORD, PASSWORD, SETUP_TOKEN, Server};

#[tokio::test]
async fn every_action_leaves_an_entry_and_no_secret() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let change = json!({ "current": PASSWORD, "password": OTHER_PASSWORD }).to_string();
    hospital.send("PUT", "/api/account/password", Some(change)).await.expect(204);
    hospital.send("DELETE", "/api/session", None).await.expect_problem(403, "csrf");
    let answer = administrator.post("/api/accounts/city-first/reset-link", Value::Null).await.expect(200).json();
    let token = answer["path"].as_str().unwrap().split('#').next_back().unwrap().to_owned();
    let reset = json!({ "token": token, "password": PASSWORD });
    server.client().post("/api/password-reset", reset).await.expect(204);
    for _ in 0..5 {
        // Somebody types the password where the name belongs.
        server.client().sign_in("city-first", "wrong guess").await.expect(422);
    }
    server.client().sign_in(OTHER_PASSWORD, "city-first").await.expect(422);
    administrator.post("/api/accounts/city-first/role", json!({ "role": "server" })).await.expect(204);
    administrator.post("/api/accounts/city-first/disable", Value::Null).await.expect(204);
    administrator.post("/api/accounts/city-first/enable", Value::Null).await.expect(204);
    let mut other = server.client();
    other.sign_in("admin", PASSWORD).await.expect(201);
    other.send("DELETE", "/api/session", None).await.expect(204);

    let log = administrator.get("/api/audit?limit=200").await.expect(200);
    let document = log.json();
    let entries = document["entries"].as_array().unwrap();
    let of = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
        format!("{} {} {} {}", text("action"), text("actor"), text("target"), text("detail")).trim_end().to_owned()
    };
    let mut lines: Vec<String> = entries.iter().rev().map(of).collect();
    let failures = lines.iter().filter(|line| *line == "sign_in_failed - city-first").count();
    lines.dedup();
    assert_eq!(failures, 5);
    assert_eq!(
        lines,
        [
            "set_up admin admin",
            "signed_in admin admin",
            "registered - city-first",
            "approved admin city-first",
            "signed_in city-first city-first",
            "password_changed city-first city-first",
            "reset_issued admin city-first",
            "reset_used city-first city-first",
            "sign_in_failed - city-first",
            "locked_out - city-first",
            "sign_in_failed - -",
            "role_changed admin city-first server",
            "disabled admin city-first",
            "enabled admin city-first",
            "signed_in admin admin",
            "signed_out admin admin",
        ]
    );
    assert!(entries.iter().all(|entry| entry["address"] == "127.0.0.1"));
    for secret in [PASSWORD, OTHER_PASSWORD, "wrong guess", SETUP_TOKEN, &token, "$2b$"] {
        assert!(!log.text.contains(secret), "{secret}");
    }

    let verdict = administrator.get("/api/audit/verification").await.expect(200).json();
    assert_eq!((&verdict["entries"], &verdict["broken"]), (&json!(entries.len()), &Value::Null));
    assert_eq!(verdict["head"], entries[0]["hash"]);
    // From outside, while the server runs.
    let report = verify_audit(&server.config.storage.data).unwrap();
    assert_eq!((json!(report.entries), json!(report.head)), (verdict["entries"].clone(), verdict["head"].clone()));
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let (server, mut administrator) = Server::with_administrator().await;
    for i in 0..6 {
        server.register(&format!("hospital-{i}")).await;
    }
    let mut before = i64::MAX;
    let mut seen = Vec::new();
    loop {
        let page = administrator.get(&format!("/api/audit?before={before}&limit=3")).await.expect(200).json();
        let numbers: Vec<i64> =
            page["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_i64().unwrap()).collect();
        let Some(last) = numbers.last() else { break };
        before = *last;
        seen.extend(numbers);
    }
    assert_eq!(seen, (1..=8).rev().collect::<Vec<i64>>());
    let page = administrator.get("/audit?before=4&limit=2").await.expect(200).text;
    assert!(page.contains("hospital-0") && !page.contains("hospital-1") && page.contains("/audit?before=2"), "{page}");
    for bad in ["before=0", "before=x", "limit=201", "limit=-1", "limit=1e9"] {
        let refused = administrator.get(&format!("/api/audit?{bad}")).await.expect_problem(400, "unreadable-request");
        assert!(refused.json()["detail"].as_str().unwrap().contains("到"), "{bad}");
    }
}
