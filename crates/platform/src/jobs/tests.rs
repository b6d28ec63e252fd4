use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::json;
use tokio::sync::mpsc;

use super::process::Running as Worker;
use super::*;

/// The worker of the tests; without Python there is none.
fn program() -> Option<Program> {
    let python = std::process::Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 is missing");
        println!("SKIPPED: workers: python3 is missing");
        return None;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/worker/worker.py");
    Some(Program { path, grace: Duration::from_millis(300), rest: Duration::from_millis(300) })
}

fn arguments(steps: &[&str]) -> Vec<OsString> {
    ["act"].iter().chain(steps).map(OsString::from).collect()
}

fn act(program: &Program, steps: &[&str]) -> Worker {
    program.start(0, &arguments(steps)).unwrap()
}

async fn notes(worker: &mut Worker) -> Vec<String> {
    let mut notes = Vec::new();
    while let Some(event) = worker.next().await {
        let Event::Note { text } = event else { continue };
        notes.push(text);
    }
    notes
}

#[tokio::test]
async fn events_come_in_order_then_the_document() {
    let Some(program) = program() else { return };
    let mut worker = act(&program, &["note:一", "unknown", "note:two", r#"say:{"a": 1}"#]);
    assert_eq!(notes(&mut worker).await, ["一", "two"]);
    let outcome = worker.outcome().await;
    assert_eq!(
        outcome,
        Outcome { exit: Exit::Completed, document: Some(json!({ "a": 1 })), failure: None, server_stops: false }
    );
}

#[tokio::test]
async fn whatever_a_worker_prints_the_rest_is_read() {
    let Some(program) = program() else { return };
    let steps = ["raw:thread panicked\n", "binary", "huge:5", "raw:{\"event\":\n", "note:after", "flood:20"];
    let mut worker = act(&program, &steps);
    assert_eq!(notes(&mut worker).await, ["after"]);
    assert_eq!(
        worker.outcome().await,
        Outcome { exit: Exit::Completed, document: None, failure: None, server_stops: false }
    );
    // A line without an end, then nothing.
    let mut worker = act(&program, &["note:before", "raw:{\"event\":\"note\""]);
    assert_eq!(notes(&mut worker).await, ["before"]);
    assert_eq!(worker.outcome().await.exit, Exit::Completed);
}

#[tokio::test]
async fn a_crash_and_a_failure_are_told_apart() {
    let Some(program) = program() else { return };
    let mut worker = act(&program, &["note:begun", "crash"]);
    assert_eq!(notes(&mut worker).await, ["begun"]);
    assert_eq!(worker.outcome().await.exit, Exit::Crashed);
    let outcome = act(&program, &["fail"]).outcome().await;
    assert_eq!((outcome.exit, outcome.failure.unwrap().message.as_str()), (Exit::Failed(4), "no space left"));
    let missing = Program { path: "/no/such/program".into(), ..program.clone() };
    assert!(missing.start(0, &[]).is_err());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no-program");
    std::fs::write(&path, "text").unwrap();
    let outcome = Program { path, ..program }.start(0, &[]).unwrap().outcome().await;
    assert_eq!(outcome.exit, Exit::NotStarted);
}

#[tokio::test]
async fn a_worker_is_asked_to_stop_and_killed_where_it_does_not() {
    let Some(program) = program() else { return };
    let patient = Program { grace: Duration::from_secs(600), ..program.clone() };
    let mut worker = act(&patient, &["wait"]);
    worker.control().suspend();
    assert_eq!(notes(&mut worker).await, ["suspend"]);
    assert_eq!(worker.outcome().await.exit, Exit::Suspended);

    let mut worker = act(&patient, &["wait", "fail"]);
    worker.control().cancel();
    worker.control().suspend(); // takes nothing back
    assert_eq!(notes(&mut worker).await, ["cancel"]);
    assert_eq!(worker.outcome().await.exit, Exit::Failed(4));

    let worker = act(&program, &["deaf"]);
    worker.control().suspend();
    assert_eq!(worker.outcome().await.exit, Exit::Suspended);
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipes_does_not_keep_the_end() {
    let Some(program) = program() else { return };
    let mut worker = act(&program, &["child", "note:x", "say:{}"]);
    assert_eq!(notes(&mut worker).await, ["x"]);
    assert_eq!(worker.outcome().await.exit, Exit::Completed);
}

#[cfg(unix)]
#[tokio::test]
async fn workers_run_below_the_server() {
    let Some(program) = program() else { return };
    let mut priorities = Vec::new();
    for nice in [0, 10] {
        let mut worker = program.start(nice, &arguments(&["nice"])).unwrap();
        priorities.push(notes(&mut worker).await[0].parse::<i32>().unwrap());
    }
    assert_eq!(priorities[1] - priorities[0], 10.min(19 - priorities[0]));
}

/// Jobs by number with their steps, and what became of them.
struct Listed {
    waiting: Mutex<VecDeque<(i64, Vec<&'static str>)>>,
    cancelled: Option<i64>,
    tell: mpsc::UnboundedSender<(i64, String)>,
}

impl Work for Listed {
    const NICE: u8 = 5;

    async fn next(&self) -> Option<Job> {
        let (id, steps) = self.waiting.lock().unwrap().pop_front()?;
        Some(Job { id, arguments: arguments(&steps) })
    }

    async fn stop_asked(&self, job: i64) -> Option<Stop> {
        (self.cancelled == Some(job)).then_some(Stop::Cancel)
    }

    async fn observe(&self, job: i64, event: Event) {
        if let Event::Note { text } = event {
            self.tell.send((job, text)).unwrap();
        }
    }

    async fn ended(&self, job: i64, outcome: Outcome) {
        self.tell.send((job, format!("{:?}", outcome.exit))).unwrap();
    }
}

fn jobs(program: Program) -> Jobs {
    let (lanes, running) = (Mutex::default(), Mutex::default());
    Jobs(Arc::new(Inner { program, closing: watch::Sender::new(false), lanes, running }))
}

async fn said(told: &mut mpsc::UnboundedReceiver<(i64, String)>, count: usize) -> Vec<String> {
    let mut said = Vec::new();
    while said.len() < count {
        let (job, text) = told.recv().await.unwrap();
        said.push(format!("{job} {text}"));
    }
    said
}

#[tokio::test]
async fn a_lane_runs_its_jobs_in_order_and_ends_with_the_server() {
    let Some(program) = program() else { return };
    let jobs = jobs(Program { grace: Duration::from_secs(600), ..program });
    let (tell, mut told) = mpsc::unbounded_channel();
    let waiting =
        VecDeque::from([(1, vec!["note:a"]), (2, vec!["crash"]), (3, vec!["wait"]), (4, vec!["note:d", "wait"])]);
    let work = Arc::new(Listed { waiting: Mutex::new(waiting), cancelled: Some(3), tell });
    let lane = Lane::start(&jobs, Arc::clone(&work));
    // The third was asked to stop before its worker was there.
    let expected = ["1 a", "1 Completed", "2 Crashed", "3 cancel", "3 Completed", "4 d"];
    assert_eq!(said(&mut told, 6).await, expected);
    lane.stop(3, Stop::Cancel); // not the one that runs
    lane.stop(4, Stop::Suspend);
    assert_eq!(said(&mut told, 2).await, ["4 suspend", "4 Suspended"]);

    // Another one wakes the lane up; when the server stops, it suspends and nothing more starts.
    work.waiting.lock().unwrap().push_back((5, vec!["note:e", "wait"]));
    work.waiting.lock().unwrap().push_back((6, vec!["note:f"]));
    lane.wake();
    assert_eq!(said(&mut told, 1).await, ["5 e"]);
    assert!(jobs.close(Duration::from_secs(600)).await);
    assert_eq!(said(&mut told, 2).await, ["5 suspend", "5 Suspended"]);
    drop((work, lane));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_worker_that_does_not_stop_does_not_keep_the_server() {
    let Some(program) = program() else { return };
    let jobs = jobs(Program { grace: Duration::from_secs(600), ..program });
    let (tell, mut told) = mpsc::unbounded_channel();
    let work = Listed { waiting: Mutex::new([(1, vec!["note:deaf", "deaf"])].into()), cancelled: None, tell };
    let _lane = Lane::start(&jobs, Arc::new(work));
    assert_eq!(said(&mut told, 1).await, ["1 deaf"]);
    assert!(!jobs.close(Duration::from_millis(50)).await);
    assert_eq!(said(&mut told, 1).await, ["1 Suspended"]);
}
