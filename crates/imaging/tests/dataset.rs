//! Folders as people have them.

use std::fs;
use std::path::Path;

use imaging::luna16::discover;

const HEADER: &str = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ";

fn scan(folder: &Path, uid: &str, bytes: usize) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join(format!("{uid}.mhd")), format!("{HEADER}{uid}.raw\n")).expect("a header");
    fs::write(folder.join(format!("{uid}.raw")), vec![0; bytes]).expect("voxels");
}

fn uids(folder: &Path) -> Vec<String> {
    discover(folder).expect("a folder").series.into_iter().map(|series| series.series_uid).collect()
}

#[test]
fn subsets_and_flat_folders_are_found_in_order() {
    let root = tempfile::tempdir().expect("a folder");
    let luna = root.path().join("LUNA16");
    scan(&luna.join("subset9"), "1.3.1", 8);
    scan(&luna.join("subset0/subset0"), "1.3.3", 8);
    scan(&luna, "1.3.2", 8);
    fs::write(luna.join("._1.3.2.mhd"), "of macOS").expect("a file");
    fs::write(luna.join("readme.txt"), "not a scan").expect("a file");
    fs::write(luna.join("subset9/one.mha"), [HEADER.as_bytes(), b"LOCAL\n12345678"].concat()).expect("a file");
    let found = discover(&luna).expect("a folder");
    assert_eq!(found.problems, []);
    let series: Vec<_> = found.series.iter().map(|s| (s.series_uid.as_str(), s.subset)).collect();
    assert_eq!(series, [("1.3.1", Some(9)), ("1.3.2", None), ("1.3.3", Some(0)), ("one", Some(9))]);
    assert_eq!(found.series[0].data_path.as_deref(), Some(luna.join("subset9/1.3.1.raw").as_path()));
    assert_eq!(found.series[3].data_path, None);
    assert_eq!(uids(&luna.join("subset9")), ["1.3.1", "one"]);
}

#[test]
fn tables_are_found_near_the_scans() {
    let root = tempfile::tempdir().expect("a folder");
    let scans = root.path().join("data/subset0");
    scan(&scans, "1.3.1", 8);
    let none = discover(&scans).expect("a folder").tables;
    assert_eq!((none.annotations, none.excluded, none.series_uids), (None, None, None));
    let tables = root.path().join("data/CSVFILES");
    fs::create_dir(&tables).expect("a folder");
    fs::write(tables.join("annotations.csv"), "").expect("a table");
    fs::write(root.path().join("data/evaluation.csv"), "").expect("another table");
    fs::write(scans.join("seriesuids.csv"), "").expect("a table");
    fs::create_dir(root.path().join("data/evaluation")).expect("a folder");
    fs::write(root.path().join("data/evaluation/annotations_excluded.csv"), "").expect("a table");
    let found = discover(&scans).expect("a folder").tables;
    assert!(found.annotations.is_some_and(|path| path.ends_with("CSVFILES/annotations.csv")));
    assert!(found.excluded.is_some_and(|path| path.ends_with("evaluation/annotations_excluded.csv")));
    assert_eq!(found.series_uids, Some(scans.join("seriesuids.csv")));
}

#[test]
fn problems_name_the_file_and_what_to_do() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    scan(root, "good", 8);
    scan(root, "short", 5);
    scan(root, "alone", 8);
    fs::remove_file(root.join("alone.raw")).expect("gone");
    scan(&root.join("a"), "twice", 8);
    scan(&root.join("b"), "twice", 8);
    scan(root, "broken", 8);
    fs::write(root.join("broken.mhd"), "DimSize\n").expect("a header");
    fs::write(root.join("orphan.raw"), "12345678").expect("voxels");
    let found = discover(root).expect("a folder");
    assert_eq!(found.series.iter().map(|s| s.series_uid.as_str()).collect::<Vec<_>>(), ["good"]);
    let expected = [
        ("a/twice.mhd", "series twice is there 2 times, also as"),
        ("alone.mhd", "alone.raw: the data file named by"),
        ("b/twice.mhd", "keep one, none of them is used"),
        ("broken.mhd", "this is not a MetaImage header"),
        ("orphan.raw", "put orphan.mhd beside it, or remove it"),
        ("short.mhd", "5 bytes of voxel data, expected 8"),
    ];
    let paths: Vec<_> = found.problems.iter().map(|problem| problem.path.clone()).collect();
    assert_eq!(paths, expected.map(|(path, _)| root.join(path)));
    for (problem, (_, words)) in found.problems.iter().zip(expected) {
        assert!(problem.message.contains(words), "{}", problem.message);
    }
    assert_eq!(discover(root).expect("a folder"), found, "the same every time");
}

#[test]
fn a_missing_folder_is_an_error() {
    let root = tempfile::tempdir().expect("a folder");
    let error = discover(&root.path().join("nowhere")).expect_err("nothing is there");
    assert!(error.to_string().starts_with("cannot list the folder ") && error.to_string().ends_with("nowhere"));
}
