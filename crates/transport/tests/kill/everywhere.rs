//! A process dies, or has trouble with its disk, at every single operation; the next one has to make up for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use federation::*;
use transport::*;

use crate::life::live;
use crate::mortal::{Kind, Mortal, Point, Trouble};
use crate::support::*;

/// With the session in `out` below it, and notes beside.
const DIRECTORY: &str = "FEDNODULE_KILL_TEST_MORTAL";
const POINT: &str = "FEDNODULE_KILL_TEST_POINT";
/// Where children run side by side.
const THREADS: usize = 2;

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs in the child process.
#[test]
#[ignore = "run by the tests that kill it"]
fn mortal_child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        println!("SKIPPED: {DIRECTORY} is not set");
        return;
    };
    let point = std::env::var(POINT).ok().map(|point| point.parse().unwrap());
    let mortal = Mortal::new(point, directory.join("struck"));
    live(&mortal, &directory.join("out")).unwrap_or_else(|error| panic!("{}", chain(&error)));
    fs::write(directory.join("counts"), mortal.counts().map(|count| count.to_string()).join(" ")).unwrap();
}

/// A life of the session in `directory`, to its end or to that point.
pub(crate) fn child(directory: &Path, point: Option<Point>) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["everywhere::mortal_child", "--exact", "--ignored", "--nocapture"]).env(DIRECTORY, directory);
    // Symbols take longer than a session.
    child.env("RUST_BACKTRACE", "0");
    if let Some(point) = point {
        child.env(POINT, point.to_string());
    }
    child.stdin(Stdio::null()).output().unwrap()
}

