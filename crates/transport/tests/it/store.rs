use std::fs;

use federation::*;
use transport::*;

use crate::support::*;

fn create(out: &std::path::Path, name: &str) -> Result<FederatedServer, ServerError> {
    FederatedServer::create(out, id(name), &sites(), config(1, "fedavg"), initial(), Box::new(Raw))
}

fn text(result: Result<FederatedServer, ServerError>, out: &std::path::Path) -> String {
    result.err().unwrap().to_string().replace(&out.display().to_string(), "OUT")
}

#[test]
fn several_sessions_share_one_history() {
    let out = tempfile::tempdir().unwrap();
    for name in ["first", "second", "third"] {
        run(&mut create(out.path(), name).unwrap(), good_clients(), 1).unwrap();
    }
    let history = read_history(out.path()).unwrap();
    let names: Vec<_> = history.sessions.iter().map(|s| (s.session_id.as_str(), s.phase)).collect();
    assert_eq!(names, [("first", Phase::Completed), ("second", Phase::Completed), ("third", Phase::Completed)]);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.path().join("training_history.json")).unwrap()).unwrap();
    assert_eq!(json["schema_version"], 1);
    let a = &json["sessions"][0]["rounds"][0]["sites"]["a"];
    assert_eq!(a["status"], "trained");
    assert_eq!((&a["update"], &a["evaluation"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!((&a["samples_at_most"], &a["masked"]["bytes"]), (&16.into(), &(4 * (DIM as u64 + 13)).into()));
    let round = &json["sessions"][0]["rounds"][0];
    assert_eq!(round["training_loss"], 1.0, "what is known is the mean over all sites");
    assert_eq!(round["sum"]["totals"]["samples"], 11 + 12 + 13);
    assert_eq!(json["sessions"][0]["protection"], "secure_aggregation");
}

#[test]
fn a_session_is_created_once_and_its_model_never_overwritten() {
    let out = tempfile::tempdir().unwrap();
    let mut server = create(out.path(), "s").unwrap();
    assert_eq!(
        text(create(out.path(), "s"), out.path()),
        "session s is being run by another process, which holds OUT/sessions/s/lock: wait for it or stop it"
    );
    fs::create_dir(out.path().join("models")).unwrap();
    let model = out.path().join("models/session_s_federated_model.safetensors");
    fs::write(&model, b"somebody's model").unwrap();
    let refusal = "OUT/models/session_s_federated_model.safetensors exists and is not the model of this session: it is \
        never overwritten, move it away or choose another session id";
    let error = run(&mut server, good_clients(), 1).unwrap_err().to_string();
    assert_eq!(error.replace(&out.path().display().to_string(), "OUT"), refusal);
    assert_eq!(fs::read(&model).unwrap(), b"somebody's model");
    drop(server);
    assert_eq!(
        text(create(out.path(), "s"), out.path()),
        "session s exists already in OUT/sessions/s/: resume it or choose another id"
    );
    // Once the file is out of the way the finished session delivers its model.
    fs::remove_file(&model).unwrap();
    let server = FederatedServer::open(out.path(), id("s"), Box::new(Raw)).unwrap();
    assert_eq!(Digest::of_values(&Raw.decode(&fs::read(&model).unwrap()).unwrap()), server.session().model());

    fs::write(out.path().join("models/session_t_federated_model.safetensors"), b"TOY1").unwrap();
    assert_eq!(text(create(out.path(), "t"), out.path()), refusal.replace("session_s", "session_t"));
}

#[test]
fn what_cannot_be_opened_says_why() {
    let out = tempfile::tempdir().unwrap();
    let open = || FederatedServer::open(out.path(), id("s"), Box::new(Raw));
    assert_eq!(text(open(), out.path()), "there is no session s: OUT/sessions/s/session.json is missing");
    let model = create(out.path(), "s").unwrap().session().model();
    let snapshot = out.path().join("sessions/s/session.json");
    let good = fs::read_to_string(&snapshot).unwrap();
    fs::write(&snapshot, good.replace("\"format\":3", "\"format\":4")).unwrap();
    assert_eq!(
        text(open(), out.path()),
        "OUT/sessions/s/session.json has format 4, this program knows 3: go on with the program that made it, or start a \
         new session"
    );
    fs::write(&snapshot, &good[..good.len() / 2]).unwrap();
    assert!(text(open(), out.path()).starts_with("OUT/sessions/s/session.json is damaged (EOF while parsing"));
    fs::write(&snapshot, good.replace("\"id\":\"s\"", "\"id\":\"t\"")).unwrap();
    assert!(text(open(), out.path()).contains("the SHA-256 of its state is "));
    create(out.path(), "t").unwrap();
    fs::copy(out.path().join("sessions/t/session.json"), &snapshot).unwrap();
    assert!(text(open(), out.path()).contains("it belongs to session t"));
    fs::write(&snapshot, good).unwrap();
    let object = out.path().join("sessions/s/objects").join(model.to_string());
    let mut bytes = fs::read(&object).unwrap();
    bytes[5] ^= 1;
    fs::write(&object, bytes).unwrap();
    assert!(text(open(), out.path()).contains("is damaged (its SHA-256 is "));
}

#[test]
fn a_history_that_cannot_be_read_is_kept_aside_and_a_newer_one_left_alone() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("training_history.json");
    for n in 1..=2 {
        fs::write(&path, "{\"schema_version\": 1, \"sessions\": [oops").unwrap();
        let mut server = create(out.path(), &format!("s{n}")).unwrap();
        let aside = server.take_history_kept_aside().unwrap();
        assert_eq!(aside, out.path().join(format!("training_history.damaged-{n}.json")));
        assert!(fs::read_to_string(aside).unwrap().ends_with("oops"));
        assert_eq!(read_history(out.path()).unwrap().sessions.len(), 1);
    }
    let newer = "{\"schema_version\": 7, \"runs\": {}}";
    fs::write(&path, newer).unwrap();
    let error = create(out.path(), "s3").err().unwrap();
    assert_eq!(
        error.to_string().replace(&out.path().display().to_string(), "OUT"),
        "cannot use OUT/training_history.json"
    );
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("has schema version 7"));
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn an_invalid_configuration_or_model_creates_nothing() {
    let out = tempfile::tempdir().unwrap();
    let invalid = config(21, "fedavg");
    let error =
        FederatedServer::create(out.path(), id("s"), &sites(), invalid, initial(), Box::new(Raw)).err().unwrap();
    assert!(error.to_string().contains("hyperparameters.rounds is 21, allowed is 1 to 20"));
    let diverged = GlobalModel { parameters: vec![1.0, f32::INFINITY], ..initial() };
    let error = FederatedServer::create(out.path(), id("s"), &sites(), config(1, "fedavg"), diverged, Box::new(Raw))
        .err()
        .unwrap();
    assert!(error.to_string().starts_with("parameter 1 of the initial model is inf"));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_directory_without_permission_is_a_clear_error() {
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(out.path().join("probe"), b"").is_ok() {
        eprintln!("SKIPPED: this user may write everywhere");
        return;
    }
    let error = text(create(out.path(), "s"), out.path());
    assert!(error.starts_with("cannot create OUT/sessions/s/objects: Permission denied"), "{error}");
    assert!(error.ends_with("allow this user to write there, then resume the session"), "{error}");
}

#[cfg(unix)]
#[test]
fn secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    run(&mut create(out.path(), "s").unwrap(), good_clients(), 1).unwrap();
    for name in
        ["sessions/s/coordinator.key", "sessions/s/sealing.key", "sites/a/identity.key", "sites/a/sessions/s/state"]
    {
        let mode = fs::metadata(out.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
