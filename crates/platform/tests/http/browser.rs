//! The walks of `tests/browser` in Chromium.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use imaging::metaimage::{Compression, write};
use imaging::{Geometry, Volume};

use crate::mail::mail;
use crate::postgres::Postgres;
use crate::scans::{put_inference, put_scan};
use crate::server::{PASSWORD, SETUP_TOKEN, Server};
use crate::smtp::{Smtp, tokens};
use crate::uploads::volume;
use crate::{peers, remote_users};

/// Where `cargo xtask test` has put what the walks need.
const NEEDS: [&str; 2] = ["FEDNODULE_NODE_MODULES", "FEDNODULE_BROWSER"];

/// Whether there is a browser.
fn can_walk() -> bool {
    let missing = NEEDS.into_iter().find(|name| env::var_os(name).is_none());
    if let Some(missing) = missing {
        peers::skip("the walk through the pages", &format!("{missing} is not set"));
    }
    missing.is_none()
}

/// A script, which is given the server's address, `arguments` and a folder for pictures; and that folder.
fn script(server: &Server, name: &str, arguments: &[&str], folder: &str) -> (Command, PathBuf) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(name);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let mut walk = Command::new("node");
    walk.arg(script).arg(format!("http://{}", server.address)).args(arguments).arg(&pictures);
    (walk, pictures)
}

/// One browser after the other: several on two processors are slower than their walks wait.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Walks by a script.
async fn walk(server: &Server, name: &str, arguments: &[&str], folder: &str) {
    let _turn = TURN.lock().await;
    let (mut walk, pictures) = script(server, name, arguments, folder);
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

#[tokio::test(flavor = "multi_thread")]
async fn people_bring_scans_in() {
    if !can_walk() {
        return;
    }
    let (server, mut administrator) = Server::with_administrator().await;
    server.institution(&mut administrator, "city-first").await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let chest = chest();
    write(&at("1.2.3.mhd"), &chest, Compression::None).unwrap();
    for (name, seed) in [("1.2.4.mha", 1), ("1.2.5.mhd", 2), ("1.2.6.mhd", 3), ("张三.mhd", 4), ("1.2.7.mhd", 5)] {
        write(&at(name), &volume(seed), Compression::None).unwrap();
    }
    fs::write(at("1.2.5.raw"), [0; 100]).unwrap();
    fs::write(at("notes.txt"), "").unwrap();
    let head = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";
    fs::write(at("wrong.csv"), format!("{head}1.2.3,left,0,0,5\n")).unwrap();
    let rows = "1.2.3,56.2,86.3,-115.9,23.4\n1.2.3,-70.2,-15.2,-150.5,7.4\n1.2.4,0,-15,-296,3\n";
    fs::write(at("annotations.csv"), format!("{head}{rows}")).unwrap();
    let logs = server.config.storage.data.join("logs");
    fs::create_dir_all(&logs).unwrap();
    let request = |time: &str| {
        format!(
            "2026-11-26T01:02:{time}Z  INFO platform::http::outside: request method=GET path=\"/data\" status=200 ms=1.2\n"
        )
    };
    let warning = "2026-11-26T01:02:04.1Z  WARN platform::jobs::process: a worker did not stop in time and is killed\n";
    fs::write(logs.join("server.2026-11-26.log"), request("03.1") + warning + &request("05.7")).unwrap();
    let files = folder.path().to_str().unwrap();
    walk(&server, "data.mjs", &["city-first", PASSWORD, "admin", files], "data").await;
    let stored = server.config.storage.data.join("uploads/city-first_data");
    let dataset = imaging::luna16::discover(&stored).unwrap();
    assert_eq!(dataset.series.len(), 1, "{:?}", dataset.problems);
    let (stored, sent) = (imaging::describe(&dataset.series[0].path).unwrap(), imaging::describe(&at("1.2.3.mhd")));
    assert_eq!(stored, sent.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_walk_through_accounts_with_mail_and_a_database() {
    if !can_walk() {
        return;
    }
    let (Some(smtp), Some(postgres)) = (Smtp::start(), Postgres::start()) else { return };
    let server = Server::start_with(|config| {
        mail(smtp.port)(config);
        remote_users::at(postgres.url())(config);
    });
    let server = server.await;
    let _turn = TURN.lock().await;
    let (mut walk, pictures) = script(&server, "accounts.mjs", &[SETUP_TOKEN], "pages-of-accounts");
    let mut child = walk.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)).ok();
    });
    while let Some(line) = told.recv().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["ASK", "mail", number, page] => {
                let token = tokens(&smtp.mail(number.parse().unwrap()).await, page).remove(0);
                format!("http://{}/{page}#{token}", server.address)
            }
            ["ASK", "database", "stop"] => {
                postgres.stop();
                String::new()
            }
            ["ASK", "database", "start"] => {
                postgres.begin();
                String::new()
            }
            _ => {
                println!("{line}");
                continue;
            }
        };
        writeln!(stdin, "{answer}").unwrap();
    }
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "what is wrong stands above");
    println!("pictures are in {}", pictures.display());
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
