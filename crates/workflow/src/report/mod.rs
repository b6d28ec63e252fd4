//! Reports: one HTML file with everything in it, Chinese first with its English twin, made to be printed.

pub mod comparison;
pub mod scan;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::catalog::{Language, Message};

const STYLE: &str = include_str!("style.css");

/// A complete HTML document.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"zh-CN\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title),
    )
}

fn footer() -> String {
    format!(
        "<footer><p class=\"notice\">{}</p><p class=\"small\">{}</p></footer>\n",
        both(Message::ReportNotice),
        both(Message::ReportMadeBy { version: &env!("CARGO_PKG_VERSION") }),
    )
}

/// A picture inside the document.
fn png(png: &[u8], [width, height]: [usize; 2], alt: &str) -> String {
    format!(
        "<img width=\"{width}\" height=\"{height}\" alt=\"{}\" src=\"data:image/png;base64,{}\">",
        escape(alt),
        BASE64.encode(png)
    )
}

fn facts(title: Message<'_>, rows: &[(Message<'_>, String)]) -> String {
    let rows: String =
        rows.iter().map(|(name, value)| format!("<tr><th>{}</th><td>{value}</td></tr>\n", both(*name))).collect();
    section(title, &format!("<table class=\"facts\">\n{rows}</table>\n"))
}

fn section(title: Message<'_>, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", both(title))
}

/// A table with a line of titles; the cells are markup.
fn table(class: &str, titles: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String], tag: &str| -> String {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|row| line(row, "td")).collect();
    let head = line(titles, "th");
    format!("<table class=\"{class}\">\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
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
