//! What federation was worth: the models of a study side by side, round by round, with pictures.

use std::path::PathBuf;

use detector::inference::Detection;
use federation::{RoundRecord, SiteId, SiteRecord, SiteStatus};
use scoring::{CpmDifference, DiameterBin, Evaluation};

use super::{both, escape, footer, page, png, section, table};
use crate::catalog::{Language, Message};
use crate::evaluate::froc_figure;
use crate::predict::Picture;
use crate::study::{Contender, StudyReport, StudyRow};

/// A slice through a nodule of a scan that nobody trained on.
#[derive(Debug)]
pub struct Example {
    /// The scan.
    pub series_uid: String,
    /// Its file.
    pub path: PathBuf,
    /// The nodule's annotated diameter, millimetres.
    pub diameter_mm: f64,
    /// What the federated model found it with.
    pub confidence: Option<f64>,
    /// Detections that are circled.
    pub detections: Vec<Detection>,
    /// The slice.
    pub picture: Picture,
}

/// False positives per scan at which tables and pictures are read.
pub const OPERATING_FP_RATE: f64 = 1.0;

/// The comparison as a complete HTML document.
pub fn html(study: &StudyReport) -> String {
    let sections = [header(study), models(study), curves(study), diameters(study), rounds(study), examples(study)];
    page(&Message::ComparisonTitle.text(Language::Zh), &(sections.concat() + &footer()))
}

fn header(study: &StudyReport) -> String {
    let verdict = Language::ALL.map(|language| verdict(study, language).unwrap_or_default());
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"notice\">{}</p>\n<p class=\"summary\">{}</p>\n<p class=\"weakness\">{}</p>\n\
         </header>\n",
        both(Message::ComparisonTitle),
        both(Message::ReportNotice),
        super::twins(&verdict[0], &verdict[1]),
        escape(&study.note),
    )
}

/// The result in one sentence; nothing where a part of the comparison is missing.
pub fn verdict(study: &StudyReport, language: Language) -> Option<String> {
    let federated = study.row(|c| *c == Contender::Federated)?;
    let pooled = study.row(|c| *c == Contender::Pooled)?;
    let cpm = |row: &StudyRow| row.evaluation.summary.cpm;
    let locals = study.rows.iter().filter(|row| matches!(row.contender, Contender::Local(_)));
    let best = locals.max_by(|a, b| cpm(a).total_cmp(&cpm(b)))?;
    let number = |row: &StudyRow| format!("{:.3}", cpm(row));
    let over = |row: &StudyRow| difference(federated.evaluation.cpm_difference(&row.evaluation));
    Some(
        Message::ComparisonVerdict {
            federated: &number(federated),
            best: &number(best),
            over_best: &over(best),
            pooled: &number(pooled),
            to_pooled: &over(pooled),
        }
        .text(language),
    )
}

/// `+0.123 [+0.045, +0.201]`
fn difference(difference: Option<CpmDifference>) -> String {
    difference.map_or_else(missing, |d| format!("{:+.3} [{:+.3}, {:+.3}]", d.difference, d.ci95[0], d.ci95[1]))
}

fn missing() -> String {
    "–".to_owned()
}

/// The name of a contender.
pub fn contender(contender: &Contender, language: Language) -> String {
    match contender {
        Contender::Federated => Message::ContenderFederated.text(language),
        Contender::Local(site) => Message::ContenderLocal { site: &site.as_str() }.text(language),
        Contender::Pooled => Message::ContenderPooled.text(language),
    }
}

/// Titles and cells of the table of models.
pub fn model_table(study: &StudyReport, language: Language) -> [Vec<Vec<String>>; 2] {
    let titles = [
        Message::ColumnContender,
        Message::ColumnCpm,
        Message::ColumnInterval,
        Message::ColumnDifference,
        Message::ColumnSensitivityAtOne,
        Message::ColumnSteps,
        Message::ColumnPatches,
        Message::ColumnSeconds,
    ];
    let federated = study.row(|c| *c == Contender::Federated);
    let row = |row: &StudyRow| {
        let summary = &row.evaluation.summary;
        let less = federated.filter(|_| row.contender != Contender::Federated);
        vec![
            contender(&row.contender, language),
            format!("{:.3}", summary.cpm),
            summary.cpm_ci95.map_or_else(missing, |[low, high]| format!("{low:.3}–{high:.3}")),
            difference(less.and_then(|federated| federated.evaluation.cpm_difference(&row.evaluation))),
            format!("{:.3}", row.evaluation.froc.sensitivity_at(OPERATING_FP_RATE)),
            row.steps.to_string(),
            row.patches.to_string(),
            row.training_s.map_or_else(missing, |seconds| format!("{seconds:.0}")),
        ]
    };
    [vec![titles.map(|title| title.text(language)).to_vec()], study.rows.iter().map(row).collect()]
}

