//! How the web platform does under load: 200 people with open pages, 20 uploads at once, a training. `cargo xtask bench --load` builds
//! what it needs and runs it.
//!
//! Arguments: the program `fednodule`, seconds to measure, and a file for every number or `-`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark: it ends where it cannot go on"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const INSTITUTIONS: usize = 20;
const SESSIONS_EACH: usize = 10;
/// One person looks at something so often.
const PAUSE: Duration = Duration::from_millis(2000);
/// Of one scan that is uploaded: a small CT.
const SHAPE: [usize; 3] = [64, 512, 512];
const PIECE: usize = 8 << 20;
const TOKEN: &str = "set-up token of the load";
const PASSWORD: &str = "copper lantern drifting 42";
/// Milliseconds: what core pages and the API, and events, may take at the 99th percentile.
const GOALS: [f64; 2] = [200.0, 100.0];

/// Somebody signed in.
#[derive(Clone)]
struct Person {
    http: Hyper<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    cookie: String,
    csrf: String,
}

impl Person {
    async fn send(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Vec<u8>,
        more: &[(&str, String)],
    ) -> (u16, Bytes) {
        let origin = format!("http://{}", self.address);
        let mut request = Request::builder().method(method).uri(format!("{origin}{path}"));
        request = request.header(ORIGIN, &origin).header(CONTENT_TYPE, media);
        if !self.cookie.is_empty() {
            request = request.header(COOKIE, &self.cookie).header("x-csrf-token", &self.csrf);
        }
        for (name, value) in more {
            request = request.header(*name, value);
        }
        let response = self.http.request(request.body(Full::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, "application/json", body.to_string().into_bytes(), &[]).await;
        assert!(status < 400, "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap() }
    }

    async fn sign_in(address: SocketAddr, username: &str) -> Self {
        let http = Hyper::builder(TokioExecutor::new()).build_http();
        let mut person = Self { http, address, cookie: String::new(), csrf: String::new() };
        let origin = format!("http://{address}");
        let body = json!({ "username": username, "password": PASSWORD }).to_string();
        let request = Request::post(format!("{origin}/api/session")).header(ORIGIN, &origin);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::from(body)).unwrap();
        let response = person.http.request(request).await.unwrap();
        assert_eq!(response.status(), 201, "{username} cannot log in");
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
        person.cookie = cookie.split(';').next().unwrap().to_owned();
        let answer: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        person.csrf = answer["csrf_token"].as_str().unwrap().to_owned();
        person
    }
}

/// Durations of one kind, in milliseconds.
#[derive(Default)]
struct Samples(Mutex<BTreeMap<String, Vec<f64>>>);

impl Samples {
    fn add(&self, kind: &str, ms: f64) {
        self.0.lock().unwrap().entry(kind.to_owned()).or_default().push(ms);
    }
}

/// At this share of the sorted values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    fn start(program: &Path, folder: &Path) -> Self {
        let settings = [
            ("SETUP_TOKEN", TOKEN),
            ("BCRYPT_COST", "10"),
            ("REGISTRATIONS_PER_ADDRESS", "10000"),
            ("FAILURES_PER_ADDRESS", "10000"),
        ];
        let settings = settings.map(|(name, value)| (format!("FEDNODULE__ACCOUNTS__{name}"), value));
        let mut serve = Command::new(program);
        serve.args(["--json", "serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder).envs(settings);
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut ready = String::new();
        for line in lines {
            ready += &line;
            if line == "}" {
                break;
            }
        }
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let address = ready["address"].as_str().unwrap().parse().unwrap();
        Self { child, address }
    }

    /// Resident now and at most, MiB.
    fn memory(&self) -> [u64; 2] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        ["VmRSS:", "VmHWM:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
        })
    }
}

