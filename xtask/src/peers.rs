//! A Python with the independent programs that ours is compared with: those of the tests (`peers.txt`) in a virtual
//! environment under the target folder, and OpenVINO (`peers-bench.txt`) in a folder beside it that only benchmarks see.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{run, succeeds};
use crate::project::Project;

const PEERS: &str = include_str!("../peers.txt");
const CUDA: &str = include_str!("../peers-cuda.txt");
const BENCH: &str = include_str!("../peers-bench.txt");
/// PyTorch's own index has a build for Linux without CUDA: a tenth of what PyPI's build needs.
const CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";
/// What the pinned numpy asks for.
const MIN_PYTHON: (u32, u32) = (3, 11);

/// The interpreter to use: `FEDNODULE_PYTHON`, or our own environment, made now unless it is there already.
pub(crate) fn install(project: &Project) -> Result<PathBuf> {
    if let Some(python) = env::var_os("FEDNODULE_PYTHON") {
        return Ok(python.into());
    }
    let folder = project.target.join("peers");
    let python =
        if cfg!(windows) { folder.join("Scripts").join("python.exe") } else { folder.join("bin").join("python") };
    let imports = "import aiosmtpd, dp_accounting, numpy, openapi_spec_validator, schemathesis, SimpleITK, torch";
    let works = || succeeds(Command::new(&python).args(["-c", imports]));
    fill_once(&folder, &format!("{PEERS}{CUDA}"), works, |quietly| {
        quietly(Command::new(system_python()?).args(["-m", "venv", "--clear"]).arg(&folder)).context(
            "Python cannot make a virtual environment; on Debian and Ubuntu: sudo apt-get install --yes python3-venv",
        )?;
        let torch = PEERS.lines().find(|line| line.starts_with("torch==")).context("peers.txt names no torch")?;
        let pip = || pip(project, &python);
        let is_small = !cfg!(target_os = "linux")
            || quietly(pip().args(["--retries=0", "--index-url", CPU_INDEX]).arg(format!("{torch}+cpu"))).is_ok();
        if !is_small {
            quietly(pip().args(["--requirement", "peers-cuda.txt"]))?;
        }
        quietly(pip().args(["--requirement", "peers.txt"]))
    })?;
    Ok(python)
}

/// Where `python` finds OpenVINO, for `PYTHONPATH`. It shares the tests' PyTorch instead of a copy of gigabytes.
pub(crate) fn install_openvino(project: &Project, python: &Path) -> Result<PathBuf> {
    let folder = project.target.join("peers-bench");
    let import = || {
        let mut import = Command::new(python);
        import.args(["-c", "import openvino"]);
        import
    };
    // Whoever brings a Python may have installed it there.
    if succeeds(&mut import()) {
        return Ok(folder);
    }
    let works = || succeeds(import().env("PYTHONPATH", &folder));
    fill_once(&folder, BENCH, works, |quietly| {
        // Upgrading replaces what an earlier version of the requirements has left there.
        quietly(pip(project, python).args(["--upgrade", "--requirement", "peers-bench.txt", "--target"]).arg(&folder))
    })?;
    Ok(folder)
}

/// Installs with `fill`, unless `folder` holds what is `wanted` already. What pip says goes into a file beside the
/// folder, because other work goes on at the same time.
fn fill_once(
    folder: &Path,
    wanted: &str,
    works: impl Fn() -> bool,
    fill: impl FnOnce(&dyn Fn(&mut Command) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && works() {
        return Ok(());
    }
    let path = folder.with_extension("log");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let quietly =
        |command: &mut Command| run(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?));
    fill(&quietly).with_context(|| {
        let last = fs::read_to_string(&path).unwrap_or_default();
        let last: Vec<&str> = last.lines().rev().take(3).collect();
        format!("{} ends with {last:?}", path.display())
    })?;
    ensure!(works(), "{} is filled, but Python cannot import what it holds", folder.display());
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs exactly what the requirements name.
fn pip(project: &Project, python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.current_dir(project.root.join("xtask"));
    pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--no-compile", "--progress-bar=off"]);
    pip
}

/// The machine's Python, if it is new enough.
fn system_python() -> Result<&'static str> {
    let mut found = None;
    for name in ["python3", "python"] {
        let Ok(output) = Command::new(name).arg("--version").stdin(Stdio::null()).output() else { continue };
        let Some(version) = parse_version(&String::from_utf8_lossy(&output.stdout)) else { continue };
        if version >= MIN_PYTHON {
            return Ok(name);
        }
        found = Some(version);
    }
    let found = found.map_or("none was found".to_owned(), |(major, minor)| format!("found was {major}.{minor}"));
    bail!(
        "Python {}.{} or later is needed, {found}; install it with\n  \
         Debian, Ubuntu: sudo apt-get install --yes python3 python3-venv\n  \
         macOS: brew install python\n  Windows: winget install Python.Python.3.12",
        MIN_PYTHON.0,
        MIN_PYTHON.1
    )
}

/// `Python 3.11.7` → (3, 11).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("Python ")?.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_versions_are_compared_as_numbers() {
        assert_eq!(parse_version("Python 3.11.7\n"), Some((3, 11)));
        assert!(parse_version("Python 3.9.18").unwrap() < MIN_PYTHON);
        assert_eq!(parse_version("Python 3.13.0rc1"), Some((3, 13)));
        assert_eq!(parse_version("bash: python3: not found"), None);
    }

    #[test]
    fn every_requirement_is_pinned() {
        let mut lines = [PEERS, CUDA, BENCH].into_iter().flat_map(str::lines).filter(|line| !line.starts_with('#'));
        assert!(
            lines.all(|line| line
                .split_once("==")
                .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty()))
        );
    }
}
