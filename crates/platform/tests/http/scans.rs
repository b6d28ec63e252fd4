//! Scans on a server.

use imaging::Volume;
use imaging::metaimage::{Compression, write};
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
    std::fs::create_dir_all(&folder).unwrap();
    let db = Connection::open(data.join("platform.db")).unwrap();
    let number: i64 = db.query_row("SELECT count(*) + 1 FROM scans", [], |row| row.get(0)).unwrap();
    let header = format!("{number}.mhd");
    write(&folder.join(&header), volume, compression).unwrap();
    let about = imaging::describe(&folder.join(&header)).unwrap();
    db.execute(
        "INSERT INTO scans (user_id, series_uid, header_file, voxels_sha256, hu_min, hu_max, created_at)
         VALUES ((SELECT id FROM users WHERE username = ?1), ?2, ?3, ?4, ?5, ?6, 0)",
        (username, "1.2.826.0.1.3680043.8.498.1", header, about.voxels_sha256, about.hu_min, about.hu_max),
    )
    .unwrap();
    db.last_insert_rowid()
}
