//! Scans on their way in: what is paired, what is refused, what survives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use imaging::metaimage::{Compression, write};
use imaging::{Geometry, Volume};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Answer, Client};
use crate::peers;
use crate::server::Server;

/// A scan that is no other one's.
pub(crate) fn volume(seed: i16) -> Volume<i16> {
    let geometry = Geometry::axis_aligned([6, 20, 24], [0.7, 0.7, 1.25], [-10.0, -20.0, -300.0]).unwrap();
    let voxels = (0..6 * 20 * 24).map(|i| (i % 1500) as i16 - 1000 + seed).collect();
    Volume::new(geometry, voxels)
}

/// Files as a hospital has them, and what a page says of them.
pub(crate) fn files(folder: &Path, name: &str, seed: i16, compression: Compression) -> Vec<PathBuf> {
    let path = folder.join(name);
    write(&path, &volume(seed), compression).unwrap();
    if name.ends_with(".mha") {
        return vec![path];
    }
    let data = path.with_extension(if compression == Compression::Zlib { "zraw" } else { "raw" });
    vec![path, data]
}

pub(crate) fn offered(paths: &[PathBuf]) -> Value {
    let file = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let content = std::fs::read(path).unwrap();
        let end = content
            .windows(15)
            .position(|part| part == b"ElementDataFile")
            .and_then(|start| content[start..].iter().position(|byte| *byte == b'\n').map(|length| start + length + 1));
        let is_header = name.ends_with(".mhd") || name.ends_with(".mha");
        let header = end.filter(|_| is_header).map(|end| String::from_utf8(content[..end].to_vec()).unwrap());
        json!({ "path": name, "bytes": content.len(), "header": header })
    };
    json!({ "files": paths.iter().map(file).collect::<Vec<_>>() })
}

pub(crate) fn sum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

