//! What must not stay in the sources: marks of unfinished work, tests switched off without a reason, big files.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::project::Project;

/// Written in two parts, so that this file does not find itself.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("#[ign", "ore]")];
/// Whose lines are searched for [`MARKS`].
const SOURCES: &[&str] = &["rs", "py", "ts", "toml", "html"];
/// Fixtures are small; whatever is bigger is made by a command or read from elsewhere.
const MAX_BYTES: u64 = 1_500_000;

/// Looks through every file that git would commit.
pub(crate) fn check(project: &Project) -> Result<()> {
    let output = Command::new("git")
        .current_dir(&project.root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot run git, which lists the sources")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let mut found = Vec::new();
    for name in String::from_utf8(output.stdout)?.split_terminator('\0') {
        let path = project.root.join(name);
        // A file that is deleted but not yet committed is still listed.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.len() > MAX_BYTES {
            found.push(format!("{name}: {} bytes, at most {MAX_BYTES} are allowed", metadata.len()));
        }
        if path.extension().is_some_and(|end| SOURCES.iter().any(|source| end == *source)) {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            found.extend(marks(&text).map(|(line, mark)| format!("{name}:{line}: {mark}")));
        }
    }
    if !found.is_empty() {
        bail!("leftovers; finish or remove them:\n  {}", found.join("\n  "));
    }
    Ok(())
}

/// Line numbers and marks.
fn marks(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let of_line = |(index, line): (usize, &str)| Some((index + 1, *MARKS.iter().find(|mark| line.contains(**mark))?));
    text.lines().enumerate().filter_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_found_with_its_line() {
        for mark in MARKS {
            assert_eq!(marks(&format!("fine\n// {mark} later")).collect::<Vec<_>>(), [(2, *mark)]);
        }
        assert_eq!(marks("nothing to do\n").count(), 0);
    }
}
