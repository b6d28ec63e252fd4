//! Everything that can be judged without running the product.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

use crate::command::{self, succeeds};
use crate::project::Project;
use crate::report::Report;
use crate::{crate_graph, leftovers};

/// `cargo xtask check`.
pub(crate) fn run(project: &Project) -> Result<()> {
    let mut report = Report::default();
    steps(project, &mut report);
    report.finish()
}

/// The same as part of a longer run. All compile in the release profile, like the tests of the big crates, so that
/// build scripts and procedural macros are compiled once.
pub(crate) fn steps(project: &Project, report: &mut Report) {
    report.step("formatting", |_| {
        command::run(project.cargo().args(["fmt", "--all", "--check"]))?;
        command::run(project.cargo().args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]))
    });
    report.step("crate graph", |_| crate_graph::check(project));
    report.step("leftovers", |_| leftovers::check(project));
    report.step("licences and advisories", |report| deny(project, report));
    report.step("clippy", |_| {
        command::run(project.cargo().args([
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    report.step("documentation", |_| {
        command::run(
            project.cargo().args(["doc", "--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    });
}

/// cargo-deny is not installed by us (it takes minutes to compile), and its database comes from the network.
fn deny(project: &Project, report: &mut Report) -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let advice = if !succeeds(project.cargo().args(["deny", "--version"])) {
        "cargo-deny is missing; install it with: cargo install cargo-deny --locked && cargo deny fetch"
    } else if !home.is_some_and(|home| home.join("advisory-dbs").exists()) {
        "cargo-deny has no advisory database; get it with: cargo deny fetch"
    } else {
        return command::run(project.cargo().args(["deny", "check", "--disable-fetch"]));
    };
    report.skip(&format!("licences and advisories: {advice}"));
    Ok(())
}
