//! Which crate may use which. The table stands in ARCHITECTURE.md, for people, and is read from there.
//!
//! The privacy invariant does not come from the table, so that no edit of a document can lift it: nothing on the way
//! of a federated update contains code that can open a CT.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::project::Project;

/// The crates on the wire path, and those that they must not reach.
const WIRE: [&str; 2] = ["federation", "transport"];
const PRIVATE: [&str; 2] = ["imaging", "detector"];
/// The only crate that knows the deep-learning framework, and the framework's prefix.
const FRAMEWORK: (&str, &str) = ("detector", "burn");

/// A crate's direct dependencies inside the workspace, or the allowed ones.
#[derive(Debug, Default, PartialEq)]
struct Uses {
    /// In the crate itself.
    normal: BTreeSet<String>,
    /// In its tests only.
    dev: BTreeSet<String>,
}

/// What takes minutes to compile: crates that reach this one are compiled in the release profile only.
const HEAVY: &str = "detector";

/// The workspace's crates.
pub(crate) struct CrateGraph {
    uses: BTreeMap<String, Uses>,
    /// Crates with a direct dependency on the framework.
    framework_users: Vec<String>,
}

impl CrateGraph {
    /// From `cargo metadata`, as the manifests declare it: features and platforms make no difference.
    pub(crate) fn of(metadata: &Value) -> Result<Self> {
        let mut graph = Self { uses: BTreeMap::new(), framework_users: Vec::new() };
        for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
            let name = package["name"].as_str().context("a package has no name")?;
            let mut uses = Uses::default();
            for dependency in package["dependencies"].as_array().context("a package has no dependency list")? {
                let used = dependency["name"].as_str().context("a dependency has no name")?;
                let is_dev = dependency["kind"] == "dev";
                if dependency["path"].is_string() {
                    if is_dev { &mut uses.dev } else { &mut uses.normal }.insert(used.to_owned());
                } else if used.starts_with(FRAMEWORK.1) {
                    graph.framework_users.push(name.to_owned());
                }
            }
            graph.uses.insert(name.to_owned(), uses);
        }
        Ok(graph)
    }

    /// The crates that reach [`HEAVY`], and the others. Whoever compiles one of the former names all of them: features
    /// follow from the packages that are named, and with other features Burn would be compiled once more.
    pub(crate) fn heavy_and_light(&self) -> (Vec<&str>, Vec<&str>) {
        self.names().partition(|name| self.reaches(name, HEAVY))
    }

    /// All crates, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.uses.keys().map(String::as_str)
    }

    /// Whether building `from` builds `to`.
    pub(crate) fn reaches(&self, from: &str, to: &str) -> bool {
        let used = self.uses.get(from).into_iter().flat_map(|uses| &uses.normal);
        // The graph has no circles: cargo refuses them.
        from == to || used.into_iter().any(|next| self.reaches(next, to))
    }

    /// Everything that breaks a rule, in words.
    fn violations(&self, allowed: &BTreeMap<String, Uses>) -> Vec<String> {
        let mut found = Vec::new();
        for (name, uses) in &self.uses {
            let Some(allowed) = allowed.get(name) else {
                found.push(format!("{name} is missing from the table of crates in ARCHITECTURE.md"));
                continue;
            };
            for used in uses.normal.difference(&allowed.normal) {
                found.push(format!("{name} depends on {used}, which the table in ARCHITECTURE.md does not allow"));
            }
            for used in uses.dev.iter().filter(|used| !allowed.dev.contains(*used) && !allowed.normal.contains(*used)) {
                found.push(format!("{name}'s tests use {used}, which the table in ARCHITECTURE.md does not allow"));
            }
            for private in PRIVATE {
                let reached = uses.normal.iter().chain(&uses.dev).any(|used| self.reaches(used, private));
                if WIRE.contains(&name.as_str()) && reached {
                    found.push(format!("{name} reaches {private}: the wire path must not be able to open a CT"));
                }
            }
        }
        for name in allowed.keys().filter(|name| !self.uses.contains_key(*name)) {
            found.push(format!("{name} stands in the table of crates in ARCHITECTURE.md, but does not exist"));
        }
        for name in self.framework_users.iter().filter(|name| *name != FRAMEWORK.0) {
            found.push(format!("{name} depends on {}; only {} may", FRAMEWORK.1, FRAMEWORK.0));
        }
        found
    }
}

