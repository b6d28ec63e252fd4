//! Socket.IO, heard by the ordinary clients of JavaScript and Python.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::client::Client;
use crate::peers;
use crate::server::{PASSWORD, Server};

const LONG: Duration = Duration::from_secs(20);

/// A client of somebody else, and what it says.
struct Listener {
    child: Child,
    lines: UnboundedReceiver<String>,
}

impl Listener {
    fn start(mut command: Command, client: &Client, transport: &str) -> Self {
        let cookies: Vec<String> = client.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        command.arg(format!("http://{}", client.address)).arg(cookies.join("; ")).arg(transport);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = unbounded_channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok());
        Self { child, lines }
    }

    async fn next(&mut self) -> String {
        timeout(LONG, self.lines.recv()).await.expect("nothing is heard").expect("the client has ended")
    }

    /// The next line that begins so; others may come before it.
    async fn heard(&mut self, beginning: &str) -> String {
        loop {
            let line = self.next().await;
            if line.starts_with(beginning) {
                return line;
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn javascript() -> Option<Command> {
    peers::named("Socket.IO's JavaScript client", "FEDNODULE_NODE_MODULES")?;
    let mut node = Command::new("node");
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/sockets.mjs"));
    Some(node)
}

fn python() -> Option<Command> {
    let mut python = Command::new(peers::python_with("socketio")?);
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/sockets.py"));
    Some(python)
}

async fn import(client: &mut Client, series: &str) {
    let table = format!("seriesuid,coordX,coordY,coordZ,diameter_mm\n{series},0,0,0,5\n");
    let import = client.try_send_bytes("POST", "/api/annotations", Some("text/csv"), table.into_bytes()).await;
    import.unwrap().expect(200);
}

async fn hears(make: fn() -> Option<Command>, transport: &str, in_order: bool) {
    let Some(command) = make() else { return };
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let mut other = server.institution(&mut administrator, "county").await;
    import(&mut hospital, "1.1").await;
    let mut listener = Listener::start(command, &hospital, transport);
    let known = hospital.get("/api/events?since=0").await.expect(200).json();
    let count = known["events"].as_array().unwrap().len();
    assert_eq!(listener.next().await, format!("connected {count} {} false false", known["newest"]));
    let online = administrator.get("/api/presence").await.expect(200).json();
    assert_eq!(online["online"], json!([{ "username": "city-first", "role": "client", "connections": 1 }]));

    // Its own, in their order, and nobody else's.
    for round in 0..20 {
        import(&mut other, &format!("2.{round}")).await;
        import(&mut hospital, &format!("1.{round}")).await;
    }
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let line = listener.next().await;
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let ["event", number, "data.changed", payload] = words[..] else { panic!("{line}") };
        assert_eq!(serde_json::from_str::<Value>(payload).unwrap(), json!({ "username": "city-first" }));
        numbers.push(number.parse::<i64>().unwrap());
    }
    // Python's client hands each event to a thread of its own, which come to their turn in any order.
    if !in_order {
        numbers.sort_unstable();
    }
    assert!(numbers[0] > known["newest"].as_i64().unwrap() && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    // Whose session ends hears nothing more, soon.
    let start = Instant::now();
    hospital.send("DELETE", "/api/session", None).await.expect(204);
    listener.heard("disconnected").await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    while administrator.get("/api/presence").await.json()["online"] != json!([]) {
        assert!(start.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_hears_by_websocket() {
    hears(javascript, "websocket", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_hears_by_polling() {
    hears(javascript, "polling", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_hears_by_websocket() {
    hears(python, "websocket", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_hears_by_polling() {
    hears(python, "polling", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_connections_in_time_and_strangers_are_refused_by_name() {
    let (server, administrator) = Server::with_administrator().await;
    if let Some(command) = javascript() {
        let mut stranger = Listener::start(command, &server.client(), "websocket");
        assert!(stranger.next().await.starts_with("refused"));
    }
    if let Some(command) = python() {
        let mut stranger = Listener::start(command, &server.client(), "polling");
        assert!(stranger.next().await.starts_with("refused"));
    }
    let Some(command) = javascript() else { return };
    let mut listener = Listener::start(command, &administrator, "websocket");
    listener.heard("connected").await;
    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    listener.heard("disconnected").await;
}

/// Before anything is upgraded.
#[tokio::test]
async fn nobody_gets_a_transport_without_a_session_and_an_own_page() {
    let (server, administrator) = Server::with_administrator().await;
    let upgrade = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (path, headers) in
        [("/socket.io/?EIO=4&transport=polling", &[][..]), ("/socket.io/?EIO=4&transport=websocket", &upgrade[..])]
    {
        let with = |mut client: Client| {
            client.extra = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            client
        };
        with(server.client()).get(path).await.expect_problem(401, "not-signed-in");
        for origin in ["http://evil.example", "null"] {
            let mut foreign = with(administrator.clone());
            foreign.origin = Some(origin.to_owned());
            foreign.get(path).await.expect_problem(403, "foreign-origin");
            foreign.send("POST", path, Some("40".to_owned())).await.expect_problem(403, "foreign-origin");
        }
    }
    let mut program = administrator.clone();
    program.origin = None;
    let opened = program.get("/socket.io/?EIO=4&transport=polling").await.expect(200);
    let opened: Value = serde_json::from_str(opened.text.strip_prefix('0').unwrap()).unwrap();
    assert!(opened["sid"].as_str().unwrap().len() >= 16 && opened["maxPayload"] == 4096, "{opened}");
    // A guess of somebody's transport is none.
    let guess = "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA";
    program.get(guess).await.expect(400);
    server.institution(&mut administrator.clone(), "city-first").await;
    let mut client = server.client();
    client.sign_in("city-first", PASSWORD).await.expect(201);
    client.get("/api/presence").await.expect_problem(403, "forbidden");
}
