//! Everything that the project can test about itself.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, absolute};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::command::shown;
use crate::crate_graph::CrateGraph;
use crate::project::Project;
use crate::report::{Report, is_ci};
use crate::{browser, check, databases, peers, weakenings};

/// `cargo xtask test`.
pub(crate) fn run(project: &Project) -> Result<()> {
    let mut report = Report::default();
    let (python, browser, databases) = thread::scope(|scope| {
        // They wait for the network, while the check needs the processor.
        let python = scope.spawn(|| peers::install(project));
        // Debian installs one after the other.
        let others = scope.spawn(|| (browser::install(project), databases::install(project)));
        check::steps(project, &mut report);
        let python = python.join().unwrap_or_else(|_| bail!("the installation of the peers panicked"));
        let failed = "the installation of programs panicked";
        let (browser, databases) = others.join().unwrap_or_else(|_| (Err(anyhow!(failed)), Err(anyhow!(failed))));
        (python, browser, databases)
    });
    let mut environment = vec![("FEDNODULE_REAL_DATA", real_data(project)?)];
    report.step("Python with the programs to compare with", |report| match python {
        Ok(python) => {
            environment.push(("FEDNODULE_PYTHON", python));
            Ok(())
        }
        Err(error) if is_ci() => Err(error),
        Err(error) => {
            report.skip(&format!(
                "comparisons with PyTorch, SimpleITK and dp-accounting, mail through aiosmtpd: {error:#}"
            ));
            Ok(())
        }
    });
    report.step("Chromium and what drives it", |report| match browser {
        Ok(variables) => {
            environment.extend(variables);
            Ok(())
        }
        Err(error) if is_ci() => Err(error),
        Err(error) => {
            report.skip(&format!("the walk through the web pages: {error:#}"));
            Ok(())
        }
    });
    report.step("PostgreSQL and PgBouncer", |report| match databases {
        Ok(variables) => {
            environment.extend(variables);
            Ok(())
        }
        Err(error) if is_ci() => Err(error),
        Err(error) => {
            report.skip(&format!("users in PostgreSQL: {error:#}"));
            Ok(())
        }
    });

    let graph = CrateGraph::of(&project.metadata)?;
    let (heavy, light) = graph.heavy_and_light();
    for (title, profile, crates) in [
        ("tests with overflow checks and debug assertions", None, light),
        ("tests of what is built on the neural network, as released", Some("--release"), heavy),
    ] {
        report.step(title, |report| {
            let mut command = project.cargo();
            command.args(["test", "--no-fail-fast"]).args(profile);
            command.args(crates.iter().flat_map(|name| ["--package", name]));
            // Otherwise a test that skips itself would pass unseen.
            command.args(["--", "--show-output"]);
            command.envs(environment.iter().map(|(name, value)| (name, value)));
            run_tests(&mut command, report)
        });
    }
    if is_ci() {
        report.step("weakenings that the tests must catch", |_| weakenings::run(project, None));
    }
    report.finish()
}

/// The folder with real scans. Tests run in their crate's folder, so a relative path would mislead them.
fn real_data(project: &Project) -> Result<std::path::PathBuf> {
    let folder = env::var_os("FEDNODULE_REAL_DATA").unwrap_or_else(|| "../shared/data".into());
    absolute(project.root.join(Path::new(&folder))).context("FEDNODULE_REAL_DATA is not a path")
}

/// Passes the output on and takes note of the tests that say that they skip themselves.
fn run_tests(command: &mut Command, report: &mut Report) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let output = child.stdout.take().context("the output is not piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(what) = line.trim().strip_prefix("SKIPPED:") {
            report.skip(what.trim());
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}
