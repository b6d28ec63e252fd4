//! The `fednodule` command: thin commands around [`workflow`], exit codes, progress bars.
//!
//! What a user reads comes from [`workflow::catalog`]; nothing here holds a sentence.

mod args;
mod commands;
mod console;
mod interrupt;
mod page;
mod supervised;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::Arguments;
use crate::console::Console;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    // Needed before the arguments are understood: help and complaints about them are in this language, too.
    let language = page::language(&words);
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let console = Console { language, json: has("--json"), supervised: has("--supervised") };
    let parsed = page::localised(Arguments::command(), language)
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let code = match parsed {
        Ok(arguments) => match commands::run(arguments.job, &console) {
            Ok(exit) => exit,
            Err(error) => console.failed(&error),
        },
        Err(error) => page::refused(&error, &words, &console),
    };
    ExitCode::from(code as u8)
}
