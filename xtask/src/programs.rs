//! Commands that build one program and run it.

use std::process::Command;

use anyhow::Result;

use crate::command::run;
use crate::project::Project;

/// The whole job of the platform. The program itself knows what that is.
pub(crate) fn demo(project: &Project, quick: bool) -> Result<()> {
    run(project.cargo().args(["build", "--release", "--package", "fednodule"]))?;
    let program = project.target.join("release").join("fednodule").with_extension(std::env::consts::EXE_EXTENSION);
    let mut demo = Command::new(program);
    demo.current_dir(&project.root).arg("demo");
    if quick {
        demo.arg("--quick");
    }
    run(demo.args(["--out", if quick { "runs/demo-quick" } else { "runs/demo" }]))
}

/// Difficulty of the phantoms, for a classical detector and for a U-Net that it trains.
pub(crate) fn acceptance(project: &Project, scans: u32, size: &str, seed: u64) -> Result<()> {
    let folder = format!("runs/acceptance-{scans}-{size}-{seed}");
    let arguments = [&scans.to_string(), size, &seed.to_string(), &folder];
    run(example(project, "workflow", "acceptance").current_dir(&project.root).args(arguments))
}

fn example(project: &Project, package: &str, name: &str) -> Command {
    let mut command = project.cargo();
    command.args(["run", "--release", "--package", package, "--example", name, "--"]);
    command
}
