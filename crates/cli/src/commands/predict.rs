//! `fednodule predict`

use std::error::Error;
use std::ops::ControlFlow;

use detector::inference::PredictOptions;
use serde_json::{Value, json};
use workflow::catalog::Message;
use workflow::failure::Failure;
use workflow::predict::{PredictEvent, PredictReport, PredictRequest, ScanOutcome, ScanResult, predict};
use workflow::report::scan::stage_name;

use crate::console::{Console, Exit};
use crate::{args, interrupt, supervised};

pub(crate) fn run(args: &args::Predict, console: &Console) -> anyhow::Result<Exit> {
    let stop = interrupt::listen(console)?;
    let request = PredictRequest {
        scans: args.scan.clone(),
        model: args.model.clone(),
        out: args.out.clone(),
        options: PredictOptions { mode: args.mode, threshold: args.threshold },
        device: args.device,
    };
    let bar = console.bar();
    let report = predict(&request, &mut |event| {
        match event {
            event if console.supervised => supervised::prediction(&event, console),
            PredictEvent::Progress { stage, done, total } => {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(console.text(stage_name(stage)));
            }
            event => bar.suspend(|| tell(&event, console)),
        }
        if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let report = report?;

    // The shape of the document depends on what was asked for, not on what happened.
    let is_single = args.scan.len() == 1 && !args.scan[0].is_dir();
    let mut documents: Vec<Value> =
        report.scans.iter().map(|scan| document(scan, console)).collect::<Result<_, _>>()?;
    let document = if is_single { documents.swap_remove(0) } else { Value::Array(documents) };
    console.result(&document, || {
        let failed = report.failed();
        let done = report.scans.len() - failed;
        let lines = [
            console.text(Message::BatchDone { done: &done, failed: &failed }),
            console.text(Message::WrittenTo { path: &args.out.display() }),
        ];
        lines.join("\n")
    })?;
    Ok(exit(&report))
}

fn tell(event: &PredictEvent<'_>, console: &Console) {
    match event {
        PredictEvent::ModelLoaded(model) => console.device(model.device()),
        PredictEvent::ScanFinished(ScanOutcome::Done(result)) => {
            console.note(Message::ScanDone {
                seriesuid: &result.seriesuid,
                detections: &result.detections.len(),
                seconds: &format!("{:.1}", seconds(result)),
            });
        }
        PredictEvent::ScanFinished(ScanOutcome::Failed { path, error }) => {
            console.note(Message::ScanFailed { path: &path.display() });
            console.complain(&console.record(error));
        }
        PredictEvent::ScanStarted { .. } | PredictEvent::Progress { .. } => {}
    }
}

fn seconds(result: &ScanResult) -> f64 {
    result.stages_s.values().sum()
}

fn document(scan: &ScanOutcome, console: &Console) -> serde_json::Result<Value> {
    match scan {
        ScanOutcome::Done(result) => serde_json::to_value(result),
        ScanOutcome::Failed { path, error } => Ok(json!({ "path": path, "error": console.record(error) })),
    }
}

/// Success, or the kind of the first failure.
fn exit(report: &PredictReport) -> Exit {
    let first = report.scans.iter().find_map(|scan| match scan {
        ScanOutcome::Failed { error, .. } => Some(error as &(dyn Error + 'static)),
        ScanOutcome::Done(_) => None,
    });
    first.map_or(Exit::Success, |error| Failure::of(error).kind.into())
}
