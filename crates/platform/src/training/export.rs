//! Trainings as a table for spreadsheets (RFC 4180), one row a round and site, and one for the whole.

use std::fmt::Write as _;

use super::View;
use super::monitor::{Round, SiteRound};

const COLUMNS: [&str; 17] = [
    "session",
    "state",
    "network",
    "algorithm",
    "round",
    "started_at",
    "seconds",
    "site",
    "institution",
    "outcome",
    "training_samples",
    "share",
    "training_loss",
    "evaluation_loss",
    "foreground_probability",
    "reason",
    "model_version",
];

/// The table, with the mark that makes spreadsheets read it as UTF-8.
pub(crate) fn csv(views: &[View]) -> String {
    let mut text = "\u{feff}".to_owned();
    line(&mut text, &COLUMNS.map(str::to_owned));
    for view in views {
        for round in &view.round_records {
            line(&mut text, &whole(view, round));
            for (site, place) in &round.sites {
                line(&mut text, &row(view, round, site, place));
            }
        }
    }
    text
}

fn whole(view: &View, round: &Round) -> [String; 17] {
    let mut row = common(view, round);
    row[7] = "(global)".to_owned();
    row[12] = number(round.training_loss);
    row[13] = number(round.evaluation_loss);
    row[14] = number(round.foreground_probability);
    row
}

fn row(view: &View, round: &Round, site: &str, place: &SiteRound) -> [String; 17] {
    let institution = view.summary.participants.iter().find(|participant| participant.site == site);
    let mut row = common(view, round);
    row[7] = site.to_owned();
    row[8] = institution.map(|participant| participant.institution.clone()).unwrap_or_default();
    row[9] = word(&place.outcome);
    row[10] = place.examples.map(|examples| examples.to_string()).unwrap_or_default();
    row[11] = number(place.share);
    row[12] = number(place.training_loss);
    row[13] = number(place.evaluation_loss);
    row[14] = number(place.foreground_probability);
    row[15] = place.reason.clone().unwrap_or_default();
    row
}

fn common(view: &View, round: &Round) -> [String; 17] {
    let summary = &view.summary;
    let mut row = [const { String::new() }; 17];
    row[0] = summary.id.to_string();
    row[1] = summary.state.name().to_owned();
    row[2] = summary.network.clone();
    row[3] = summary.algorithm.to_owned();
    row[4] = round.round.to_string();
    row[5] = crate::clock::Moment(round.started_at).to_string();
    row[6] = round.ms.map(|ms| number(Some(ms as f64 / 1000.0))).unwrap_or_default();
    row[16] = summary.model.map(|model| model.to_string()).unwrap_or_default();
    row
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn line(text: &mut String, fields: &[String]) {
    for (at, field) in fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // A spreadsheet would take such a text for a formula.
        let guard = if field.starts_with(['=', '+', '@', '\t']) || is_no_number(field) { "'" } else { "" };
        // Writing to a text cannot fail.
        if field.contains(['"', ',', '\r', '\n']) {
            let _ = write!(text, "{comma}\"{guard}{}\"", field.replace('"', "\"\""));
        } else {
            let _ = write!(text, "{comma}{guard}{field}");
        }
    }
    text.push_str("\r\n");
}

fn is_no_number(field: &str) -> bool {
    field.starts_with('-') && field.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_never_formulas() {
        let mut text = String::new();
        line(
            &mut text,
            &["a,b".to_owned(), "say \"x\"".to_owned(), "=1+1".to_owned(), "-0.5".to_owned(), "-x".to_owned()],
        );
        assert_eq!(text, "\"a,b\",\"say \"\"x\"\"\",'=1+1,-0.5,'-x\r\n");
    }
}
