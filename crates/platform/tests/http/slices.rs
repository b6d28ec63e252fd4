//! Slices as the server gives them against the voxels that imaging reads itself, and to whom it gives them.

use std::io::Read;

use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use imaging::metaimage::Compression;
use imaging::render::Plane;
use imaging::{Geometry, Volume, VoxelBox, to_lps};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::scans::put_scan;
use crate::server::Server;

const STRAIGHT: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
const FLIPPED: [[f64; 3]; 3] = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
const UPSIDE_DOWN: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]];

/// Spacings that no round number hides, and a different value in every voxel.
fn volume(direction: [[f64; 3]; 3]) -> Volume<i16> {
    let geometry = Geometry {
        shape_zyx: [6, 11, 19],
        spacing_mm_xyz: [0.703125, 0.6640625, 1.25],
        origin_mm_xyz: [-166.5, 171.7, -340.25],
        direction,
    };
    let voxels = (0..geometry.voxel_count()).map(|at| (at * 3) as i16 - 1024).collect();
    Volume::new(geometry, voxels)
}

fn axis(plane: Plane) -> usize {
    2 - plane.axes()[0]
}

fn name(plane: Plane) -> &'static str {
    match plane {
        Plane::Axial => "axial",
        Plane::Coronal => "coronal",
        Plane::Sagittal => "sagittal",
    }
}

fn expected(volume: &Volume<i16>, plane: Plane, index: usize) -> Vec<u8> {
    let mut block = VoxelBox::whole(volume.geometry().shape_zyx);
    (block.start_zyx[axis(plane)], block.end_zyx[axis(plane)]) = (index, index + 1);
    block.indices().flat_map(|at| volume.at(at).to_le_bytes()).collect()
}

#[tokio::test]
async fn every_slice_of_every_plane_is_the_scan_s() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    for (direction, compression) in [
        (STRAIGHT, Compression::None),
        (FLIPPED, Compression::None),
        (UPSIDE_DOWN, Compression::None),
        (FLIPPED, Compression::Zlib),
    ] {
        let stored = volume(direction);
        let id = put_scan(&server, &mut hospital, &stored, compression).await;
        let scan = to_lps(&stored).unwrap();
        let document = hospital.get(&format!("/api/scans/{id}")).await.expect(200).json();
        let geometry: Geometry = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(&geometry, scan.geometry());
        assert_eq!((&document["hu_min"], &document["hu_max"]), (&json!(-1024), &json!(2735)));
        assert_eq!(document["resampled"], false);
        for plane in Plane::ALL {
            let count = geometry.shape_zyx[axis(plane)];
            for index in 0..count {
                let path = format!("/api/scans/{id}/slice/{}/{index}", name(plane));
                let answer = hospital.get(&path).await.expect(200);
                assert_eq!(answer.headers[CONTENT_TYPE], "application/octet-stream");
                assert!(!answer.headers.contains_key(CONTENT_ENCODING));
                assert!(answer.bytes == expected(&scan, plane, index), "{path} {direction:?}");
            }
            let beyond = hospital.get(&format!("/api/scans/{id}/slice/{}/{count}", name(plane))).await;
            let problem = beyond.expect_problem(404, "no-such-slice").json();
            assert!(problem["detail"].as_str().unwrap().contains(&count.to_string()), "{problem}");
        }
    }
}

#[tokio::test]
async fn what_is_no_slice_is_refused() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let id = put_scan(&server, &mut hospital, &volume(STRAIGHT), Compression::None).await;
    for slice in ["-1", "1.5", "one", "99999999999999999999999", ".png", "1.jpg", "%00"] {
        hospital.get(&format!("/api/scans/{id}/slice/axial/{slice}")).await.expect_problem(404, "not-found");
    }
    for address in
        [format!("{id}/slice/oblique/0"), format!("{id}/slice/AXIAL/0"), "x/slice/axial/0".to_owned(), "x".to_owned()]
    {
        hospital.get(&format!("/api/scans/{address}")).await.expect_problem(400, "unreadable-request");
    }
    let bad = [
        "center=x",
        "center=1e9",
        "width=0",
        "width=-5",
        "width=NaN",
        "around=1,2",
        "around=1,2,inf",
        "field_mm=0",
        "pixel_mm=0.0001",
        "marks=1",
        "marks=1:2,3,4",
        "marks=x:1,2,3,4",
        "marks=1:1,2,3,-4",
    ];
    for query in bad {
        let refused = hospital.get(&format!("/api/scans/{id}/slice/axial/1.png?{query}")).await;
        let problem = refused.expect_problem(400, "unreadable-request").json();
        let parameter = query.split('=').next().unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(parameter), "{query}: {problem}");
    }
    let many = "1:0,0,0,5;".repeat(65);
    hospital.get(&format!("/api/scans/{id}/slice/axial/1.png?marks={many}")).await.expect(400);
}

