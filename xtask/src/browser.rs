//! What the walk through the web pages needs: Chromium and Node.js of the machine, and the npm packages of `browser.txt`
//! under the target folder.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::apt;
use crate::command::{run, succeeds};
use crate::project::Project;

const PACKAGES: &str = include_str!("../browser.txt");
/// By these names Chromium is installed.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const ADVICE: &str = "on Debian and Ubuntu: sudo apt-get install --yes nodejs npm";

/// The variables that the tests read. What is set already stays.
pub(crate) fn install(project: &Project) -> Result<Vec<(&'static str, PathBuf)>> {
    let browser = match env::var_os("FEDNODULE_BROWSER") {
        Some(browser) => browser.into(),
        None => match find_browser() {
            Some(browser) => browser,
            None => install_browser(project)?,
        },
    };
    let modules = match env::var_os("FEDNODULE_NODE_MODULES") {
        Some(modules) => modules.into(),
        None => install_packages(project)?,
    };
    Ok(vec![("FEDNODULE_BROWSER", browser), ("FEDNODULE_NODE_MODULES", modules)])
}

fn install_browser(project: &Project) -> Result<PathBuf> {
    apt::install(project, "Chromium", &["chromium", "fonts-noto-cjk"])?;
    find_browser().context("Chromium is installed, but under none of its usual names")
}

/// Playwright wants a path, not a name.
fn find_browser() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

fn install_packages(project: &Project) -> Result<PathBuf> {
    ensure!(succeeds(Command::new("node").arg("--version")), "Node.js is missing; {ADVICE}");
    let folder = project.target.join("browser");
    let modules = folder.join("node_modules");
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == PACKAGES) {
        return Ok(modules);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let log_path = project.target.join("browser.log");
    let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder);
    npm.args(packages()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if let Err(error) = run(&mut npm) {
        let last = fs::read_to_string(&log_path).unwrap_or_default();
        bail!(
            "{error:#}; {} ends with {:?}; {ADVICE}",
            log_path.display(),
            last.lines().rev().take(3).collect::<Vec<_>>()
        );
    }
    fs::write(&stamp, PACKAGES).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(modules)
}

fn packages() -> impl Iterator<Item = &'static str> {
    PACKAGES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        assert!(packages().count() > 0);
        for package in packages() {
            let version = package.split_once('@').map(|(_, version)| version).unwrap_or_default();
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{package}");
        }
    }
}
