//! One file for each command.

mod demo;
mod evaluate;
mod export;
mod inspect;
mod phantom;
mod predict;
mod secagg_check;
mod serve;
mod train;
mod verify_audit;

use crate::args::Job;
use crate::console::{Console, Exit};

pub(crate) fn run(job: Job, console: &Console) -> anyhow::Result<Exit> {
    match job {
        Job::Inspect(args) => inspect::run(&args, console),
        Job::Phantom(args) => phantom::run(&args, console),
        Job::Train(args) => train::run(&args, console),
        Job::Predict(args) => predict::run(&args, console),
        Job::Evaluate(args) => evaluate::run(&args, console),
        Job::Export(args) => export::run(&args, console),
        Job::Demo(args) => demo::run(&args, console),
        Job::Serve(args) => serve::run(&args, console),
        Job::VerifyAudit(args) => verify_audit::run(&args, console),
        Job::SecaggCheck(args) => secagg_check::run(&args, console),
    }
}