#[tokio::test]
async fn nobody_else_sees_anything_of_a_scan() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut owner = server.institution(&mut administrator, "city-first").await;
    let mut other = server.institution(&mut administrator, "province").await;
    let id = put_scan(&server, &mut owner, &volume(STRAIGHT), Compression::None).await;
    let edition = edition(&mut owner, id).await;
    let addresses = [
        format!("/api/scans/{id}"),
        format!("/api/scans/{id}/preview?edition={edition}"),
        format!("/api/scans/{id}/slice/axial/0?edition={edition}"),
        format!("/api/scans/{id}/slice/axial/99"),
        format!("/api/scans/{id}/slice/coronal/0.png"),
    ];
    for address in &addresses {
        for stranger in [&mut other, &mut administrator] {
            let refused = stranger.get(address).await.expect_problem(404, "not-found").json();
            let nothing = stranger.get("/api/scans/4000000000").await.expect(404).json();
            assert_eq!(refused, nothing, "{address}: as if there were no such scan");
        }
        server.client().get(address).await.expect_problem(401, "not-signed-in");
    }
    let page = format!("/scans/{id}");
    assert!(owner.get(&page).await.expect(200).text.contains(&format!("data-scan=\"{id}\"")));
    other.get(&page).await.expect(404);
    administrator.get(&page).await.expect(404);
    server.client().get(&page).await.expect(303);
    // What another browser has kept does not help either.
    let known = owner.get(&addresses[2]).await.expect(200).headers[ETAG].clone();
    other.extra.push((IF_NONE_MATCH.as_str(), known.to_str().unwrap().to_owned()));
    other.get(&addresses[2]).await.expect(404);
}

async fn edition(client: &mut Client, id: i64) -> String {
    let document = client.get(&format!("/api/scans/{id}")).await.expect(200).json();
    document["edition"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn browsers_keep_what_they_may_and_get_it_packed() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let stored = Volume::filled(volume(STRAIGHT).geometry().clone(), -777i16);
    let id = put_scan(&server, &mut hospital, &stored, Compression::None).await;
    let edition = edition(&mut hospital, id).await;
    let path = format!("/api/scans/{id}/slice/axial/2");
    let keeping = |answer: &Answer| answer.headers[CACHE_CONTROL].to_str().unwrap().to_owned();
    let named = hospital.get(&format!("{path}?edition={edition}")).await.expect(200);
    assert_eq!(keeping(&named), "private, max-age=31536000, immutable");
    for wrong in ["", "?edition=", "?edition=0123456789abcdef01234567"] {
        assert_eq!(keeping(&hospital.get(&format!("{path}{wrong}")).await.expect(200)), "private, no-cache");
    }
    let mut again = hospital.clone();
    again.extra.push((IF_NONE_MATCH.as_str(), named.headers[ETAG].to_str().unwrap().to_owned()));
    let unchanged = again.get(&path).await.expect(304);
    assert_eq!((unchanged.bytes.len(), &unchanged.headers[ETAG]), (0, &named.headers[ETAG]));
    again.get(&format!("/api/scans/{id}/slice/axial/3")).await.expect(200);
    again.get(&format!("{path}.png")).await.expect(200);

    let mut packing = hospital.clone();
    packing.extra.push((ACCEPT_ENCODING.as_str(), "br, gzip;q=0.5".to_owned()));
    let packed = packing.get(&path).await.expect(200);
    assert_eq!(packed.headers[CONTENT_ENCODING], "gzip");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed.bytes[..]).read_to_end(&mut bytes).unwrap();
    assert!(bytes == expected(&stored, Plane::Axial, 2) && packed.bytes.len() < bytes.len());
    packing.extra[0].1 = "gzip;q=0, br".to_owned();
    assert!(packing.get(&path).await.expect(200).bytes == bytes);
}

