//! Commands that build one program and run it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::run;
use crate::crate_graph::CrateGraph;
use crate::project::Project;

/// The whole job of the platform. The program itself knows what that is.
pub(crate) fn demo(project: &Project, quick: bool, exit: bool) -> Result<()> {
    run(project.cargo().args(["build", "--release", "--package", "fednodule"]))?;
    let program = project.target.join("release").join("fednodule").with_extension(std::env::consts::EXE_EXTENSION);
    let mut demo = Command::new(program);
    demo.current_dir(&project.root).arg("demo");
    if quick {
        demo.arg("--quick");
    }
    if exit {
        demo.arg("--exit");
    }
    // Its own port, so that a server that is in use is left alone.
    demo.args(["--serve", "127.0.0.1:8090"]);
    run(demo.args(["--out", if quick { "runs/demo-quick" } else { "runs/demo" }]))
}

/// Difficulty of the phantoms, for a classical detector and for a U-Net that it trains.
pub(crate) fn acceptance(project: &Project, scans: u32, size: &str, seed: u64) -> Result<()> {
    let folder = format!("runs/acceptance-{scans}-{size}-{seed}");
    let arguments = [&scans.to_string(), size, &seed.to_string(), &folder];
    run(Command::new(example(project, "acceptance")?).current_dir(&project.root).args(arguments))
}

/// Sessions in the state machines alone, then whole ones with files and messages.
pub(crate) fn simulate(project: &Project, seeds: u64, seed: Option<u64>) -> Result<()> {
    for (package, arguments, prefix) in [
        ("federation", ["--test", "it", "secure_simulation"].as_slice(), "FEDNODULE_SECURE"),
        ("transport", &["--test", "simulation"], "FEDNODULE_SIMULATION"),
    ] {
        let mut tests = project.cargo();
        tests.args(["test", "--package", package]).args(arguments).args(["--", "--nocapture"]);
        match seed {
            Some(seed) => tests.env(format!("{prefix}_SEED"), seed.to_string()),
            None => tests.env(format!("{prefix}_SEEDS"), seeds.to_string()),
        };
        run(&mut tests)?;
    }
    Ok(())
}

/// Builds an example of one of the big crates; the program.
pub(crate) fn example(project: &Project, name: &str) -> Result<PathBuf> {
    let graph = CrateGraph::of(&project.metadata)?;
    let (heavy, _) = graph.heavy_and_light();
    let packages = heavy.into_iter().flat_map(|package| ["--package", package]);
    run(project.cargo().args(["build", "--release", "--example", name]).args(packages))?;
    let program = project.target.join("release").join("examples").join(name);
    Ok(program.with_extension(std::env::consts::EXE_EXTENSION))
}
