//! Real processes are killed: one again and again at any time, and many once each, at every operation on disk and every
//! message. In a program of its own: between fork and exec a child holds the locks of its parent, and other tests would
//! find their sessions in use.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(unix)]
mod everywhere;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod life;
#[cfg(unix)]
mod mortal;
#[path = "../it/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use federation::*;
use transport::*;

use support::*;

const DIRECTORY: &str = "FEDNODULE_KILL_TEST_DIRECTORY";

/// Runs in the child process.
#[test]
#[ignore = "run by a_process_that_is_killed_again_and_again_gets_there"]
fn child() {
    let Some(out) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        eprintln!("SKIPPED: {DIRECTORY} is not set");
        return;
    };
    let mut server = match FederatedServer::open(&out, id("s"), Box::new(Raw)) {
        Err(ServerError::Store(StoreError::NoSession { .. })) => {
            FederatedServer::create(&out, id("s"), &sites(), config(3, "fedavgm"), initial(), Box::new(Raw)).unwrap()
        }
        other => other.unwrap(),
    };
    let slow = |(name, seed)| {
        let toy = Toy { seed, habit: Habit::None, step_time: Duration::from_millis(1) };
        FederatedClient::new(site(name), Box::new(toy))
    };
    run(&mut server, [("a", 1), ("b", 2), ("c", 3)].map(slow).into(), 2).unwrap();
}

#[test]
fn a_process_that_is_killed_again_and_again_gets_there() {
    let reference = undisturbed(tempfile::tempdir().unwrap().path(), config(3, "fedavgm"));
    let directory = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let mut kills = 0;
    // Each life is a little longer than the last, so that every moment is met and the end is reached.
    for life in 0u64.. {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_millis(10 + 7 * life);
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                None => break None,
            }
        };
        match status {
            Some(status) => {
                assert!(status.success(), "the child fails after {kills} kills");
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                read_history(directory.path()).expect("the history always parses");
            }
        }
        assert!(start.elapsed() < Duration::from_secs(120), "it does not get there");
    }
    assert!(kills >= 3, "it was killed only {kills} times");
    let server = FederatedServer::open(directory.path(), id("s"), Box::new(Raw)).unwrap();
    assert_eq!(server.session().phase(), Phase::Completed);
    assert_eq!(server.session().model(), reference);
}