/// Compares the workspace with the table.
pub(crate) fn check(project: &Project) -> Result<()> {
    let text = fs::read_to_string(project.root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    let found = CrateGraph::of(&project.metadata)?.violations(&parse_table(&text)?);
    if !found.is_empty() {
        bail!("the crate graph:\n  {}", found.join("\n  "));
    }
    Ok(())
}

/// Rows ``| `name` | duty | `may`, `use` | `tests`, `also` |``.
fn parse_table(text: &str) -> Result<BTreeMap<String, Uses>> {
    let quoted = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut table = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, _duty, normal, dev] = cells[..] else {
            bail!("ARCHITECTURE.md: a row of the table of crates has four columns, not as in: {row}");
        };
        let name = quoted(name).pop_first().with_context(|| format!("ARCHITECTURE.md: no crate in: {row}"))?;
        table.insert(name, Uses { normal: quoted(normal), dev: quoted(dev) });
    }
    ensure!(!table.is_empty(), "ARCHITECTURE.md has no table of crates");
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: &str = "\
| crate | duty | may use | tests also |
|---|---|---|---|
| `imaging` | files | | |
| `detector` | network | `imaging` | `phantom` |
| `federation` | rounds | | |
| `phantom` | data | `imaging` | |
| `transport` | messages | `federation`, `phantom` | |
";

    /// A dependency's name, its kind as cargo tells it, and whether it is in the workspace.
    type Dependency = (&'static str, Option<&'static str>, bool);

    fn violations(crates: &[(&str, &[Dependency])]) -> Vec<String> {
        let packages: Vec<Value> = crates
            .iter()
            .map(|(name, uses)| {
                let uses = uses.iter().map(|(name, kind, is_ours)| {
                    json!({"name": name, "kind": kind, "path": is_ours.then_some("/somewhere")})
                });
                json!({"name": name, "dependencies": uses.collect::<Vec<_>>()})
            })
            .collect();
        CrateGraph::of(&json!({"packages": packages})).unwrap().violations(&parse_table(TABLE).unwrap())
    }

    const SOUND: [(&str, &[Dependency]); 5] = [
        ("imaging", &[("serde", None, false)]),
        ("detector", &[("imaging", None, true), ("phantom", Some("dev"), true), ("burn", None, false)]),
        ("federation", &[]),
        ("phantom", &[("imaging", None, true)]),
        ("transport", &[("federation", None, true)]),
    ];

    #[test]
    fn a_sound_graph_passes() {
        assert_eq!(violations(&SOUND), Vec::<String>::new());
    }

    #[test]
    fn what_the_table_does_not_allow_is_named() {
        let mut crates = SOUND;
        crates[3].1 = &[("federation", None, true)];
        assert!(violations(&crates)[0].starts_with("phantom depends on federation"));
        crates[3].1 = &[("federation", Some("dev"), true)];
        assert!(violations(&crates)[0].starts_with("phantom's tests use federation"));
        assert!(violations(&SOUND[..4])[0].starts_with("transport stands in the table"));
        crates[3] = ("viewer", &[]);
        assert!(violations(&crates)[0].starts_with("viewer is missing"));
    }

    #[test]
    fn the_wire_path_cannot_open_a_ct_even_when_the_table_allows_the_way() {
        for kind in [None, Some("dev"), Some("build")] {
            let uses = [("phantom", kind, true)];
            let mut crates = SOUND;
            crates[4].1 = &uses;
            assert_eq!(violations(&crates), ["transport reaches imaging: the wire path must not be able to open a CT"]);
        }
    }

    #[test]
    fn only_the_detector_knows_the_framework() {
        let mut crates = SOUND;
        crates[0].1 = &[("burn-tensor", None, false)];
        assert_eq!(violations(&crates), ["imaging depends on burn; only detector may"]);
    }

    #[test]
    fn this_workspace_keeps_the_rules() {
        check(&Project::find().unwrap()).unwrap();
    }
}
