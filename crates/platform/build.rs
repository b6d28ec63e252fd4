//! Fetches what the pages use of others, as cargo does with crates: the versions and hashes of `web/package-lock.json`, kept
//! until that changes. It is bundled, never asked for on the network by a page, and never committed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What npm goes by.
const WANTED: [&str; 2] = ["package.json", "package-lock.json"];
/// What pages use of it.
const FILES: [&str; 6] = [
    "chart.js/dist/chart.umd.js",
    "socket.io-client/dist/socket.io.esm.min.js",
    "@noble/hashes/sha2.js",
    "@noble/hashes/_md.js",
    "@noble/hashes/_u64.js",
    "@noble/hashes/utils.js",
];

/// The name of such a file among the pages' own.
fn name(file: &str) -> String {
    file.rsplit('/').next().unwrap_or_default().replace("chart.umd", "chart").replace("io.esm.min", "io")
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut wanted = String::new();
    for name in WANTED {
        let file = Path::new("web").join(name);
        println!("cargo::rerun-if-changed={}", file.display());
        wanted += &fs::read_to_string(&file).expect("it lies beside this file");
        fs::copy(&file, out.join(name)).expect("OUT_DIR can be written");
    }
    let stamp = out.join("installed");
    // Only a change of it needs the network.
    if fs::read_to_string(&stamp).is_ok_and(|known| known == wanted)
        && FILES.iter().all(|file| out.join(name(file)).is_file())
    {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&out);
    let status = npm.status().expect("npm is needed: on Debian, apt-get install nodejs npm");
    assert!(status.success(), "npm ci failed: {status}");
    for file in FILES {
        fs::copy(out.join("node_modules").join(file), out.join(name(file))).expect("the package has this file");
    }
    fs::write(stamp, wanted).expect("OUT_DIR can be written");
}
