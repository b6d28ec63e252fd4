//! The demonstration on a server, so that it can be watched: an administrator and hospitals do over HTTP what people do on
//! pages, from registering to a result in the viewer.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imaging::luna16::discover;
use imaging::metaimage::Limits;
use indicatif::ProgressBar;
use platform::{Config, Secret, ServeError, Shutdown, Sources};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use transport::Stop;
use ureq::http::Request;
use workflow::catalog::Message;

use crate::console::Console;

const PIECE: usize = 8 << 20;
const LOOK: Duration = Duration::from_millis(500);

/// A server of this process.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Its data folder.
    pub(super) data: PathBuf,
    pub(super) accounts: Accounts,
    shutdown: Shutdown,
    thread: JoinHandle<Result<(), ServeError>>,
}

/// Whoever takes part, with passwords that were made for this folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Accounts {
    setup_token: String,
    pub(super) administrator: Account,
    pub(super) hospitals: Vec<Account>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) username: String,
    pub(super) password: String,
    institution: String,
}

impl Accounts {
    /// Those of the folder, made where there are none.
    fn of(data: &Path, hospitals: &[String]) -> anyhow::Result<Self> {
        let path = data.join("demo-accounts.json");
        if let Ok(text) = fs::read_to_string(&path) {
            return serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()));
        }
        let account = |username: &str, institution: &str| -> anyhow::Result<Account> {
            let (username, institution) = (username.to_owned(), institution.to_owned());
            Ok(Account { username, institution, password: random()? })
        };
        let accounts = Self {
            setup_token: random()?,
            administrator: account("admin", "演示协调方 Demo coordinator")?,
            hospitals: hospitals
                .iter()
                .map(|name| account(name, &format!("演示医院 {name}")))
                .collect::<anyhow::Result<_>>()?,
        };
        fs::create_dir_all(data)?;
        let mut options = fs::File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        serde_json::to_writer_pretty(options.open(&path)?, &accounts)?;
        Ok(accounts)
    }
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

