//! Running under a supervisor, such as the web platform's server: JSON objects, one a line, on standard error instead of
//! text, and commands on standard input.
//!
//! `suspend` asks the work to stop at its next step so that it can be gone on with; so does the end of standard input, for
//! then the supervisor has died. `cancel` ends a session for good.

use std::io::{self, BufRead};
use std::thread;

use serde_json::json;
use transport::Stop;
use workflow::predict::{PredictEvent, ScanOutcome};
use workflow::train::TrainEvent;

use crate::console::Console;

/// From now on commands on standard input are followed.
pub(crate) fn obey(stop: &'static Stop) {
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            match line.as_deref().map(str::trim) {
                Ok("cancel") => stop.cancel(),
                Ok("suspend") => stop.suspend(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        stop.suspend();
    });
}

/// Tells what happens in a training.
pub(crate) fn training(event: &TrainEvent<'_>, console: &Console) {
    match event {
        TrainEvent::Preparing { site, done, total } => {
            console.event(&json!({ "event": "preparing", "site": site, "done": done, "total": total }));
        }
        TrainEvent::SiteReady(site) => console.event(&json!({
            "event": "site_ready",
            "site": site.id,
            "scans": site.scans.len(),
            "nodules": site.nodules(),
            "problems": site.problems.len(),
            "unknown_series": site.unknown_series,
        })),
        TrainEvent::SiteUnusable(error) => {
            let record = console.record(*error);
            console.event(&json!({ "event": "site_unusable", "site": error.site(), "error": record }));
        }
        TrainEvent::Session(event) => console.event(event),
    }
}

/// Tells what happens in a batch of predictions.
pub(crate) fn prediction(event: &PredictEvent<'_>, console: &Console) {
    match event {
        PredictEvent::ModelLoaded(model) => console.device(model.device()),
        PredictEvent::ScanStarted { number, total, .. } => {
            console.event(&json!({ "event": "scan_started", "number": number, "total": total }));
        }
        PredictEvent::Progress { stage, done, total } => {
            console.event(&json!({ "event": "progress", "stage": stage, "done": done, "total": total }));
        }
        PredictEvent::ScanFinished(ScanOutcome::Done(result)) => console.event(&json!({
            "event": "scan_finished", "seriesuid": result.seriesuid, "detections": result.detections.len(),
        })),
        PredictEvent::ScanFinished(ScanOutcome::Failed { error, .. }) => {
            console.event(&json!({ "event": "scan_failed", "error": console.record(error) }));
        }
    }
}