/// Sends a piece with a check sum.
pub(crate) async fn patch(
    client: &mut Client,
    id: &str,
    offset: u64,
    piece: &[u8],
    more: &[(&'static str, String)],
) -> Answer {
    try_patch(client, id, offset, piece, more).await.unwrap()
}

pub(crate) async fn try_patch(
    client: &mut Client,
    id: &str,
    offset: u64,
    piece: &[u8],
    more: &[(&'static str, String)],
) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut headers = BTreeMap::from([
        ("tus-resumable", "1.0.0".to_owned()),
        ("upload-offset", offset.to_string()),
        ("upload-checksum", format!("sha256 {}", sum(piece))),
    ]);
    headers.extend(more.iter().cloned());
    client.extra = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let media = Some("application/offset+octet-stream");
    let answer = client.try_send_bytes("PATCH", &format!("/api/uploads/{id}"), media, piece.to_vec()).await;
    client.extra.clear();
    answer
}

fn offset(answer: &Answer) -> u64 {
    answer.headers["upload-offset"].to_str().unwrap().parse().unwrap()
}

/// Names files to the server; the upload that it wants.
pub(crate) async fn plan(client: &mut Client, paths: &[PathBuf]) -> Value {
    let answer = client.post("/api/uploads", offered(paths)).await.expect(200).json();
    assert_eq!(answer["scans"].as_array().unwrap().len(), 1, "{answer}");
    answer["scans"][0].clone()
}

/// The whole way of one scan; its row in the list.
pub(crate) async fn upload(client: &mut Client, paths: &[PathBuf]) -> Value {
    let planned = plan(client, paths).await;
    assert_eq!(planned["state"], "wanted", "{planned}");
    let id = planned["upload"].as_str().unwrap().to_owned();
    let content = std::fs::read(paths.last().unwrap()).unwrap();
    let digest = ("repr-digest", format!("sha-256=:{}:", sum(&content)));
    let (mut at, step) = (0, content.len() / 3 + 1);
    for piece in content.chunks(step) {
        let answer = patch(client, &id, at, piece, std::slice::from_ref(&digest)).await.expect(204);
        at += piece.len() as u64;
        assert_eq!(offset(&answer), at);
    }
    let uid = paths[0].file_stem().unwrap().to_str().unwrap();
    scan_of(client, uid).await
}

/// The scan of a series, once it is there.
pub(crate) async fn scan_of(client: &mut Client, uid: &str) -> Value {
    let start = Instant::now();
    loop {
        let scans = client.get("/api/scans").await.expect(200).json();
        if let Some(scan) = scans["scans"].as_array().unwrap().iter().find(|scan| scan["series_uid"] == uid) {
            return scan.clone();
        }
        let uploads = client.get("/api/uploads").await.expect(200).json();
        assert!(start.elapsed() < Duration::from_secs(30), "{uid} is still not there: {uploads}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn folder_of(server: &Server, username: &str) -> PathBuf {
    server.config.storage.data.join("uploads").join(format!("{username}_data"))
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn a_scan_arrives_as_it_was_is_shown_and_goes_again() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("1.2.1.mhd", Compression::None, "1.2.1.mhd"),
        ("1.2.2.mhd", Compression::Zlib, "1.2.2.mhd"),
        ("1.2.3.mha", Compression::None, "1.2.3.mha"),
        ("1.2.4.mha", Compression::Zlib, "1.2.4.mha"),
    ];
    for (seed, (name, compression, stored)) in (1..).zip(cases) {
        let paths = files(folder.path(), name, seed, compression);
        if name.ends_with(".mhd") {
            // Other lines than those that describe the grid do not travel on.
            let text = std::fs::read_to_string(&paths[0]).unwrap();
            std::fs::write(&paths[0], text.replace("NDims", "PatientName = Somebody\nNDims")).unwrap();
        }
        let scan = upload(&mut hospital, &paths).await;
        let about = imaging::describe(&paths[0]).unwrap();
        assert_eq!(scan["shape_zyx"], json!([6, 20, 24]));
        assert_eq!(scan["spacing_mm_xyz"], json!([0.7, 0.7, 1.25]));
        assert_eq!((scan["hu_min"].clone(), scan["hu_max"].clone()), (json!(about.hu_min), json!(about.hu_max)));
        let home = folder_of(&server, "city-first");
        let dataset = imaging::luna16::discover(&home).unwrap();
        let found = dataset.series.iter().find(|series| series.path.ends_with(stored)).unwrap();
        assert_eq!(imaging::describe(&found.path).unwrap(), about, "{name}");
        if name.ends_with(".mhd") {
            assert!(!std::fs::read_to_string(&found.path).unwrap().contains("Somebody"));
        }
        let id = &scan["id"];
        let picture = hospital.get(&format!("/api/scans/{id}/thumbnail.png")).await.expect(200);
        assert!(picture.bytes.starts_with(b"\x89PNG"));
        let slice = hospital.get(&format!("/api/scans/{id}/slice/axial/3")).await.expect(200);
        let expected: Vec<u8> =
            volume(seed).voxels()[3 * 480..4 * 480].iter().flat_map(|hu| hu.to_le_bytes()).collect();
        assert_eq!(slice.bytes, expected);
        let again = plan(&mut hospital, &paths).await;
        assert_eq!((again["state"].clone(), again["scan"].clone()), (json!("there"), id.clone()));
    }
    // Images are nobody else's, and numbers are.
    let mut other = server.institution(&mut administrator, "county").await;
    let scans = hospital.get("/api/scans").await.json();
    for client in [&mut other, &mut administrator] {
        for scan in scans["scans"].as_array().unwrap() {
            client.get(&format!("/api/scans/{}/thumbnail.png", scan["id"])).await.expect(404);
            client.send("DELETE", &format!("/api/scans/{}", scan["id"]), None).await.expect(404);
        }
        assert_eq!(client.get("/api/scans").await.json()["scans"], json!([]));
    }
    let ready = administrator.get("/api/readiness").await.expect(200).json();
    assert_eq!(ready["institutions"][0]["complete"], 4);
    assert!(!ready.to_string().contains("1.2.1"));

    for scan in scans["scans"].as_array().unwrap() {
        hospital.send("DELETE", &format!("/api/scans/{}", scan["id"]), None).await.expect(204);
        hospital.get(&format!("/api/scans/{}", scan["id"])).await.expect(404);
    }
    // The table of annotations stays.
    assert_eq!(files_below(&folder_of(&server, "city-first")), 1);
    assert_eq!(files_below(&server.config.storage.data.join("incoming")), 0);
}

#[tokio::test]
async fn an_upload_goes_on_where_the_server_is_whatever_happens_between() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let folder = tempfile::tempdir().unwrap();
    let paths = files(folder.path(), "1.2.3.mhd", 0, Compression::None);
    let content = std::fs::read(&paths[1]).unwrap();
    let planned = plan(&mut hospital, &paths).await;
    let id = planned["upload"].as_str().unwrap().to_owned();
    let address = format!("/api/uploads/{id}");
    assert_eq!((planned["offset"].clone(), planned["bytes"].clone()), (json!(0), json!(content.len())));

    patch(&mut hospital, &id, 0, &content[..1000], &[]).await.expect(204);
    // Nothing of these is written.
    let wrong_sum = ("upload-checksum", format!("sha256 {}", sum(b"something else")));
    patch(&mut hospital, &id, 1000, &content[1000..2000], &[wrong_sum]).await.expect_problem(460, "checksum-mismatch");
    patch(&mut hospital, &id, 0, &content[..1000], &[]).await.expect_problem(409, "wrong-offset");
    patch(&mut hospital, &id, 2000, &content[2000..], &[]).await.expect_problem(409, "wrong-offset");
    let beyond = [&content[1000..], b"xx"].concat();
    patch(&mut hospital, &id, 1000, &beyond, &[]).await.expect_problem(413, "piece-too-large");
    for (name, value, status) in [
        ("upload-checksum", "", 400),
        ("upload-checksum", "md5 AAAA", 400),
        ("upload-offset", "-1", 400),
        ("upload-offset", "", 400),
        ("tus-resumable", "0.2.2", 412),
        ("repr-digest", "sha-256=:AAAA:", 400),
    ] {
        let header = (name, value.to_owned());
        patch(&mut hospital, &id, 1000, &content[1000..], &[header]).await.expect_problem(status, "unreadable-request");
    }
    let media = Some("application/octet-stream");
    hospital.extra = vec![("tus-resumable", "1.0.0".to_owned())];
    let refused = hospital.try_send_bytes("PATCH", &address, media, content.clone()).await.unwrap();
    refused.expect_problem(415, "unreadable-request");
    hospital.extra.clear();
    assert_eq!(offset(&hospital.get(&address).await.expect(200)), 1000);
    let head = hospital.send("HEAD", &address, None).await.expect(200);
    assert_eq!((offset(&head), head.headers["upload-length"].to_str().unwrap()), (1000, &*content.len().to_string()));

    // Somebody else's upload does not exist.
    let mut other = server.institution(&mut administrator, "county").await;
    patch(&mut other, &id, 1000, &content[1000..], &[]).await.expect_problem(404, "not-found");
    other.get(&address).await.expect_problem(404, "not-found");
    other.send("DELETE", &address, None).await.expect_problem(404, "not-found");
    administrator.get(&address).await.expect_problem(404, "not-found");

    let server = server.restart().await;
    hospital.moved_to(server.address);
    let again = plan(&mut hospital, &paths).await;
    assert_eq!((again["upload"].clone(), again["offset"].clone()), (json!(id), json!(1000)));
    // A page that chose another file of the same name and length.
    let digest = ("repr-digest", format!("sha-256=:{}:", sum(b"the file as it was")));
    patch(&mut hospital, &id, 1000, &content[1000..], &[digest]).await.expect_problem(409, "file-changed");
    assert_eq!(offset(&hospital.get(&address).await.expect(200)), 0);
    let digest = ("repr-digest", format!("sha-256=:{}:", sum(&content)));
    patch(&mut hospital, &id, 0, &content, &[digest]).await.expect(204);
    let scan = scan_of(&mut hospital, "1.2.3").await;
    assert_eq!(scan["bytes"].as_u64().unwrap() as usize / 100, (content.len() + 300) / 100, "{scan}");
    hospital.get(&address).await.expect_problem(404, "not-found");
    assert_eq!(hospital.get("/api/uploads").await.json()["uploads"], json!([]));
}

#[tokio::test]
async fn what_is_no_scan_is_refused_in_plain_words_before_or_after_it_travelled() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let folder = tempfile::tempdir().unwrap();
    let paths = files(folder.path(), "1.2.3.mhd", 0, Compression::None);
    std::fs::write(&paths[1], b"short").unwrap();
    let planned = plan(&mut hospital, &paths).await;
    assert_eq!(planned["state"], "refused");
    let message = planned["message"].as_str().unwrap();
    assert!(message.contains("数据文件有 5 字节") && message.contains("5760"), "{message}");
    let alone = plan(&mut hospital, &paths[..1]).await;
    assert!(alone["message"].as_str().unwrap().contains("缺少数据文件：文件头中写的是 1.2.3.raw"));
    hospital.cookies.insert("fednodule_language".to_owned(), "en".to_owned());
    assert!(plan(&mut hospital, &paths).await["message"].as_str().unwrap().contains("has 5 bytes"));
    hospital.cookies.remove("fednodule_language");
    assert_eq!(hospital.get("/api/uploads").await.json()["uploads"], json!([]));

    // Voxels that are all the same, and compressed data that is none.
    let paths = files(folder.path(), "1.2.4.mhd", 0, Compression::None);
    std::fs::write(&paths[1], vec![0; 5760]).unwrap();
    let broken = files(folder.path(), "1.2.5.mhd", 0, Compression::Zlib);
    let length = std::fs::metadata(&broken[1]).unwrap().len() as usize;
    std::fs::write(&broken[1], vec![7; length]).unwrap();
    for (paths, word) in [(paths, "图像是空的"), (broken, "压缩数据已损坏")] {
        let planned = plan(&mut hospital, &paths).await;
        let id = planned["upload"].as_str().unwrap().to_owned();
        patch(&mut hospital, &id, 0, &std::fs::read(&paths[1]).unwrap(), &[]).await.expect(204);
        let start = Instant::now();
        let shown = loop {
            let shown = hospital.get(&format!("/api/uploads/{id}")).await.expect(200).json();
            if shown["state"] == "refused" {
                break shown;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(shown["message"].as_str().unwrap().contains(word), "{shown}");
        patch(&mut hospital, &id, 0, b"x", &[]).await.expect_problem(409, "wrong-state");
        hospital.send("DELETE", &format!("/api/uploads/{id}"), None).await.expect(204);
    }
    assert_eq!(files_below(&server.config.storage.data.join("incoming")), 0);
    assert_eq!(hospital.get("/api/scans").await.json()["scans"], json!([]));
}

#[tokio::test]
async fn quotas_and_expiry_hold() {
    let server = Server::start_with(|config| {
        config.uploads.reserve_gib = 0;
        config.uploads.quota_gib = 1;
    })
    .await;
    let mut administrator = server.set_up().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let header = |z: u32| {
        format!(
            "NDims = 3\nDimSize = 512 512 {z}\nElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = {z}.raw\n"
        )
    };
    let mut ask = async |z: u32| {
        let files = json!([
            { "path": format!("{z}.mhd"), "bytes": 100, "header": header(z) },
            { "path": format!("{z}.raw"), "bytes": u64::from(z) * 512 * 512 * 2, "header": null },
        ]);
        let answer = hospital.post("/api/uploads", json!({ "files": files })).await.expect(200).json();
        answer["scans"][0].clone()
    };
    assert_eq!(ask(1900).await["state"], "wanted");
    let refused = ask(200).await;
    assert!(refused["message"].as_str().unwrap().contains("已用 0.9 GiB，上限 1 GiB"), "{refused}");
    assert_eq!(ask(100).await["state"], "wanted");
    server.pass_minutes(8 * 24 * 60);
    let server = server.restart().await;
    let mut administrator = administrator;
    administrator.moved_to(server.address);
    administrator.sign_in("admin", crate::server::PASSWORD).await.expect(201);
    let start = Instant::now();
    while administrator.get("/api/readiness").await.json()["institutions"][0]["incomplete"] != 0 {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn many_send_at_the_same_time() {
    let (server, mut administrator) = Server::with_administrator().await;
    let folder = tempfile::tempdir().unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..5_i16 {
        let hospital = server.institution(&mut administrator, &format!("hospital-{number}")).await;
        for scan in 0..4_i16 {
            let (mut hospital, own) = (hospital.clone(), folder.path().join(format!("{number}-{scan}")));
            std::fs::create_dir_all(&own).unwrap();
            sending.spawn(async move {
                let paths = files(&own, &format!("1.{number}.{scan}.mhd"), number * 10 + scan, Compression::None);
                let scan = upload(&mut hospital, &paths).await;
                assert_eq!(
                    scan["hu_min"],
                    -1000 + number * 10 + scan["series_uid"].as_str().unwrap()[4..].parse::<i16>().unwrap()
                );
            });
        }
    }
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    let ready = administrator.get("/api/readiness").await.expect(200).json();
    for institution in ready["institutions"].as_array().unwrap() {
        assert_eq!((institution["complete"].clone(), institution["incomplete"].clone()), (json!(4), json!(0)));
    }
}

/// The client that everybody else uses (tus-js-client), stopped once in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_tus_client_sends_and_resumes() {
    let Some(_) = peers::named("an ordinary tus client", "FEDNODULE_NODE_MODULES") else { return };
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let folder = tempfile::tempdir().unwrap();
    let paths = files(folder.path(), "1.2.3.mhd", 0, Compression::None);
    let planned = plan(&mut hospital, &paths).await;
    let id = planned["upload"].as_str().unwrap().to_owned();
    let cookies: Vec<String> = hospital.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let csrf = hospital.csrf.clone().unwrap();
    for (stop, said) in [("4000", "stopped at 4096 of 5760"), ("0", "done")] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/tus.mjs");
        let mut client = std::process::Command::new("node");
        client.arg(script).arg(format!("http://{}", server.address)).arg(cookies.join("; "));
        client.args([&csrf, &id]).arg(&paths[1]).arg(stop);
        let ended = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert!(String::from_utf8_lossy(&ended.stdout).contains(said), "{ended:?}");
    }
    let scan = scan_of(&mut hospital, "1.2.3").await;
    assert_eq!(scan["hu_min"], -1000);
}
