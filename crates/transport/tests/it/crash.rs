//! Every single change on disk is interrupted once: by a crash that keeps what reached the operating system, by a loss
//! of power that takes all that was not made durable, and by a full disk.

use std::fs;
use std::path::Path;

use federation::*;
use transport::in_process::Outcome;
use transport::*;

use crate::support::*;
use crate::troubled_disk::{Trouble, TroubledDisk};

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn temporary_files(out: &Path) -> usize {
    let mut directories = vec![out.to_owned()];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "tmp") {
                count += 1;
            }
        }
    }
    count
}

fn check_what_readers_see(out: &Path) {
    read_history(out).expect("the history always parses");
    if let Ok(bytes) = fs::read(out.join("models/session_s_federated_model.safetensors")) {
        assert_eq!(bytes.len(), 4 + 4 * DIM, "half a model is never seen");
    }
}

/// Creates the session, or opens it where an earlier attempt got far enough.
fn create_or_open(disk: impl Fn() -> Box<dyn Disk>, out: &Path) -> Result<FederatedServer, ServerError> {
    match FederatedServer::open_on(Machine::on(disk()), out, id("s"), Box::new(Raw)) {
        Err(ServerError::Store(StoreError::NoSession { .. })) => FederatedServer::create_on(
            Machine::on(disk()),
            out,
            id("s"),
            &sites(),
            config(2, "fedadam"),
            initial(),
            Box::new(Raw),
        ),
        other => other,
    }
}

fn clients_on(disk: &dyn Fn() -> Box<dyn Disk>) -> Vec<FederatedClient> {
    good_clients().into_iter().map(|client| client.on(disk())).collect()
}

fn interrupted_everywhere(trouble: Trouble) {
    let reference = undisturbed(scratch().path(), config(2, "fedadam"));
    let mut at = 0;
    loop {
        at += 1;
        let directory = scratch();
        let out = directory.path().join("out");
        let troubled = TroubledDisk::with(at, trouble);
        let disk = || Box::new(troubled.clone()) as Box<dyn Disk>;
        let first = create_or_open(disk, &out).and_then(|mut server| run(&mut server, clients_on(&disk), 1));
        if troubled.state().trouble.is_some() {
            assert!(first.is_ok());
            break;
        }
        // A failing sync is met at the next one.
        at = troubled.state().struck;
        check_what_readers_see(&out);
        let reported = match trouble {
            Trouble::DiskFull => "free some space",
            Trouble::SyncFails => "input/output error",
            _ => "",
        };
        assert!(trouble != Trouble::SyncFails || first.is_err(), "operation {at}: nobody noticed");
        if let (Err(error), false) = (&first, reported.is_empty()) {
            let text = chain(error);
            assert!(text.contains(reported), "{text}");
            assert_eq!(temporary_files(&out), 0, "operation {at}: something half-written remains");
        }
        // The machine is well again.
        let healthy = || Box::new(TroubledDisk::default()) as Box<dyn Disk>;
        let mut server = create_or_open(healthy, &out).unwrap();
        let outcome = run(&mut server, clients_on(&healthy), 1).unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }), "operation {at}: {outcome:?}");
        assert_eq!(server.session().model(), reference, "operation {at}");
        let model = Raw.decode(&fs::read(server.model_path()).unwrap()).unwrap();
        assert_eq!(Digest::of_values(&model), reference, "operation {at}");
        let history = read_history(&out).unwrap();
        assert_eq!(history.sessions, [server.session().record()], "operation {at}");
        assert_eq!(temporary_files(&out), 0, "operation {at}");
        let objects = fs::read_dir(out.join("sessions/s/objects")).unwrap().count();
        assert_eq!(objects, 3, "the model and the two moments of FedAdam");
    }
    assert!(at > 100, "only {at} operations were interrupted");
}

#[test]
fn a_crash_at_any_operation_changes_nothing() {
    interrupted_everywhere(Trouble::Crash);
}

#[test]
fn a_loss_of_power_at_any_operation_changes_nothing() {
    interrupted_everywhere(Trouble::PowerLoss);
}

#[test]
fn a_full_disk_at_any_operation_is_reported_and_heals() {
    interrupted_everywhere(Trouble::DiskFull);
}

#[test]
fn a_failing_sync_at_any_operation_is_reported_and_heals() {
    interrupted_everywhere(Trouble::SyncFails);
}
