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
    /// The 95 % band in the legend.
    pub band: String,
}

/// A curve of the figure.
#[derive(Debug, Clone, Copy)]
pub struct FigureCurve<'a> {
    /// Its name in the legend.
    pub label: &'a str,
    /// What is drawn.
    pub evaluation: &'a Evaluation,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 456.0;
/// The legend's first line: below the axis, because names may be long and curves may run anywhere.
const LEGEND: f64 = BOTTOM + 78.0;
const LEGEND_LINE: f64 = 22.0;
/// Colours of the curves, in order; told apart also by readers who see no difference between red and green (Okabe and
/// Ito 2008, darkened for white paper).
const COLORS: [&str; 6] = ["#1f5fa8", "#b45309", "#2f7d5b", "#8e4585", "#555b61", "#a8323e"];

/// Draws the curves from 1/8 to 8 false positives per scan on a logarithmic axis, as the LUNA16 papers do, each with
/// its CPM in the legend; the first with its band, and its CPM's interval under the title. The result is a complete SVG
/// file, the same bytes for the same input.
pub fn froc_svg(curves: &[FigureCurve<'_>], labels: &FigureLabels) -> String {
    let band = curves.first().and_then(|first| first.evaluation.band.as_ref());
    let height = LEGEND + LEGEND_LINE * (curves.len() + usize::from(band.is_some())) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"'Noto Sans CJK SC','Noto Sans SC','Microsoft YaHei','PingFang SC',sans-serif\" \
         font-size=\"14\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let middle = (LEFT + RIGHT) / 2.0;
    svg += &text(middle, 30.0, "middle", "font-size=\"18\" font-weight=\"bold\"", &labels.title);
    if let Some(first) = curves.first() {
        svg += &text(middle, 54.0, "middle", "", &cpm_text(first.evaluation));
    }
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

    let legend = |row: usize| LEGEND + LEGEND_LINE * row as f64;
    let symbol_end = LEFT + 36.0;
    if let Some(band) = band {
        let upper = band.points.iter().map(|p| (p.fp_per_scan, p.upper));
        let lower = band.points.iter().rev().map(|p| (p.fp_per_scan, p.lower));
        let points = polyline(upper.chain(lower));
        let fill = format!("fill=\"{}\" fill-opacity=\"0.18\"", COLORS[0]);
        svg += &format!("<polygon points=\"{points}\" {fill}/>\n");
        let (row, top) = (legend(curves.len()), legend(curves.len()) - 10.0);
        svg += &format!("<rect x=\"{LEFT}\" y=\"{top}\" width=\"28\" height=\"12\" {fill}/>\n");
        svg += &text(symbol_end, row, "start", "", &labels.band);
    }
    // The first is drawn last, on top of the others.
    for (i, curve) in curves.iter().enumerate().rev() {
        let FigureCurve { label, evaluation } = *curve;
        let (color, row) = (COLORS[i % COLORS.len()], legend(i));
        let points = polyline(visible(evaluation).into_iter());
        svg += &format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"/>\n");
        for (rate, sensitivity) in FP_RATES.iter().zip(evaluation.summary.sensitivities) {
            svg += &format!("<circle cx=\"{:.2}\" cy=\"{:.2}\" r=\"4\" fill=\"{color}\"/>\n", x(*rate), y(sensitivity));
        }
        let middle = row - 5.0;
        svg += &format!("<path d=\"M{LEFT} {middle}h28\" stroke=\"{color}\" stroke-width=\"2.5\"/>\n");
        let words = if curves.len() > 1 { format!("{label} {:.3}", evaluation.summary.cpm) } else { label.to_owned() };
        svg += &text(symbol_end, row, "start", "", &words);
    }
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