/// When the last change of an institution was sent, and when its answer came: microseconds since the beginning.
#[derive(Default)]
struct Change {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// Hears events by Engine.IO's own words, until the end.
async fn listen(person: Person, changes: Arc<Vec<Change>>, number: usize, start: Instant, samples: Arc<Samples>) {
    let mut request =
        format!("ws://{}/socket.io/?EIO=4&transport=websocket", person.address).into_client_request().unwrap();
    request.headers_mut().insert("cookie", person.cookie.parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let text = text.as_str();
        match text.as_bytes() {
            [b'0', ..] => socket.send(Message::text("40")).await.unwrap(),
            [b'2', ..] => socket.send(Message::text("3")).await.unwrap(),
            [b'4', b'2', ..] if text.contains("data.changed") => {
                let now = start.elapsed().as_micros() as f64 / 1e3;
                let own = &changes[number];
                let ms = |at: &AtomicU64| at.load(Ordering::SeqCst) as f64 / 1e3;
                samples.add("event, from the request", now - ms(&own.sent));
                // Before its answer is as early as can be.
                let answered = ms(&own.answered);
                let after = if answered >= ms(&own.sent) { (now - answered).max(0.0) } else { 0.0 };
                samples.add("event, from the answer", after);
            }
            _ => {}
        }
    }
}

/// Looks at one thing after the other.
async fn browse(person: Person, first: usize, samples: Arc<Samples>, stop: Arc<AtomicBool>) {
    let core = [
        "/",
        "/data",
        "/trainings",
        "/inferences",
        "/api/scans",
        "/api/uploads",
        "/api/trainings",
        "/api/events?since=0&limit=50",
    ];
    // People do not look all at the same moment.
    tokio::time::sleep(PAUSE.mul_f64((first * 37 % 200) as f64 / 200.0)).await;
    for number in first.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let path = core[number % core.len()];
        let start = Instant::now();
        let (status, _) = person.send("GET", path, "application/json", Vec::new(), &[]).await;
        samples.add(&format!("GET {path}"), start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(status, 200, "{path}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Uploads scans one after the other and deletes each; how many bytes, and how many arrived intact.
async fn upload(
    person: Person,
    own: usize,
    content: Arc<Vec<u8>>,
    samples: Arc<Samples>,
    stop: Arc<AtomicBool>,
) -> (u64, u64) {
    let [nz, ny, nx] = SHAPE;
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&*content)));
    let sums: Vec<String> = content.chunks(PIECE).map(|piece| STANDARD.encode(Sha256::digest(piece))).collect();
    let (mut bytes, mut intact) = (0, 0);
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let uid = format!("1.2.826.{own}.{number}");
        let header = format!(
            "NDims = 3\nDimSize = {nx} {ny} {nz}\nElementSpacing = 0.7 0.7 2.5\nElementType = MET_SHORT\nElementDataFile = {uid}.raw\n"
        );
        let files = json!([
            { "path": format!("{uid}.mhd"), "bytes": header.len(), "header": header },
            { "path": format!("{uid}.raw"), "bytes": content.len(), "header": null },
        ]);
        let planned = person.json("POST", "/api/uploads", json!({ "files": files })).await;
        let id = planned["scans"][0]["upload"].as_str().unwrap_or_else(|| panic!("{planned}")).to_owned();
        for (piece, sum) in content.chunks(PIECE).zip(&sums) {
            let offset = sums.iter().position(|known| std::ptr::eq(known, sum)).unwrap() * PIECE;
            let headers = [
                ("tus-resumable", "1.0.0".to_owned()),
                ("upload-offset", offset.to_string()),
                ("upload-checksum", format!("sha256 {sum}")),
                ("repr-digest", digest.clone()),
            ];
            let start = Instant::now();
            let media = "application/offset+octet-stream";
            let (status, answer) =
                person.send("PATCH", &format!("/api/uploads/{id}"), media, piece.to_vec(), &headers).await;
            samples.add("PATCH piece of 8 MiB", start.elapsed().as_secs_f64() * 1e3);
            assert_eq!(status, 204, "{}", String::from_utf8_lossy(&answer));
            bytes += piece.len() as u64;
        }
        let scan = loop {
            let scans = person.json("GET", "/api/scans", Value::Null).await;
            let scan =
                scans["scans"].as_array().unwrap().iter().find(|scan| scan["series_uid"] == uid.as_str()).cloned();
            if let Some(scan) = scan {
                break scan;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        intact += u64::from(scan["hu_min"] == -1000 && scan["hu_max"] == 400);
        person.json("DELETE", &format!("/api/scans/{}", scan["id"]), Value::Null).await;
    }
    (bytes, intact)
}

/// Two institutions with phantoms train for as long as the load lasts.
async fn train(admin: &Person, people: &[Vec<Person>], program: &Path, folder: &Path) {
    let phantoms = folder.join("phantoms");
    let arguments = ["--json", "phantom", "--sites", "2", "--scans", "1", "--out"];
    let made = Command::new(program).args(arguments).arg(&phantoms).stderr(Stdio::null()).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let sites: Vec<PathBuf> =
        made["sites"].as_array().unwrap().iter().map(|site| site.as_str().unwrap().into()).collect();
    for (own, site) in people.iter().zip(&sites) {
        let dataset = imaging::luna16::discover(site).unwrap();
        let data = folder
            .join("data/uploads")
            .join(format!("{}_data", name(people.iter().position(|p| std::ptr::eq(p, own)).unwrap())));
        std::fs::create_dir_all(&data).unwrap();
        let tables = dataset.tables.annotations.iter();
        for path in
            dataset.series.iter().flat_map(|series| [&series.path].into_iter().chain(&series.data_path)).chain(tables)
        {
            std::fs::copy(path, data.join(path.file_name().unwrap())).unwrap();
        }
    }
    let launch = json!({
        "participants": [name(0), name(1)], "rounds": 20, "local_epochs": 10, "patches_per_epoch": 1000, "batch_size": 2,
        "patch_size": 48, "network": "xxs", "min_lung_ml": 150,
    });
    admin.json("POST", "/api/trainings", launch).await;
    while admin.json("GET", "/api/trainings/1", Value::Null).await["state"] != "running" {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn name(institution: usize) -> String {
    format!("hospital-{institution}")
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, seconds, file] = &arguments[..] else { panic!("load PROGRAM SECONDS FILE") };
    let (program, seconds) = (Path::new(program), Duration::from_secs(seconds.parse().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(program, &folder.path().join("data"));
    let address = server.address;
    let at_start = server.memory()[0];

    let visitor = Person {
        http: Hyper::builder(TokioExecutor::new()).build_http(),
        address,
        cookie: String::new(),
        csrf: String::new(),
    };
    let set_up = json!({ "token": TOKEN, "username": "admin", "institution": "load", "password": PASSWORD });
    visitor.json("POST", "/api/setup", set_up).await;
    let admin = Person::sign_in(address, "admin").await;
    let mut people = Vec::new();
    for institution in 0..INSTITUTIONS {
        let body = json!({ "username": name(institution), "institution": "load", "password": PASSWORD });
        visitor.json("POST", "/api/accounts", body).await;
        admin.json("POST", &format!("/api/accounts/{}/approve", name(institution)), json!({})).await;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS_EACH {
            sessions.push(Person::sign_in(address, &name(institution)).await);
        }
        people.push(sessions);
    }
    train(&admin, &people, program, folder.path()).await;

    let (samples, stop, start) = (Arc::<Samples>::default(), Arc::new(AtomicBool::new(false)), Instant::now());
    let changes: Arc<Vec<Change>> = Arc::new((0..INSTITUTIONS).map(|_| Change::default()).collect());
    let mut listening = JoinSet::new();
    // Uploads change lists, too; whoever is timed must hear of the one change that is timed only.
    let quiet = INSTITUTIONS / 2;
    for (institution, sessions) in people.iter().enumerate() {
        for person in sessions {
            let heard = if institution < quiet { Arc::clone(&samples) } else { Arc::default() };
            listening.spawn(listen(person.clone(), Arc::clone(&changes), institution, start, heard));
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let online = admin.json("GET", "/api/presence", Value::Null).await;
    let sockets: u64 =
        online["online"].as_array().unwrap().iter().filter_map(|user| user["connections"].as_u64()).sum();

    let (mut browsing, mut uploading) = (JoinSet::new(), JoinSet::new());
    for (number, person) in people.iter().flatten().enumerate() {
        browsing.spawn(browse(person.clone(), number, Arc::clone(&samples), Arc::clone(&stop)));
    }
    let voxels: Vec<i16> = (0..SHAPE.iter().product::<usize>()).map(|voxel| (voxel % 1401) as i16 - 1000).collect();
    let content: Arc<Vec<u8>> = Arc::new(voxels.iter().flat_map(|hu| hu.to_le_bytes()).collect());
    for upload_number in 0..20 {
        // Two for each of the other half.
        let person = people[quiet + upload_number / 2][upload_number % 2].clone();
        let (content, samples, stop) = (Arc::clone(&content), Arc::clone(&samples), Arc::clone(&stop));
        uploading.spawn(upload(person, upload_number, content, samples, stop));
    }
    let began = Instant::now();
    let mut peak = 0;
    for round in 0.. {
        if began.elapsed() >= seconds {
            break;
        }
        let institution = round % quiet;
        let change = &changes[institution];
        change.sent.store(start.elapsed().as_micros() as u64, Ordering::SeqCst);
        people[institution][0].json("DELETE", "/api/annotations", Value::Null).await;
        change.answered.store(start.elapsed().as_micros() as u64, Ordering::SeqCst);
        peak = peak.max(server.memory()[0]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let training = admin.json("GET", "/api/trainings/1", Value::Null).await["state"].clone();
    let measured = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::SeqCst);
    while browsing.join_next().await.transpose().unwrap().is_some() {}
    let (mut bytes, mut intact) = (0, 0);
    while let Some(ended) = uploading.join_next().await {
        let (own_bytes, own_intact) = ended.unwrap();
        bytes += own_bytes;
        intact += own_intact;
    }
    let [at_end, most] = server.memory();
    report(
        &samples,
        file,
        &json!({
            "sockets": sockets, "training": training, "seconds": measured, "uploaded_mib_per_s": bytes as f64 / measured / f64::from(1 << 20),
            "scans": bytes / content.len() as u64, "scans_intact": intact,
            "memory_mib": { "start": at_start, "peak": most.max(peak), "end": at_end },
        }),
    );
}

/// The table, and the goals beside what was found.
fn report(samples: &Samples, file: &str, about: &Value) {
    let mut samples = samples.0.lock().unwrap();
    println!("{:36}{:>8}{:>10}{:>10}{:>10}", "milliseconds", "count", "p50", "p99", "max");
    let mut rows = Vec::new();
    let (mut pages, mut events) = (Vec::new(), Vec::new());
    for (kind, values) in samples.iter_mut() {
        values.sort_by(f64::total_cmp);
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(values, share));
        println!("{kind:36}{:>8}{p50:>10.1}{p99:>10.1}{max:>10.1}", values.len());
        rows.push(json!({ "kind": kind, "count": values.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max }));
        if kind.starts_with("GET") {
            pages.extend_from_slice(values);
        }
        if kind == "event, from the answer" {
            events.extend_from_slice(values);
        }
    }
    println!("\n{about:#}\n");
    let mut goals = Vec::new();
    for ((name, goal), mut values) in
        [("core pages and API, p99", GOALS[0]), ("Socket.IO delivery, p99", GOALS[1])].into_iter().zip([pages, events])
    {
        values.sort_by(f64::total_cmp);
        let found = percentile(&values, 0.99);
        println!(
            "{name:36}goal {goal:>6.0} ms   found {found:>8.1} ms   {}",
            if found <= goal { "met" } else { "NOT MET" }
        );
        goals.push(json!({ "goal": name, "limit_ms": goal, "found_ms": found }));
    }
    if file != "-" {
        let document = json!({ "rows": rows, "goals": goals, "about": about });
        if let Err(error) = std::fs::write(file, format!("{document:#}\n")) {
            eprintln!("{file}: {error}");
        }
    }
}
