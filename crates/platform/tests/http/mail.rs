//! E-mail addresses are verified, passwords reset and mails sent, through a real SMTP server.

use std::fs;

use platform::{Config, Secret};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::postgres::free_port;
use crate::server::{OTHER_PASSWORD, PASSWORD, Server};
use crate::smtp::{Guarded, Smtp, tokens};

/// Mail over this port, with links that lead to the server.
pub(crate) fn mail(port: u16) -> impl Fn(&mut Config) {
    move |config| {
        config.server.listen.set_port(free_port());
        config.server.public_url = format!("http://{}", config.server.listen);
        config.mail.host = "localhost".to_owned();
        config.mail.port = port;
        config.mail.encryption = platform::config::Encryption::None;
        config.mail.from = "fednodule@hospital.example".to_owned();
        config.mail.timeout_seconds = 5;
    }
}

fn entries(username: &str, email: &str) -> Value {
    json!({ "username": username, "institution": "市第一医院", "password": PASSWORD, "email": email })
}

async fn register(server: &Server, username: &str, email: &str) -> Answer {
    server.client().post("/api/accounts", entries(username, email)).await
}

async fn verify(server: &Server, token: &str) -> Answer {
    server.client().post("/api/email-verification", json!({ "token": token })).await
}

async fn forgot(server: &Server, account: &str) -> Answer {
    server.client().post("/api/password-forgotten", json!({ "account": account })).await
}

