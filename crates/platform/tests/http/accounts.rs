//! From nothing to a hospital that can log in, and everything that goes wrong on the way.

use serde_json::{Value, json};

use crate::server::{OTHER_PASSWORD, PASSWORD, SETUP_TOKEN, Server};

fn entries(username: &str, institution: &str, password: &str) -> Value {
    json!({ "username": username, "institution": institution, "password": password })
}

/// The messages below the fields, by field.
fn errors(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = document["errors"].as_array().unwrap();
    errors.iter().map(|error| (text(&error["field"]), text(&error["message"]))).collect()
}

#[tokio::test]
async fn the_first_administrator_needs_the_token_and_there_is_only_one_first() {
    let server = Server::start().await;
    let mut client = server.client();
    assert_eq!(client.get("/").await.expect(303).location(), Some("/setup"));
    assert_eq!(client.get("/login").await.expect(303).location(), Some("/setup"));
    client.get("/setup").await.expect(200);
    let mut body = entries("admin", "牵头单位", PASSWORD);
    body["token"] = "a wrong token".into();
    client.post("/api/setup", body.clone()).await.expect_problem(422, "wrong-set-up-token");
    body["token"] = SETUP_TOKEN.into();
    body["password"] = "password".into();
    let refused = client.post("/api/setup", body.clone()).await.expect_problem(422, "invalid").json();
    assert_eq!(errors(&refused), [("password".to_owned(), "这是常见密码或与之相近，请换一个。".to_owned())]);
    body["password"] = PASSWORD.into();
    client.post("/api/setup", body.clone()).await.expect(201);
    body["username"] = "second".into();
    client.post("/api/setup", body).await.expect_problem(409, "set-up-done");
    assert_eq!(client.get("/setup").await.expect(303).location(), Some("/login"));
    assert_eq!(client.sign_in("admin", PASSWORD).await.expect(201).json()["role"], "server");

    // Nor after a restart.
    let server = server.restart().await;
    assert_eq!(server.client().get("/setup").await.expect(303).location(), Some("/login"));
}

#[tokio::test]
async fn guesses_at_the_set_up_token_are_limited() {
    let server = Server::start().await;
    let mut body = entries("admin", "牵头单位", PASSWORD);
    body["token"] = "a wrong token".into();
    for _ in 0..5 {
        server.client().post("/api/setup", body.clone()).await.expect_problem(422, "wrong-set-up-token");
    }
    body["token"] = SETUP_TOKEN.into();
    server.client().post("/api/setup", body.clone()).await.expect_problem(429, "locked-out");
    server.pass_minutes(15);
    server.client().post("/api/setup", body).await.expect(201);
}

#[tokio::test]
async fn a_hospital_registers_waits_is_approved_and_logs_in() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.client();
    hospital.post("/api/accounts", entries("City-First", " 市第一  医院 ", PASSWORD)).await.expect(201);
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "pending");
    // Only who knows the password learns about the state.
    hospital.sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
    let accounts = administrator.get("/api/accounts").await.expect(200).json();
    let account = &accounts["accounts"][0];
    assert_eq!((&account["username"], &account["institution"]), (&json!("city-first"), &json!("市第一 医院")));
    assert_eq!((&account["role"], &account["status"]), (&json!("client"), &json!("pending")));
    assert!(!accounts.to_string().contains("$2b$"));

    administrator.post("/api/accounts/city-first/approve", Value::Null).await.expect(204);
    assert_eq!(hospital.sign_in(" CITY-FIRST ", PASSWORD).await.expect(201).json()["role"], "client");
    assert_eq!(hospital.get("/api/session").await.expect(200).json()["institution"], "市第一 医院");
    administrator.post("/api/accounts/city-first/approve", Value::Null).await.expect_problem(409, "wrong-state");
    administrator.post("/api/accounts/nobody/approve", Value::Null).await.expect_problem(404, "no-such-account");

    // Disabling throws it out at once.
    administrator.post("/api/accounts/city-first/disable", Value::Null).await.expect(204);
    hospital.get("/api/session").await.expect_problem(401, "not-signed-in");
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "disabled");
    administrator.post("/api/accounts/city-first/enable", Value::Null).await.expect(204);
    hospital.sign_in("city-first", PASSWORD).await.expect(201);
}

#[tokio::test]
async fn every_bad_entry_is_marked_at_once() {
    let (server, _) = Server::with_administrator().await;
    let mut client = server.client();
    let refused = client.post("/api/accounts", entries("1x", "院", "12345678")).await.expect_problem(422, "invalid");
    let fields: Vec<String> = errors(&refused.json()).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["username", "institution", "password"]);
    let taken = client.post("/api/accounts", entries("admin", "县医院", PASSWORD)).await.expect_problem(422, "invalid");
    assert_eq!(errors(&taken.json()), [("username".to_owned(), "该用户名已被使用，请换一个。".to_owned())]);
    let long = client.post("/api/accounts", entries("county", "县医院", &"肺".repeat(25))).await;
    let message = &errors(&long.expect_problem(422, "invalid").json())[0].1;
    assert!(message.contains("75 字节") && message.contains("72 字节"), "{message}");
    client.cookies.insert("fednodule_language".to_owned(), "en".to_owned());
    let refused = client.post("/api/accounts", entries("x", "县医院", PASSWORD)).await.expect_problem(422, "invalid");
    assert!(errors(&refused.json())[0].1.starts_with("A user name has 3 to 32 characters"));
}