impl Server {
    /// Serves on `listen`, with everything in `data`.
    pub(super) fn start(listen: SocketAddr, data: &Path, hospitals: &[String]) -> anyhow::Result<Self> {
        let data = std::path::absolute(data)?;
        let accounts = Accounts::of(&data, hospitals)?;
        let mut config = Config::load(&Sources::default())?;
        config.server.listen = listen;
        config.storage.data.clone_from(&data);
        config.accounts.setup_token = Secret::new(&accounts.setup_token);
        let shutdown = Shutdown::default();
        let asked = shutdown.clone();
        let (tell, told) = mpsc::channel();
        let serve = move || {
            platform::run(&config, &asked, |ready| {
                tell.send(ready.address).ok();
            })
        };
        let thread = thread::spawn(serve);
        match told.recv() {
            Ok(address) => Ok(Self { address, data, accounts, shutdown, thread }),
            // It ended before it answered.
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error.into()),
                _ => bail!("the server did not start"),
            },
        }
    }

    /// Ends it; workers stop at their next step.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.shutdown.request();
        self.thread.join().map_err(|_| anyhow!("the server failed"))?.map_err(Into::into)
    }

    fn sign_in(&self, account: &Account) -> anyhow::Result<Person> {
        let mut person = Person::new(self.address);
        person.sign_in(account)?;
        Ok(person)
    }

    /// Everybody registers and brings their scans; the training that `launch` describes is run, and its model taken into
    /// use.
    pub(super) fn train(
        &self,
        folders: &[PathBuf],
        launch: &Value,
        bar: &ProgressBar,
        console: &Console,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let mut visitor = Person::new(self.address);
        let Accounts { setup_token, administrator, hospitals } = &self.accounts;
        let Account { username, password, institution } = administrator;
        let set_up =
            json!({ "token": setup_token, "username": username, "password": password, "institution": institution });
        // What an earlier run has done is refused, which is fine: signing in shows whether it was.
        visitor.ask("POST", "/api/setup", &set_up)?;
        let mut admin = self.sign_in(administrator)?;
        for (hospital, folder) in hospitals.iter().zip(folders) {
            let Account { username, password, institution } = hospital;
            let body = json!({ "username": username, "password": password, "institution": institution });
            visitor.ask("POST", "/api/accounts", &body)?;
            admin.ask("POST", &format!("/api/accounts/{username}/approve"), &json!({}))?;
            let mut person = self.sign_in(hospital)?;
            bar.set_message(console.text(Message::DemoUpload { hospital: username }));
            person.bring(folder, bar)?;
        }
        let trainings = admin.get("/api/trainings")?;
        let known = trainings["trainings"].as_array().is_some_and(|trainings| !trainings.is_empty());
        if !known {
            admin.post("/api/trainings", launch)?;
        }
        console.note(Message::DemoWatch { address: &self.address });
        let model = self.watch(&mut admin, bar, console, stop)?;
        let versions = admin.get("/api/models")?;
        let is_current =
            versions["versions"].as_array().into_iter().flatten().any(|version| version["is_current"] == true);
        if !is_current {
            admin.post(&format!("/api/models/{model}/promote"), &json!({ "reason": "演示 demonstration" }))?;
        }
        Ok(())
    }

    /// The first hospital marks scans that nobody trained on.
    pub(super) fn mark(&self, held_out: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
        let Some(first) = self.accounts.hospitals.first() else { return Ok(()) };
        let mut person = self.sign_in(first)?;
        let new = person.bring(held_out, bar)?;
        if !new.is_empty() {
            let body = json!({ "scan_ids": new, "mode": "fast", "threshold": 0.1 });
            person.post("/api/inferences", &body)?;
        }
        Ok(())
    }

    /// Until the training is over; its model.
    fn watch(&self, admin: &mut Person, bar: &ProgressBar, console: &Console, stop: &Stop) -> anyhow::Result<i64> {
        loop {
            let training = admin.get("/api/trainings/1")?;
            let done = training["completed_rounds"].as_u64().unwrap_or_default();
            let rounds = training["rounds"].as_u64().unwrap_or_default();
            bar.set_length(rounds);
            bar.set_position(done);
            bar.set_message(console.text(Message::DemoRounds));
            match training["state"].as_str() {
                Some("completed") => {
                    return training["model"].as_i64().context("the training has no model");
                }
                Some("failed" | "cancelled" | "paused") => {
                    bail!("the training is {}: {}", training["state"], training["reason"])
                }
                _ if stop.requested() => bail!("stopped"),
                _ => thread::sleep(LOOK),
            }
        }
    }
}

/// Somebody with a browser.
struct Person {
    agent: ureq::Agent,
    base: String,
    cookie: String,
    csrf: String,
}

