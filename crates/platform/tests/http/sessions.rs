//! How long a log-in lasts, and what its cookie is like.

use crate::server::{PASSWORD, Server};

#[tokio::test]
async fn a_session_ends_when_idle_when_old_and_when_asked() {
    let (server, mut administrator) = Server::with_administrator().await;
    // Used every 25 minutes it lives on, until 12 hours are over.
    for _ in 0..28 {
        server.pass_minutes(25);
        administrator.get("/api/session").await.expect(200);
    }
    server.pass_minutes(25);
    administrator.get("/api/session").await.expect_problem(401, "not-signed-in");
    administrator.sign_in("admin", PASSWORD).await.expect(201);
    server.pass_minutes(31);
    administrator.get("/api/session").await.expect_problem(401, "not-signed-in");

    administrator.sign_in("admin", PASSWORD).await.expect(201);
    let stolen = administrator.clone();
    administrator.send("DELETE", "/api/session", None).await.expect(204);
    assert!(administrator.cookies.is_empty());
    stolen.clone().get("/api/session").await.expect_problem(401, "not-signed-in");
}

#[tokio::test]
async fn a_session_outlives_a_restart() {
    let (server, mut administrator) = Server::with_administrator().await;
    let server = server.restart().await;
    administrator.address = server.address;
    administrator.get("/api/session").await.expect(200);
}

#[tokio::test]
async fn the_cookie_is_closed_to_scripts_and_other_sites_and_only_its_hash_is_stored() {
    let (server, _) = Server::with_administrator().await;
    let mut client = server.client();
    let answer = client.sign_in("admin", PASSWORD).await.expect(201);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    for part in ["fednodule_session=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let token = client.cookies["fednodule_session"].clone();
    let (folder, ..) = server.stop().await;
    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let content = std::fs::read(&path).unwrap();
            let holds = |secret: &str| content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!holds(&token) && !holds(PASSWORD), "{}", path.display());
        }
    }

    let server = Server::start_with(|config| config.server.public_url = "https://nodules.example".to_owned()).await;
    let mut client = server.client();
    client.origin = Some("https://nodules.example".to_owned());
    let body = serde_json::json!({ "token": crate::server::SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
    client.post("/api/setup", body).await.expect(201);
    let answer = client.sign_in("admin", PASSWORD).await.expect(201);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-fednodule_session=") && cookie.ends_with("; Secure"), "{cookie}");
    client.get("/api/session").await.expect(200);
}

#[tokio::test]
async fn a_made_up_cookie_is_no_session() {
    let (server, administrator) = Server::with_administrator().await;
    let good = &administrator.cookies["fednodule_session"];
    let flipped: String = good.chars().rev().collect();
    for value in ["", "x", &flipped, &"A".repeat(43), &"A".repeat(5000)] {
        let mut client = server.client();
        client.cookies.insert("fednodule_session".to_owned(), value.to_owned());
        client.get("/api/session").await.expect_problem(401, "not-signed-in");
    }
}
