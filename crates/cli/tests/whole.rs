//! The whole way in Chromium with the real program: registering, uploading with an interruption, training, a model in use, a scan
//! marked, read and reported.
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use common::{fednodule, program, text};
use serde_json::Value;

/// Where `cargo xtask test` has put what the walk needs.
const NEEDS: [&str; 2] = ["FEDNODULE_NODE_MODULES", "FEDNODULE_BROWSER"];

/// Scans of two hospitals, and one of a third that nobody trains on, as LUNA16 lays them out.
fn scans(folder: &Path) -> PathBuf {
    let phantoms = folder.join("phantoms");
    let made = fednodule(["--json", "phantom", "--sites", "3", "--scans", "1", "--out", &text(&phantoms)]).json();
    let scans = folder.join("scans");
    for (site, name) in made["sites"].as_array().unwrap().iter().zip(["city", "county", "unseen"]) {
        let dataset = imaging::luna16::discover(Path::new(site.as_str().unwrap())).unwrap();
        let to = scans.join(name);
        fs::create_dir_all(&to).unwrap();
        let tables = dataset.tables.annotations.iter();
        for path in
            dataset.series.iter().flat_map(|series| [&series.path].into_iter().chain(&series.data_path)).chain(tables)
        {
            fs::copy(path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    scans
}

#[test]
fn the_whole_way_from_registering_to_a_report() {
    if let Some(missing) = NEEDS.into_iter().find(|name| env::var_os(name).is_none()) {
        assert!(env::var("CI").as_deref() != Ok("true"), "{missing} is not set");
        println!("SKIPPED: the whole way in a browser: {missing} is not set; `cargo xtask test` provides it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let scans = scans(folder.path());
    let mut server = program();
    server.args(["--json", "serve", "--listen", "127.0.0.1:0"]).current_dir(folder.path());
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut ready = String::new();
    for line in lines {
        ready += &line;
        if line == "}" {
            break;
        }
    }
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../platform/tests/browser/whole.mjs");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole");
    let mut walk = Command::new("node");
    walk.arg(script).arg(format!("http://{}", ready["address"].as_str().unwrap()));
    walk.arg(ready["setup_token"].as_str().unwrap()).args([&scans, &pictures]);
    let ended = walk.output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ended.status.success(), "{said}");
    println!("{said}pictures are in {}", pictures.display());
}
