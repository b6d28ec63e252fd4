//! The walks of `tests/browser` in Chromium.

use std::env;
use std::path::Path;
use std::process::Command;

use imaging::metaimage::Compression;
use imaging::{Geometry, Volume};

use crate::scans::{put_inference, put_scan};
use crate::server::{PASSWORD, SETUP_TOKEN, Server};

/// Where `cargo xtask test` has put what the walks need.
const NEEDS: [&str; 2] = ["FEDNODULE_NODE_MODULES", "FEDNODULE_BROWSER"];

/// Whether there is a browser.
fn can_walk() -> bool {
    let Some(missing) = NEEDS.into_iter().find(|name| env::var_os(name).is_none()) else { return true };
    assert!(env::var("CI").as_deref() != Ok("true"), "{missing} is not set");
    println!("SKIPPED: the walk through the pages: {missing} is not set; `cargo xtask test` sets it");
    false
}

/// Walks by a script, which is given the server's address, `arguments` and a folder for pictures.
async fn walk(server: &Server, script: &str, arguments: &[&str], folder: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let mut walk = Command::new("node");
    walk.arg(script).arg(format!("http://{}", server.address)).args(arguments).arg(&pictures);
    let ended = tokio::task::spawn_blocking(move || walk.output()).await.unwrap().unwrap();
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(ended.status.success(), "{said}");
    println!("{said}pictures are in {}", pictures.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_walk_through_the_pages() {
    if can_walk() {
        let server = Server::start().await;
        walk(&server, "walk.mjs", &[SETUP_TOKEN], "pages").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_scans() {
    if can_walk() {
        let (server, mut administrator) = Server::with_administrator().await;
        let mut hospital = server.institution(&mut administrator, "city-first").await;
        let scan = put_scan(&server, &mut hospital, &chest(), Compression::None).await;
        let marks = [
            ([56.2, 86.3, -115.9], 23.4, 0.97, Some("left"), None),
            ([-70.2, -15.2, -150.5], 7.4, 0.64, Some("right"), None),
            ([-100.0, 40.5, -205.0], 5.1, 0.41, None, Some("rejected")),
        ];
        let inferences = [("done", &marks[..]), ("running", &[]), ("done", &[]), ("failed", &[])];
        let put = inferences.map(|(state, marks)| put_inference(&server, "city-first", scan, state, marks).to_string());
        let [found, running, empty, failed] = &put;
        let arguments = ["city-first", PASSWORD, &scan.to_string(), found, running, empty, failed];
        walk(&server, "viewer.mjs", &arguments, "viewer").await;
    }
}

/// On the grid of LUNA16's first scan: a body with two lungs, a spine, and balls where the walk has its findings.
fn chest() -> Volume<i16> {
    let (spacing, origin) = ([0.703125, 0.703125, 2.5], [-166.0, -171.7, -340.0]);
    let geometry = Geometry::axis_aligned([133, 512, 512], spacing, origin).unwrap();
    // Centre and half axes, and the value inside; what comes later lies over what comes before.
    let shapes: [([f64; 3], [f64; 3], i16); 7] = [
        ([14.0, 8.0, -175.0], [165.0, 120.0, 400.0], 30),
        ([-65.0, 5.0, -160.0], [62.0, 85.0, 130.0], -850),
        ([85.0, 20.0, -160.0], [55.0, 80.0, 130.0], -850),
        ([14.0, 90.0, -175.0], [20.0, 20.0, 400.0], 600),
        ([56.2, 86.3, -115.9], [11.7, 11.7, 11.7], 40),
        ([-70.2, -15.2, -150.5], [3.7, 3.7, 3.7], 0),
        ([-100.0, 40.5, -205.0], [2.5, 2.5, 2.5], -200),
    ];
    let [nz, ny, nx] = geometry.shape_zyx;
    let mut volume = Volume::filled(geometry, -1000i16);
    for ([cx, cy, cz], [ax, ay, az], hu) in shapes {
        for z in 0..nz {
            let dz = (origin[2] + z as f64 * spacing[2] - cz) / az;
            for y in 0..ny {
                let dy = (origin[1] + y as f64 * spacing[1] - cy) / ay;
                let rest = 1.0 - dz * dz - dy * dy;
                if rest < 0.0 {
                    continue;
                }
                let reach = ax * rest.sqrt();
                let column = |x_mm: f64| ((x_mm - origin[0]) / spacing[0]).ceil().clamp(0.0, nx as f64) as usize;
                let row = volume.offset([z, y, 0]);
                volume.voxels_mut()[row + column(cx - reach)..row + column(cx + reach)].fill(hu);
            }
        }
    }
    volume
}
