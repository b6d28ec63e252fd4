//! PostgreSQL and PgBouncer, which tests start for themselves, as somebody without rights.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt;
use crate::project::Project;

const VARIABLES: [&str; 2] = ["FEDNODULE_POSTGRES", "FEDNODULE_PGBOUNCER"];

/// The variables that the tests read: a folder of programs, and a program. What is set already stays.
pub(crate) fn install(project: &Project) -> Result<Vec<(&'static str, PathBuf)>> {
    let find = || {
        let [postgres, pgbouncer] = VARIABLES.map(|name| env::var_os(name).map(PathBuf::from));
        Some((postgres.or_else(find_postgres)?, pgbouncer.or_else(find_pgbouncer)?))
    };
    let found = match find() {
        Some(found) => found,
        None => {
            apt::install(project, "PostgreSQL or PgBouncer", &["postgresql", "pgbouncer"])?;
            find().context("PostgreSQL and PgBouncer are installed, but not where Debian puts them")?
        }
    };
    let [postgres, pgbouncer] = VARIABLES;
    Ok(vec![(postgres, found.0), (pgbouncer, found.1)])
}

/// Debian keeps every version in a folder of its own; the newest is taken. Others put the programs on the path.
fn find_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let version = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|folder| folder.path()).max_by_key(|path| version(path));
    let folders = newest.map(|folder| folder.join("bin")).into_iter().chain(on_path());
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

/// It lies where only the administrator's path leads.
fn find_pgbouncer() -> Option<PathBuf> {
    let folders = on_path().chain(["/usr/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join("pgbouncer")).find(|path| path.is_file())
}

fn on_path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
