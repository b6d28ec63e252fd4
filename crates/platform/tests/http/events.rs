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
        for bad in ["since=-1", "since=x", "limit=0", "limit=501"] {
            client.get(&format!("/api/events?{bad}")).await.expect_problem(400, "unreadable-request");
        }
    }
    server.client().get("/api/events").await.expect_problem(401, "not-signed-in");
}
