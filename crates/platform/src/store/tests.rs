use std::fs;

use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use super::audit::{Action, AuditReport, Event, Fault, append, verify};
use super::users::{PasswordHash, User};
use super::*;
use crate::accounts::{Role, Status};

const NOW: Moment = Moment(1_800_000_000_000);

fn user(username: &str) -> User {
    User {
        id: 0,
        username: username.to_owned(),
        institution: "市一医院".to_owned(),
        role: Role::Client,
        status: Status::Pending,
        password_hash: PasswordHash("$2b$10$x".to_owned()),
        email: None,
        email_new: None,
        created_at: NOW,
        version: 0,
    }
}

fn add_user(store: &Store, username: &str) {
    let writer = &mut *locked(&store.writer);
    users::put(&writer.connection, &mut user(username), NOW).unwrap();
    mirror::synchronise(writer, &store.folder, NOW);
}

fn mirrored(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("users.json")).unwrap()).unwrap()
}

fn kept_aside(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("users.edited-")).collect()
}

#[test]
fn the_users_file_follows_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), NOW).unwrap();
    assert_eq!(mirrored(folder.path())["users"], Value::Array(vec![]));
    add_user(&store, "city-first");
    let document = mirrored(folder.path());
    assert_eq!(document["users"][0]["username"], "city-first");
    assert_eq!(document["users"][0]["institution"], "市一医院");
    drop(store);

    // What a crash before the file's replacement leaves behind: an old file, or none.
    fs::remove_file(folder.path().join("users.json")).unwrap();
    drop(Store::open(folder.path(), NOW).unwrap());
    assert_eq!(mirrored(folder.path()), document);
    assert!(kept_aside(folder.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_the_hashes() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let store = Store::open(&folder, NOW).unwrap();
    add_user(&store, "city-first");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("users.json"))), (0o700, 0o600));
    // In a folder that was there, and that others may enter, too.
    for name in ["platform.db", "platform.db-wal"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
}

#[test]
fn an_edited_users_file_is_kept_aside_reported_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.json");
    let store = Store::open(folder.path(), NOW).unwrap();
    add_user(&store, "city-first");
    let edited = fs::read_to_string(&path).unwrap().replace("\"client\"", "\"server\"");
    fs::write(&path, &edited).unwrap();
    // While the server runs, too.
    add_user(&store, "county");
    drop(store);
    let aside = kept_aside(folder.path());
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read_to_string(folder.path().join(&aside[0])).unwrap(), edited);
    fs::write(&path, "{ not json").unwrap();
    let store = Store::open(folder.path(), NOW).unwrap();
    assert_eq!(kept_aside(folder.path()).len(), 2);
    assert_eq!(mirrored(folder.path())["users"].as_array().unwrap().len(), 2);
    let reader = locked(&store.reader);
    assert_eq!(users::by_name(&reader, "city-first").unwrap().unwrap().role, Role::Client);
    let entries = audit::page(&reader, i64::MAX, 9).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].action, "users_file_kept_aside");
    assert_eq!(entries[1].detail, aside[0]);
}

#[test]
fn a_transaction_is_done_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), NOW).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let job = |fails: bool| {
        move |db: &Connection| {
            users::put(db, &mut user("county"), NOW)?;
            append(db, &event("county"), NOW)?;
            if fails { Err(StorageError::Task) } else { Ok(()) }
        }
    };
    runtime.block_on(store.write(NOW, job(true))).unwrap_err();
    assert_eq!(audit::last(&locked(&store.reader)).unwrap(), 0);
    assert!(users::by_name(&locked(&store.reader), "county").unwrap().is_none());
    let panics = store.write(NOW, |_: &Connection| -> Result<(), StorageError> { panic!("a bug") });
    assert!(matches!(runtime.block_on(panics), Err(StorageError::Task)));
    runtime.block_on(store.write(NOW, job(false))).unwrap();
    assert_eq!(audit::last(&locked(&store.reader)).unwrap(), 1);
}

#[test]
fn two_servers_do_not_share_a_folder_and_a_later_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), NOW).unwrap();
    assert!(matches!(Store::open(folder.path(), NOW), Err(StorageError::InUse { .. })));
    locked(&store.writer).connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let message = Store::open(folder.path(), NOW).err().unwrap().to_string();
    assert!(message.contains("has version 99; this program knows versions up to"), "{message}");
    assert!(matches!(audit::verify_audit(folder.path()), Err(StorageError::Newer { found: 99, .. })));
    assert!(matches!(audit::verify_audit(&folder.path().join("x")), Err(StorageError::Missing { .. })));
}

