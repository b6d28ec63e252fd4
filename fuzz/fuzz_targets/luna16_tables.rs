//! LUNA16's tables from anybody: no panic, and what is read is written and read back the same.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use imaging::luna16;
use libfuzzer_sys::fuzz_target;

/// A folder of this process; the readers take paths.
static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("fednodule-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
});

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a temporary file");
}

fuzz_target!(|bytes: &[u8]| {
    let [table, copy] = ["table.csv", "copy.csv"].map(|name| FOLDER.join(name));
    write(&table, bytes);
    let checked = luna16::check_findings(&table, 50);
    if let Ok(findings) = luna16::read_findings(&table) {
        let checked = checked.expect("a table that can be read can be checked");
        let good = findings.iter().filter(|finding| finding.diameter_mm > 0.0).take(checked.findings.len());
        assert!(good.eq(checked.findings.iter().map(|(_, finding)| finding)));
        luna16::write_findings(&copy, &findings).expect("what was read can be written");
        assert_eq!(luna16::read_findings(&copy).expect("what was written"), findings);
    }
    if let Ok(marks) = luna16::read_marks(&table) {
        luna16::write_marks(&copy, &marks).expect("what was read can be written");
        assert_eq!(luna16::read_marks(&copy).expect("what was written"), marks);
    }
    // Written without a header, the name of the column itself would be taken for one.
    if let Ok(uids) = luna16::read_series_uids(&table)
        && !uids.iter().any(|uid| uid == "seriesuid")
    {
        luna16::write_series_uids(&copy, &uids).expect("what was read can be written");
        assert_eq!(luna16::read_series_uids(&copy).expect("what was written"), uids);
    }
});
