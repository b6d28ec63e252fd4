//! The settings as they are in force, and tests of the connections that they describe.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::catalog::{Language, Message};
use crate::config::{Origin, Setting};
use crate::http::context::{Administrator, Context};
use crate::http::{App, Problem};
use crate::mail::Trouble;
use crate::users::{Checked, Failure, Pooler};

/// A setting for readers: a secret is not among the values.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Setting")]
pub(in crate::http) struct Shown {
    pub(in crate::http) key: String,
    value: Option<String>,
    /// Whether it is a secret that is set.
    hidden: bool,
    /// `default`, `file`, `dot_env`, `variable` or `command_line`.
    origin: &'static str,
    /// The file or the variable.
    place: String,
}

impl From<&Setting> for Shown {
    fn from(setting: &Setting) -> Self {
        let name = |path: &std::path::Path| path.display().to_string();
        let (origin, place) = match &setting.origin {
            Origin::Default => ("default", String::new()),
            Origin::File(path) => ("file", name(path)),
            Origin::DotEnv(path, variable) => ("dot_env", format!("{variable} · {}", name(path))),
            Origin::Variable(variable) => ("variable", variable.clone()),
            Origin::Explicit => ("command_line", String::new()),
        };
        Self { key: setting.key.clone(), value: setting.value.clone(), hidden: setting.hides, origin, place }
    }
}

pub(in crate::http) fn settings(app: &App) -> Vec<Shown> {
    app.settings.iter().map(Shown::from).collect()
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Settings {
    settings: Vec<Shown>,
}

pub(crate) async fn show(State(app): State<App>, _: Administrator) -> Json<Settings> {
    Json(Settings { settings: settings(&app) })
}

/// What a test found, in plain words.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verdict {
    ok: bool,
    title: String,
    lines: Vec<String>,
}

pub(crate) async fn test_database(State(app): State<App>, context: Context, _: Administrator) -> Json<Verdict> {
    let language = context.language;
    let verdict = match app.users.test().await {
        None => good(&Message::TestNoDatabase, vec![Message::TestNoDatabaseDetail], language),
        Some(Ok(checked)) => good(&Message::TestDatabaseGood, found(&checked), language),
        Some(Err(failure)) => bad(&Message::TestDatabaseBad, &reason(&failure), language),
    };
    Json(verdict)
}

pub(crate) async fn test_mail(
    State(app): State<App>,
    context: Context,
    _: Administrator,
) -> Result<Json<Verdict>, Problem> {
    let language = context.language;
    Ok(Json(match &app.post {
        None => good(&Message::TestNoMail, vec![Message::TestNoMailDetail], language),
        Some(post) => match post.test().await {
            Ok(()) => good(&Message::TestMailGood, vec![Message::TestMailGoodDetail], language),
            Err(trouble) => bad(&Message::TestMailBad, &trouble_reason(&trouble), language),
        },
    }))
}

fn good(title: &Message, lines: Vec<Message>, language: Language) -> Verdict {
    let lines = lines.iter().map(|line| line.text(language)).collect();
    Verdict { ok: true, title: title.text(language), lines }
}

fn bad(title: &Message, reason: &Message, language: Language) -> Verdict {
    Verdict { ok: false, title: title.text(language), lines: vec![reason.text(language)] }
}

fn found(checked: &Checked) -> Vec<Message> {
    let Checked { version, is_encrypted, pooler, users, row_level_security, milliseconds } = checked;
    let mut lines =
        vec![Message::TestDatabaseVersion { version: version.clone(), milliseconds: milliseconds.to_string() }];
    lines.push(if *is_encrypted { Message::TestEncrypted } else { Message::TestNotEncrypted });
    lines.push(match pooler {
        Pooler::Transaction => Message::TestPoolerTransaction,
        Pooler::Session | Pooler::Unknown => Message::TestPoolerSession,
    });
    match users {
        Some(count) => lines.push(Message::TestDatabaseUsers { count: count.to_string() }),
        None => lines.push(Message::TestDatabaseNoTable),
    }
    if users.is_some() && !row_level_security {
        lines.push(Message::TestDatabaseOpen);
    }
    lines
}

/// Why the users' database is of no use, and what to do.
pub(in crate::http) fn reason(failure: &Failure) -> Message {
    match failure {
        Failure::NotYet => Message::DatabaseNotYet,
        Failure::Unreachable => Message::DatabaseUnreachable,
        Failure::Timeout => Message::DatabaseTimeout,
        Failure::Closed => Message::DatabaseClosed,
        Failure::Tls(reason) => Message::DatabaseTls { reason: reason.clone() },
        Failure::Credentials => Message::DatabaseCredentials,
        Failure::NoDatabase => Message::DatabaseMissing,
        Failure::Denied => Message::DatabaseDenied,
        Failure::Newer(found) => Message::DatabaseNewer { found: found.to_string() },
        Failure::NoAdministrator => Message::DatabaseNoAdministrator,
        Failure::Refused(code) => Message::DatabaseRefused { code: code.clone() },
        Failure::Copy => Message::DatabaseCopy,
    }
}

/// Why mail does not leave, and what to do.
pub(in crate::http) fn trouble_reason(trouble: &Trouble) -> Message {
    match trouble {
        Trouble::Unreachable => Message::MailUnreachable,
        Trouble::Timeout => Message::MailTimeout,
        Trouble::Tls => Message::MailTls,
        Trouble::Credentials => Message::MailCredentials,
        Trouble::Later(code) | Trouble::Never(code) => Message::MailRefused { code: code.to_string() },
        Trouble::Unwritable => Message::MailUnwritable,
    }
}