#[tokio::test]
async fn strength_is_rated_while_typing() {
    let server = Server::start().await;
    let mut client = server.client();
    let weak =
        client.post("/api/password-strength", json!({ "password": "city-first1", "about": ["city-first"] })).await;
    let weak = weak.expect(200).json();
    assert_eq!(weak["enough"], false);
    let strong = client.post("/api/password-strength", json!({ "password": PASSWORD })).await.expect(200).json();
    assert_eq!((&strong["enough"], &strong["score"], &strong["word"]), (&json!(true), &json!(4), &json!("强")));
    let long = client.post("/api/password-strength", json!({ "password": "x".repeat(9000) })).await.expect(200).json();
    assert_eq!((&long["enough"], &long["score"]), (&json!(false), &json!(0)));
}

#[tokio::test]
async fn there_is_always_an_administrator() {
    let (server, mut administrator) = Server::with_administrator().await;
    administrator.post("/api/accounts/admin/disable", Value::Null).await.expect_problem(409, "last-administrator");
    let role = |role: &str| json!({ "role": role });
    administrator.post("/api/accounts/admin/role", role("client")).await.expect_problem(409, "last-administrator");
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    hospital.get("/api/accounts").await.expect_problem(403, "forbidden");
    administrator.post("/api/accounts/city-first/role", role("server")).await.expect(204);
    // With a new role comes a new session.
    hospital.get("/api/session").await.expect_problem(401, "not-signed-in");
    hospital.sign_in("city-first", PASSWORD).await.expect(201);
    hospital.get("/api/accounts").await.expect(200);
    hospital.post("/api/accounts/admin/role", role("client")).await.expect(204);
    administrator.get("/api/accounts").await.expect_problem(401, "not-signed-in");
    hospital.post("/api/accounts/city-first/role", role("owner")).await.expect_problem(422, "unreadable-request");
}

#[tokio::test]
async fn a_changed_password_ends_every_other_session() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut here = server.institution(&mut administrator, "city-first").await;
    let mut elsewhere = server.client();
    elsewhere.sign_in("city-first", PASSWORD).await.expect(201);
    let change = |current: &str, new: &str| Some(json!({ "current": current, "password": new }).to_string());
    let path = "/api/account/password";
    here.send("PUT", path, change("wrong", OTHER_PASSWORD)).await.expect_problem(422, "wrong-password");
    let weak = here.send("PUT", path, change(PASSWORD, "city-first")).await.expect_problem(422, "invalid");
    assert_eq!(errors(&weak.json())[0].0, "password");
    let before = here.cookies.clone();
    here.send("PUT", path, change(PASSWORD, OTHER_PASSWORD)).await.expect(204);
    assert_ne!(before, here.cookies);
    here.get("/api/session").await.expect(200);
    elsewhere.get("/api/session").await.expect_problem(401, "not-signed-in");
    let mut stolen = server.client();
    stolen.cookies = before;
    stolen.get("/api/session").await.expect_problem(401, "not-signed-in");
    elsewhere.sign_in("city-first", PASSWORD).await.expect_problem(422, "wrong-credentials");
    elsewhere.sign_in("city-first", OTHER_PASSWORD).await.expect(201);
}

#[tokio::test]
async fn a_reset_link_works_once_and_in_time() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let link = async |administrator: &mut crate::client::Client| {
        let answer = administrator.post("/api/accounts/city-first/reset-link", Value::Null).await.expect(200).json();
        answer["path"].as_str().unwrap().strip_prefix("/reset#").unwrap().to_owned()
    };
    let reset = |token: &str, password: &str| json!({ "token": token, "password": password });
    let (old, new) = (link(&mut administrator).await, link(&mut administrator).await);
    let mut visitor = server.client();
    visitor.get("/reset").await.expect(200);
    let path = "/api/password-reset";
    visitor.post(path, reset(&old, OTHER_PASSWORD)).await.expect_problem(422, "invalid-link");
    visitor.post(path, reset("nonsense", OTHER_PASSWORD)).await.expect_problem(422, "invalid-link");
    // A password that is too weak does not use the link up.
    visitor.post(path, reset(&new, "12345678")).await.expect_problem(422, "invalid");
    visitor.post(path, reset(&new, OTHER_PASSWORD)).await.expect(204);
    visitor.post(path, reset(&new, PASSWORD)).await.expect_problem(422, "invalid-link");
    hospital.get("/api/session").await.expect_problem(401, "not-signed-in");
    hospital.sign_in("city-first", OTHER_PASSWORD).await.expect(201);

    let late = link(&mut administrator).await;
    server.pass_minutes(24 * 60);
    visitor.post(path, reset(&late, PASSWORD)).await.expect_problem(422, "invalid-link");
    let mut administrator = server.client();
    administrator.sign_in("admin", PASSWORD).await.expect(201);
    let of_disabled = link(&mut administrator).await;
    administrator.post("/api/accounts/city-first/disable", Value::Null).await.expect(204);
    visitor.post(path, reset(&of_disabled, PASSWORD)).await.expect_problem(422, "invalid-link");
    let refused = administrator.post("/api/accounts/city-first/reset-link", Value::Null).await;
    refused.expect_problem(409, "wrong-state");
}
