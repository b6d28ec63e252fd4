//! What happened since a page looked last.

use crate::server::Server;

#[tokio::test]
async fn events_are_asked_for_by_number() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut institution = server.institution(&mut administrator, "city-first").await;
    for client in [&mut administrator, &mut institution] {
        let answer = client.get("/api/events?since=0").await.expect(200).json();
        assert_eq!((&answer["gap"], &answer["more"]), (&false.into(), &false.into()), "{answer}");
        let newest = answer["newest"].as_i64().unwrap();
        let answer = client.get(&format!("/api/events?since={}", newest + 1)).await.expect(200).json();
        assert_eq!(answer["gap"], true, "a number from another time: {answer}");
        let answer = client.get(&format!("/api/events?since={}", i64::MAX)).await.expect(200).json();
        assert_eq!(answer["gap"], true, "so is the greatest of all: {answer}");
        for bad in ["since=-1", "since=x", "limit=0", "limit=501"] {
            client.get(&format!("/api/events?{bad}")).await.expect_problem(400, "unreadable-request");
        }
    }
    // Whoever waits hears at once of what they may know, and of nothing else.
    let newest = administrator.get("/api/events").await.json()["newest"].clone();
    let (asked, mut other) = (format!("/api/events?since={newest}&wait=5"), administrator.clone());
    let waiting = tokio::spawn(async move { other.get(&asked).await.expect(200).json() });
    let quiet = format!("/api/events?since={newest}&wait=1");
    assert_eq!(institution.get(&quiet).await.expect(200).json()["events"], serde_json::json!([]));
    server.register("county-second").await;
    administrator.post("/api/accounts/county-second/approve", serde_json::json!(null)).await.expect(204);
    let answer = waiting.await.unwrap();
    assert_eq!(answer["events"][0]["kind"], "account.changed", "{answer}");
    institution.get("/api/events?wait=6").await.expect_problem(400, "unreadable-request");
    server.client().get("/api/events").await.expect_problem(401, "not-signed-in");
}
