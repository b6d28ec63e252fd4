//! Deliberate mistakes that the tests must notice. Each is a patch whose header names the test command that has to fail with
//! it; it is applied to a copy of the sources, so that the shipped code holds no trace of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::shown;
use crate::project::Project;

const FOLDER: &str = "crates/transport/tests/weakenings";
/// What cargo needs to load the workspace.
const SOURCES: &[&str] = &["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo", "crates", "xtask"];
/// Much longer than any of these tests takes; a weakened program may wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A patch with its header.
#[derive(Debug, PartialEq)]
struct Weakening {
    name: String,
    /// What it breaks.
    breaks: String,
    caught_by: Tests,
    /// A test that does not end has noticed it, too.
    may_hang: bool,
    hunks: Vec<Hunk>,
}

/// A test command: what cargo gets, and what the test programs get after `--`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Tests {
    cargo: Vec<String>,
    program: Vec<String>,
}

/// Whole lines of a file and what stands in their place.
#[derive(Debug, PartialEq)]
struct Hunk {
    file: String,
    before: String,
    after: String,
}

/// How tests ended.
enum Verdict {
    Passed,
    /// These have failed.
    Failed(Vec<String>),
    Hung,
}

/// `cargo xtask weakenings`: those whose name contains `only`, or all.
pub(crate) fn run(project: &Project, only: Option<&str>) -> Result<()> {
    let mut weakenings = read_all(&project.root)?;
    weakenings.retain(|weakening| only.is_none_or(|part| weakening.name.contains(part)));
    ensure!(!weakenings.is_empty(), "no weakening in {FOLDER} has a name with {:?}", only.unwrap_or_default());
    let copy = Copy::of(project)?;
    let start = Instant::now();
    let commands: BTreeSet<&Tests> = weakenings.iter().map(|weakening| &weakening.caught_by).collect();
    for (number, tests) in commands.into_iter().enumerate() {
        match copy.test(tests, &format!("unweakened-{number}"))? {
            Verdict::Passed => {}
            Verdict::Failed(names) => bail!("`{tests}` fails without any weakening: {}", names.join(", ")),
            Verdict::Hung => bail!("`{tests}` does not end without any weakening"),
        }
    }
    let (mut table, mut missed) = (Vec::new(), Vec::new());
    table.push(("unweakened".to_owned(), "all pass".to_owned(), start.elapsed()));
    for weakening in weakenings {
        let start = Instant::now();
        println!("{}: {}", weakening.name, weakening.breaks);
        let originals = copy.weaken(&weakening)?;
        let verdict = copy.test(&weakening.caught_by, &weakening.name);
        for (path, text) in originals {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let Weakening { name, breaks, caught_by, may_hang, .. } = weakening;
        let outcome = match verdict {
            Ok(Verdict::Failed(tests)) => Ok(tests.join(", ")),
            Ok(Verdict::Hung) if may_hang => Ok(format!("`{caught_by}` does not end")),
            Ok(Verdict::Hung) => Err(format!("`{caught_by}` does not end")),
            Ok(Verdict::Passed) => Err(format!("`{caught_by}` passes")),
            Err(error) => Err(format!("{error:#}")),
        };
        let outcome = outcome.unwrap_or_else(|why| {
            missed.push(format!("{name}: {breaks}: {why}"));
            "NOT CAUGHT".to_owned()
        });
        println!("    {outcome} ({:.0} s)", start.elapsed().as_secs_f64());
        table.push((name, outcome, start.elapsed()));
    }
    println!("\n{}", shown_table(&table));
    ensure!(missed.is_empty(), "the tests do not catch\n  {}\nstrengthen them until they do", missed.join("\n  "));
    Ok(())
}

fn shown_table(rows: &[(String, String, Duration)]) -> String {
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let head = format!("{:width$} | seconds | caught by", "weakening");
    let total: Duration = rows.iter().map(|(.., time)| *time).sum();
    let rows = rows.iter().map(|(name, by, time)| format!("{name:width$} | {:7.1} | {by}", time.as_secs_f64()));
    let total = format!("{:width$} | {:7.1} |", "all", total.as_secs_f64());
    [head].into_iter().chain(rows).chain([total]).collect::<Vec<_>>().join("\n")
}

impl std::fmt::Display for Tests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cargo test {}", self.cargo.join(" "))?;
        if self.program.is_empty() { Ok(()) } else { write!(f, " -- {}", self.program.join(" ")) }
    }
}

impl Tests {
    fn parse(text: &str) -> Option<Self> {
        let words = text.trim().strip_prefix("cargo test ")?;
        let (cargo, program) = words.split_once(" -- ").unwrap_or((words, ""));
        let words = |text: &str| text.split_whitespace().map(Into::into).collect();
        Some(Self { cargo: words(cargo), program: words(program) })
    }
}

