//! A real SMTP server for tests: aiosmtpd, driven by `smtp.py`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::peers;

/// A listening server and the mails that it has taken.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    child: Child,
    mails: Arc<Mutex<Vec<Value>>>,
}

/// Encryption and who may send.
pub(crate) struct Guarded<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl Smtp {
    /// `None`, and a line that says so, where there is no aiosmtpd.
    pub(crate) fn start() -> Option<Self> {
        Self::on(0, None)
    }

    /// On a port that is known already; port 0 takes a free one.
    pub(crate) fn on(port: u16, guarded: Option<&Guarded<'_>>) -> Option<Self> {
        let python = peers::python_with("aiosmtpd")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/smtp.py");
        let mut command = Command::new(python);
        command.arg(script).arg(port.to_string()).arg(if guarded.is_some() { "starttls" } else { "plain" });
        if let Some(Guarded { certificate, key, user, password }) = guarded {
            command.arg(certificate).arg(key).arg(user).arg(password);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("it says its port").unwrap().trim().parse().unwrap();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&mails);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { port, child, mails })
    }

    pub(crate) fn mails(&self) -> Vec<Value> {
        self.mails.lock().unwrap().clone()
    }

    /// Waits for mail number `count` and returns it.
    pub(crate) async fn mail(&self, count: usize) -> Value {
        for _ in 0..400 {
            if let Some(mail) = self.mails().get(count - 1) {
                return mail.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("mail {count} did not come; there are {}", self.mails().len());
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The token behind the `#` of a link to this page, one for each.
pub(crate) fn tokens(mail: &Value, page: &str) -> Vec<String> {
    let text = mail["text"].as_str().unwrap();
    let links = text.split_whitespace().filter_map(|word| word.split_once(&format!("/{page}#")));
    links.map(|(_, token)| token.to_owned()).collect()
}
