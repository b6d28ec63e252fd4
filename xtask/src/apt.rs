//! Debian's packages, where there are some and we may install them.

use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::{run, succeeds};
use crate::project::Project;

/// Installs packages; elsewhere the error ends with the command that somebody else can give.
pub(crate) fn install(project: &Project, what: &str, packages: &[&str]) -> Result<()> {
    let advice = format!("on Debian and Ubuntu: sudo apt-get install --yes {}", packages.join(" "));
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    ensure!(is_root && succeeds(Command::new("apt-get").arg("--version")), "{what} is missing; {advice}");
    let path = project.target.join("apt.log");
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    for arguments in [&["update"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(apt.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?))
            .with_context(|| format!("{what} cannot be installed, see {}; {advice}", path.display()))?;
    }
    Ok(())
}
