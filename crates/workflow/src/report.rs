//! The report of a scan: one HTML file with everything in it, Chinese first with its English twin, made to be printed.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use detector::inference::Mode;
use imaging::lung_mask::LungSource;
use imaging::render::Plane;

use crate::catalog::{Language, Message};
use crate::predict::{PICTURED_DETECTIONS, Picture, Pictures, PredictStage, ScanResult};

const STYLE: &str = include_str!("report.css");

/// The report as a complete HTML document.
pub fn html(result: &ScanResult, pictures: &Pictures) -> String {
    let title = Message::ReportTitle.text(Language::Zh);
    let sections =
        [header(result), detections(result), figures(result, pictures), scan(result), model(result), footer()];
    format!(
        "<!DOCTYPE html>\n<html lang=\"zh-CN\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} {uid}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
        sections.concat(),
        uid = escape(&result.seriesuid),
    )
}

fn header(result: &ScanResult) -> String {
    let count = result.detections.len();
    let summary = if count == 0 {
        both(Message::ReportNone)
    } else {
        both(Message::ReportSummary { count: &count, threshold: &result.threshold })
    };
    let note = provenance_note(result);
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"notice\">{}</p>\n<p class=\"uid\">{}</p>\n<p class=\"summary\">{summary}</p>\n\
         <p class=\"weakness\">{note}</p>\n</header>\n",
        both(Message::ReportTitle),
        both(Message::ReportNotice),
        escape(&result.seriesuid),
    )
}

/// What the model file says about its weakness: at the top, where nobody misses it, and with the model.
fn provenance_note(result: &ScanResult) -> String {
    let note = result.model_provenance.note.trim();
    if note.is_empty() { both(Message::ReportNoProvenance) } else { escape(note) }
}

fn detections(result: &ScanResult) -> String {
    if result.detections.is_empty() {
        return String::new();
    }
    let columns = [
        Message::ColumnNumber,
        Message::ColumnConfidence,
        Message::ColumnDiameter,
        Message::ColumnPosition,
        Message::ColumnVoxel,
    ];
    let head: String = columns.into_iter().map(|column| format!("<th>{}</th>", both(column))).collect();
    let mut rows = String::new();
    for marked in &result.detections {
        let detection = &marked.detection;
        let [x, y, z] = detection.center_mm_xyz;
        let [k, j, i] = marked.voxel_zyx.map(f64::round);
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{:.3}</td><td>{:.1}</td><td>{x:.1}, {y:.1}, {z:.1}</td><td>{i:.0}, {j:.0}, {k:.0}</td></tr>",
            marked.number, detection.confidence, detection.diameter_mm
        );
    }
    format!(
        "<section>\n<h2>{}</h2>\n<table class=\"detections\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table>\n<p class=\"small\">{}</p>\n</section>\n",
        both(Message::ReportDetections),
        both(Message::ReportCoordinates),
    )
}

fn figures(result: &ScanResult, pictures: &Pictures) -> String {
    let count = result.detections.len();
    let mut html = format!("<section>\n<h2>{}</h2>\n", both(Message::ReportPictures));
    if count > PICTURED_DETECTIONS {
        let limit = Message::ReportPicturesLimit { shown: &PICTURED_DETECTIONS, count: &count };
        let _ = writeln!(html, "<p>{}</p>", both(limit));
    }
    if pictures.oblique {
        let _ = writeln!(html, "<p>{}</p>", both(Message::ReportOblique));
    }
    // The planes of a detection side by side; a shared slice is with the stronger one, its caption names both.
    let mut by_detection: BTreeMap<Option<u32>, Vec<&Picture>> = BTreeMap::new();
    for picture in &pictures.all {
        by_detection.entry(picture.numbers.first().copied()).or_default().push(picture);
    }
    for group in by_detection.into_values() {
        let figures: String = group.into_iter().map(figure).collect();
        let _ = write!(html, "<div class=\"figures\">\n{figures}</div>\n");
    }
    html + "</section>\n"
}

fn figure(picture: &Picture) -> String {
    let caption = |language| {
        let plane = match picture.plane {
            Plane::Axial => Message::PlaneAxial,
            Plane::Coronal => Message::PlaneCoronal,
            Plane::Sagittal => Message::PlaneSagittal,
        };
        let plane = plane.text(language);
        let (slice, count) = (&picture.slice, &picture.count);
        if picture.numbers.is_empty() {
            Message::PictureOverview { plane: &plane, slice, count }.text(language)
        } else {
            let numbers: Vec<String> = picture.numbers.iter().map(u32::to_string).collect();
            Message::PictureCaption { plane: &plane, slice, count, numbers: &numbers.join(", ") }.text(language)
        }
    };
    let [width, height] = picture.size;
    format!(
        "<figure><img width=\"{width}\" height=\"{height}\" alt=\"{}\" src=\"data:image/png;base64,{}\">\
         <figcaption>{}</figcaption></figure>\n",
        escape(&caption(Language::Zh)),
        BASE64.encode(&picture.png),
        twins(&caption(Language::Zh), &caption(Language::En)),
    )
}