#[test]
fn a_clean_stop_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), NOW).unwrap());
    assert!(folder.path().join("platform.db").exists() && !folder.path().join("platform.db-wal").exists());
    assert_eq!(audit::verify_audit(folder.path()).unwrap().entries, 0);
}

#[test]
fn commits_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), NOW).unwrap();
    let db = &locked(&store.writer).connection;
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let synchronous: i64 = db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
}

fn event(target: &str) -> Event<'_> {
    let action = Action::Approved;
    Event { action, actor: Some("admin"), target: Some(target), address: Some("10.0.0.1"), detail: "" }
}

/// A closed database with this many entries.
fn log_of(entries: usize) -> (TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), NOW).unwrap();
    for i in 0..entries {
        append(&locked(&store.writer).connection, &event(&format!("site-{i}")), NOW).unwrap();
    }
    drop(store);
    let db = Connection::open(database(folder.path())).unwrap();
    (folder, db)
}

/// What somebody with the database in hands does to get around the triggers.
fn tamper(db: &Connection, sql: &str) {
    db.execute_batch("DROP TRIGGER IF EXISTS audit_unchanged; DROP TRIGGER IF EXISTS audit_kept").unwrap();
    db.execute_batch(sql).unwrap();
}

fn broken(db: &Connection) -> Option<(i64, Fault)> {
    verify(db).unwrap().broken.map(|broken| (broken.entry, broken.fault))
}

#[test]
fn the_audit_log_only_grows() {
    let (folder, db) = log_of(3);
    for sql in ["UPDATE audit SET actor = 'x' WHERE seq = 2", "DELETE FROM audit WHERE seq = 3", "DELETE FROM users"] {
        let refused = db.execute(sql, []);
        assert!(sql.ends_with("users") || refused.unwrap_err().to_string().contains("append-only"), "{sql}");
    }
    let report = audit::verify_audit(folder.path()).unwrap();
    assert_eq!((report.entries, report.broken), (3, None));
    assert_eq!(log_of(0).1.query_row("SELECT count(*) FROM audit", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(verify(&log_of(0).1).unwrap(), AuditReport { entries: 0, head: "0".repeat(64), broken: None });
}

#[test]
fn the_first_broken_entry_is_named() {
    let cases = [
        ("UPDATE audit SET detail = 'y' WHERE seq = 3", 3, Fault::Changed),
        ("UPDATE audit SET actor = NULL WHERE seq IN (2, 4)", 2, Fault::Changed),
        ("UPDATE audit SET at = at + 1 WHERE seq = 5", 5, Fault::Changed),
        ("UPDATE audit SET detail = CAST(x'ff' AS TEXT) WHERE seq = 4", 4, Fault::Changed),
        ("UPDATE audit SET hash = x'00' WHERE seq = 4", 4, Fault::Changed),
        ("DELETE FROM audit WHERE seq = 3", 4, Fault::Gap),
        ("DELETE FROM audit WHERE seq = 1", 2, Fault::Gap),
        ("DELETE FROM audit WHERE seq >= 4", 5, Fault::CutOff),
        ("DELETE FROM audit", 5, Fault::CutOff),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 2", 2, Fault::Unlinked),
        (
            "UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 9",
            2,
            Fault::Unlinked,
        ),
    ];
    for (sql, entry, fault) in cases {
        let (_folder, db) = log_of(5);
        tamper(&db, sql);
        assert_eq!(broken(&db), Some((entry, fault)), "{sql}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written into whichever field of whichever entry.
    #[test]
    fn no_change_of_an_entry_goes_unseen(seq in 1_i64..=4, field in 0..5_usize, text in ".{0,8}") {
        let (_folder, db) = log_of(4);
        let column = ["actor", "action", "target", "address", "detail"][field];
        db.execute_batch("DROP TRIGGER audit_unchanged").unwrap();
        let sql = format!("UPDATE audit SET {column} = ?1 WHERE seq = ?2 AND {column} <> ?1");
        let changed = db.execute(&sql, rusqlite::params![text, seq]).unwrap();
        prop_assert_eq!(broken(&db), (changed == 1).then_some((seq, Fault::Changed)));
    }
}
