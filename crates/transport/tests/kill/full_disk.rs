//! Disks that are really full, from the smallest on to the first on which a session has room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::everywhere::{Reference, child, readers_see_nothing_half, reported};

const MOUNT_POINT: &str = "FEDNODULE_KILL_TEST_MOUNT_POINT";
/// tmpfs gives whole pages.
const PAGE_KIB: usize = 4;

fn mount(options: &str, at: &Path) {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Runs in a process with mounts of its own, which end with it.
#[test]
#[ignore = "run by a_session_on_a_disk_that_is_really_full_goes_on_with_more_room"]
fn in_a_namespace() {
    let Some(disk) = std::env::var_os(MOUNT_POINT).map(PathBuf::from) else {
        println!("SKIPPED: {MOUNT_POINT} is not set");
        return;
    };
    let reference = Reference::new();
    let mut full = 0;
    for pages in 1.. {
        let what = format!("a disk of {} KiB", PAGE_KIB * pages);
        mount(&format!("size={}k", PAGE_KIB * pages), &disk);
        let output = child(&disk, None);
        let had_room = output.status.success();
        if !had_room {
            full += 1;
            let out = disk.join("out");
            readers_see_nothing_half(&out, &what);
            reported(&output, out.to_str().unwrap(), "; free some space, then resume", &out, &what);
            mount("remount,size=16m", &disk);
            reference.recovers(&disk, &what);
        }
        assert!(Command::new("umount").arg(&disk).status().unwrap().success());
        if had_room {
            break;
        }
    }
    assert!(full > 10, "only {full} disks were full");
    println!("{full} disks of {PAGE_KIB} to {} KiB were full, all sessions went on with more room", PAGE_KIB * full);
}

#[test]
fn a_session_on_a_disk_that_is_really_full_goes_on_with_more_room() {
    // Root needs no user namespace, everybody else does, where the kernel grants one.
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let may = |way: &&&[&str]| {
        let mut trial = Command::new("unshare");
        trial.args(**way).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        trial.output().is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(may) else {
        println!("SKIPPED: a session on a full disk: this system does not let a test mount a small one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut inside = Command::new("unshare");
    inside.args(*way).arg(std::env::current_exe().unwrap());
    inside.args(["full_disk::in_a_namespace", "--exact", "--ignored", "--nocapture"]);
    let output = inside.env(MOUNT_POINT, folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().find(|line| line.contains("KiB were full")).unwrap());
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "something is left mounted");
}
