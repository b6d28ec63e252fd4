//! Every route of the table with every kind of visitor: the table says who may come in, the server must agree.

use platform::{Access, ROUTES, Role, Route};

use crate::client::{Answer, Client};
use crate::server::Server;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Visitor {
    Anonymous,
    Is(Role),
}

fn may(access: Access, visitor: Visitor) -> bool {
    match access {
        Access::Anyone => true,
        Access::SignedIn => visitor != Visitor::Anonymous,
        Access::Server => visitor == Visitor::Is(Role::Server),
    }
}

/// The address with something in place of its parameters that does no harm.
fn address(route: &Route) -> String {
    let path = route.path.replace("{username}", "nobody-of-this-name").replace("{tag}", "zh");
    let path = path.replace("{training}", "404").replace("{model}", "404");
    let path = path
        .replace("{upload}", "AAAA")
        .replace("{number}", "1")
        .replace("{version}", "0")
        .replace("{name}", "app.css");
    let path = path.replace("{id}", "4000000000").replace("{plane}", "axial").replace("{slice}", "0");
    assert!(!path.contains('{'), "{path}: what stands for the parameter?");
    path
}

async fn visit(client: &Client, route: &Route) -> Answer {
    // An empty object lacks fields, so nothing happens; ending the session would spoil the next visit.
    let mut client = client.clone();
    client.send(route.method, &address(route), (route.method != "GET").then(|| "{}".to_owned())).await
}

#[tokio::test]
async fn the_table_of_routes_holds_for_every_visitor() {
    let (server, mut administrator) = Server::with_administrator().await;
    server.register("waiting").await;
    let mut checked = 0;
    for route in ROUTES {
        // A session of its own for every route: one of them ends it.
        let mut institution = server.client();
        if checked == 0 {
            server.institution(&mut administrator, "city-first").await;
        }
        institution.sign_in("city-first", crate::server::PASSWORD).await.expect(201);
        let mut other_administrator = server.client();
        other_administrator.sign_in("admin", crate::server::PASSWORD).await.expect(201);
        let visitors = [
            (Visitor::Anonymous, server.client()),
            (Visitor::Is(Role::Client), institution),
            (Visitor::Is(Role::Server), other_administrator),
        ];
        for (visitor, client) in visitors {
            let case = format!("{visitor:?} {} {}", route.method, route.path);
            let answer = visit(&client, route).await;
            let refusal = match visitor {
                _ if may(route.access, visitor) => {
                    assert!(!matches!(answer.status, 401 | 403 | 405 | 500..), "{case}: {answer:?}");
                    let to_login = answer.location().is_some_and(|to| to.starts_with("/login?"));
                    assert!(!to_login, "{case}: {answer:?}");
                    continue;
                }
                Visitor::Anonymous if route.is_page() => {
                    assert_eq!(answer.status, 303, "{case}");
                    assert!(answer.location().unwrap().starts_with("/login"), "{case}");
                    continue;
                }
                Visitor::Anonymous => (401, "not-signed-in"),
                Visitor::Is(_) => (403, "forbidden"),
            };
            assert_eq!(answer.status, refusal.0, "{case}");
            if !route.is_page() {
                answer.expect_problem(refusal.0, refusal.1);
            }
            checked += 1;
        }
        checked += 1;
    }
    assert!(checked > ROUTES.len(), "some visitors were refused");
}

#[tokio::test]
async fn whatever_changes_something_needs_our_own_page() {
    let (server, administrator) = Server::with_administrator().await;
    // Clients of sockets know no headers of ours; their own test says what they must bring.
    for route in ROUTES.iter().filter(|route| route.method != "GET" && !route.is_socket()) {
        let mut foreign = administrator.clone();
        foreign.origin = Some("http://evil.example".to_owned());
        visit(&foreign, route).await.expect_problem(403, "foreign-origin");
        foreign.origin = None;
        visit(&foreign, route).await.expect_problem(403, "foreign-origin");
        let mut foreign = server.client();
        foreign.origin = Some("null".to_owned());
        visit(&foreign, route).await.expect_problem(403, "foreign-origin");

        if route.access != Access::Anyone {
            for token in [None, Some("wrong".to_owned())] {
                let mut without = administrator.clone();
                without.csrf = token;
                visit(&without, route).await.expect_problem(403, "csrf");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_in_the_table_does_not_exist() {
    let (server, mut administrator) = Server::with_administrator().await;
    for path in ["/api", "/api/", "/api/accounts/", "/.env", "/users/", "/assets/../Cargo.toml", "/static/app.css"] {
        administrator.get(path).await.expect(404);
        server.client().get(path).await.expect(404);
    }
    administrator.get("/api/nothing").await.expect_problem(404, "not-found");
    administrator.send("PATCH", "/api/session", None).await.expect_problem(405, "method-not-allowed");
    assert!(administrator.get("/nothing").await.text.contains("没有这个页面"));
    administrator.get("/api/accounts/%ff/approve").await.expect(405);
    administrator.send("POST", "/api/accounts/%ff/approve", None).await.expect_problem(400, "unreadable-request");
}