fn scan(result: &ScanResult) -> String {
    let geometry = &result.geometry;
    let [nz, ny, nx] = geometry.shape_zyx;
    let numbers = |values: &[f64]| values.iter().map(|v| short(*v)).collect::<Vec<_>>();
    let direction = geometry.direction.map(|row| numbers(&row).join(" "));
    let searched = match &result.searched {
        LungSource::Lungs { right_ml, left_ml, .. } => {
            both(Message::ReportLungs { right: &right_ml.round(), left: &left_ml.round() })
        }
        LungSource::BodyBox { reason, .. } => both(Message::ReportBodyBox { reason }),
    };
    let rows = [
        (Message::Series, escape(&result.seriesuid)),
        (Message::Shape, format!("{nx} × {ny} × {nz}")),
        (Message::Spacing, numbers(&geometry.spacing_mm_xyz).join(" × ")),
        (Message::Origin, numbers(&geometry.origin_mm_xyz).join(", ")),
        (Message::Direction, direction.join(" ; ")),
        (Message::HuRange, format!("{} … {}", result.hu_range[0], result.hu_range[1])),
        (Message::ReportSearched, searched),
    ];
    section(Message::ReportScan, &rows)
}

fn model(result: &ScanResult) -> String {
    let provenance = &result.model_provenance;
    let mode = match result.mode {
        Mode::Fast => "fast",
        Mode::Standard => "standard",
        Mode::Accurate => "accurate",
    };
    let times: Vec<String> = result
        .stages_s
        .iter()
        .map(|(stage, seconds)| format!("<span class=\"time\">{} {seconds:.1}</span>", both(stage_name(*stage))))
        .collect();
    let memory = match result.peak_memory_bytes {
        Some(bytes) => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
        None => both(Message::ReportUnknown),
    };
    let mut rows = vec![
        (Message::ReportWeakness, provenance_note(result)),
        (Message::ModelSha256, format!("<code>{}</code>", result.model_sha256)),
    ];
    if !provenance.session.is_empty() {
        rows.push((Message::ReportSession, escape(&provenance.session)));
        rows.push((Message::ReportRounds, provenance.rounds.to_string()));
        rows.push((Message::ReportSites, escape(&provenance.sites.join(", "))));
    }
    rows.extend([
        (Message::ReportMode, mode.to_owned()),
        (Message::ReportDevice, result.device.to_uppercase()),
        (Message::ReportTimes, times.join(" ")),
        (Message::ReportMemory, memory),
    ]);
    section(Message::ReportModel, &rows)
}

/// The name of a stage.
pub fn stage_name(stage: PredictStage) -> Message<'static> {
    match stage {
        PredictStage::Loading => Message::StageLoading,
        PredictStage::Preprocessing => Message::StagePreprocessing,
        PredictStage::Inference => Message::StageInference,
        PredictStage::Detection => Message::StageDetection,
        PredictStage::Rendering => Message::StageRendering,
    }
}

fn footer() -> String {
    format!(
        "<footer><p class=\"notice\">{}</p><p class=\"small\">{}</p></footer>\n",
        both(Message::ReportNotice),
        both(Message::ReportMadeBy { version: &env!("CARGO_PKG_VERSION") }),
    )
}

fn section(title: Message<'_>, rows: &[(Message<'_>, String)]) -> String {
    let rows: String =
        rows.iter().map(|(name, value)| format!("<tr><th>{}</th><td>{value}</td></tr>\n", both(*name))).collect();
    format!("<section>\n<h2>{}</h2>\n<table class=\"facts\">\n{rows}</table>\n</section>\n", both(title))
}

/// A sentence in both languages.
fn both(message: Message<'_>) -> String {
    twins(&message.text(Language::Zh), &message.text(Language::En))
}

fn twins(zh: &str, en: &str) -> String {
    if zh == en {
        return escape(zh);
    }
    format!("<span lang=\"zh-CN\">{}</span> <span lang=\"en\">{}</span>", escape(zh), escape(en))
}

/// At most four decimals, none where there are none.
fn short(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    // No negative zero.
    (rounded + 0.0).to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        assert_eq!(escape("<img src=\"x\">&"), "&lt;img src=&quot;x&quot;&gt;&amp;");
        assert!(!both(Message::ReportBodyBox { reason: &"<script>" }).contains("<script>"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.703125, 2.5, -0.00001, -340.0].map(short), ["0.7031", "2.5", "0", "-340"]);
    }
}
