//! Users in PostgreSQL: where they live, what happens when the database goes and comes back, and at every point in between.

use std::fs;
use std::time::Duration;

use platform::{Config, Secret};
use serde_json::{Value, json};

use crate::client::Client;
use crate::postgres::{Bouncer, Postgres, Proxy, Wire};
use crate::server::{OTHER_PASSWORD, PASSWORD, Server};

pub(crate) fn at(url: String) -> impl Fn(&mut Config) {
    move |config| {
        config.database.url = Secret::new(url.clone());
        config.database.check_seconds = 1;
        config.database.timeout_seconds = 2;
    }
}

async fn wait_for(mut found: impl AsyncFnMut() -> bool, what: &str) {
    for _ in 0..400 {
        if found().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come");
}

async fn state(administrator: &mut Client) -> String {
    let system = administrator.get("/api/system").await.expect(200).json();
    system["users_database"]["state"].as_str().unwrap().to_owned()
}

async fn until(administrator: &mut Client, wanted: &str) {
    wait_for(async || state(administrator).await == wanted, wanted).await;
}

/// `action target detail`, the oldest first.
async fn audit(administrator: &mut Client) -> Vec<String> {
    let document = administrator.get("/api/audit?limit=200").await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let lines = document["entries"].as_array().unwrap().iter().rev().map(|entry| {
        let line = format!("{} {} {}", text(&entry["action"]), text(&entry["target"]), text(&entry["detail"]));
        line.trim_end().to_owned()
    });
    lines.collect()
}

fn count(lines: &[String], wanted: &str) -> usize {
    lines.iter().filter(|line| *line == wanted).count()
}

fn entries(username: &str) -> Value {
    json!({ "username": username, "institution": "市第一医院", "password": PASSWORD })
}

async fn row(console: &tokio_postgres::Client, username: &str) -> Option<(String, i64)> {
    let sql = "SELECT status, version FROM fednodule.users WHERE username = $1";
    console.query_opt(sql, &[&username]).await.unwrap().map(|row| (row.get(0), row.get(1)))
}

#[tokio::test(flavor = "multi_thread")]
async fn users_live_in_the_database_with_a_copy_here() {
    let Some(postgres) = Postgres::start() else { return };
    let server = Server::start_with(at(postgres.url())).await;
    let mut administrator = server.set_up().await;
    server.institution(&mut administrator, "city-first").await;
    let change = json!({ "current": PASSWORD, "password": OTHER_PASSWORD }).to_string();
    administrator.send("PUT", "/api/account/password", Some(change)).await.expect(204);
    administrator.sign_in("admin", OTHER_PASSWORD).await.expect(201);
    let console = postgres.console().await;
    assert_eq!(row(&console, "admin").await, Some(("active".to_owned(), 2)));
    assert_eq!(row(&console, "city-first").await, Some(("active".to_owned(), 2)));
    let mirror: Value =
        serde_json::from_slice(&fs::read(server.config.storage.data.join("users.json")).unwrap()).unwrap();
    assert_eq!(mirror["users"].as_array().unwrap().len(), 2);

    // Nobody but the owner reads the table, whatever rights somebody gives away by mistake.
    console.batch_execute("CREATE ROLE anon; GRANT USAGE ON SCHEMA fednodule TO anon; GRANT SELECT ON fednodule.users TO anon; SET ROLE anon").await.unwrap();
    let seen: i64 = console.query_one("SELECT count(*) FROM fednodule.users", &[]).await.unwrap().get(0);
    assert_eq!(seen, 0);

    let verdict = administrator.post("/api/settings/database-test", json!({})).await.expect(200).json();
    assert_eq!(verdict["ok"], true);
    let lines = verdict["lines"].to_string();
    for part in ["PostgreSQL 1", "连接未加密", "直接连接", "2 个用户"] {
        assert!(lines.contains(part), "{lines}");
    }
    assert!(!lines.contains("行级安全"), "{lines}");

    // Another server on an empty folder knows them: nobody needs to set it up.
    let other = Server::start_with(at(postgres.url())).await;
    assert_eq!(other.client().get("/setup").await.expect(303).location(), Some("/login"));
    let mut client = other.client();
    client.sign_in("admin", OTHER_PASSWORD).await.expect(201);
    // And what one of them changes, the other one sees.
    client.post("/api/accounts/city-first/disable", Value::Null).await.expect(204);
    server.client().sign_in("city-first", PASSWORD).await.expect_problem(403, "disabled");
    assert_eq!(state(&mut administrator).await, "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_are_here_already_move_up_once() {
    let Some(postgres) = Postgres::start() else { return };
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let (folder, mut config, now) = server.stop().await;
    at(postgres.url())(&mut config);
    let server = Server::on(folder, config, now).await;
    let console = postgres.console().await;
    assert_eq!(row(&console, "city-first").await, Some(("active".to_owned(), 1)));
    administrator.moved_to(server.address);
    hospital.moved_to(server.address);
    hospital.get("/api/session").await.expect(200);
    let server = server.restart().await;
    administrator.moved_to(server.address);
    assert_eq!(count(&audit(&mut administrator).await, "users_uploaded - 2"), 1);
    administrator.post("/api/accounts/city-first/disable", Value::Null).await.expect(204);
    assert_eq!(row(&console, "city-first").await, Some(("disabled".to_owned(), 2)));

    // Somebody empties the table by mistake: the copy is there for that.
    console.batch_execute("TRUNCATE fednodule.users").await.unwrap();
    wait_for(async || row(&console, "admin").await.is_some(), "the users").await;
    assert_eq!(row(&console, "city-first").await.unwrap().0, "disabled");
    wait_for(async || count(&audit(&mut administrator).await, "users_uploaded - 2") == 2, "the entry").await;
    administrator.get("/api/session").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_stops_changes_not_log_ins_and_ends_with_a_comparison() {
    let Some(postgres) = Postgres::start() else { return };
    let server = Server::start_with(at(postgres.url())).await;
    let mut administrator = server.set_up().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    server.institution(&mut administrator, "county").await;
    postgres.stop();
    until(&mut administrator, "down").await;

    server.client().sign_in("city-first", PASSWORD).await.expect(201);
    server.client().sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
    let refused = server.client().post("/api/accounts", entries("province")).await;
    let refused = refused.expect_problem(503, "users-database-unavailable");
    assert_eq!(refused.headers["retry-after"], "1");
    let disable = "/api/accounts/city-first/disable";
    administrator.post(disable, Value::Null).await.expect_problem(503, "users-database-unavailable");
    let change = json!({ "current": PASSWORD, "password": OTHER_PASSWORD }).to_string();
    hospital.send("PUT", "/api/account/password", Some(change)).await.expect_problem(503, "users-database-unavailable");
    // Nothing of it happened here either, and people are told.
    hospital.get("/api/session").await.expect(200);
    for page in [administrator.get("/").await.text, hospital.get("/account").await.text] {
        assert!(page.contains("users-database-down"), "{page}");
    }
    assert!(administrator.get("/").await.text.contains("没有响应：请检查 database.url"));
    let verdict = administrator.post("/api/settings/database-test", json!({})).await.expect(200).json();
    assert_eq!(verdict["ok"], false);
    // A server starts without its database, too.
    let server = server.restart().await;
    administrator.moved_to(server.address);
    hospital.moved_to(server.address);
    server.client().sign_in("city-first", PASSWORD).await.expect(201);

    // Meanwhile somebody changes users by hand.
    postgres.begin();
    let console = postgres.console().await;
    let by_hand = "UPDATE fednodule.users SET status = 'disabled' WHERE username = 'city-first';
                   UPDATE fednodule.users SET institution = '县人民医院' WHERE username = 'county'";
    console.batch_execute(by_hand).await.unwrap();
    wait_for(async || hospital.get("/api/session").await.status == 401, "the comparison").await;
    until(&mut administrator, "up").await;
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "disabled");
    let accounts = administrator.get("/api/accounts").await.text;
    assert!(accounts.contains("县人民医院"));
    let log = audit(&mut administrator).await;
    for line in ["users_reconciled city-first status", "users_reconciled county institution"] {
        assert_eq!(count(&log, line), 1, "{log:?}");
    }
    assert!(count(&log, "users_database_lost -") >= 1, "{log:?}");
    assert!(log.iter().any(|line| line.starts_with("users_database_back")), "{log:?}");
    assert!(!administrator.get("/").await.text.contains("users-database-down"));
    server.client().post("/api/accounts", entries("province")).await.expect(201);

    // And while all is well: whoever is taken out may not come in, and is not taken out of the log.
    console.batch_execute("DELETE FROM fednodule.users WHERE username = 'county'").await.unwrap();
    let gone = async || count(&audit(&mut administrator).await, "users_reconciled county absent") == 1;
    wait_for(gone, "the comparison").await;
    server.client().sign_in("county", PASSWORD).await.expect_problem(403, "disabled");
    // An administrator may take it in again.
    administrator.post("/api/accounts/county/enable", Value::Null).await.expect(204);
    assert_eq!(row(&console, "county").await, Some(("active".to_owned(), 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_says_nothing_holds_nobody_up() {
    let Some(postgres) = Postgres::start() else { return };
    let proxy = Proxy::to(postgres.port).await;
    let server = Server::start_with(at(postgres.url_at(proxy.port, "sslmode=disable"))).await;
    let mut administrator = server.set_up().await;
    proxy.set(Wire::Dead);
    let mut times = Vec::new();
    for _ in 0..12 {
        let start = std::time::Instant::now();
        server.client().sign_in("admin", PASSWORD).await.expect(201);
        times.push(start.elapsed().as_millis());
    }
    println!("log-ins while the database says nothing, in ms: {times:?}");
    until(&mut administrator, "down").await;
    server.client().post("/api/accounts", entries("province")).await.expect_problem(503, "users-database-unavailable");
    proxy.set(Wire::Passes);
    until(&mut administrator, "up").await;
    server.client().post("/api/accounts", entries("province")).await.expect(201);
}

/// The database has made the change, and this server does not know: it was stopped, or lost the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_answer_was_lost_is_finished_later() {
    for stopped in [false, true] {
        let Some(postgres) = Postgres::start() else { return };
        let proxy = Proxy::to(postgres.port).await;
        let server = Server::start_with(at(postgres.url_at(proxy.port, "sslmode=disable"))).await;
        let mut administrator = server.set_up().await;
        let mut hospital = server.institution(&mut administrator, "city-first").await;
        let console = postgres.console().await;
        proxy.set(Wire::SwallowsAnswers);
        let disable = "/api/accounts/city-first/disable";
        administrator.post(disable, Value::Null).await.expect_problem(503, "users-database-unavailable");
        // The copy does not claim what nobody has confirmed.
        hospital.get("/api/session").await.expect(200);
        assert_eq!(row(&console, "city-first").await, Some(("disabled".to_owned(), 3)));
        let server = if stopped { server.restart().await } else { server };
        administrator.moved_to(server.address);
        hospital.moved_to(server.address);
        proxy.set(Wire::Passes);
        until(&mut administrator, "up").await;
        hospital.get("/api/session").await.expect_problem(401, "not-signed-in");
        let log = audit(&mut administrator).await;
        // It is told as what it was, once, and not as a difference.
        assert_eq!(count(&log, "disabled city-first"), 1, "{log:?}");
        assert!(!log.iter().any(|line| line.starts_with("users_reconciled")), "{log:?}");
    }
}

/// The change never arrived, or arrives after everybody has given it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_did_not_arrive_never_happens() {
    let Some(postgres) = Postgres::start() else { return };
    let proxy = Proxy::to(postgres.port).await;
    let server = Server::start_with(at(postgres.url_at(proxy.port, "sslmode=disable"))).await;
    let mut administrator = server.set_up().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let console = postgres.console().await;
    // Somebody holds the row, so the change waits in the database after this server has given it up.
    console
        .batch_execute("BEGIN; SELECT 1 FROM fednodule.users WHERE username = 'city-first' FOR UPDATE")
        .await
        .unwrap();
    let disable = "/api/accounts/city-first/disable";
    administrator.post(disable, Value::Null).await.expect_problem(503, "users-database-unavailable");
    console.batch_execute("ROLLBACK").await.unwrap();
    until(&mut administrator, "up").await;
    let log = audit(&mut administrator).await;
    let (status, _) = row(&console, "city-first").await.unwrap();
    // Whichever way it went, both sides agree, and the log says so.
    let mut here = server.client();
    match status.as_str() {
        "active" => {
            assert_eq!(count(&log, "disabled city-first"), 0, "{log:?}");
            here.sign_in("city-first", PASSWORD).await.expect(201);
        }
        _ => {
            assert_eq!(count(&log, "disabled city-first"), 1, "{log:?}");
            here.sign_in("city-first", PASSWORD).await.expect_problem(403, "disabled");
        }
    }
    proxy.set(Wire::Dead);
    administrator.post("/api/accounts/city-first/reset-link", Value::Null).await;
    server.client().post("/api/accounts", entries("province")).await.expect_problem(503, "users-database-unavailable");
    proxy.set(Wire::Passes);
    until(&mut administrator, "up").await;
    assert_eq!(row(&console, "province").await, None);
    server.client().post("/api/accounts", entries("province")).await.expect(201);
    hospital.get("/api/health").await.expect(200);
}

/// A network that delivers what everybody has given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_arrives_too_late_finds_another_version() {
    let Some(postgres) = Postgres::start() else { return };
    let proxy = Proxy::to(postgres.port).await;
    let server = Server::start_with(at(postgres.url_at(proxy.port, "sslmode=disable"))).await;
    let mut administrator = server.set_up().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let console = postgres.console().await;
    proxy.hold();
    let disable = "/api/accounts/city-first/disable";
    administrator.post(disable, Value::Null).await.expect_problem(503, "users-database-unavailable");
    until(&mut administrator, "up").await;
    let (status, version) = row(&console, "city-first").await.unwrap();
    proxy.release();
    // The statement has run when its connection is gone.
    let gone = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fednodule'";
        console.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) <= 1
    };
    wait_for(gone, "the end of the connection").await;
    assert_eq!((status.as_str(), row(&console, "city-first").await), ("active", Some((status.clone(), version))));
    hospital.get("/api/session").await.expect(200);
    let log = audit(&mut administrator).await;
    assert_eq!(count(&log, "disabled city-first"), 0, "{log:?}");
    administrator.post(disable, Value::Null).await.expect(204);
    assert_eq!(row(&console, "city-first").await, Some(("disabled".to_owned(), version + 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_connections_makes_no_difference() {
    let Some(postgres) = Postgres::start() else { return };
    for (mode, size, words) in [("transaction", 2, "事务模式"), ("session", 6, "会话模式")] {
        let Some(bouncer) = Bouncer::before(&postgres, mode, size) else { return };
        let server = Server::start_with(at(postgres.url_at(bouncer.port, "sslmode=disable"))).await;
        let mut administrator = match mode {
            "transaction" => server.set_up().await,
            _ => {
                let mut administrator = server.client();
                administrator.sign_in("admin", PASSWORD).await.expect(201);
                administrator
            }
        };
        let verdict = administrator.post("/api/settings/database-test", json!({})).await.expect(200).json();
        let lines = verdict["lines"].to_string();
        assert!(verdict["ok"] == true && lines.contains(words), "{verdict}");
        // A second server takes turns on the pooler's two connections.
        let other = Server::start_with(at(postgres.url_at(bouncer.port, "sslmode=disable"))).await;
        for number in 0..4 {
            let name = format!("{mode}-{number}");
            let (mut one, mut two) = (server.client(), other.client());
            let (first, second) = tokio::join!(
                one.post("/api/accounts", entries(&name)),
                two.post("/api/accounts", entries(&format!("{name}-other")))
            );
            first.expect(201);
            second.expect(201);
            other.client().sign_in(&name, PASSWORD).await.expect_problem(403, "pending");
        }
        assert_eq!(state(&mut administrator).await, "up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_an_administrator_is_not_followed() {
    let Some(postgres) = Postgres::start() else { return };
    let server = Server::start_with(at(postgres.url())).await;
    let mut administrator = server.set_up().await;
    let console = postgres.console().await;
    console.batch_execute("UPDATE fednodule.users SET role = 'client' WHERE username = 'admin'").await.unwrap();
    until(&mut administrator, "down").await;
    assert!(administrator.get("/").await.text.contains("没有在用的管理员"));
    administrator.get("/api/accounts").await.expect(200);
    console.batch_execute("UPDATE fednodule.users SET role = 'server' WHERE username = 'admin'").await.unwrap();
    until(&mut administrator, "up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_make_no_sense_change_nobody() {
    let Some(postgres) = Postgres::start() else { return };
    let server = Server::start_with(at(postgres.url())).await;
    let mut administrator = server.set_up().await;
    server.institution(&mut administrator, "city-first").await;
    let console = postgres.console().await;
    let nonsense = "INSERT INTO fednodule.users VALUES ('strange', E'a\\u202eb', 'client', 'active', '$2b$x', NULL, NULL, 0, 0, 1, 'x');
                    UPDATE fednodule.users SET password_hash = 'plain text' WHERE username = 'city-first'";
    console.batch_execute(nonsense).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let accounts = administrator.get("/api/accounts").await.json();
    assert_eq!(accounts["accounts"].as_array().unwrap().len(), 2);
    server.client().sign_in("city-first", PASSWORD).await.expect(201);
    server.client().sign_in("strange", PASSWORD).await.expect_problem(422, "wrong-credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_encrypted_and_the_certificate_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let certificate = Postgres::with_file(folder.path(), "server.pem", &made.cert.pem());
    let key = Postgres::with_file(folder.path(), "key.pem", &made.signing_key.serialize_pem());
    let options = [
        "ssl = on".to_owned(),
        format!("ssl_cert_file = '{}'", certificate.display()),
        format!("ssl_key_file = '{}'", key.display()),
    ];
    let Some(postgres) = Postgres::start_with(&options) else { return };
    let with = |change: &dyn Fn(&mut Config)| {
        let mut settings = Vec::new();
        let url = postgres.url_at(postgres.port, "sslmode=require");
        settings.push(url);
        let mut config = crate::server::config(folder.path().join("unused"));
        change(&mut config);
        (settings.remove(0), config.database.ca)
    };
    let start = async |ca: std::path::PathBuf, url: String| {
        let server = Server::start_with(|config| {
            at(url)(config);
            config.database.ca = ca;
        });
        server.await
    };
    let (url, ca) = with(&|config| config.database.ca = certificate.clone());
    let server = start(ca, url.clone()).await;
    let mut administrator = server.set_up().await;
    let verdict = administrator.post("/api/settings/database-test", json!({})).await.expect(200).json();
    assert!(verdict["lines"].to_string().contains("连接已加密"), "{verdict}");

    // Not by an authority that browsers know, and not under this name.
    let wrong_name = url.replace("@localhost:", "@127.0.0.1:");
    for (ca, url) in [(std::path::PathBuf::new(), url), (certificate, wrong_name)] {
        let server = start(ca, url).await;
        let setup = json!({ "token": crate::server::SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
        let refused = server.client().post("/api/setup", setup).await;
        refused.expect_problem(503, "users-database-unavailable");
    }
}
