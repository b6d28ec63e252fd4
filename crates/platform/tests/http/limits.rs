//! Guessing is slow, for whatever name and from wherever.

use serde_json::json;

use crate::server::{PASSWORD, Server};

#[tokio::test]
async fn five_wrong_passwords_lock_an_account_for_a_quarter_of_an_hour() {
    let (server, mut administrator) = Server::with_administrator().await;
    server.institution(&mut administrator, "city-first").await;
    for _ in 0..5 {
        server.client().sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
        server.pass_minutes(1);
    }
    // The right password does not help now.
    let locked = server.client().sign_in("city-first", PASSWORD).await.expect_problem(429, "locked-out");
    assert_eq!(locked.headers["retry-after"], "600");
    assert!(locked.json()["detail"].as_str().unwrap().contains("10 分钟"));
    // Nobody else is.
    server.client().sign_in("admin", PASSWORD).await.expect(201);
    // A restart does not help either.
    let server = server.restart().await;
    server.client().sign_in("city-first", PASSWORD).await.expect_problem(429, "locked-out");
    server.pass_minutes(10);
    server.client().sign_in("city-first", PASSWORD).await.expect(201);
    // And a success makes up for the failures before.
    for _ in 0..4 {
        server.client().sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
    }
    server.client().sign_in("city-first", PASSWORD).await.expect(201);
    server.client().sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
}

#[tokio::test]
async fn an_unknown_name_is_treated_as_a_known_one() {
    let (server, mut administrator) = Server::with_administrator().await;
    server.institution(&mut administrator, "city-first").await;
    for _ in 0..5 {
        let known = server.client().sign_in("city-first", "wrong").await.expect(422).text;
        for unknown in ["nobody-here", "not a name", "<script>"] {
            assert_eq!(server.client().sign_in(unknown, "wrong").await.expect(422).text, known);
        }
    }
    let known = server.client().sign_in("city-first", "wrong").await.expect(429);
    let unknown = server.client().sign_in("nobody-here", "wrong").await.expect(429);
    assert_eq!(known.text, unknown.text);
    // One that is too long is not compared by its beginning.
    let long = server.client().sign_in("admin", &format!("{PASSWORD}{}", "x".repeat(80))).await;
    long.expect_problem(422, "wrong-credentials");
}

#[tokio::test]
async fn many_guesses_at_once_are_no_way_around() {
    let (server, _) = Server::with_administrator().await;
    let guesses: Vec<_> = (0..12)
        .map(|i| {
            let mut client = server.client();
            tokio::spawn(async move { client.sign_in("admin", &format!("guess {i}")).await.status })
        })
        .collect();
    let mut tried = 0;
    for guess in guesses {
        tried += usize::from(guess.await.unwrap() == 422);
    }
    assert_eq!(tried, 5);
}

#[tokio::test]
async fn an_address_is_limited_over_all_accounts() {
    let server = Server::start_with(|config| {
        config.accounts.failures_per_address = 8;
        config.server.forwarded_for = true;
    });
    let server = server.await;
    server.set_up().await;
    let from = |address: &str| {
        let mut client = server.client();
        client.extra.push(("x-forwarded-for", address.to_owned()));
        client
    };
    for i in 0..8 {
        from("10.0.0.1").sign_in(&format!("user-{i}"), "wrong").await.expect_problem(422, "wrong-credentials");
    }
    from("10.0.0.1").sign_in("admin", PASSWORD).await.expect_problem(429, "too-many");
    // What the client writes before the proxy's entry makes no difference.
    from("10.0.0.9, 10.0.0.1").sign_in("admin", PASSWORD).await.expect_problem(429, "too-many");
    from("10.0.0.2").sign_in("admin", PASSWORD).await.expect(201);
    server.pass_minutes(15);
    from("10.0.0.1").sign_in("admin", PASSWORD).await.expect(201);
}

#[tokio::test]
async fn registrations_from_one_address_are_limited() {
    let server = Server::start_with(|config| config.accounts.registrations_per_address = 2).await;
    server.set_up().await;
    server.register("first").await;
    server.register("second").await;
    let body = json!({ "username": "third", "institution": "市第一医院", "password": PASSWORD });
    server.client().post("/api/accounts", body.clone()).await.expect_problem(429, "too-many");
    server.pass_minutes(60);
    server.client().post("/api/accounts", body).await.expect(201);
}
