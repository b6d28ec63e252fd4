//! Scans on a server.

use imaging::Volume;
use imaging::metaimage::{Compression, write};
use imaging::render::{Plane, SliceStyle, render_slice};
use rusqlite::Connection;

use crate::client::Client;
use crate::server::Server;

/// Puts a scan among those of whoever is signed in.
pub(crate) async fn put_scan(
    server: &Server,
    client: &mut Client,
    volume: &Volume<i16>,
    compression: Compression,
) -> i64 {
    let session = client.get("/api/session").await.expect(200).json();
    let username = session["username"].as_str().unwrap();
    let data = &server.config.storage.data;
    let folder = data.join("uploads").join(format!("{username}_data"));
    let db = Connection::open(data.join("platform.db")).unwrap();
    let number: i64 = db.query_row("SELECT count(*) + 1 FROM scans", [], |row| row.get(0)).unwrap();
    let uid = format!("1.2.826.0.1.3680043.8.498.{number}");
    let header = format!("put-{number}/{uid}.mhd");
    std::fs::create_dir_all(folder.join(&header).parent().unwrap()).unwrap();
    write(&folder.join(&header), volume, compression).unwrap();
    if let Ok(picture) = render_slice(volume, Plane::Axial, 0, &SliceStyle::default()) {
        std::fs::write(folder.join(&header).with_file_name("thumbnail.png"), picture.to_png()).unwrap();
    }
    let about = imaging::describe(&folder.join(&header)).unwrap();
    db.execute(
        "INSERT INTO scans (user_id, series_uid, header_file, voxels_sha256, hu_min, hu_max, created_at)
         VALUES ((SELECT id FROM users WHERE username = ?1), ?2, ?3, ?4, ?5, ?6, 0)",
        (username, uid, header, about.voxels_sha256, about.hu_min, about.hu_max),
    )
    .unwrap();
    db.last_insert_rowid()
}

/// A finding of a made-up result: position, diameter, confidence, side, review.
pub(crate) type Mark = ([f64; 3], f64, f64, Option<&'static str>, Option<&'static str>);

/// Puts an inference of somebody's scan into the database, as if a worker had been there.
pub(crate) fn put_inference(server: &Server, username: &str, scan: i64, state: &str, marks: &[Mark]) -> i64 {
    let db = Connection::open(server.config.storage.data.join("platform.db")).unwrap();
    db.execute(
        "INSERT INTO inferences (user_id, scan_id, series_uid, model_id, model_version, model_sha256, model_note, mode,
           threshold, state, created_at, finished_at, failure, details)
         SELECT id, ?2, '1.2.3', 1, 'v14', ?3, '合成体模结果', 'standard', 0.3, ?4, 1809250200000,
           iif(?4 = 'done', 1809250260000, NULL), iif(?4 = 'failed', '{\"kind\":\"crashed\"}', NULL),
           iif(?4 = 'done', '{\"device\":\"CPU\",\"stages_s\":{},\"searched\":\"lungs\"}', NULL)
         FROM users WHERE username = ?1",
        (username, scan, "3f1c9a60d2b84e77".repeat(4), state),
    )
    .unwrap();
    let id = db.last_insert_rowid();
    for (number, ([x, y, z], diameter, confidence, side, review)) in (1..).zip(marks) {
        db.execute(
            "INSERT INTO findings VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6, ?7, ?8, ?9, NULL, NULL, ?6 * ?6 * ?6 * 0.5236)",
            (id, number, x, y, z, diameter, confidence, side, review),
        )
        .unwrap();
    }
    id
}
