//! Every page in both languages, with every role, and the headers that keep them safe.

use platform::{Access, ROUTES};

use crate::client::Client;
use crate::server::Server;

/// Chinese and English pages; the language is a cookie.
fn speak(client: &Client, language: &str) -> Client {
    let mut client = client.clone();
    client.cookies.insert("fednodule_language".to_owned(), language.to_owned());
    client
}

#[tokio::test]
async fn every_page_is_whole_in_both_languages() {
    let (server, mut administrator) = Server::with_administrator().await;
    let hospital = server.institution(&mut administrator, "city-first").await;
    server.register("county").await;
    server.institution(&mut administrator, "province").await;
    administrator.post("/api/accounts/province/disable", serde_json::Value::Null).await.expect(204);
    let empty = Server::start().await;

    let mut rendered = 0;
    for language in ["zh", "en"] {
        let pages = ROUTES.iter().filter(|route| route.method == "GET" && route.is_page() && !route.path.contains('{'));
        for route in pages {
            let visitors: Vec<Client> = match route.access {
                Access::Anyone if route.path == "/setup" => vec![empty.client()],
                Access::Anyone => vec![server.client()],
                Access::SignedIn => vec![administrator.clone(), hospital.clone()],
                Access::Server => vec![administrator.clone()],
            };
            for visitor in visitors {
                let page = speak(&visitor, language).get(route.path).await.expect(200).text;
                let html_language = if language == "zh" { "zh-CN" } else { "en" };
                assert!(page.contains(&format!("<html lang=\"{html_language}\">")), "{}", route.path);
                assert!(page.trim_end().ends_with("</html>"), "{}", route.path);
                for outside in ["src=\"http", "href=\"http", "//cdn", "style=\"", "onclick", "<script>"] {
                    assert!(!page.contains(outside), "{} has {outside}", route.path);
                }
                let title = page.split("<title>").nth(1).unwrap().split('<').next().unwrap();
                let chinese = title.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
                assert_eq!(chinese, language == "zh", "{title}");
                rendered += 1;
            }
        }
    }
    assert!(rendered >= 18, "{rendered}");
    let forbidden = speak(&hospital, "en").get("/users").await.expect(403).text;
    assert!(forbidden.contains("for administrators") && forbidden.contains("</html>"));
}

#[tokio::test]
async fn the_language_switch_is_remembered() {
    let (server, _) = Server::with_administrator().await;
    let mut visitor = server.client();
    assert!(visitor.get("/login").await.text.contains("<h1>登录</h1>"));
    assert_eq!(visitor.get("/language/en?next=/login").await.expect(303).location(), Some("/login"));
    assert!(visitor.get("/login").await.text.contains("<h1>Log in</h1>"));
    let refused = visitor.sign_in("admin", "wrong").await.expect(422).json();
    assert_eq!(refused["title"], "Wrong user name or password");
}

#[tokio::test]
async fn headers_close_what_nobody_needs() {
    let (server, mut administrator) = Server::with_administrator().await;
    for path in ["/", "/login", "/api/session", "/api/nothing", "/nothing"] {
        let headers = administrator.get(path).await.headers;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
    }
    let page = server.client().get("/login").await.text;
    let assets: Vec<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for path in assets {
        let asset = server.client().get(path).await.expect(200);
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        assert!(!asset.text.is_empty());
        server.client().get(&path.replace("/assets/", "/assets/0")).await.expect(404);
    }
}

#[tokio::test]
async fn where_somebody_wanted_to_go_is_kept_over_the_log_in() {
    let (server, _) = Server::with_administrator().await;
    let mut visitor = server.client();
    assert_eq!(visitor.get("/audit").await.expect(303).location(), Some("/login?next=/audit"));
    assert!(visitor.get("/login?next=/audit").await.text.contains("data-next=\"&#x2f;audit\""));
}

#[tokio::test]
async fn an_edited_users_file_is_reported_on_the_overview() {
    let (server, mut administrator) = Server::with_administrator().await;
    let path = server.config.storage.data.join("users.json");
    assert!(!administrator.get("/").await.text.contains("users.json 曾被手工修改"));
    std::fs::write(&path, "{}").unwrap();
    server.register("county").await;
    assert!(administrator.get("/").await.text.contains("users.json 曾被手工修改"));
    let mirror: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(mirror["users"].as_array().unwrap().len(), 2);
}
