//! The FROC curve as a picture.

use crate::Evaluation;
use crate::froc::FP_RATES;

/// The words of the figure, in the reader's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureLabels {
    /// Above the figure: what was evaluated on what.
    pub title: String,
    /// Below the horizontal axis: average number of false positives per scan.
    pub x_axis: String,
    /// Beside the vertical axis: sensitivity.
    pub y_axis: String,
    /// The curve in the legend.
    pub curve: String,
    /// The 95 % band in the legend.
    pub band: String,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 456.0;
const COLOR: &str = "#1f5fa8";

/// Draws curve and band from 1/8 to 8 false positives per scan on a logarithmic axis, as the LUNA16 papers do, with
/// the CPM and its interval under the title. The result is a complete SVG file, the same bytes for the same input.
pub fn froc_svg(evaluation: &Evaluation, labels: &FigureLabels) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"'Noto Sans CJK SC','Noto Sans SC','Microsoft YaHei','PingFang SC',sans-serif\" \
         font-size=\"14\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let middle = (LEFT + RIGHT) / 2.0;
    svg += &text(middle, 30.0, "middle", "font-size=\"18\" font-weight=\"bold\"", &labels.title);
    svg += &text(middle, 54.0, "middle", "", &cpm_text(evaluation));
    for rate in FP_RATES {
        svg += &line(x(rate), BOTTOM, x(rate), TOP);
        svg += &text(x(rate), BOTTOM + 20.0, "middle", "", &rate.to_string());
    }
    for tenth in 0..=10 {
        let sensitivity = f64::from(tenth) / 10.0;
        svg += &line(LEFT, y(sensitivity), RIGHT, y(sensitivity));
        svg += &text(LEFT - 8.0, y(sensitivity) + 5.0, "end", "", &format!("{sensitivity:.1}"));
    }
    svg += &text(middle, BOTTOM + 46.0, "middle", "", &labels.x_axis);
    let turned = format!("transform=\"rotate(-90 22 {0})\"", (TOP + BOTTOM) / 2.0);
    svg += &text(22.0, (TOP + BOTTOM) / 2.0, "middle", &turned, &labels.y_axis);

    if let Some(band) = &evaluation.band {
        let upper = band.points.iter().map(|p| (p.fp_per_scan, p.upper));
        let lower = band.points.iter().rev().map(|p| (p.fp_per_scan, p.lower));
        let points = polyline(upper.chain(lower));
        svg += &format!("<polygon points=\"{points}\" fill=\"{COLOR}\" fill-opacity=\"0.18\"/>\n");
        svg += &format!(
            "<rect x=\"{}\" y=\"{}\" width=\"28\" height=\"12\" fill=\"{COLOR}\" fill-opacity=\"0.18\"/>\n",
            RIGHT - 238.0,
            BOTTOM - 30.0
        );
        svg += &text(RIGHT - 202.0, BOTTOM - 19.0, "start", "", &labels.band);
    }
    let points = polyline(visible(evaluation).into_iter());
    svg += &format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{COLOR}\" stroke-width=\"2.5\"/>\n");
    for (rate, sensitivity) in FP_RATES.iter().zip(evaluation.summary.sensitivities) {
        svg += &format!("<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"4\" fill=\"{COLOR}\"/>\n", x(*rate), y(sensitivity));
    }
    svg += &format!("<path d=\"M{} {}h28\" stroke=\"{COLOR}\" stroke-width=\"2.5\"/>\n", RIGHT - 238.0, BOTTOM - 46.0);
    svg += &text(RIGHT - 202.0, BOTTOM - 41.0, "start", "", &labels.curve);
    svg + "</svg>\n"
}

/// `CPM 0.842 [0.812, 0.868]`: the same in every language.
fn cpm_text(evaluation: &Evaluation) -> String {
    let cpm = evaluation.summary.cpm;
    match evaluation.summary.cpm_ci95 {
        Some([lower, upper]) => format!("CPM {cpm:.3} [{lower:.3}, {upper:.3}]"),
        None => format!("CPM {cpm:.3}"),
    }
}

/// The curve between the ends of the axis, which it need not have points at.
fn visible(evaluation: &Evaluation) -> Vec<(f64, f64)> {
    let [first, last] = [FP_RATES[0], FP_RATES[6]];
    let at = |rate| (rate, evaluation.froc.sensitivity_at(rate));
    let inside = evaluation.froc.points().iter().map(|p| (p.fp_per_scan, p.sensitivity));
    let inside = inside.filter(|(rate, _)| *rate > first && *rate < last);
    std::iter::once(at(first)).chain(inside).chain([at(last)]).collect()
}

fn x(fp_per_scan: f64) -> f64 {
    let [first, last] = [FP_RATES[0], FP_RATES[6]];
    LEFT + (RIGHT - LEFT) * libm::log2(fp_per_scan / first) / libm::log2(last / first)
}

fn y(sensitivity: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * sensitivity
}

fn polyline(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(rate, sensitivity)| format!("{:.2},{:.2}", x(rate), y(sensitivity))).collect::<Vec<_>>().join(" ")
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    format!("<path d=\"M{x1:.2} {y1:.2}L{x2:.2} {y2:.2}\" stroke=\"#ddd\"/>\n")
}

fn text(x: f64, y: f64, anchor: &str, attributes: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\" {attributes}>{content}</text>\n")
}
