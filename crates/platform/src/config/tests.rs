use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn from_file(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serve.toml");
    fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(&path), ..Sources::default() };
    Config::load(&sources).map_err(|error| error.to_string().replace(&path.display().to_string(), "serve.toml"))
}

fn from_variable(name: &str, value: &str) -> Result<Config, String> {
    let environment = vec![(name.to_owned(), value.to_owned())];
    Config::load(&Sources { environment, ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_default_is_complete_and_safe() {
    let config = Config::load(&Sources::default()).unwrap();
    assert!(config.server.listen.ip().is_loopback());
    assert!(config.accounts.bcrypt_cost >= 12);
    assert_eq!((config.accounts.failures, config.accounts.failure_minutes), (5, 15));
    assert_eq!(config.accounts.setup_token, Secret::default());
}

#[test]
fn every_layer_comes_before_the_one_below() {
    let folder = tempfile::tempdir().unwrap();
    let (file, dot_env) = (folder.path().join("serve.toml"), folder.path().join(".env"));
    fs::write(&file, "[sessions]\nidle_minutes = 1\nabsolute_hours = 1\n[accounts]\nfailures = 1\nbcrypt_cost = 11")
        .unwrap();
    fs::write(&dot_env, "# comment\nOTHER=x\nFEDNODULE__SESSIONS__ABSOLUTE_HOURS=2\nFEDNODULE__ACCOUNTS__FAILURES=2\nFEDNODULE__ACCOUNTS__BCRYPT_COST=10\n").unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let config = Config::load(&Sources {
        file: Some(&file),
        dot_env: Some(&dot_env),
        environment: vec![
            variable("FEDNODULE__ACCOUNTS__FAILURES", "3"),
            variable("FEDNODULE__ACCOUNTS__BCRYPT_COST", "13"),
            variable("FEDNODULE_LANG", "en"),
        ],
        explicit: vec![("accounts.bcrypt_cost", "14".to_owned())],
    });
    let config = config.unwrap();
    assert_eq!(config.sessions, Sessions { idle_minutes: 1, absolute_hours: 2 });
    assert_eq!((config.accounts.failures, config.accounts.bcrypt_cost), (3, 14));
}

#[test]
fn a_database_is_known_by_the_names_of_others_too() {
    let folder = tempfile::tempdir().unwrap();
    let dot_env = folder.path().join(".env");
    fs::write(
        &dot_env,
        "SUPABASE_DB_URL=postgresql://u:p%23@h:6543/d?pgbouncer=true\nDATABASE_URL=postgresql://u@other/d\n",
    )
    .unwrap();
    let load = |environment: Vec<(String, String)>| {
        Config::load(&Sources { dot_env: Some(&dot_env), environment, ..Sources::default() }).unwrap()
    };
    let config = load(Vec::new());
    assert_eq!(config.database.url.expose(), "postgresql://u:p%23@h:6543/d?pgbouncer=true");
    assert!(!format!("{config:?}").contains("6543"));
    let ours = ("FEDNODULE__DATABASE__URL".to_owned(), "postgresql://u@ours/d".to_owned());
    let theirs = ("SUPABASE_DB_URL".to_owned(), "postgresql://u@theirs/d".to_owned());
    assert_eq!(load(vec![ours, theirs]).database.url.expose(), "postgresql://u@ours/d");
    let message = from_variable("DATABASE_URL", "mysql://u:secret@h/d").unwrap_err();
    assert!(message.contains("DATABASE_URL: database.url") && !message.contains("mysql"), "{message}");
}

#[test]
fn what_a_mail_needs_is_asked_for() {
    let cases = [
        ("[mail]\nhost = \"smtp.a.example\"", "server.public_url is empty"),
        ("[server]\npublic_url = \"https://n.example\"\n[mail]\nhost = \"smtp.a.example\"", "mail.from is "),
        ("[mail]\nusername = \"u\"", "mail.password is a text of 0 characters"),
        ("[mail]\nencryption = \"ssl\"", "expected \"starttls\", \"tls\" or \"none\""),
        ("[mail]\nhost = \"smtp.a.example/x\"", "expected the name of a server"),
        ("[mail]\nca = \"/no/such.pem\"", "expected a PEM file with a certificate, or nothing"),
    ];
    for (text, part) in cases {
        let message = from_file(text).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_file_and_path() {
    let cases = [
        (
            "[sessions]\nidle_minuts = 5",
            "serve.toml: there is no setting sessions.idle_minuts; did you mean sessions.idle_minutes?",
        ),
        ("listen = 1", "serve.toml: there is no setting listen"),
        ("[serve]\nlisten = 1", "serve.toml: there is no setting serve.listen; did you mean server.listen?"),
        ("[serve]", "serve.toml: there is no setting serve"),
        ("[server.listen]\nport = 1", "serve.toml: there is no setting server.listen.port"),
        ("server = 3", "serve.toml: there is no setting server"),
    ];
    for (text, message) in cases {
        assert_eq!(from_file(text).unwrap_err(), message);
    }
    assert_eq!(
        from_variable("FEDNODULE__SERVER__LISTN", "1").unwrap_err(),
        "the environment variable FEDNODULE__SERVER__LISTN: there is no setting server.listn; did you mean server.listen?"
    );
    assert!(from_file("[server]\n").is_ok());
}

#[test]
fn a_value_that_makes_no_sense_is_refused_with_what_would_do() {
    let cases = [
        (
            "[server]\nlisten = \"localhost\"",
            "serve.toml: server.listen is \"localhost\", expected an address and a port, such as \"127.0.0.1:8080\"",
        ),
        ("[server]\nforwarded_for = 1", "serve.toml: server.forwarded_for is 1, expected true or false"),
        ("[accounts]\nbcrypt_cost = 4", "serve.toml: accounts.bcrypt_cost is 4, expected 10 to 15"),
        (
            "[accounts]\nfailures = -1",
            "serve.toml: accounts.failures is -1, expected a whole number that is not negative",
        ),
        (
            "[logs]\nlevel = \"loud\"",
            "serve.toml: logs.level is \"loud\", expected \"error\", \"warn\", \"info\" or \"debug\"",
        ),
        (
            "[server]\npublic_url = \"https://x/y\"",
            "serve.toml: server.public_url is https://x/y, expected http:// or https:// and a host, without a path",
        ),
        ("[server]\n\nlisten = ", "serve.toml, line 3: string values must be quoted, expected literal string"),
    ];
    for (text, message) in cases {
        assert_eq!(from_file(text).unwrap_err(), message);
    }
    let message = from_variable("FEDNODULE__SESSIONS__IDLE_MINUTES", "soon").unwrap_err();
    assert!(message.ends_with("sessions.idle_minutes is \"soon\", expected a whole number that is not negative"));
    let missing = Sources { file: Some(Path::new("/no/such/serve.toml")), ..Sources::default() };
    assert_eq!(Config::load(&missing).unwrap_err().to_string(), "cannot read the settings in /no/such/serve.toml");
}

#[test]
fn a_secret_is_in_no_message() {
    let secret = "correct-horse-battery";
    let config = from_variable("FEDNODULE__ACCOUNTS__SETUP_TOKEN", secret).unwrap();
    assert_eq!(config.accounts.setup_token.expose(), secret);
    assert!(!format!("{config:?}").contains(secret));
    assert!(format!("{config:?}").contains("(hidden)"));
    let message = from_file("[accounts]\nsetup_token = \"tooshort\"").unwrap_err();
    assert_eq!(
        message,
        "serve.toml: accounts.setup_token is a text of 8 characters, expected at least 16 characters, or nothing"
    );
    let message = from_file("[accounts]\nsetup_token = 1234567812345678").unwrap_err();
    assert!(message.contains("hidden") && !message.contains("1234"), "{message}");
    let message = from_file("[accounts]\nsetup_token = \"horse").unwrap_err();
    assert!(!message.contains("horse"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let dot_env = folder.path().join(".env");
    fs::write(&dot_env, "A=1\nFEDNODULE__ACCOUNTS__SETUP_TOKEN='horse").unwrap();
    let sources = Sources { dot_env: Some(&dot_env), ..Sources::default() };
    let message = Config::load(&sources).unwrap_err().to_string();
    assert!(!message.contains("horse"), "{message}");
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(\\[[a-z.]{0,9}\\]|[a-z_.]{0,9} ?= ?(\"[^\"]{0,5}\"|-?[0-9]{0,20}|true|\\[\\]|\\{\\})|\\PC{0,9})(\n\\PC{0,20}){0,4}") {
        from_file(&text).ok();
    }
}