fn audit(document: &Value) -> Vec<String> {
    let entries = document["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| format!("{} {}", entry["action"].as_str().unwrap(), entry["detail"].as_str().unwrap()))
        .collect()
}

async fn actions(administrator: &mut Client) -> Vec<String> {
    audit(&administrator.get("/api/audit?limit=200").await.expect(200).json())
}

/// Everything that the server has written.
fn written(server: &Server) -> String {
    let files = fs::read_dir(&server.config.storage.data).unwrap().map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    files.filter(|path| path.is_file()).map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_address_lets_a_hospital_in_without_an_administrator() {
    let Some(smtp) = Smtp::start() else { return };
    let server = Server::start_with(mail(smtp.port)).await;
    let mut administrator = server.set_up().await;
    assert!(server.client().get("/register").await.text.contains("name=\"email\""));
    for bad in ["", "nobody", "a@b", "a b@c.example", "a@b.example\r\nBcc: c@d.example"] {
        let refused = register(&server, "city-first", bad).await.expect_problem(422, "invalid").json();
        assert_eq!(refused["errors"][0]["field"], "email");
    }
    register(&server, "city-first", " Li.Wei@Hospital.Example ").await.expect(201);
    let mut hospital = server.client();
    hospital.sign_in("city-first", "wrong").await.expect_problem(422, "wrong-credentials");
    let first = smtp.mail(1).await;
    assert_eq!(
        (&first["to"][0], &first["from"]),
        (&json!("Li.Wei@hospital.example"), &json!("fednodule@hospital.example"))
    );
    assert_eq!((&first["type"], &first["automatic"]), (&json!("text/plain"), &json!("auto-generated")));
    assert_eq!(first["subject"], "请验证邮箱 · 联邦肺结节平台");
    assert!(first["text"].as_str().unwrap().contains("账户：city-first"));
    assert!(first["text"].as_str().unwrap().contains(&format!("{}/verify#", server.config.server.public_url)));
    let token = tokens(&first, "verify").pop().unwrap();
    // Nobody who reads the disk can use the link.
    assert!(!written(&server).contains(&token));

    // Who has lost the mail gets another one by logging in, in the language of the page.
    hospital.cookies.insert("fednodule_language".to_owned(), "en".to_owned());
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "unverified");
    let second = smtp.mail(2).await;
    assert_eq!(second["subject"], "Verify your e-mail address · fednodule");
    verify(&server, "nonsense").await.expect_problem(422, "invalid-link");
    assert_eq!(verify(&server, &token).await.expect(200).json()["status"], "active");
    verify(&server, &token).await.expect_problem(422, "invalid-link");
    verify(&server, &tokens(&second, "verify")[0]).await.expect_problem(422, "invalid-link");
    hospital.sign_in("city-first", PASSWORD).await.expect(201);

    // Administrators see the address, and its owner does; no log holds it.
    let accounts = administrator.get("/api/accounts").await.json();
    assert_eq!(accounts["accounts"][1]["email"], "Li.Wei@hospital.example");
    assert!(hospital.get("/account").await.text.contains("Li.Wei@hospital.example"));
    let log = administrator.get("/api/audit").await.text;
    assert!(!log.to_lowercase().contains("li.wei") && log.contains("email_verified"), "{log}");
    let mirror: Value =
        serde_json::from_slice(&fs::read(server.config.storage.data.join("users.json")).unwrap()).unwrap();
    assert_eq!(mirror["users"][1]["email"], "Li.Wei@hospital.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_expires_and_both_can_be_asked_for() {
    let Some(smtp) = Smtp::start() else { return };
    let server = Server::start_with(|config| {
        mail(smtp.port)(config);
        config.accounts.approve_always = true;
    });
    let server = server.await;
    let mut administrator = server.set_up().await;
    register(&server, "city-first", "a@hospital.example").await.expect(201);
    let late = tokens(&smtp.mail(1).await, "verify").pop().unwrap();
    let approve = "/api/accounts/city-first/approve";
    administrator.post(approve, Value::Null).await.expect_problem(409, "not-verified");
    server.pass_minutes(24 * 60);
    verify(&server, &late).await.expect_problem(422, "invalid-link");
    let mut hospital = server.client();
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "unverified");
    let token = tokens(&smtp.mail(2).await, "verify").pop().unwrap();
    assert_eq!(verify(&server, &token).await.expect(200).json()["status"], "pending");
    hospital.sign_in("city-first", PASSWORD).await.expect_problem(403, "pending");
    let mut administrator = server.client();
    administrator.sign_in("admin", PASSWORD).await.expect(201);
    administrator.post(approve, Value::Null).await.expect(204);
    assert_eq!(smtp.mail(3).await["subject"], "账户已批准 · 联邦肺结节平台");
    hospital.sign_in("city-first", PASSWORD).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_reset_by_mail_and_nobody_learns_who_is_here() {
    let Some(smtp) = Smtp::start() else { return };
    let server = Server::start_with(mail(smtp.port)).await;
    let mut administrator = server.set_up().await;
    // Two accounts of one department share an address.
    for (number, name) in ["ct-one", "ct-two"].into_iter().enumerate() {
        register(&server, name, "ct@hospital.example").await.expect(201);
        verify(&server, &tokens(&smtp.mail(number + 1).await, "verify")[0]).await.expect(200);
    }
    register(&server, "waiting", "new@hospital.example").await.expect(201);
    smtp.mail(3).await;
    let mut signed_in = server.client();
    signed_in.sign_in("ct-one", PASSWORD).await.expect(201);

    let known = forgot(&server, "CT@hospital.example").await.expect(202);
    for unknown in ["nobody@hospital.example", "nobody-here", "admin", "waiting", "new@hospital.example"] {
        let answer = forgot(&server, unknown).await.expect(202);
        assert_eq!((&answer.text, answer.headers.len()), (&known.text, known.headers.len()), "{unknown}");
    }
    forgot(&server, "not a name").await.expect_problem(422, "invalid");
    let reset = smtp.mail(4).await;
    assert_eq!(reset["to"][0], "ct@hospital.example");
    let links = tokens(&reset, "reset");
    assert_eq!(links.len(), 2);
    let body = json!({ "token": links[0], "password": OTHER_PASSWORD });
    server.client().post("/api/password-reset", body.clone()).await.expect(204);
    server.client().post("/api/password-reset", body).await.expect_problem(422, "invalid-link");
    signed_in.get("/api/session").await.expect_problem(401, "not-signed-in");
    server.client().sign_in("ct-one", OTHER_PASSWORD).await.expect(201);
    server.client().sign_in("ct-two", PASSWORD).await.expect(201);
    forgot(&server, "ct-two").await.expect(202);
    assert_eq!(tokens(&smtp.mail(5).await, "reset").len(), 1);
    let actions = actions(&mut administrator).await;
    assert_eq!(actions.iter().filter(|line| *line == "reset_asked ").count(), 3, "{actions:?}");
    // The others were found out to be nobody's.
    let system = administrator.get("/api/system").await.json();
    assert_eq!(system["mail"], json!({ "on": true, "waiting": 0, "retried": 0, "trouble": null }));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_survives_an_outage_and_a_restart_and_is_given_up_in_the_end() {
    let Some(smtp) = Smtp::start() else { return };
    let port = smtp.port;
    drop(smtp);
    let server = Server::start_with(mail(port)).await;
    let mut administrator = server.set_up().await;
    register(&server, "city-first", "a@hospital.example").await.expect(201);
    let tried = async |administrator: &mut Client| {
        for _ in 0..200 {
            let system = administrator.get("/api/system").await.json();
            if system["mail"]["retried"] == 1 && system["mail"]["trouble"].as_str().is_some() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("nothing was tried");
    };
    tried(&mut administrator).await;
    assert!(administrator.get("/").await.text.contains("发送受阻，1 封待发"));
    let verdict = administrator.post("/api/settings/mail-test", json!({})).await.expect(200).json();
    assert_eq!(
        (&verdict["ok"], &verdict["lines"][0]),
        (&json!(false), &json!("没有响应：请检查 mail.host、mail.port 和防火墙。"))
    );

    let server = server.restart().await;
    let smtp = Smtp::on(port, None).unwrap();
    server.pass_minutes(2);
    let token = tokens(&smtp.mail(1).await, "verify").pop().unwrap();
    verify(&server, &token).await.expect(200);
    let mut administrator = server.client();
    administrator.sign_in("admin", PASSWORD).await.expect(201);
    let verdict = administrator.post("/api/settings/mail-test", json!({})).await.expect(200).json();
    assert_eq!(verdict["ok"], true, "{verdict}");

    // An address that is refused for good, and one that is refused for a day.
    register(&server, "never", "never@hospital.example").await.expect(201);
    register(&server, "later", "later@hospital.example").await.expect(201);
    for _ in 0..60 {
        server.pass_minutes(60);
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    }
    let mut administrator = server.client();
    administrator.sign_in("admin", PASSWORD).await.expect(201);
    let mut given_up = Vec::new();
    for _ in 0..200 {
        given_up = actions(&mut administrator).await;
        given_up.retain(|line| line.starts_with("mail_given_up"));
        if given_up.len() == 2 {
            break;
        }
        server.pass_minutes(1);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    given_up.sort();
    assert_eq!(given_up, ["mail_given_up later", "mail_given_up never"]);
    assert_eq!(smtp.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_fills_a_mailbox() {
    let Some(smtp) = Smtp::start() else { return };
    let server = Server::start_with(|config| {
        mail(smtp.port)(config);
        config.mail.per_recipient = 2;
        config.mail.per_address = 4;
    });
    let server = server.await;
    server.set_up().await;
    register(&server, "city-first", "a@hospital.example").await.expect(201);
    verify(&server, &tokens(&smtp.mail(1).await, "verify")[0]).await.expect(200);
    for _ in 0..4 {
        forgot(&server, "city-first").await.expect(202);
    }
    forgot(&server, "city-first").await.expect_problem(429, "too-many");
    smtp.mail(2).await;
    // What was too much is left out, not kept for later.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    server.pass_minutes(61);
    forgot(&server, "a@hospital.example").await.expect(202);
    smtp.mail(3).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(smtp.mails().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_counts_when_it_is_verified_and_the_former_is_told() {
    let Some(smtp) = Smtp::start() else { return };
    let server = Server::start_with(mail(smtp.port)).await;
    server.set_up().await;
    register(&server, "city-first", "old@hospital.example").await.expect(201);
    verify(&server, &tokens(&smtp.mail(1).await, "verify")[0]).await.expect(200);
    let mut hospital = server.client();
    hospital.sign_in("city-first", PASSWORD).await.expect(201);
    let change =
        |email: &str, password: &str| Some(json!({ "email": email, "current_password": password }).to_string());
    let path = "/api/account/email";
    hospital.send("PUT", path, change("new@hospital.example", "wrong")).await.expect_problem(422, "wrong-password");
    hospital.send("PUT", path, change("new", PASSWORD)).await.expect_problem(422, "invalid");
    hospital.send("PUT", path, change("new@hospital.example", PASSWORD)).await.expect(202);
    let mail = smtp.mail(2).await;
    assert_eq!(mail["to"][0], "new@hospital.example");
    let page = hospital.get("/account").await.text;
    assert!(page.contains("old@hospital.example") && page.contains("new@hospital.example"), "{page}");
    // Until then links go to the old one.
    forgot(&server, "city-first").await.expect(202);
    assert_eq!(smtp.mail(3).await["to"][0], "old@hospital.example");
    verify(&server, &tokens(&mail, "verify")[0]).await.expect(200);
    let told = smtp.mail(4).await;
    assert_eq!(
        (&told["to"][0], &told["subject"]),
        (&json!("old@hospital.example"), &json!("账户邮箱已更改 · 联邦肺结节平台"))
    );
    assert!(!hospital.get("/account").await.text.contains("old@hospital.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_encryption_and_a_password_gets_both() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let guarded = Guarded { certificate: &certificate, key: &key, user: "platform", password: "secret of the tests" };
    let Some(smtp) = Smtp::on(0, Some(&guarded)) else { return };
    let settings = |config: &mut Config| {
        mail(smtp.port)(config);
        config.mail.encryption = platform::config::Encryption::Starttls;
        config.mail.username = "platform".to_owned();
        config.mail.password = Secret::new("secret of the tests");
        config.mail.ca = certificate.clone();
    };
    let server = Server::start_with(settings).await;
    server.set_up().await;
    register(&server, "city-first", "a@hospital.example").await.expect(201);
    assert_eq!(smtp.mail(1).await["encrypted"], true);

    let reason = async |change: &dyn Fn(&mut Config)| {
        let server = Server::start_with(|config| {
            settings(config);
            change(config);
        });
        let server = server.await;
        let mut administrator = server.set_up().await;
        let verdict = administrator.post("/api/settings/mail-test", json!({})).await.expect(200).json();
        assert_eq!(verdict["ok"], false);
        verdict["lines"][0].as_str().unwrap().to_owned()
    };
    let untrusted = reason(&|config| config.mail.ca = std::path::PathBuf::new()).await;
    assert!(untrusted.starts_with("加密连接不可信"), "{untrusted}");
    let wrong = reason(&|config| config.mail.password = Secret::new("wrong")).await;
    assert!(wrong.starts_with("登录被拒绝"), "{wrong}");
    let open = reason(&|config| config.mail.encryption = platform::config::Encryption::Tls).await;
    assert!(open.starts_with("加密连接不可信") || open.starts_with("没有响应"), "{open}");
}

#[tokio::test]
async fn without_mail_nothing_asks_for_an_address() {
    let (server, mut administrator) = Server::with_administrator().await;
    assert!(!server.client().get("/register").await.text.contains("name=\"email\""));
    register(&server, "city-first", "a@hospital.example").await.expect_problem(422, "invalid");
    forgot(&server, "admin").await.expect_problem(409, "no-mail");
    let change = json!({ "email": "a@hospital.example", "current_password": PASSWORD }).to_string();
    administrator.send("PUT", "/api/account/email", Some(change)).await.expect_problem(409, "no-mail");
    assert_eq!(
        administrator.post("/api/settings/mail-test", json!({})).await.expect(200).json()["title"],
        "未设置邮件"
    );
}

/// Nothing needs to listen there for the pages to be whole.
#[tokio::test]
async fn every_page_is_whole_where_mail_is_set_up() {
    for both in [false, true] {
        let server = Server::start_with(|config| {
            mail(free_port())(config);
            config.accounts.approve_always = both;
        });
        let server = server.await;
        let mut administrator = server.set_up().await;
        register(&server, "city-first", "a@hospital.example").await.expect(201);
        for language in ["zh", "en"] {
            administrator.cookies.insert("fednodule_language".to_owned(), language.to_owned());
            for path in ["/", "/users", "/account", "/settings", "/help", "/audit"] {
                administrator.get(path).await.expect(200);
            }
            let mut visitor = server.client();
            visitor.cookies.insert("fednodule_language".to_owned(), language.to_owned());
            for path in ["/login", "/register", "/forgot", "/verify", "/reset"] {
                visitor.get(path).await.expect(200);
            }
        }
        assert!(administrator.get("/users").await.text.contains("a@hospital.example"));
    }
}
