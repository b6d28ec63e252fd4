//! Known nodules: tables in, what holds for whom, and the tables that workers read.

use imaging::luna16::{Finding, read_findings};
use imaging::metaimage::Compression;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::server::Server;
use crate::uploads::{files, upload};

const HEAD: &str = "seriesuid,coordX,coordY,coordZ,diameter_mm\n";

async fn import(client: &mut Client, table: &str) -> Answer {
    client.try_send_bytes("POST", "/api/annotations", Some("text/csv"), table.as_bytes().to_vec()).await.unwrap()
}

fn written(server: &Server, username: &str) -> Vec<Finding> {
    let folder = server.config.storage.data.join("uploads").join(format!("{username}_data"));
    read_findings(&folder.join("annotations.csv")).unwrap()
}

fn rows(findings: &[Finding]) -> Vec<(&str, f64)> {
    findings.iter().map(|finding| (finding.series_uid.as_str(), finding.diameter_mm)).collect()
}

async fn known(client: &mut Client, id: &Value) -> Value {
    client.get(&format!("/api/scans/{id}")).await.expect(200).json()["annotations"].clone()
}

#[tokio::test]
async fn own_rows_come_before_those_for_everybody() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut one = server.institution(&mut administrator, "one").await;
    let mut two = server.institution(&mut administrator, "two").await;
    let folder = tempfile::tempdir().unwrap();
    let scan = |name: &str, seed| files(folder.path(), name, seed, Compression::None);
    let first = upload(&mut one, &scan("1.1.mhd", 1)).await;
    upload(&mut one, &scan("1.2.mhd", 2)).await;
    assert_eq!(written(&server, "one"), []);

    // Somebody's own series are nobody else's.
    let table = format!("{HEAD}1.1,0,-15,-296,5\n1.1,1,-16,-297,6\n1.3,0,-15,-296,7\n");
    let imported = import(&mut one, &table).await.expect(200).json();
    assert_eq!(imported, json!({ "nodules": 3, "series": 2, "matched": 1, "outside": [] }));
    assert_eq!(rows(&written(&server, "one")), [("1.1", 5.0), ("1.1", 6.0)]);
    assert_eq!(
        known(&mut one, &first["id"]).await[1],
        json!({ "center_mm_xyz": [1.0, -16.0, -297.0], "diameter_mm": 6.0 })
    );
    upload(&mut two, &scan("1.3.mhd", 3)).await;
    assert_eq!(written(&server, "two"), []);

    // An administrator's hold for everybody who has none; also for scans that come later.
    let table = format!("{HEAD}1.1,0,-15,-296,50\n1.2,9,9,9,51\n1.3,0,-15,-296,52\n1.4,0,-15,-296,53\n");
    let imported = import(&mut administrator, &table).await.expect(200).json();
    assert_eq!(imported, json!({ "nodules": 4, "series": 4, "matched": 3, "outside": [3] }));
    assert_eq!(rows(&written(&server, "one")), [("1.1", 5.0), ("1.1", 6.0), ("1.2", 51.0)]);
    assert_eq!(rows(&written(&server, "two")), [("1.3", 52.0)]);
    upload(&mut two, &scan("1.4.mhd", 4)).await;
    assert_eq!(rows(&written(&server, "two")), [("1.3", 52.0), ("1.4", 53.0)]);
    let ready = administrator.get("/api/readiness").await.json();
    let of = |number: usize| ready["institutions"][number].clone();
    assert_eq!(
        (of(0)["annotated"].clone(), of(0)["nodules"].clone(), of(0)["ready"].clone()),
        (json!(2), json!(3), json!(true))
    );

    // A table has the last word about the series in it, and about no others.
    import(&mut one, &format!("{HEAD}1.1,0,-15,-296,8\n")).await.expect(200);
    assert_eq!(rows(&written(&server, "one")), [("1.1", 8.0), ("1.2", 51.0)]);
    let extents = one.get("/api/annotations").await.expect(200).json();
    assert_eq!(extents["own"], json!({ "nodules": 2, "series": 2 }));
    one.send("DELETE", "/api/annotations", None).await.expect(204);
    assert_eq!(rows(&written(&server, "one")), [("1.1", 50.0), ("1.2", 51.0)]);
    administrator.send("DELETE", "/api/annotations", None).await.expect(204);
    assert_eq!(written(&server, "one"), []);
}

#[tokio::test]
async fn a_wrong_table_changes_nothing_and_every_wrong_row_is_named() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    import(&mut hospital, &format!("{HEAD}1.1,0,0,0,5\n")).await.expect(200);
    let table = format!("{HEAD}1.1,0,0,0,9\n1.2,a,0,0,5\n1.3,0,0,5\n1.4,0,0,0,0\n");
    let problem = import(&mut hospital, &table).await.expect_problem_json(422, "invalid-table");
    let lines: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|row| row["message"].as_str().unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].contains("第 3 行 coordX：读到“a”") && lines[1].contains("第 4 行有 4 个字段，应为 5 个"),
        "{lines:?}"
    );
    assert!(lines[2].contains("第 5 行 diameter_mm"), "{lines:?}");
    for table in ["", "a,b\n1,2\n", HEAD, "\u{1}", &format!("{HEAD}1.1,nan,0,0,5\n")] {
        import(&mut hospital, table).await.expect_problem(422, "invalid-table");
    }
    let large = format!("{HEAD}{}", "1.1,0,0,0,5\n".repeat(800_000));
    import(&mut hospital, &large).await.expect_problem(413, "invalid-table");
    assert_eq!(hospital.get("/api/annotations").await.json()["own"], json!({ "nodules": 1, "series": 1 }));
}

#[tokio::test]
async fn a_table_that_was_put_there_by_hand_is_never_lost() {
    let (server, mut administrator) = Server::with_administrator().await;
    let mut hospital = server.institution(&mut administrator, "city-first").await;
    let home = server.config.storage.data.join("uploads/city-first_data");
    std::fs::create_dir_all(&home).unwrap();
    let by_hand = format!("{HEAD}1.1,0,-15,-296,5\n");
    std::fs::write(home.join("annotations.csv"), &by_hand).unwrap();
    let folder = tempfile::tempdir().unwrap();
    upload(&mut hospital, &files(folder.path(), "1.1.mhd", 1, Compression::None)).await;
    assert_eq!(std::fs::read_to_string(home.join("annotations.csv")).unwrap(), by_hand);
    import(&mut hospital, &format!("{HEAD}1.1,0,-15,-296,9\n")).await.expect(200);
    assert_eq!(rows(&written(&server, "city-first")), [("1.1", 9.0)]);
    let kept = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = kept.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(".kept-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(&kept[0]).unwrap(), by_hand);
}
