//! Starting, draining, stopping.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use platform::{ServeError, Shutdown, StorageError};
use serde_json::json;

use crate::client::Client;
use crate::server::{PASSWORD, Server, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_before_the_server_stops() {
    let server = Server::start().await;
    let address = server.address;
    let body = json!({ "username": "nobody", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /api/session HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&body.as_bytes()[..10]).unwrap();
    // Another client's connection that only stays open must not hold the server up.
    let mut idle = Client::new(address);
    idle.get("/api/health").await.expect(200);
    server.shutdown().request();
    tokio::time::sleep(Duration::from_millis(200)).await;
    connection.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    server.stop().await;
    assert!(idle.try_send("GET", "/api/health", None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_given_up() {
    let server = Server::start_with(|config| config.server.drain_seconds = 0).await;
    let address = server.address;
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /api/session HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    // Nothing holds the data folder afterwards.
    server.restart().await;
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_ends_with_a_reason() {
    let server = Server::start_with(|config| config.server.request_seconds = 1).await;
    let address = server.address;
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /api/session HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 99\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("urn:fednodule:problem:timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let server = Server::start_with(|config| config.server.request_seconds = 1).await;
    for beginning in ["", "GET /api/health HTTP/1.1\r\nHo"] {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.write_all(beginning.as_bytes()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_server_from_starting_is_named() {
    let server = Server::start().await;
    let same_folder = platform::serve(&server.config, &Shutdown::default(), |_| ()).await;
    assert!(matches!(same_folder, Err(ServeError::Storage(StorageError::InUse { .. }))), "{same_folder:?}");
    let folder = tempfile::tempdir().unwrap();
    let mut other = config(folder.path().join("other"));
    other.server.listen = server.address;
    let taken = platform::serve(&other, &Shutdown::default(), |_| ()).await.unwrap_err();
    assert_eq!(taken.to_string(), format!("cannot listen on {}", server.address));
    let mut no_folder = config(folder.path().join("file").join("data"));
    std::fs::write(folder.path().join("file"), "").unwrap();
    no_folder.server.listen = "127.0.0.1:0".parse().unwrap();
    let message = platform::serve(&no_folder, &Shutdown::default(), |_| ()).await.unwrap_err().to_string();
    assert!(message.starts_with("cannot use ") && message.contains("file"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_a_matter_of_moments() {
    let (server, _) = Server::with_administrator().await;
    let start = Instant::now();
    let server = server.restart().await;
    server.client().get("/api/health").await.expect(200);
    // The design allows ten seconds; nothing here takes more than opening a database.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
