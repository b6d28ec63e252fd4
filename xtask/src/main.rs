//! The project's own commands: `cargo xtask <command>`. It builds, checks, tests and demonstrates, and is the only
//! place that installs anything. It knows no crate of the workspace, so it is compiled in a moment.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod apt;
mod bench;
mod browser;
mod check;
mod command;
mod crate_graph;
mod databases;
mod fuzz;
mod leftovers;
mod peers;
mod programs;
mod project;
mod report;
mod test;
mod weakenings;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::project::Project;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, checks, tests and demonstrates fednodule")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the program and run the whole job on phantoms (合成体模) that it makes itself
    Demo {
        /// A smaller job, for a first look
        #[arg(long)]
        quick: bool,
        /// End when everything is done instead of serving on
        #[arg(long)]
        exit: bool,
    },
    /// Install what the tests need, run `check` and every test
    Test,
    /// Formatting, lints, crate graph, documentation, licences, leftovers
    Check,
    /// Measure convolutions and networks against Burn's own operations, PyTorch and OpenVINO
    Bench(bench::Options),
    /// Measure how hard the phantoms are for a classical detector and for a U-Net
    Acceptance {
        /// Number of phantoms
        #[arg(long, default_value_t = 24)]
        scans: u32,
        /// Their size: small or full
        #[arg(long, default_value = "small", value_parser = ["small", "full"])]
        size: String,
        /// Which phantoms
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Simulate sessions with everything that can go wrong, on virtual time
    Simulate {
        /// How many
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// Only this one, as it was reported; whole sessions tell their story
        #[arg(long, conflicts_with = "seeds")]
        seed: Option<u64>,
    },
    /// Run every fuzz target for a while (needs cargo-fuzz and the nightly compiler)
    Fuzz {
        /// For how long each, in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Make deliberate mistakes in a copy of the federation's code, one at a time, and demand that tests notice each
    Weakenings {
        /// Only those with this in their name
        only: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not anyhow's own way, which adds a backtrace where RUST_BACKTRACE is set.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let project = Project::find()?;
    match command {
        Command::Demo { quick, exit } => programs::demo(&project, quick, exit),
        Command::Test => test::run(&project),
        Command::Check => check::run(&project),
        Command::Bench(options) => bench::run(&project, &options),
        Command::Acceptance { scans, size, seed } => programs::acceptance(&project, scans, &size, seed),
        Command::Simulate { seeds, seed } => programs::simulate(&project, seeds, seed),
        Command::Fuzz { seconds } => fuzz::run(&project, seconds),
        Command::Weakenings { only } => weakenings::run(&project, only.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
