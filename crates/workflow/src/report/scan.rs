//! What was found in a scan.

use std::collections::BTreeMap;
use std::fmt::Write;

use detector::inference::Mode;
use imaging::lung_mask::LungSource;
use imaging::render::Plane;

use super::{both, escape, facts, footer, page, png, section, short, table, twins};
use crate::catalog::{Language, Message};
use crate::predict::{MarkedDetection, PICTURED_DETECTIONS, Picture, Pictures, PredictStage, ScanResult};

/// The report as a complete HTML document.
pub fn html(result: &ScanResult, pictures: &Pictures) -> String {
    let sections =
        [header(result), detections(result), figures(result, pictures), scan(result), model(result), footer()];
    page(&format!("{} {}", Message::ReportTitle.text(Language::Zh), result.seriesuid), &sections.concat())
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
        Message::ColumnVolume,
        Message::ColumnPosition,
        Message::ColumnVoxel,
    ];
    let row = |marked: &MarkedDetection| {
        let detection = &marked.detection;
        let [x, y, z] = detection.center_mm_xyz;
        let [k, j, i] = marked.voxel_zyx.map(f64::round);
        vec![
            marked.number.to_string(),
            format!("{:.3}", detection.confidence),
            format!("{:.1}", detection.diameter_mm),
            detection.volume_mm3.map_or("—".to_owned(), |volume| format!("{volume:.0}")),
            format!("{x:.1}, {y:.1}, {z:.1}"),
            format!("{i:.0}, {j:.0}, {k:.0}"),
        ]
    };
    let rows: Vec<_> = result.detections.iter().map(row).collect();
    let coordinates = format!("<p class=\"small\">{}</p>\n", both(Message::ReportCoordinates));
    section(Message::ReportDetections, &(table("detections", &columns.map(both), &rows) + &coordinates))
}

fn figures(result: &ScanResult, pictures: &Pictures) -> String {
    let count = result.detections.len();
    let mut html = String::new();
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
    section(Message::ReportPictures, &html)
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
    format!(
        "<figure>{}<figcaption>{}</figcaption></figure>\n",
        png(&picture.png, picture.size, &caption(Language::Zh)),
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
    facts(Message::ReportScan, &rows)
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
    facts(Message::ReportModel, &rows)
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