/// Titles and cells of the table of rounds and sites.
pub fn round_table(rounds: &[RoundRecord], language: Language) -> [Vec<Vec<String>>; 2] {
    let titles = [
        Message::ColumnRound,
        Message::ColumnSite,
        Message::ColumnStatus,
        Message::ColumnTrainingLoss,
        Message::ColumnValidationLoss,
        Message::ColumnProbability,
        Message::ColumnSeconds,
    ];
    let number = |value: Option<f64>| value.map_or_else(missing, |v| format!("{v:.3}"));
    let seconds = |ms: Option<u64>| ms.map_or_else(missing, |ms| format!("{:.0}", ms as f64 / 1e3));
    let site = |round: u32, (id, site): (&SiteId, &SiteRecord)| {
        let judged = site.evaluation.as_ref().map(|e| &e.metrics);
        vec![
            round.to_string(),
            id.as_str().to_owned(),
            status(&site.status).text(language),
            number(site.update.as_ref().map(|u| u.metrics.loss)),
            number(judged.map(|m| m.loss)),
            number(judged.and_then(|m| m.foreground_probability)),
            // A site's record counts from the start of the round; on one machine it waited for the others.
            String::new(),
        ]
    };
    let mut rows = Vec::new();
    for record in rounds {
        rows.extend(record.sites.iter().map(|entry| site(record.round, entry)));
        let parts = [record.training_ms, record.aggregation_ms, record.evaluation_ms];
        rows.push(vec![
            record.round.to_string(),
            Message::AllSites.text(language),
            String::new(),
            number(record.training_loss),
            number(record.evaluation_loss),
            number(record.foreground_probability),
            seconds(parts.into_iter().sum()),
        ]);
    }
    [vec![titles.map(|title| title.text(language)).to_vec()], rows]
}

fn status(status: &SiteStatus) -> Message<'static> {
    match status {
        SiteStatus::Training => Message::StatusTraining,
        SiteStatus::Trained => Message::StatusTrained,
        SiteStatus::Late => Message::StatusLate,
        SiteStatus::Dropped { .. } => Message::StatusDropped,
        SiteStatus::Failed { .. } => Message::StatusFailed,
        SiteStatus::Refused { .. } => Message::StatusRefused,
    }
}

/// Both languages of a table, cell by cell.
fn twin_table(class: &str, of: impl Fn(Language) -> [Vec<Vec<String>>; 2]) -> String {
    let [zh, en] = Language::ALL.map(of);
    let twins = |part: usize| -> Vec<Vec<String>> {
        let rows = zh[part].iter().zip(&en[part]);
        rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| super::twins(a, b)).collect()).collect()
    };
    table(class, &twins(0).concat(), &twins(1))
}

fn models(study: &StudyReport) -> String {
    let steps = study.rows.first().map_or(0, |row| row.steps);
    let method = Message::ComparisonMethod { scans: &study.scans, steps: &steps, batch: &study.batch_size };
    let table = twin_table("detections", |language| model_table(study, language));
    section(Message::ComparisonModels, &format!("{table}<p class=\"small\">{}</p>\n", both(method)))
}

/// The curves of all contenders.
pub fn figure(study: &StudyReport, language: Language) -> String {
    let named: Vec<(String, &Evaluation)> =
        study.rows.iter().map(|row| (contender(&row.contender, language), &row.evaluation)).collect();
    froc_figure(&named, language)
}

fn curves(study: &StudyReport) -> String {
    section(Message::FrocCurve, &format!("<figure class=\"chart\">{}</figure>\n", figure(study, Language::Zh)))
}

fn diameters(study: &StudyReport) -> String {
    let bins: Vec<(&StudyRow, Vec<DiameterBin>)> =
        study.rows.iter().map(|row| (row, row.evaluation.sensitivity_by_diameter(OPERATING_FP_RATE))).collect();
    let Some((_, first)) = bins.first() else { return String::new() };
    let class = |bin: &DiameterBin| match bin.to_mm {
        Some(to) => both(Message::DiameterBetween { from: &bin.from_mm, to: &to }),
        None => both(Message::DiameterFrom { from: &bin.from_mm }),
    };
    let titles: Vec<String> = std::iter::once(both(Message::ColumnContender)).chain(first.iter().map(class)).collect();
    let cell = |bin: &DiameterBin| match bin.sensitivity {
        Some(share) => both(Message::NodulesOf { share: &format!("{share:.2}"), nodules: &bin.nodules }),
        None => missing(),
    };
    let row = |(row, bins): &(&StudyRow, Vec<DiameterBin>)| {
        let name = Language::ALL.map(|language| contender(&row.contender, language));
        std::iter::once(super::twins(&name[0], &name[1])).chain(bins.iter().map(cell)).collect()
    };
    let rows: Vec<Vec<String>> = bins.iter().map(row).collect();
    section(Message::ComparisonDiameter, &table("detections", &titles, &rows))
}

fn rounds(study: &StudyReport) -> String {
    let table = twin_table("detections", |language| round_table(&study.session.rounds, language));
    section(Message::ComparisonRounds, &table)
}

fn examples(study: &StudyReport) -> String {
    let example = |example: &Example| {
        let diameter = format!("{:.1}", example.diameter_mm);
        let confidence = example.confidence.map(|c| format!("{c:.3}"));
        let caption = match &confidence {
            Some(confidence) if example.confidence >= Some(study.threshold) => {
                both(Message::ExampleFound { diameter: &diameter, confidence })
            }
            Some(confidence) => both(Message::ExampleWeak { diameter: &diameter, confidence }),
            None => both(Message::ExampleMissed { diameter: &diameter }),
        };
        format!(
            "<figure>{}<figcaption>{caption}<br><span class=\"uid\">{}</span></figcaption></figure>\n",
            png(&example.picture.png, example.picture.size, &example.series_uid),
            escape(&example.series_uid)
        )
    };
    let figures: String = study.examples.iter().map(example).collect();
    let threshold = format!("{:.3}", study.threshold);
    let rule = both(Message::ComparisonExamplesRule { threshold: &threshold });
    section(
        Message::ComparisonExamples,
        &format!("<p class=\"small\">{rule}</p>\n<div class=\"figures\">\n{figures}</div>\n"),
    )
}
