//! Requests that make no sense are refused with a reason, and never repeat a secret.

use serde_json::json;

use crate::server::{PASSWORD, Server};

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_with_its_reason() {
    let (server, _) = Server::with_administrator().await;
    let mut client = server.client();
    let large = json!({ "username": "x".repeat(20_000), "password": "x" }).to_string();
    let cases = [
        ("", 400, "1:0 不是有效的 JSON"),
        ("{", 400, "1:1 不是有效的 JSON"),
        ("[]", 422, "字段不符"),
        ("{}", 422, "missing field `username`"),
        (r#"{"username":"a","password":"b","admin":true}"#, 422, "unknown field `admin`"),
        (r#"{"username":"a","password":12345678}"#, 422, "字段不符：1:"),
        (r#"{"username":"a","username":"b","password":"c"}"#, 422, "字段不符"),
        (large.as_str(), 413, "不得超过 16384 字节"),
        ("\u{feff}{}", 400, "不是有效的 JSON"),
    ];
    for (body, status, reason) in cases {
        let refused = client.send("POST", "/api/session", Some(body.to_owned())).await;
        let refused = refused.expect_problem(status, "unreadable-request");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(reason), "{body:.40}: {detail}");
        assert!(!detail.contains("12345678"));
    }
    let deep = format!("{{\"username\":{}", "[".repeat(10_000));
    client.send("POST", "/api/session", Some(deep)).await.expect_problem(422, "unreadable-request");
}

#[tokio::test]
async fn a_form_of_another_site_has_the_wrong_type() {
    let (server, _) = Server::with_administrator().await;
    let mut client = server.client();
    // Without a body the client names no type.
    let refused = client.send("POST", "/api/session", None).await.expect_problem(415, "unreadable-request");
    assert!(refused.json()["detail"].as_str().unwrap().contains("application/json"));
}

#[tokio::test]
async fn names_from_the_network_stay_text() {
    let (server, mut administrator) = Server::with_administrator().await;
    let name = "<script>alert(1)</script>\"'{{ 7777*7777 }}";
    let body = json!({ "username": "county", "institution": name, "password": PASSWORD });
    server.client().post("/api/accounts", body).await.expect(201);
    for path in ["/users", "/audit", "/"] {
        let page = administrator.get(path).await.expect(200).text;
        assert!(!page.contains("<script>alert") && !page.contains("60481729"), "{path}");
    }
    assert!(administrator.get("/users").await.text.contains("&lt;script&gt;alert(1)"));
    let elsewhere = administrator.get("/login?next=//evil.example/").await.expect(200).text;
    assert!(!elsewhere.contains("evil"));
    let elsewhere = administrator.get("/language/en?next=https://evil.example/").await.expect(303);
    assert_eq!(elsewhere.location(), Some("/"));
    administrator.get("/language/fr").await.expect(404);
}
