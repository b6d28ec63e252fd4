//! `fednodule inspect` and `fednodule phantom`: what is said of good files and of bad ones.

#![expect(clippy::unwrap_used, reason = "a test: it fails by panicking")]
#![expect(dead_code, reason = "each test file uses its part of the common helpers")]

mod common;

use common::{fednodule, names, program, text, write_tiny};
use serde_json::json;

#[test]
fn every_number_of_a_known_image() {
    let folder = tempfile::tempdir().unwrap();
    let run = fednodule(["inspect", "--json", &text(&write_tiny(folder.path()))]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let mut found = run.json();
    found.as_object_mut().unwrap().remove("problems");
    // printf '\x18\xfc\x00\x00\x28\x00\xff\x0b' | sha256sum
    let sha256 = "518b833763cce7c82c9ae834e5af4aaa0482078256fda937b0c3fdb0d98d3cd7";
    assert_eq!(
        found,
        json!({
            "seriesuid": "1.2.3", "shape_zyx": [2, 1, 2], "spacing_mm_xyz": [0.5, 0.75, 2.5],
            "origin_mm_xyz": [-1.5, 2.0, 30.0], "direction": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            "element_type": "MET_SHORT", "hu_min": -1000, "hu_max": 3071, "voxels_sha256": sha256,
        })
    );
}

#[test]
fn text_for_people_is_in_the_language_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let scan = text(&write_tiny(folder.path()));
    let chinese = fednodule(["inspect", &scan]);
    assert!(chinese.stdout.contains("CT 值范围 (HU)：-1000 … 3071"), "{chinese:?}");
    let english = fednodule(["inspect", &scan, "--lang", "en"]);
    assert!(english.stdout.contains("CT values (HU): -1000 … 3071"), "{english:?}");
    let by_system = program().args(["inspect", &scan]).env_remove("FEDNODULE_LANG").env("LANG", "en_GB.UTF-8").output();
    assert!(String::from_utf8(by_system.unwrap().stdout).unwrap().contains("CT values"));
}

#[test]
fn a_header_without_its_data_says_which_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let scan = write_tiny(folder.path());
    std::fs::remove_file(folder.path().join("1.2.3.raw")).unwrap();
    let run = fednodule(["inspect", &text(&scan)]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""));
    let stderr = run.stderr.replace(&text(folder.path()), "DIR");
    assert_eq!(
        stderr,
        "出错：DIR/1.2.3.raw: the data file named by DIR/1.2.3.mhd (ElementDataFile) is missing; put it there under \
         exactly this name, header and data file travel together\n\
         怎么办：把与 .mhd 配套的 .raw 或 .zraw 放到同一文件夹，文件名须与头文件 ElementDataFile 一行完全一致。\n"
    );
}

#[test]
fn data_of_the_wrong_length_says_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let scan = write_tiny(folder.path());
    std::fs::write(folder.path().join("1.2.3.raw"), [0; 7]).unwrap();
    let run = fednodule(["inspect", "--json", "--lang=en", &text(&scan)]);
    assert_eq!(run.code, Some(3));
    let error = &run.json()["error"];
    assert_eq!(error["kind"], "input");
    assert_eq!(error["exit_code"], 3);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("7 bytes of voxel data, expected 8"), "{message}");
    assert!(error["advice"].as_str().unwrap().contains("copy the pair again"), "{error}");
}

#[test]
fn a_file_that_is_not_there_and_one_that_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let missing = fednodule(["inspect", &text(&folder.path().join("none.mhd"))]);
    assert_eq!(missing.code, Some(3));
    assert!(missing.stderr.contains("找不到该文件"), "{missing:?}");
    let other = folder.path().join("letter.mhd");
    std::fs::write(&other, "Dear reader").unwrap();
    let run = fednodule(["inspect", &text(&other)]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("not a MetaImage header"), "{run:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = program().arg("inspect").arg(write_tiny(folder.path())).stdout(full).output().unwrap();
    assert_eq!(run.status.code(), Some(4));
    assert!(String::from_utf8(run.stderr).unwrap().contains("磁盘已满"));
}

#[test]
fn phantoms_are_written_once_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("phantoms");
    let arguments = ["phantom", "--json", "--sites", "1", "--scans", "1", "--seed", "3", "--out", &text(&out)];
    let first = fednodule(arguments);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!((&first.json()["generated"], &first.json()["kept"]), (&json!(1), &json!(0)));
    let second = fednodule(arguments);
    assert_eq!((&second.json()["generated"], &second.json()["kept"]), (&json!(0), &json!(1)));

    let site = out.join(&names(&out)[0]);
    let scan = names(&site.join("subset0")).into_iter().find(|name| name.ends_with(".mhd")).unwrap();
    let found = fednodule(["inspect", "--json", &text(&site.join("subset0").join(&scan))]).json();
    assert_eq!(format!("{}.mhd", found["seriesuid"].as_str().unwrap()), scan);
    assert_eq!(found["shape_zyx"][1], 144);
    assert_eq!(found["shape_zyx"][2], 176);
    assert_eq!(found["problems"], json!([]));
    assert!(found["hu_min"].as_i64().unwrap() < -900 && found["hu_max"].as_i64().unwrap() > 200, "{found}");
}

#[test]
fn an_output_folder_below_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let run = fednodule(["phantom", "--sites", "1", "--scans", "1", "--out", &text(&folder.path().join("file/out"))]);
    assert_eq!(run.code, Some(4), "{run:?}");
    assert_eq!(names(folder.path()), ["file"]);
}
