//! Fetches what the pages use of others: it is bundled, never asked for on the network by a page, and never committed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=web/package.json");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let wanted = fs::read_to_string("web/package.json").expect("it lies beside this file");
    let installed = |name: &str| Path::new(&out).join("node_modules").join(name);
    let stamp = out.join("installed.json");
    // Only a change of it needs the network.
    if fs::read_to_string(&stamp).is_ok_and(|known| known == wanted) && out.join("chart.js").is_file() {
        return;
    }
    fs::write(out.join("package.json"), &wanted).expect("OUT_DIR can be written");
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefix"]).arg(&out);
    let status = npm.current_dir(&out).status().expect("npm is needed: on Debian, apt-get install nodejs npm");
    assert!(status.success(), "npm install failed: {status}");
    fs::copy(installed("chart.js/dist/chart.umd.js"), out.join("chart.js")).expect("the package has its bundle");
    fs::write(stamp, wanted).expect("OUT_DIR can be written");
}
