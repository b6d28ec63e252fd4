//! The logs and the machine, on pages and for programs.

use crate::server::Server;

#[tokio::test]
async fn questions_about_logs_that_make_no_sense_are_refused_and_nothing_else_is_read() {
    let (server, mut administrator) = Server::with_administrator().await;
    let logs = server.config.storage.data.join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("server.2026-11-26.log"), "2026-11-26T01:02:03.4Z  WARN there: it was\nno line\n")
        .unwrap();
    std::fs::write(logs.join("secret.2026-11-26.log"), "2026-11-26T01:02:03.4Z  WARN there: secret\n").unwrap();
    let answer = administrator.get("/api/logs?kind=server&level=warn&q=WAS").await.expect(200).json();
    assert_eq!(answer["lines"].as_array().unwrap().len(), 1);
    assert_eq!(answer["lines"][0]["text"], "there: it was");
    assert_eq!(answer["lines"][0]["level"], "warn");
    for bad in ["kind=secret", "kind=../x", "level=all", "before=../../x.1", "before=1"] {
        administrator.get(&format!("/api/logs?{bad}")).await.expect_problem(400, "unreadable-request");
    }
    assert_eq!(administrator.get("/api/logs?kind=training").await.json()["lines"], serde_json::json!([]));
    let machine = administrator.get("/api/system").await.expect(200).json()["machine"].clone();
    assert!(machine["memory_bytes"].as_u64() > machine["own_memory_bytes"].as_u64(), "{machine}");
}
