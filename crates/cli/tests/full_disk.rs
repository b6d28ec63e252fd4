//! Every command that writes, on a disk that is too small: what is said, and that nothing half-written stays behind.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(clippy::print_stdout, reason = "says what it skips")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Run, fednodule, program, table, text, write_chest, write_model};

/// Runs the program with `DISK` in its arguments standing for a file system of so many KiB of its own. Gives the files
/// that are left on it; nothing where the system lets nobody mount.
fn on_a_disk_of(kib: usize, arguments: &[&str]) -> Option<(Run, Vec<String>)> {
    // Root needs no user namespace, everybody else does, where the kernel grants one.
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let may = |way: &&&[&str]| {
        let mut trial = Command::new("unshare");
        trial.args(**way).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        trial.output().is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(may) else {
        println!("SKIPPED: a full disk: this system does not let a test mount a small one");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let (disk, left) = (folder.path().join("disk"), folder.path().join("left"));
    std::fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={kib}k none '{disk}' || exit 99; shift; \"$@\"; code=$?; \
         find '{disk}' -type f -printf '%P\\n' | sort > '{left}'; exit $code",
        disk = disk.display(),
        left = left.display()
    );
    let ours = program();
    let mut command = Command::new("unshare");
    command.args(*way).args(["sh", "-c", &script, "sh", "--"]).arg(ours.get_program());
    for (name, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let run: Run = command.args(arguments.iter().map(|a| a.replace("DISK", &text(&disk)))).output().unwrap().into();
    let left = std::fs::read_to_string(left).unwrap();
    Some((run, left.lines().map(str::to_owned).collect()))
}

/// The program ends with exit code 4, says what to do, and leaves nothing but `expected`.
#[track_caller]
fn refused(kib: usize, arguments: &[&str], expected: impl Fn(&str) -> bool) {
    let Some((run, left)) = on_a_disk_of(kib, arguments) else { return };
    assert_eq!(run.code, Some(4), "{run:?} {left:?}");
    assert!(run.stderr.contains("磁盘已满"), "{run:?}");
    let half: Vec<_> = left.iter().filter(|name| !expected(name)).collect();
    assert!(half.is_empty(), "left behind: {half:?}");
}

fn nothing(_: &str) -> bool {
    false
}

#[test]
fn phantoms() {
    // A small scan has megabytes.
    refused(1024, &["phantom", "--sites", "1", "--scans", "1", "--out", "DISK/out"], nothing);
}

#[test]
fn marked_scans_and_exported_weights() {
    let folder = tempfile::tempdir().unwrap();
    let scan = text(&write_chest(folder.path(), "1.2.3"));
    let model = text(&write_model(folder.path()));
    let predict = ["predict", "--model", &model, "--threshold", "0", "--mode", "fast", "--out", "DISK/out", &scan];
    refused(64, &predict, nothing);
    refused(16, &["export", "--model", &model, "--to", "DISK/model.pth"], nothing);
}

#[test]
fn scores() {
    let [submission, annotations, series] = ["submission.csv", "annotations.csv", "seriesuids.csv"].map(table);
    let tables = ["--submission", &submission, "--annotations", &annotations, "--seriesuids", &series];
    refused(4, &[&["evaluate", "--out", "DISK/out"][..], &tables].concat(), nothing);
}

#[test]
fn a_session() {
    let folder = tempfile::tempdir().unwrap();
    let made = fednodule(["phantom", "--sites", "2", "--scans", "1", "--out", &text(folder.path())]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let site = |name: &str| format!("{name}={}", folder.path().join(name).display());
    let sites = [site("site1_thin_soft"), site("site2_low_dose_sharp")];
    let mut train = vec!["train", "--network", "xxs", "--min-lung-ml", "150", "--patch-size", "32", "--out", "DISK"];
    train.extend(["--rounds", "2", "--local-epochs", "1", "--patches-per-epoch", "2", "--batch-size", "2"]);
    train.extend(sites.iter().flat_map(|site| ["--site", site]));
    // Too small for the working copy of a scan.
    refused(1024, &train, nothing);
}

#[test]
fn the_disk_of_these_tests_is_really_the_only_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(&write_model(folder.path()));
    let Some((run, left)) = on_a_disk_of(4096, &["export", "--model", &model, "--to", "DISK/model.pth"]) else {
        return;
    };
    assert_eq!((run.code, left), (Some(0), vec!["model.pth".to_owned()]), "{run:?}");
    assert!(Path::new(&model).is_file());
}