impl Person {
    fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { agent, base: format!("http://{address}"), cookie: String::new(), csrf: String::new() }
    }

    fn sign_in(&mut self, account: &Account) -> anyhow::Result<()> {
        let body = json!({ "username": account.username, "password": account.password });
        let (status, answer) =
            self.send("POST", "/api/session", "application/json", body.to_string().into_bytes(), &[])?;
        ensure!(status == 201, "{} cannot log in: {}", account.username, answer["title"]);
        self.csrf = answer["csrf_token"].as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    /// A status and a document, whatever they say.
    fn send(
        &mut self,
        method: &str,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
        headers: &[(&str, String)],
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header("Origin", &self.base).header("Content-Type", media_type);
        if !self.cookie.is_empty() {
            request = request.header("Cookie", &self.cookie).header("X-CSRF-Token", &self.csrf);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut response = self.agent.run(request.body(body)?)?;
        let cookie = response.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        if let Some(cookie) = cookie.and_then(|cookie| cookie.split(';').next()) {
            cookie.clone_into(&mut self.cookie);
        }
        let text = response.body_mut().read_to_string()?;
        let document = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        Ok((response.status().as_u16(), document))
    }

    /// Sends a document; a refusal is an answer, too.
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.send(method, path, "application/json", body.to_string().into_bytes(), &[])
    }

    fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        accepted(path, self.ask("POST", path, body)?)
    }

    fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        accepted(path, self.ask("GET", path, &Value::Null)?)
    }

    /// Uploads the scans and the annotations of a folder as LUNA16 lays it out; the numbers of scans that are new.
    fn bring(&mut self, folder: &Path, bar: &ProgressBar) -> anyhow::Result<Vec<i64>> {
        let dataset = discover(folder)?;
        let before = self.scans()?;
        bar.set_length(dataset.series.len() as u64);
        for (number, series) in dataset.series.iter().enumerate() {
            bar.set_position(number as u64);
            let data = series.data_path.as_ref().unwrap_or(&series.path);
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut header = fs::read(&series.path)?;
            header.truncate(Limits::MAX_HEADER_BYTES);
            let header = String::from_utf8_lossy(&header).into_owned();
            let mut files = vec![json!({
                "path": name(&series.path), "bytes": fs::metadata(&series.path)?.len(), "header": header
            })];
            if *data != series.path {
                files.push(json!({ "path": name(data), "bytes": fs::metadata(data)?.len(), "header": null }));
            }
            let planned = self.post("/api/uploads", &json!({ "files": files }))?;
            let planned = &planned["scans"][0];
            match planned["state"].as_str() {
                Some("there") => continue,
                Some("wanted") => self.send_data(planned, data)?,
                _ => bail!("{} cannot be uploaded: {}", series.path.display(), planned["message"]),
            }
        }
        let after = loop {
            let after = self.scans()?;
            if dataset.series.iter().all(|series| after.iter().any(|(uid, _)| *uid == series.series_uid)) {
                break after;
            }
            thread::sleep(LOOK);
        };
        if let Some(table) = &dataset.tables.annotations {
            let import = self.send("POST", "/api/annotations", "text/csv", fs::read(table)?, &[])?;
            accepted("/api/annotations", import)?;
        }
        let new = after.into_iter().filter(|(uid, _)| !before.iter().any(|(known, _)| known == uid));
        Ok(new.map(|(_, id)| id).collect())
    }

    fn scans(&mut self) -> anyhow::Result<Vec<(String, i64)>> {
        let scans = self.get("/api/scans")?;
        let scan = |scan: &Value| Some((scan["series_uid"].as_str()?.to_owned(), scan["id"].as_i64()?));
        Ok(scans["scans"].as_array().into_iter().flatten().filter_map(scan).collect())
    }

    fn send_data(&mut self, planned: &Value, data: &Path) -> anyhow::Result<()> {
        let content = fs::read(data)?;
        let path = format!("/api/uploads/{}", planned["upload"].as_str().unwrap_or_default());
        let whole = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&content)));
        let mut offset = planned["offset"].as_u64().unwrap_or_default() as usize;
        while offset < content.len() {
            let piece = &content[offset..content.len().min(offset + PIECE)];
            let headers = [
                ("Tus-Resumable", "1.0.0".to_owned()),
                ("Upload-Offset", offset.to_string()),
                ("Upload-Checksum", format!("sha256 {}", STANDARD.encode(Sha256::digest(piece)))),
                ("Repr-Digest", whole.clone()),
            ];
            let answer = self.send("PATCH", &path, "application/offset+octet-stream", piece.to_vec(), &headers)?;
            accepted(&path, answer)?;
            offset += piece.len();
        }
        Ok(())
    }
}

fn accepted(path: &str, (status, document): (u16, Value)) -> anyhow::Result<Value> {
    ensure!(status < 400, "{path} answers {status}: {} {}", document["title"], document["detail"]);
    Ok(document)
}