fn decoded(answer: &Answer) -> (u32, u32, Vec<u8>) {
    assert_eq!(answer.headers[CONTENT_TYPE], "image/png");
    let mut reader = png::Decoder::new(std::io::Cursor::new(answer.bytes.to_vec())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

#[tokio::test]
async fn pictures_show_the_window_the_place_and_the_findings() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let geometry = Geometry::axis_aligned([40, 100, 120], [0.5, 0.5, 1.0], [-10.0, -20.0, -30.0]).unwrap();
    let stored = Volume::filled(geometry, 40i16);
    let id = put_scan(&server, &mut hospital, &stored, Compression::None).await;
    let mut picture =
        async |query: &str| decoded(&hospital.get(&format!("/api/scans/{id}/slice/{query}")).await.expect(200));
    let (width, height, pixels) = picture("axial/20.png?center=40&width=400").await;
    assert_eq!((width, height), (120, 100));
    assert_eq!(pixels[(50 * 120 + 60) * 3..][..3], [128; 3], "40 HU is the middle of this window");
    let (_, _, lung) = picture("axial/20.png").await;
    assert_eq!(lung[(50 * 120 + 60) * 3..][..3], [236; 3], "and nearly white in the lung's");
    let (width, height, _) = picture("coronal/20.png").await;
    assert_eq!((width, height), (120, 80), "square millimetres");

    let amber = |pixels: &[u8]| pixels.chunks_exact(3).filter(|pixel| *pixel == [0xff, 0xb0, 0x20]).count();
    let marks = "marks=3:20,5,-10,8";
    let (_, _, marked) = picture(&format!("axial/20.png?{marks}")).await;
    let (_, _, beside) = picture(&format!("axial/30.png?{marks}")).await;
    assert!(amber(&marked) > 30, "{}", amber(&marked));
    assert_eq!(amber(&beside), 0, "10 mm further up it is not seen");
    let (width, height, around) =
        picture(&format!("sagittal/60.png?{marks}&around=20,5,-10&field_mm=20&pixel_mm=0.1")).await;
    assert_eq!((width, height), (200, 200));
    assert!(amber(&around) > 100, "{}", amber(&around));
    let (width, height, _) = picture("axial/0.png?around=-500,900,0&field_mm=20").await;
    assert_eq!((width, height), (40, 40), "a place outside is shown from the nearest side");
    hospital
        .get(&format!("/api/scans/{id}/slice/axial/0.png?pixel_mm=0.05&field_mm=1000&around=0,0,0"))
        .await
        .expect(200);
}

#[tokio::test]
async fn the_preview_is_small_and_a_file_that_is_gone_is_said_without_its_path() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let geometry = Geometry::axis_aligned([3, 300, 520], [0.7, 0.7, 2.5], [0.0; 3]).unwrap();
    let stored = Volume::filled(geometry, -600i16);
    let id = put_scan(&server, &mut hospital, &stored, Compression::None).await;
    let document = hospital.get(&format!("/api/scans/{id}")).await.expect(200).json();
    assert_eq!(document["preview"], json!({ "factors_zyx": [1, 2, 3], "low_hu": -1024, "step_hu": 8 }));
    let preview = hospital.get(&format!("/api/scans/{id}/preview")).await.expect(200).bytes;
    assert_eq!(preview.len(), 3 * 150 * 174);
    assert!(preview.iter().all(|&level| level == 53));

    let folder = server.config.storage.data.join("uploads");
    let problem: Value = {
        std::fs::remove_dir_all(&folder).unwrap();
        let answer = hospital.get(&format!("/api/scans/{id}/slice/axial/0")).await;
        answer.expect_problem(500, "scan-unreadable").json()
    };
    assert!(!problem.to_string().contains("uploads"), "{problem}");
}
