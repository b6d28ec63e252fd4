//! The settings page says what is in force and where it comes from, and never a secret; the help page what is still to do.

use imaging::metaimage::Compression;
use imaging::{Geometry, Volume};
use platform::{Config, Sources};
use serde_json::{Value, json};

use crate::scans::put_scan;
use crate::server::{SETUP_TOKEN, Server};

#[tokio::test]
async fn every_setting_is_shown_with_its_source_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.toml");
    std::fs::write(&file, "[sessions]\nidle_minutes = 45").unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let url = "postgresql://u:very-secret@127.0.0.1:1/d?sslmode=disable";
    let environment = vec![
        variable("FEDNODULE__ACCOUNTS__SETUP_TOKEN", SETUP_TOKEN),
        variable("DATABASE_URL", "postgresql://other@h/d"),
        variable("SUPABASE_DB_URL", url),
    ];
    let sources = Sources {
        file: Some(&file),
        environment,
        explicit: vec![
            ("storage.data", folder.path().join("data").display().to_string()),
            ("server.listen", "127.0.0.1:0".to_owned()),
        ],
        ..Sources::default()
    };
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(loaded.database.url.expose(), url);
    let server = Server::start_with(|config| {
        config.settings.clone_from(&loaded.settings);
    });
    let server = server.await;
    let mut administrator = server.set_up().await;
    let answer = administrator.get("/api/settings").await.expect(200);
    assert!(!answer.text.contains("very-secret") && !answer.text.contains(SETUP_TOKEN));
    let document = answer.json();
    let of = |key: &str| -> Value {
        let settings = document["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("{key}")).clone()
    };
    assert_eq!(
        (&of("sessions.idle_minutes")["value"], &of("sessions.idle_minutes")["origin"]),
        (&json!("45"), &json!("file"))
    );
    assert_eq!(of("sessions.absolute_hours")["origin"], "default");
    let database = of("database.url");
    assert_eq!(
        database,
        json!({ "key": "database.url", "value": null, "hidden": true, "origin": "variable", "place": "SUPABASE_DB_URL" })
    );
    assert_eq!(of("mail.password")["hidden"], false);
    assert_eq!(of("server.listen")["origin"], "command_line");
    let page = administrator.get("/settings").await.expect(200).text;
    assert!(page.contains("[database]") && page.contains("SUPABASE_DB_URL") && !page.contains("very-secret"));
    let verdict = administrator.post("/api/settings/database-test", json!({})).await.expect(200).json();
    assert_eq!((&verdict["ok"], &verdict["title"]), (&json!(true), &json!("用户保存在本机")));
}

#[tokio::test]
async fn the_checklist_finds_out_what_is_done() {
    let (server, mut administrator) = Server::with_administrator().await;
    assert!(administrator.get("/help").await.expect(200).text.contains("已完成 1&#x2f;7"));
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let page = administrator.get("/help").await.expect(200).text;
    assert!(page.contains("已完成 2&#x2f;7"), "{page}");
    assert!(hospital.get("/help").await.expect(200).text.contains("已完成 1&#x2f;3"));
    std::fs::write(server.config.storage.data.join("training_history.json"), "{}").unwrap();
    assert!(hospital.get("/help").await.text.contains("已完成 2&#x2f;3"));
    let volume = Volume::filled(Geometry::axis_aligned([4, 8, 8], [1.0; 3], [0.0; 3]).unwrap(), -1000);
    put_scan(&server, &mut hospital, &volume, Compression::None).await;
    assert!(hospital.get("/help").await.text.contains("已完成 3&#x2f;3"));
    assert!(administrator.get("/help").await.text.contains("已完成 4&#x2f;7"));
}
