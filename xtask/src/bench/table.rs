//! Rows of text.

use serde_json::Value;

use super::Row;
use super::task::{Contender, Measure};

/// Those with columns of their own.
const SHOWN: [Contender; 4] = [Contender::Ours, Contender::Flex, Contender::PyTorch, Contender::OpenVino];

/// Of the run and of the times.
pub(super) fn heading(machine: &Value, threads: u32, versions: &[String]) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_owned();
    let load = match machine["load_average"].as_f64() {
        Some(load) if load > 0.5 => {
            format!("; other programs are running (load {load:.1}): only ratios mean something, and they scatter")
        }
        _ => String::new(),
    };
    let versions = if versions.is_empty() { String::new() } else { format!(", {}", versions.join(", ")) };
    format!(
        "{}, {} of {} processors{versions}{load}\n\
         @ is the side of a patch; gradients: forward and all gradients; fastest round, milliseconds\n\n{:34}{}   {}  of sgemm   goals",
        text("cpu"),
        threads,
        machine["logical_cpus"],
        "",
        SHOWN.map(|c| format!("{:>10}", c.name())).concat(),
        "ours over flex  PyTorch OpenVINO   GFLOP/s",
    )
}

/// One task's times.
pub(super) fn times(row: &Row) -> String {
    let milliseconds = SHOWN.map(|c| number(row.least(c).map(|s| 1e3 * s), 10, 1)).concat();
    let ratio = |other, width| number(row.value(Measure::TimeOver(other)), width, 2);
    format!(
        "{:34}{milliseconds}   {}{}{}{}{}   {}",
        row.task.to_string(),
        ratio(Contender::Flex, 14),
        ratio(Contender::PyTorch, 9),
        ratio(Contender::OpenVino, 9),
        number(row.gflops(), 10, 1),
        number(row.value(Measure::OfSgemm), 10, 2),
        verdicts(row, |measure| !matches!(measure, Measure::PeakOver(_))),
    )
    .trim_end()
    .to_owned()
}

/// Of the memory.
pub(super) fn memory_heading() -> String {
    format!(
        "{:48}{}   ours over PyTorch, grown   goals",
        "peak resident memory, MB (before the task)",
        SHOWN.map(|c| format!("{:>14}", c.name())).concat()
    )
}

/// One task's memory.
pub(super) fn memory(row: &Row) -> String {
    let cell = |contender: Contender| match row.memory[contender as usize] {
        Some([before, peak]) => format!("{:>14}", format!("{:.0} ({:.0})", peak / 1e6, before / 1e6)),
        None => format!("{:>14}", "-"),
    };
    format!(
        "{:48}{}   {}   {}",
        row.task.to_string(),
        SHOWN.map(cell).concat(),
        number(row.value(Measure::PeakOver(Contender::PyTorch)), 24, 2),
        verdicts(row, |measure| matches!(measure, Measure::PeakOver(_))),
    )
    .trim_end()
    .to_owned()
}

/// All goals of the run with what was reached.
pub(super) fn goals(rows: &[Row]) -> String {
    let mut lines = vec!["goals".to_owned()];
    for row in rows {
        for (measure, limit) in row.task.goals() {
            let value = row.value(measure);
            let reached = value.map(|value| format!(": {value:.2}")).unwrap_or_default();
            lines.push(format!("  {:13} {measure} {limit}{reached}   {}", verdict(row, measure, limit), row.task));
        }
    }
    lines.join("\n")
}

fn verdicts(row: &Row, shown: impl Fn(Measure) -> bool) -> String {
    let goals = row.task.goals().into_iter().filter(|(measure, _)| shown(*measure));
    goals.map(|(m, limit)| format!("{m} {limit} {}", verdict(row, m, limit))).collect::<Vec<_>>().join(", ")
}

fn verdict(row: &Row, measure: Measure, limit: f64) -> &'static str {
    match row.value(measure) {
        Some(value) if measure.holds(value, limit) => "met",
        Some(_) => "NOT met",
        None => "not measured",
    }
}

fn number(value: Option<f64>, width: usize, digits: usize) -> String {
    value.map_or_else(|| format!("{:>width$}", "-"), |value| format!("{value:width$.digits$}"))
}
