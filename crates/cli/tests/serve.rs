//! The commands of the web platform: starting, the first token, a clean stop, the audit log.

#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fednodule"));
    command.env("FEDNODULE_LANG", "zh");
    command
}

fn run(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program().args(arguments).current_dir(folder).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Starts a server in a folder and reads what it says about itself.
fn start(folder: &Path) -> (Child, Value) {
    let mut command = program();
    command.args(["--json", "serve", "--listen", "127.0.0.1:0"]).current_dir(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut document = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        document.push_str(&line);
        if line == "}" {
            break;
        }
    }
    (child, serde_json::from_str(&document).unwrap())
}

#[test]
fn a_server_starts_with_a_token_answers_and_stops_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, ready) = start(folder.path());
    assert_eq!(ready["set_up"], true);
    assert_eq!(ready["setup_token"].as_str().unwrap().len(), 43);
    let mut connection = TcpStream::connect(ready["address"].as_str().unwrap()).unwrap();
    connection.write_all(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"status\":\"ok\"}"), "{answer}");

    // While it runs, its log can be checked, but its folder belongs to it.
    let (code, stdout, _) = run(&["--json", "verify-audit"], folder.path());
    assert_eq!((code, serde_json::from_str::<Value>(&stdout).unwrap()["broken"].is_null()), (Some(0), true));
    let (code, _, stderr) = run(&["serve", "--listen", "127.0.0.1:0"], folder.path());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("fednodule-data is in use by another server") && stderr.contains("怎么办"), "{stderr}");

    if cfg!(unix) {
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    } else {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(folder.path().join("fednodule-data/logs").is_dir());
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["serve", "--listen", "8080"], folder.path());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("server.listen is \"8080\"") && stderr.contains("--print-config"), "{stderr}");
    std::fs::write(folder.path().join("serve.toml"), "[sessions]\nidle = 3\n").unwrap();
    let (code, _, stderr) = run(&["serve", "--config", "serve.toml"], folder.path());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("serve.toml: there is no setting sessions.idle"), "{stderr}");
    assert!(!folder.path().join("fednodule-data").exists());
}

#[test]
fn the_printed_settings_are_a_file_to_start_from() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, _) = run(&["serve", "--print-config"], folder.path());
    assert_eq!(code, Some(0));
    let path = folder.path().join("serve.toml");
    std::fs::write(&path, stdout).unwrap();
    platform::Config::load(&platform::Sources { file: Some(&path), ..platform::Sources::default() }).unwrap();
}

#[test]
fn an_audit_log_that_is_not_there_is_no_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["verify-audit", "--data", "nowhere"], folder.path());
    assert_eq!(code, Some(3));
    assert!(stderr.contains("there is no database") && stderr.contains("--data"), "{stderr}");
}
