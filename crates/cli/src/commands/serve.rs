//! `fednodule serve`

use std::path::Path;

use platform::{Config, Ready, ServeError, Shutdown, Sources, StorageError};
use serde_json::json;
use workflow::catalog::Message;
use workflow::failure::{Failure, FailureKind};

use crate::console::{Console, Exit};
use crate::{args, interrupt};

pub(crate) fn run(args: &args::Serve, console: &Console) -> anyhow::Result<Exit> {
    if args.print_config {
        let document = json!({ "default": platform::config::DEFAULT });
        console.result(&document, || platform::config::DEFAULT.trim_end().to_owned())?;
        return Ok(Exit::Success);
    }
    let config = match Config::load(&sources(args)) {
        Ok(config) => config,
        Err(error) => {
            return Ok(console.failed_as(&error, failure(FailureKind::Usage, Message::AdviceSettings)));
        }
    };
    let logs = match platform::log_to_files(&config) {
        Ok(logs) => logs,
        Err(error) => return Ok(console.failed_as(&error, failure(FailureKind::Output, Message::AdviceOutput))),
    };
    console.note(Message::ServeLogs { path: &logs.folder().display() });
    let shutdown = Shutdown::default();
    let asked = shutdown.clone();
    interrupt::call(console, move || asked.request())?;
    let is_given = !config.accounts.setup_token.expose().is_empty();
    match platform::run(&config, &shutdown, |ready| announce(&ready, is_given, console)) {
        Ok(()) => {
            console.note(Message::ServeStopped);
            Ok(Exit::Success)
        }
        Err(error) => Ok(console.failed_as(&error, sorted(&error))),
    }
}

fn sources(args: &args::Serve) -> Sources<'_> {
    let listen = args.listen.clone().map(|listen| ("server.listen", listen));
    let data = args.data.as_ref().map(|data| ("storage.data", data.display().to_string()));
    // A variable that is no text is none of ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Sources {
        file: args.config.as_deref(),
        dot_env: Some(Path::new(".env")),
        environment: variables.collect(),
        explicit: listen.into_iter().chain(data).collect(),
    }
}

/// Says where the server is, and how to make the first administrator.
fn announce(ready: &Ready, is_given: bool, console: &Console) {
    let address = &ready.address;
    let token = ready.setup_token.as_ref().filter(|_| !is_given).map(platform::Secret::expose);
    if console.json {
        // A server does not stop because nobody reads its output.
        let document =
            json!({ "address": address.to_string(), "set_up": ready.setup_token.is_some(), "setup_token": token });
        console.result(&document, String::new).ok();
        return;
    }
    console.note(Message::ServeReady { address });
    match (&ready.setup_token, token) {
        (Some(_), Some(token)) => console.note(Message::ServeSetUp { address, token: &token }),
        (Some(_), None) => console.note(Message::ServeSetUpGiven { address }),
        (None, _) => {}
    }
}

fn failure(kind: FailureKind, advice: Message<'static>) -> Failure {
    Failure { kind, advice }
}

fn sorted(error: &ServeError) -> Failure {
    match error {
        ServeError::Listen { .. } => failure(FailureKind::Usage, Message::AdviceListen),
        ServeError::Storage(error) => storage(error),
        ServeError::Random | ServeError::Templates(_) | ServeError::Io(_) => Failure::of(error),
    }
}

/// What to do about stored data that cannot be used.
pub(super) fn storage(error: &StorageError) -> Failure {
    match error {
        StorageError::InUse { .. } => failure(FailureKind::Usage, Message::AdviceDataInUse),
        StorageError::Missing { .. } => failure(FailureKind::Input, Message::AdviceNoData),
        StorageError::Newer { .. } => failure(FailureKind::Input, Message::AdviceNewerData),
        StorageError::Folder { .. } => failure(FailureKind::Output, Message::AdviceOutput),
        StorageError::Sqlite(_) | StorageError::Task => Failure::of(error),
    }
}