fn read_all(root: &Path) -> Result<Vec<Weakening>> {
    let folder = root.join(FOLDER);
    let mut weakenings = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        weakenings.push(Weakening::parse(&name, &text)?);
    }
    weakenings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(weakenings)
}

impl Weakening {
    /// Reads a patch as git writes it. Line numbers do not matter: the lines themselves must be found once.
    fn parse(name: &str, text: &str) -> Result<Self> {
        let (mut breaks, mut caught_by, mut may_hang) = (None, None, false);
        let (mut file, mut hunks) = (None, Vec::<Hunk>::new());
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("+++ b/") {
                file = Some(path.to_owned());
            } else if line.starts_with("@@") {
                let file = file.clone().with_context(|| format!("{name}: a hunk without a file"))?;
                hunks.push(Hunk { file, before: String::new(), after: String::new() });
            } else if let Some(hunk) = hunks.last_mut().filter(|_| !line.starts_with("diff ")) {
                let (kind, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
                let sides = match kind {
                    " " => [Some(&mut hunk.before), Some(&mut hunk.after)],
                    "-" => [Some(&mut hunk.before), None],
                    "+" => [None, Some(&mut hunk.after)],
                    _ => bail!("{name}: {line:?} is no line of a patch"),
                };
                sides.into_iter().flatten().for_each(|side| *side += &format!("{rest}\n"));
            } else if let Some(words) = line.strip_prefix("# ") {
                match words.strip_prefix("caught by: ") {
                    Some(command) => caught_by = Tests::parse(command),
                    None if words == "may hang" => may_hang = true,
                    None => breaks = breaks.or(Some(words.to_owned())),
                }
            }
        }
        let header = "a patch begins with `# what it breaks` and `# caught by: cargo test ...`";
        let (breaks, caught_by) = breaks.zip(caught_by).with_context(|| format!("{name}: {header}"))?;
        ensure!(!hunks.is_empty(), "{name}: it changes nothing");
        Ok(Self { name: name.to_owned(), breaks, caught_by, may_hang, hunks })
    }

    /// The files below `root` that it changes, with their text before and after.
    fn apply(&self, root: &Path) -> Result<Vec<(PathBuf, String, String)>> {
        let mut changed: Vec<(PathBuf, String, String)> = Vec::new();
        for Hunk { file, before, after } in &self.hunks {
            let path = root.join(file);
            let index = match changed.iter().position(|(known, ..)| *known == path) {
                Some(index) => index,
                None => {
                    let text =
                        fs::read_to_string(&path).with_context(|| format!("{}: cannot read {file}", self.name))?;
                    changed.push((path, text.clone(), text));
                    changed.len() - 1
                }
            };
            let text = &mut changed[index].2;
            let starts: Vec<usize> = text.match_indices(before.as_str()).map(|(at, _)| at).collect();
            let starts: Vec<usize> = starts.into_iter().filter(|at| *at == 0 || text[..*at].ends_with('\n')).collect();
            let [at] = starts[..] else {
                bail!(
                    "{FOLDER}/{}.patch does not apply: {file} has {} places with\n{before}make the same mistake in the code as \
                     it is now, and replace the patch by `git diff -U1` (with more lines around where one is not enough)",
                    self.name,
                    starts.len()
                );
            };
            text.replace_range(at..at + before.len(), after);
        }
        Ok(changed)
    }
}

/// A copy of the sources that may be changed.
struct Copy<'a> {
    project: &'a Project,
    /// Holds the copy, what is built from it, and what the tests have said.
    folder: PathBuf,
}

