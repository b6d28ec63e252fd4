//! A server that is killed at any moment keeps whatever it acknowledged, and its log holds no personal data.
//!
//! The server is this very program, started again with a variable that makes the test below be the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use platform::{Secret, Shutdown, verify_audit};
use serde_json::{Value, json};

use crate::client::Client;
use crate::postgres::Postgres;
use crate::server::{PASSWORD, SETUP_TOKEN, config};
use crate::uploads;

const DATA: &str = "PLATFORM_TEST_SERVER_DATA";
const DATABASE: &str = "PLATFORM_TEST_SERVER_DATABASE";
const TEST: &str = "kill::a_killed_server_keeps_what_it_acknowledged";

struct Killed {
    child: Child,
    client: Client,
}

impl Killed {
    fn start(test: &str, data: &Path, database: Option<&str>) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env(DATA, data)
            .env(DATABASE, database.unwrap_or_default())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|line| line.split("ADDRESS ").nth(1).map(str::to_owned));
        let client = Client::new(address.unwrap().parse().unwrap());
        Self { child, client }
    }

    fn kill(mut self) {
        // SIGKILL: no handler, no flush.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The part of the child.
fn serve(data: &Path) {
    let mut config = config(data.to_owned());
    config.accounts.registrations_per_address = 10_000;
    config.worker.program = crate::trainings::worker().unwrap_or_default();
    config.database.url = Secret::new(std::env::var(DATABASE).unwrap());
    config.database.check_seconds = 1;
    let _logs = platform::log_to_files(&config).unwrap();
    platform::run(&config, &Shutdown::default(), |ready| {
        println!("ADDRESS {}", ready.address);
        std::io::stdout().flush().unwrap();
    })
    .unwrap();
}

#[test]
fn a_killed_server_keeps_what_it_acknowledged() {
    if let Some(data) = std::env::var_os(DATA) {
        return serve(Path::new(&data));
    }
    kill_again_and_again(None);
}

/// With the users in a database, too, both have the same ones afterwards, and the audit log tells of each once.
#[test]
fn a_killed_server_and_its_database_agree() {
    let Some(postgres) = Postgres::start() else { return };
    kill_again_and_again(Some(&postgres));
}

fn kill_again_and_again(postgres: Option<&Postgres>) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut cookies = None;
    let mut acknowledged: Vec<String> = Vec::new();
    for life in 0..5_u64 {
        let mut server = Killed::start(TEST, &data, postgres.map(Postgres::url).as_deref());
        let count = Arc::new(AtomicUsize::new(0));
        let tasks = runtime.block_on(async {
            if life == 0 {
                let body = json!({ "token": SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
                server.client.post("/api/setup", body).await.expect(201);
                server.client.sign_in("admin", PASSWORD).await.expect(201);
                cookies = Some(server.client.cookies.clone());
            } else {
                // The session is among what was acknowledged.
                server.client.cookies = cookies.clone().unwrap();
                let accounts = server.client.get("/api/accounts").await.expect(200).json();
                let accounts = accounts["accounts"].as_array().unwrap();
                for name in &acknowledged {
                    assert!(accounts.iter().any(|account| account["username"] == name.as_str()), "{name} is lost");
                }
            }
            let spawn = |writer| tokio::spawn(write(server.client.clone(), life, writer, Arc::clone(&count)));
            (0..3).map(spawn).collect::<Vec<_>>()
        });
        // In the middle of the work, at another point of it each time.
        while count.load(Ordering::SeqCst) < 3 {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(37 * life));
        server.kill();
        for task in tasks {
            acknowledged.extend(runtime.block_on(task).unwrap());
        }

        // What lies there now, before anything repairs it.
        let report = verify_audit(&data).unwrap();
        assert_eq!(report.broken, None);
        let mirror: Value = serde_json::from_slice(&fs::read(data.join("users.json")).unwrap()).unwrap();
        let mirrored = mirror["users"].as_array().unwrap();
        for name in &acknowledged {
            assert!(mirrored.iter().any(|user| user["username"] == name.as_str()), "{name} is not in users.json");
        }
        let aside = fs::read_dir(&data).unwrap().filter_map(Result::ok);
        assert!(aside.map(|file| file.file_name()).all(|name| !name.to_string_lossy().contains("edited")));
    }
    assert!(acknowledged.len() >= 15, "only {} accounts were acknowledged", acknowledged.len());

    if let Some(postgres) = postgres {
        runtime.block_on(agrees(postgres, &data, cookies.unwrap()));
    }
    let logs = fs::read_dir(data.join("logs")).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let log = logs.collect::<Vec<_>>().join("\n");
    assert!(log.contains("path=\"/api/accounts\" status=201"), "{log}");
    for personal in ["127.0.0.1 ", "hospital-", "admin", "牵头", PASSWORD, SETUP_TOKEN] {
        assert!(!log.contains(personal), "the log holds {personal}");
    }
}

/// Whether a process is there; a zombie is not.
fn is_alive(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_server_goes_on_with_its_training() {
    const TEST: &str = "kill::a_killed_server_goes_on_with_its_training";
    if let Some(data) = std::env::var_os(DATA) {
        return serve(Path::new(&data));
    }
    if crate::trainings::worker().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut cookies = None;
    let mut csrf = None;
    for life in 0..4_u32 {
        let mut server = Killed::start(TEST, &data, None);
        let client = &mut server.client;
        runtime.block_on(async {
            if life == 0 {
                let body = json!({ "token": SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
                client.post("/api/setup", body).await.expect(201);
                client.sign_in("admin", PASSWORD).await.expect(201);
                for username in ["city", "county"] {
                    let body = json!({ "username": username, "institution": "市第一医院", "password": PASSWORD });
                    client.post("/api/accounts", body).await.expect(201);
                    client.post(&format!("/api/accounts/{username}/approve"), json!(null)).await.expect(204);
                    crate::trainings::give_data(&data, username);
                }
                fs::write(data.join("scenario.json"), r#"{"step_ms": 40}"#).unwrap();
                let body = json!({ "rounds": 4, "participants": ["city", "county"] });
                client.post("/api/trainings", body).await.expect(201);
                (cookies, csrf) = (Some(client.cookies.clone()), client.csrf.clone());
            } else {
                client.cookies = cookies.clone().unwrap();
                client.csrf.clone_from(&csrf);
            }
        });
        let view = |client: &mut Client| runtime.block_on(client.get("/api/trainings/1")).expect(200).json();
        if life < 3 {
            // In the middle of a later round each time.
            while view(&mut server.client)["round"].as_u64() < Some(u64::from(life) + 1) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let worker = fs::read_to_string(data.join("worker.pid")).unwrap();
            assert!(is_alive(&worker));
            server.kill();
            // Nobody goes on without the server.
            while is_alive(&worker) {
                std::thread::sleep(Duration::from_millis(20));
            }
            continue;
        }
        while view(&mut server.client)["state"] != "completed" {
            std::thread::sleep(Duration::from_millis(20));
        }
        let view = view(&mut server.client);
        let resumed: Vec<_> = view["resumed_at"].as_array().unwrap().iter().map(|r| r["after"].clone()).collect();
        assert_eq!(resumed, ["restart", "restart", "restart"]);
        assert_eq!((&view["completed_rounds"], &view["model"]), (&json!(4), &json!(1)));
        let history: Value = serde_json::from_slice(&fs::read(data.join("training_history.json")).unwrap()).unwrap();
        for (ours, theirs) in
            view["round_records"].as_array().unwrap().iter().zip(history["sessions"][0]["rounds"].as_array().unwrap())
        {
            assert_eq!(ours["training_loss"], theirs["training_loss"]);
        }
        server.kill();
    }
}

/// Whatever was acknowledged of an upload is there, and every scan is complete or not there.
#[test]
fn a_killed_server_keeps_what_arrived() {
    const TEST: &str = "kill::a_killed_server_keeps_what_arrived";
    if let Some(data) = std::env::var_os(DATA) {
        return serve(Path::new(&data));
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let files = |number: i16| {
        let at = folder.path().join(format!("files-{number}"));
        fs::create_dir_all(&at).unwrap();
        uploads::files(&at, &format!("1.2.{number}.mhd"), number, imaging::metaimage::Compression::None)
    };
    let mut signed_in = None;
    let sent: Vec<Arc<AtomicUsize>> = (0..8).map(|_| Arc::default()).collect();
    for life in 0..6_u64 {
        let mut server = Killed::start(TEST, &data, None);
        let client = &mut server.client;
        let pieces = Arc::new(AtomicUsize::new(0));
        let tasks = runtime.block_on(async {
            if life == 0 {
                let body = json!({ "token": SETUP_TOKEN, "username": "admin", "institution": "牵头单位", "password": PASSWORD });
                client.post("/api/setup", body).await.expect(201);
                client.sign_in("admin", PASSWORD).await.expect(201);
                signed_in = Some((client.cookies.clone(), client.csrf.clone()));
            }
            (client.cookies, client.csrf) = signed_in.clone().unwrap();
            let send = |(number, sent): (i16, &Arc<AtomicUsize>)| {
                let (client, sent, pieces, paths) = (client.clone(), Arc::clone(sent), Arc::clone(&pieces), files(number));
                tokio::spawn(send_until_gone(client, paths, sent, pieces))
            };
            (0..).zip(&sent).map(send).collect::<Vec<_>>()
        });
        let last = life == 5;
        while !last && pieces.load(Ordering::SeqCst) < 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if last {
            for task in tasks {
                runtime.block_on(task).unwrap();
            }
            for number in 0..8_i16 {
                let uid = format!("1.2.{number}");
                let scan = runtime.block_on(uploads::scan_of(client, &uid));
                let about = imaging::describe(&files(number)[0]).unwrap();
                assert_eq!(scan["hu_min"], about.hu_min);
                let home = data.join("uploads/admin_data");
                let stored = imaging::luna16::discover(&home).unwrap();
                assert!(stored.problems.is_empty(), "{:?}", stored.problems);
                let stored = stored.series.iter().find(|series| series.series_uid == uid).unwrap();
                assert_eq!(imaging::describe(&stored.path).unwrap(), about);
            }
            assert_eq!(fs::read_dir(data.join("incoming")).unwrap().count(), 0);
            server.kill();
            continue;
        }
        std::thread::sleep(Duration::from_millis(3 * life));
        server.kill();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
    }
}

/// Sends a scan in small pieces until it or the server is at its end; `sent` is what was acknowledged in all lives.
async fn send_until_gone(mut client: Client, paths: Vec<PathBuf>, sent: Arc<AtomicUsize>, pieces: Arc<AtomicUsize>) {
    let Ok(planned) = client.try_send("POST", "/api/uploads", Some(uploads::offered(&paths).to_string())).await else {
        return;
    };
    let planned = planned.expect(200).json()["scans"][0].clone();
    if planned["state"] == "there" {
        return;
    }
    let content = fs::read(&paths[1]).unwrap();
    let mut offset = planned["offset"].as_u64().unwrap() as usize;
    assert!(offset >= sent.load(Ordering::SeqCst), "{offset} bytes are left of {sent:?}: {planned}");
    let id = planned["upload"].as_str().unwrap();
    while offset < content.len() {
        let end = content.len().min(offset + 200);
        match uploads::try_patch(&mut client, id, offset as u64, &content[offset..end], &[]).await {
            Ok(answer) => drop(answer.expect(204)),
            Err(_) => return,
        }
        offset = end;
        sent.store(offset, Ordering::SeqCst);
        pieces.fetch_add(1, Ordering::SeqCst);
    }
}

/// The database, the server's copy and the audit log name the same accounts.
async fn agrees(postgres: &Postgres, data: &Path, cookies: BTreeMap<String, String>) {
    let mut server = Killed::start(TEST, data, Some(&postgres.url()));
    server.client.cookies = cookies;
    // What was under way is finished before a server answers, where its database does.
    let accounts = server.client.get("/api/accounts").await.expect(200).json();
    let name = |account: &Value| account["username"].as_str().unwrap().to_owned();
    let here: BTreeSet<String> = accounts["accounts"].as_array().unwrap().iter().map(name).collect();
    let rows = postgres.console().await.query("SELECT username FROM fednodule.users", &[]).await.unwrap();
    let there: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(here, there);
    let mut registered = BTreeMap::new();
    let mut before = i64::MAX;
    while before > 1 {
        let page = server.client.get(&format!("/api/audit?limit=200&before={before}")).await.expect(200).json();
        for entry in page["entries"].as_array().unwrap() {
            assert_ne!(entry["action"], "users_reconciled", "{entry}");
            if entry["action"] == "registered" {
                *registered.entry(entry["target"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
            before = entry["seq"].as_i64().unwrap();
        }
    }
    assert!(registered.values().all(|count| *count == 1), "{registered:?}");
    assert_eq!(registered.len(), there.len() - 1);
    server.kill();
}

/// Registers accounts until the server is gone; returns those that it acknowledged.
async fn write(mut client: Client, life: u64, writer: u64, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut done = Vec::new();
    for number in 0.. {
        let name = format!("hospital-{life}-{writer}-{number}");
        let body = json!({ "username": name, "institution": "市第一医院", "password": PASSWORD });
        match client.try_send("POST", "/api/accounts", Some(body.to_string())).await {
            Ok(answer) if answer.status == 201 => {
                done.push(name);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => break,
        }
    }
    done
}
