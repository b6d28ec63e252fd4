//! Programs of others that tests need. `cargo xtask test` installs them; a test without them says that it is skipped, and
//! fails where continuous integration asks for it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Says what is missing.
pub(crate) fn skip(what: &str, missing: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
    println!("SKIPPED: {what}: {missing}; `cargo xtask test` provides it");
}

/// The Python of `FEDNODULE_PYTHON`, if it can import this module.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let python = env::var_os("FEDNODULE_PYTHON").map(PathBuf::from);
    let found = python.filter(|python| {
        let mut import = Command::new(python);
        import.arg("-c").arg(format!("import {module}")).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    });
    if found.is_none() {
        skip(&format!("what needs {module}"), &format!("FEDNODULE_PYTHON names no Python with {module}"));
    }
    found
}

/// The program or folder that a variable names.
pub(crate) fn named(what: &str, variable: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    if found.is_none() {
        skip(what, &format!("{variable} is not set"));
    }
    found
}
