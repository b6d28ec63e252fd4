//! The walk of `tests/browser/walk.mjs` in Chromium.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::server::{SETUP_TOKEN, Server};

/// Where `cargo xtask test` has put what the walk needs.
const NEEDS: [&str; 2] = ["FEDNODULE_NODE_MODULES", "FEDNODULE_BROWSER"];

#[tokio::test(flavor = "multi_thread")]
async fn people_walk_through_the_pages() {
    if let Some(missing) = NEEDS.into_iter().find(|name| env::var_os(name).is_none()) {
        assert!(env::var("CI").as_deref() != Ok("true"), "{missing} is not set");
        println!("SKIPPED: the walk through the pages: {missing} is not set; `cargo xtask test` sets it");
        return;
    }
    let server = Server::start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/walk.mjs");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let mut walk = Command::new("node");
    walk.arg(script).arg(format!("http://{}", server.address)).arg(SETUP_TOKEN).arg(&pictures);
    let ended = tokio::task::spawn_blocking(move || walk.output()).await.unwrap().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ended.status.success(), "{said}");
    println!("{said}pictures are in {}", pictures.display());
}
