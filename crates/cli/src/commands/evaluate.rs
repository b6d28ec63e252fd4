//! `fednodule evaluate`

use scoring::{Evaluation, FP_RATES};
use workflow::catalog::Message;
use workflow::evaluate::{EvaluateRequest, EvaluationRecord, evaluate, write_evaluation};

use crate::args;
use crate::console::{Console, Exit};

pub(crate) fn run(args: &args::Evaluate, console: &Console) -> anyhow::Result<Exit> {
    let evaluation = evaluate(&EvaluateRequest {
        submission: args.submission.clone(),
        annotations: args.annotations.clone(),
        excluded: args.excluded.clone(),
        series_uids: args.seriesuids.clone(),
    })?;
    let unlisted = evaluation.unlisted;
    if unlisted.included > 0 {
        console.warn(&console.text(Message::EvaluationUnlistedNodules { count: &unlisted.included }));
    }
    if unlisted.marks > 0 {
        console.warn(&console.text(Message::EvaluationUnlistedMarks { count: &unlisted.marks }));
    }
    if let Some(out) = &args.out {
        write_evaluation(out, &evaluation, console.language)?;
        console.note(Message::WrittenTo { path: &out.display() });
    }
    console.result(&EvaluationRecord::from(&evaluation), || lines(&evaluation, console).join("\n"))?;
    Ok(Exit::Success)
}

fn lines(evaluation: &Evaluation, console: &Console) -> Vec<String> {
    let summary = &evaluation.summary;
    let cpm = match summary.cpm_ci95 {
        Some([low, high]) => format!("{:.4} [{low:.4}, {high:.4}]", summary.cpm),
        None => format!("{:.4}", summary.cpm),
    };
    let counts = [
        console.text(Message::EvaluationScans { scans: &summary.scans, candidates: &summary.candidates }),
        console.text(Message::EvaluationCounts {
            true_positives: &summary.true_positives,
            false_negatives: &summary.false_negatives,
            false_positives: &summary.false_positives,
            ignored: &summary.ignored,
            double_detections: &summary.double_detections,
        }),
    ];
    let at_rates = FP_RATES
        .iter()
        .zip(summary.sensitivities)
        .map(|(rate, sensitivity)| console.field(Message::SensitivityAt { rate }, &format!("{sensitivity:.4}")));
    std::iter::once(console.field(Message::Cpm, &cpm)).chain(at_rates).chain(counts).collect()
}
