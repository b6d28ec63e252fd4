//! Runs the fuzz targets in `fuzz/`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, succeeds};
use crate::project::Project;

/// Damaged files that the readers' tests use, as a start for the fuzzer.
const SEEDS: &str = "crates/imaging/tests/fixtures/metaimage";

/// Runs every target for `seconds`; stops at the first that finds something.
pub(crate) fn run(project: &Project, seconds: u32) -> Result<()> {
    let folder = project.root.join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        targets.extend(entry?.path().file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    targets.sort();
    // Not the cargo that runs this program: only rustup's understands `+nightly`.
    let fuzz = || {
        let mut command = Command::new("cargo");
        command.current_dir(&project.root).args(["+nightly", "fuzz"]);
        command
    };
    if !succeeds(fuzz().arg("--version")) {
        bail!(
            "cargo-fuzz or the nightly compiler is missing; install them with\n  \
             rustup toolchain install nightly --profile minimal\n  cargo install cargo-fuzz --locked"
        );
    }
    for target in targets {
        println!("\n=== {target}");
        let corpus = project.root.join("fuzz/corpus").join(&target);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
        command::run(fuzz().arg("run").arg(&target).arg(corpus).arg(SEEDS).args([
            "--",
            "-max_len=4096",
            "-malloc_limit_mb=512",
            &format!("-max_total_time={seconds}"),
        ]))?;
    }
    Ok(())
}
