//! Scripts, styles and pictures, which lie in the program itself.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use super::Problem;
use crate::token::hex;

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type and content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    ("app.css", "text/css; charset=utf-8", include_bytes!("../../web/assets/app.css")),
    ("app.js", SCRIPT, include_bytes!("../../web/assets/app.js")),
    ("actions.js", SCRIPT, include_bytes!("../../web/assets/actions.js")),
    ("api.js", SCRIPT, include_bytes!("../../web/assets/api.js")),
    ("dom.js", SCRIPT, include_bytes!("../../web/assets/dom.js")),
    ("forms.js", SCRIPT, include_bytes!("../../web/assets/forms.js")),
    ("password.js", SCRIPT, include_bytes!("../../web/assets/password.js")),
    ("settings.js", SCRIPT, include_bytes!("../../web/assets/settings.js")),
    ("tables.js", SCRIPT, include_bytes!("../../web/assets/tables.js")),
    ("viewer.css", "text/css; charset=utf-8", include_bytes!("../../web/assets/viewer.css")),
    ("viewer.js", SCRIPT, include_bytes!("../../web/assets/viewer.js")),
    ("viewer-findings.js", SCRIPT, include_bytes!("../../web/assets/viewer-findings.js")),
    ("viewer-pane.js", SCRIPT, include_bytes!("../../web/assets/viewer-pane.js")),
    ("viewer-slices.js", SCRIPT, include_bytes!("../../web/assets/viewer-slices.js")),
    ("viewer-space.js", SCRIPT, include_bytes!("../../web/assets/viewer-space.js")),
    ("viewer-volume.js", SCRIPT, include_bytes!("../../web/assets/viewer-volume.js")),
    ("viewer-window.js", SCRIPT, include_bytes!("../../web/assets/viewer-window.js")),
    ("report.css", "text/css; charset=utf-8", include_bytes!("../../web/assets/report.css")),
    ("report.js", SCRIPT, include_bytes!("../../web/assets/report.js")),
    ("ask.js", SCRIPT, include_bytes!("../../web/assets/ask.js")),
    ("live.js", SCRIPT, include_bytes!("../../web/assets/live.js")),
    ("inferences.js", SCRIPT, include_bytes!("../../web/assets/inferences.js")),
    ("charts.js", SCRIPT, include_bytes!("../../web/assets/charts.js")),
    ("launch.js", SCRIPT, include_bytes!("../../web/assets/launch.js")),
    ("make.js", SCRIPT, include_bytes!("../../web/assets/make.js")),
    ("training.js", SCRIPT, include_bytes!("../../web/assets/training.js")),
    ("trainings.js", SCRIPT, include_bytes!("../../web/assets/trainings.js")),
    ("trainings-page.js", SCRIPT, include_bytes!("../../web/assets/trainings-page.js")),
    ("trainings.css", "text/css; charset=utf-8", include_bytes!("../../web/assets/trainings.css")),
    ("data.css", "text/css; charset=utf-8", include_bytes!("../../web/assets/data.css")),
    ("data.js", SCRIPT, include_bytes!("../../web/assets/data.js")),
    ("logs.js", SCRIPT, include_bytes!("../../web/assets/logs.js")),
    ("system.js", SCRIPT, include_bytes!("../../web/assets/system.js")),
    ("presence.js", SCRIPT, include_bytes!("../../web/assets/presence.js")),
    ("upload.js", SCRIPT, include_bytes!("../../web/assets/upload.js")),
    ("hasher.js", SCRIPT, include_bytes!("../../web/assets/hasher.js")),
    // Of others, which `build.rs` fetches.
    ("chart.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/chart.js"))),
    ("socket.io.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/socket.io.js"))),
    ("sha2.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/sha2.js"))),
    ("_md.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/_md.js"))),
    ("_u64.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/_u64.js"))),
    ("utils.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/utils.js"))),
    ("icon.svg", "image/svg+xml", include_bytes!("../../web/assets/icon.svg")),
];

/// Changes with any of them, so that browsers may keep them for ever.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = Sha256::new();
    for (name, _, content) in ASSETS {
        hasher.update(name);
        hasher.update(content);
    }
    hex(&hasher.finalize()[..8])
});

/// Where a page finds an asset.
pub(super) fn path(name: &str) -> Option<String> {
    ASSETS.iter().any(|(known, _, _)| *known == name).then(|| format!("/assets/{}/{name}", *VERSION))
}

pub(super) async fn serve(Path((version, name)): Path<(String, String)>) -> Result<impl IntoResponse, Problem> {
    let found = ASSETS.iter().find(|(known, _, _)| *known == name && version == *VERSION);
    let (_, media_type, content) = found.ok_or_else(Problem::not_found)?;
    Ok(([(CONTENT_TYPE, *media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")], *content))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No page asks another machine for anything: hospital networks are closed.
    #[test]
    fn nothing_leads_outside() {
        for (name, _, content) in ASSETS {
            let text = str::from_utf8(content).unwrap();
            // Comments ask nobody for anything.
            let text = without_comments(text)
                .replace("http://www.w3.org/2000/svg", "")
                // Socket.IO compares with these, and says where its own errors are explained.
                .replace("\"https:\"", "")
                .replace("\"https://\"", "")
                .replace("https://socket.io/docs", "")
                .replace("https://www.chartjs.org", "")
                .replace("https://github.com/kurkle", "");
            for outside in ["http:", "https:", "//cdn", "@import"] {
                assert!(!text.contains(outside), "{name} has {outside}");
            }
        }
    }

    /// A script without `/* … */`, and without what follows `//` where a comment can begin.
    fn without_comments(text: &str) -> String {
        let outside = text.split("/*").enumerate().map(|(number, part)| match number {
            0 => part,
            _ => part.split_once("*/").map_or("", |(_, rest)| rest),
        });
        let code: String = outside.collect();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.map(|line| line.split("; // ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_imported_script_is_there() {
        for (name, _, content) in ASSETS.iter().filter(|(name, _, _)| name.ends_with(".js")) {
            let text = str::from_utf8(content).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import")) {
                let imported = line.split('"').nth(1).unwrap().strip_prefix("./").unwrap();
                assert!(path(imported).is_some(), "{name} imports {imported}");
            }
        }
    }
}