/// All files below a directory, without what is random in their names.
fn files(out: &Path) -> Vec<String> {
    let (mut directories, mut files) = (vec![out.to_owned()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let is_object = path.file_name().is_some_and(|name| name.len() == 64);
            if path.is_dir() {
                directories.push(path);
            } else {
                let path = if is_object { path.with_file_name("object") } else { path };
                files.push(path.strip_prefix(out).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// Takes out what differs between any two runs: times, and what keys go into.
fn normalised(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_ms") && !["sid", "roster", "sha256"].contains(&name.as_str()));
            fields.values_mut().for_each(|value| *value = normalised(value.take()));
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| *value = normalised(value.take())),
        _ => {}
    }
    value
}

/// How a session ends that nothing has disturbed.
pub(crate) struct Reference {
    model: Digest,
    history: serde_json::Value,
    files: Vec<String>,
    /// How many operations it takes.
    counts: BTreeMap<Kind, usize>,
}

impl Reference {
    pub(crate) fn new() -> Self {
        let directory = scratch();
        let output = child(directory.path(), None);
        assert!(output.status.success(), "{output:?}");
        let out = directory.path().join("out");
        let history = serde_json::to_value(read_history(&out).unwrap()).unwrap();
        let counts = fs::read_to_string(directory.path().join("counts")).unwrap();
        let counts = counts.split(' ').map(|count| count.parse().unwrap());
        Self {
            model: undisturbed(scratch().path(), config(2, "fedadam")),
            history: normalised(history),
            files: files(&out),
            counts: Kind::ALL.into_iter().zip(counts).collect(),
        }
    }

    /// A healthy child brings the session in `directory` to the end that it should have, bit for bit.
    pub(crate) fn recovers(&self, directory: &Path, after: &str) {
        let output = child(directory, None);
        assert!(output.status.success(), "{after}: the next child fails: {output:?}");
        let out = directory.join("out");
        assert_eq!(files(&out), self.files, "{after}: something is missing or left over");
        let history = read_history(&out).unwrap();
        let told = normalised(serde_json::to_value(&history).unwrap());
        assert_eq!(told, self.history, "{after}: the history tells something else");
        let server = FederatedServer::open(&out, id("s"), Box::new(Raw)).unwrap();
        assert_eq!(server.session().phase(), Phase::Completed, "{after}");
        assert_eq!(server.session().model(), self.model, "{after}: another model");
        assert_eq!(history.sessions, [server.session().record()], "{after}: the history is not the session's");
        let model = Raw.decode(&fs::read(server.model_path()).unwrap()).unwrap();
        assert_eq!(Digest::of_values(&model), self.model, "{after}: another model is delivered");
    }
}

/// What others see, whatever has just happened.
pub(crate) fn readers_see_nothing_half(out: &Path, after: &str) {
    read_history(out).unwrap_or_else(|error| panic!("{after}: {}", chain(&error)));
    if let Ok(bytes) = fs::read(out.join("models/session_s_federated_model.safetensors")) {
        assert_eq!(bytes.len(), 4 + 4 * DIM, "{after}: half a model is seen");
    }
}

/// The error that ended a child names what it is about, and nothing half-written remains.
pub(crate) fn reported(output: &Output, names: &str, says: &str, out: &Path, after: &str) {
    assert_eq!(output.status.code(), Some(101), "{after}: {output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(names), "{after}: {text} does not name {names}");
    assert!(text.contains(says), "{after}: {text} does not say {says}");
    let temporary: Vec<_> = files(out).into_iter().filter(|path| path.ends_with(".tmp")).collect();
    assert_eq!(temporary, [""; 0], "{after}");
}

/// One life to the point, one from there to the end. On `scratch`: no power is lost, so nothing need reach a real disk.
fn strike(point: Point, reference: &Reference) {
    let (directory, after) = (scratch(), point.to_string());
    let out = directory.path().join("out");
    let output = child(directory.path(), Some(point));
    readers_see_nothing_half(&out, &after);
    if point.trouble.kills() {
        assert_eq!(output.status.signal(), Some(9), "{after}: {output:?}");
    } else {
        let struck = fs::read_to_string(directory.path().join("struck")).unwrap();
        // What cannot be removed now is removed later.
        if !(point.kind == Kind::RemoveFile && output.status.success()) {
            let names = if point.kind == Kind::RemoveFile { out.to_str().unwrap() } else { &struck };
            let says = if point.trouble == Trouble::DiskFull {
                "; free some space, then resume"
            } else {
                "Input/output error"
            };
            reported(&output, names.trim_end_matches(".tmp"), says, &out, &after);
        }
    }
    reference.recovers(directory.path(), &after);
}

/// The numbers of the operations that meet trouble: all of them, or so many, evenly spread from the first to the last.
fn spread(count: usize, limit: usize) -> Vec<usize> {
    if count <= limit { (1..=count).collect() } else { (0..limit).map(|i| 1 + i * (count - 1) / (limit - 1)).collect() }
}

/// How many of a kind meet each trouble. All of them take minutes.
fn limit() -> usize {
    match std::env::var("FEDNODULE_KILL_POINTS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => {
            number.parse().ok().filter(|number| *number > 1).expect("FEDNODULE_KILL_POINTS is all, or above 1")
        }
        Err(_) if std::env::var("CI").is_ok_and(|value| value == "true") => usize::MAX,
        Err(_) => 25,
    }
}

fn strike_all(points: &[Point], reference: &Reference) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // A few failures tell as much as a thousand.
                while failures.lock().unwrap().len() < 3 {
                    let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    if catch_unwind(AssertUnwindSafe(|| strike(*point, reference))).is_err() {
                        failures.lock().unwrap().push(point.to_string());
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "what is said above happened at {failures:?}");
}

fn table(points: &[Point], counts: &BTreeMap<Kind, usize>) -> String {
    let mut table = format!("{:<44}{:>12}", "operation", "in a session");
    Trouble::ALL.iter().for_each(|trouble| table += &format!("{:>16}", trouble.name()));
    for (kind, count) in counts {
        table += &format!("\n{:<44}{count:>12}", kind.name());
        for trouble in Trouble::ALL {
            let number = points.iter().filter(|point| (point.kind, point.trouble) == (*kind, trouble)).count();
            table += &format!("{:>16}", if number == 0 { "-".to_owned() } else { number.to_string() });
        }
    }
    table += &format!("\n{:<44}{:>12}", "all", counts.values().sum::<usize>());
    for trouble in Trouble::ALL {
        table += &format!("{:>16}", points.iter().filter(|point| point.trouble == trouble).count());
    }
    table
}

#[test]
fn death_and_trouble_at_every_operation_change_nothing() {
    let start = Instant::now();
    let (reference, limit) = (Reference::new(), limit());
    let mut points = Vec::new();
    for (&kind, &count) in &reference.counts {
        assert_ne!(count, 0, "a session has no {kind:?}");
        for trouble in Trouble::ALL.into_iter().filter(|trouble| trouble.can_meet(kind)) {
            points.extend(spread(count, limit).into_iter().map(|number| Point { kind, trouble, number }));
        }
    }
    strike_all(&points, &reference);
    // There are no more: every session has the same operations.
    for (&kind, &count) in &reference.counts {
        let beyond = Point { kind, trouble: Trouble::Before, number: count + 1 };
        let output = child(scratch().path(), Some(beyond));
        assert!(output.status.success(), "{beyond}: {output:?}");
    }
    println!("{}", table(&points, &reference.counts));
    println!("{} points in {:.0} s, all recovered bit for bit", points.len(), start.elapsed().as_secs_f64());
    if reference.counts.values().any(|count| *count > limit) {
        println!(
            "Thinned out to {limit} points of a kind, evenly spread; every one with CI=true or FEDNODULE_KILL_POINTS=all."
        );
    }
}