impl<'a> Copy<'a> {
    fn of(project: &'a Project) -> Result<Self> {
        let folder = project.target.join("weakenings");
        let copy = Self { project, folder };
        if copy.sources().exists() {
            fs::remove_dir_all(copy.sources()).context("cannot remove the sources of the last run")?;
        }
        let mut git = Command::new("git");
        git.current_dir(&project.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]);
        let output = git.args(SOURCES).output().context("cannot run git, which lists the sources")?;
        ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        for name in String::from_utf8(output.stdout)?.split_terminator('\0') {
            let (from, to) = (project.root.join(name), copy.sources().join(name));
            // A file that is deleted but not yet committed is still listed.
            if from.is_file() {
                fs::create_dir_all(to.parent().unwrap_or(&to))?;
                fs::copy(&from, &to).with_context(|| format!("cannot copy {name}"))?;
            }
        }
        Ok(copy)
    }

    fn sources(&self) -> PathBuf {
        self.folder.join("sources")
    }

    /// Applies it; the original texts.
    fn weaken(&self, weakening: &Weakening) -> Result<Vec<(PathBuf, String)>> {
        let mut originals = Vec::new();
        for (path, before, after) in weakening.apply(&self.sources())? {
            fs::write(&path, after).with_context(|| format!("cannot write {}", path.display()))?;
            originals.push((path, before));
        }
        Ok(originals)
    }

    /// Builds tests, which must succeed, and runs them.
    fn test(&self, tests: &Tests, name: &str) -> Result<Verdict> {
        let log = self.folder.join(format!("{name}.log"));
        for (program, folder) in self.build(tests)? {
            let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
            let mut command = Command::new(program);
            // As many seeds as everywhere else but in continuous integration.
            command.current_dir(folder).args(&tests.program).env_remove("CI");
            command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
            let mut child = command.spawn().with_context(|| format!("cannot start {}", shown(&command)))?;
            let start = Instant::now();
            let status = loop {
                match child.try_wait()? {
                    Some(status) => break status,
                    None if start.elapsed() > PATIENCE => {
                        child.kill()?;
                        child.wait()?;
                        return Ok(Verdict::Hung);
                    }
                    None => thread::sleep(Duration::from_millis(20)),
                }
            };
            if !status.success() {
                let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
                let failed = failed_tests(&output);
                // Anything else, such as an abort, is no finding of a test.
                ensure!(!failed.is_empty(), "`{tests}` ended with {status}, but no test failed: see {}", log.display());
                return Ok(Verdict::Failed(failed));
            }
        }
        Ok(Verdict::Passed)
    }

    /// The test programs of a command, each with the folder that it runs in.
    fn build(&self, tests: &Tests) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut command = self.project.cargo();
        command.current_dir(self.sources()).env("CARGO_TARGET_DIR", self.folder.join("target"));
        command.args(["test", "--quiet", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
        let output =
            command.args(&tests.cargo).output().with_context(|| format!("cannot start {}", shown(&command)))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "it does not compile, so that no test can catch it:\n{said}");
        let mut programs = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let artifact: Value = serde_json::from_str(line).context("cargo does not say what it has built")?;
            if let (Some(true), Some(program), Some(manifest)) = (
                artifact["profile"]["test"].as_bool(),
                artifact["executable"].as_str(),
                artifact["manifest_path"].as_str().map(Path::new).and_then(Path::parent),
            ) {
                programs.push((program.into(), manifest.into()));
            }
        }
        ensure!(!programs.is_empty(), "`{tests}` has no tests");
        Ok(programs)
    }
}

/// Names in what a test program has printed.
fn failed_tests(output: &str) -> Vec<String> {
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    output.lines().filter_map(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "# says yes\n# caught by: cargo test -p a --lib -- b::c\ndiff --git a/a.rs b/a.rs\n--- a/a.rs\n\
                         +++ b/a.rs\n@@ -1,3 +1,3 @@\n fn a() {\n-    no();\n+    yes();\n }\n";

    #[test]
    fn every_weakening_fits_the_code_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let weakenings = read_all(root).unwrap();
        assert!(weakenings.len() >= 20, "only {} weakenings", weakenings.len());
        for weakening in weakenings {
            for (path, before, after) in weakening.apply(root).unwrap_or_else(|error| panic!("{error:#}")) {
                assert_ne!(before, after, "{}: {}", weakening.name, path.display());
                assert!(path.strip_prefix(root).unwrap().components().any(|part| part.as_os_str() == "src"));
            }
        }
    }

    #[test]
    fn a_patch_is_its_lines_wherever_they_are() {
        let weakening = Weakening::parse("1-a", PATCH).unwrap();
        assert_eq!((weakening.breaks.as_str(), weakening.may_hang), ("says yes", false));
        assert_eq!(weakening.caught_by.to_string(), "cargo test -p a --lib -- b::c");
        let folder = std::env::temp_dir().join(format!("fednodule-weakenings-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("a.rs");
        let apply = |text: &str| {
            fs::write(&file, text).unwrap();
            weakening.apply(&folder).map(|changed| changed[0].2.clone()).map_err(|error| error.to_string())
        };
        let once = "// new\nfn a() {\n    no();\n}\n";
        assert_eq!(apply(once).unwrap(), "// new\nfn a() {\n    yes();\n}\n");
        for (text, places) in [(once.repeat(2), "has 2 places"), (once.replace("no", "perhaps"), "has 0 places")] {
            let error = apply(&text).unwrap_err();
            assert!(error.contains("1-a.patch does not apply: a.rs") && error.contains(places), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
        for part in ["# says yes\n", "# caught by: cargo test -p a --lib -- b::c\n"] {
            assert!(Weakening::parse("1-a", &PATCH.replace(part, "")).is_err());
        }
        assert!(Weakening::parse("1-a", "# says yes\n# caught by: cargo test -p a\n").is_err());
    }

    #[test]
    fn failed_tests_are_named() {
        let output = "test a::b ... ok\ntest a::c ... FAILED\nfailures:\n    a::c\ntest result: FAILED. 1 passed\n";
        assert_eq!(failed_tests(output), ["a::c"]);
    }
}
