//! Pages from templates. A value or a text that a template asks for and that is not there is an error, never a gap.

use std::sync::Arc;

use axum::http::StatusCode;
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use super::Problem;
use super::assets;
use crate::catalog::{Language, page};

/// Every template by its name.
pub(super) const TEMPLATES: &[(&str, &str)] = &[
    ("base.html", include_str!("../../web/templates/base.html")),
    ("door.html", include_str!("../../web/templates/door.html")),
    ("shell.html", include_str!("../../web/templates/shell.html")),
    ("parts.html", include_str!("../../web/templates/parts.html")),
    ("setup.html", include_str!("../../web/templates/setup.html")),
    ("login.html", include_str!("../../web/templates/login.html")),
    ("register.html", include_str!("../../web/templates/register.html")),
    ("reset.html", include_str!("../../web/templates/reset.html")),
    ("forgot.html", include_str!("../../web/templates/forgot.html")),
    ("verify.html", include_str!("../../web/templates/verify.html")),
    ("problem.html", include_str!("../../web/templates/problem.html")),
    ("overview.html", include_str!("../../web/templates/overview.html")),
    ("users.html", include_str!("../../web/templates/users.html")),
    ("audit.html", include_str!("../../web/templates/audit.html")),
    ("inferences.html", include_str!("../../web/templates/inferences.html")),
    ("logs.html", include_str!("../../web/templates/logs.html")),
    ("data.html", include_str!("../../web/templates/data.html")),
    ("account.html", include_str!("../../web/templates/account.html")),
    ("settings.html", include_str!("../../web/templates/settings.html")),
    ("help.html", include_str!("../../web/templates/help.html")),
    ("docs.html", include_str!("../../web/templates/docs.html")),
    ("viewer.html", include_str!("../../web/templates/viewer.html")),
    ("report.html", include_str!("../../web/templates/report.html")),
    ("training_parts.html", include_str!("../../web/templates/training_parts.html")),
    ("trainings.html", include_str!("../../web/templates/trainings.html")),
    ("training.html", include_str!("../../web/templates/training.html")),
    ("launch.html", include_str!("../../web/templates/launch.html")),
    ("compare.html", include_str!("../../web/templates/compare.html")),
    ("models.html", include_str!("../../web/templates/models.html")),
    ("reason.html", include_str!("../../web/templates/reason.html")),
    ("training_now.html", include_str!("../../web/templates/training_now.html")),
];

/// The drawings, in a square of 24, drawn for these pages.
const ICONS: &[(&str, &str)] = &[
    (
        "overview",
        r#"<path d="M4 13a8 8 0 0 1 16 0"/><path d="m12 13 4-4"/><path d="M4 13v3a2 2 0 0 0 2 2h12a2 2 0 0 0 2-2v-3"/>"#,
    ),
    (
        "users",
        r#"<circle cx="9" cy="8" r="3.5"/><path d="M2.5 20a6.5 6.5 0 0 1 13 0"/><path d="M16 4.8a3.5 3.5 0 0 1 0 6.4"/><path d="M18.5 14.2a6.5 6.5 0 0 1 3 5.8"/>"#,
    ),
    ("audit", r#"<path d="M6 3h9l4 4v14H6z"/><path d="M14 3v5h5"/><path d="M9.5 12.5h6M9.5 16.5h6"/>"#),
    ("account", r#"<circle cx="12" cy="8" r="4"/><path d="M4.5 20.5a7.5 7.5 0 0 1 15 0"/>"#),
    (
        "sign-out",
        r#"<path d="M14 4H6a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h8"/><path d="M10 12h10"/><path d="m16.5 8.5 3.5 3.5-3.5 3.5"/>"#,
    ),
    ("check", r#"<path d="m5 12.5 4.5 4.5L19 7.5"/>"#),
    ("clock", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 7.5V12l3 2"/>"#),
    ("off", r#"<circle cx="12" cy="12" r="8.5"/><path d="m6 6 12 12"/>"#),
    (
        "shield",
        r#"<path d="M12 3 5 6v5.5c0 4.3 2.9 7.6 7 9.5 4.1-1.9 7-5.2 7-9.5V6z"/><path d="m9 12 2.2 2.2L15.2 10"/>"#,
    ),
    (
        "hospital",
        r#"<path d="M5 21V5a1 1 0 0 1 1-1h12a1 1 0 0 1 1 1v16"/><path d="M3 21h18"/><path d="M12 7.5v5M9.5 10h5"/><path d="M10 21v-4h4v4"/>"#,
    ),
    ("key", r#"<circle cx="8" cy="15" r="4"/><path d="m11 12 8.5-8.5M16 7l3 3"/>"#),
    (
        "language",
        r#"<circle cx="12" cy="12" r="8.5"/><path d="M3.5 12h17"/><path d="M12 3.5c5 4.7 5 12.3 0 17-5-4.7-5-12.3 0-17z"/>"#,
    ),
    ("warning", r#"<path d="M12 4 2.8 20h18.4z"/><path d="M12 10v4.5M12 17.3v.2"/>"#),
    ("info", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5.5M12 7.6v.2"/>"#),
    ("search", r#"<circle cx="11" cy="11" r="6.5"/><path d="m16 16 4.5 4.5"/>"#),
    (
        "link",
        r#"<path d="M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1 1"/><path d="M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1-1"/>"#,
    ),
    (
        "sign-in",
        r#"<path d="M10 4h8a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-8"/><path d="M4 12h10"/><path d="m10.5 8.5 3.5 3.5-3.5 3.5"/>"#,
    ),
    ("mail", r#"<rect x="3" y="5.5" width="18" height="13" rx="1.5"/><path d="m3.5 7 8.5 6.5L20.5 7"/>"#),
    (
        "database",
        r#"<ellipse cx="12" cy="6" rx="7.5" ry="2.8"/><path d="M4.5 6v12c0 1.6 3.4 2.8 7.5 2.8s7.5-1.2 7.5-2.8V6"/><path d="M4.5 12c0 1.6 3.4 2.8 7.5 2.8s7.5-1.2 7.5-2.8"/>"#,
    ),
    (
        "settings",
        r#"<path d="M4 7h9M17 7h3M4 17h3M11 17h9"/><circle cx="15" cy="7" r="2.2"/><circle cx="9" cy="17" r="2.2"/>"#,
    ),
    (
        "help",
        r#"<circle cx="12" cy="12" r="8.5"/><path d="M9.6 9.6a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2 1-1.2 1.9M12 16.6v.2"/>"#,
    ),
    ("circle", r#"<circle cx="12" cy="12" r="8.5"/>"#),
    ("crosshair", r#"<circle cx="12" cy="12" r="6.5"/><path d="M12 2.5v6M12 15.5v6M2.5 12h6M15.5 12h6"/>"#),
    ("contrast", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 3.5v17M12 7.5h6.5M12 12h8.2M12 16.5h6.5"/>"#),
    ("pan", r#"<path d="M12 3v18M3 12h18"/><path d="m9 6 3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3"/>"#),
    ("measure", r#"<path d="m3 16.5 13.5-13.5L21 7.5 7.5 21z"/><path d="m7 12.5 2 2M10 9.5l3 3M13 6.5l2 2"/>"#),
    ("restore", r#"<path d="M4.5 5v5h5"/><path d="M5 10a8 8 0 1 1-1 4"/>"#),
    ("cube", r#"<path d="m12 3 8 4.5v9L12 21l-8-4.5v-9z"/><path d="m4 7.5 8 4.5 8-4.5M12 12v9"/>"#),
    ("logs", r#"<path d="M4 6h16M4 10h11M4 14h16M4 18h8"/>"#),
    ("keyboard", r#"<path d="M3 6.5h18v11H3z"/><path d="M6.5 10h.2M10 10h.2M13.5 10h.2M17 10h.2M7.5 14h9"/>"#),
    ("report", r#"<path d="M6 3h9l4 4v14H6z"/><path d="M14 3v5h5"/><path d="M12.5 11v6M9.5 14h6"/>"#),
    ("print", r#"<path d="M7 8V3.5h10V8"/><path d="M7 17H4V8h16v9h-3"/><path d="M7 13.5h10v7H7z"/>"#),
    ("back", r#"<path d="M20 12H5"/><path d="m11 6-6 6 6 6"/>"#),
    ("upload", r#"<path d="M12 15V4"/><path d="m7.5 8.5 4.5-4.5 4.5 4.5"/><path d="M4.5 15v4.5h15V15"/>"#),
    ("download", r#"<path d="M12 4v11"/><path d="m7.5 11 4.5 4.5 4.5-4.5"/><path d="M4.5 20h15"/>"#),
    (
        "training",
        r#"<path d="M4 19V5"/><path d="M4 19h16"/><path d="M7 8c2.5 6 6 7.5 12 8"/><circle cx="7" cy="8" r="1.2"/><circle cx="12" cy="13.6" r="1.2"/>"#,
    ),
    ("models", r#"<path d="m12 3 8 4.3v9.4L12 21l-8-4.3V7.3z"/><path d="M4 7.3 12 12l8-4.7M12 12v9"/>"#),
    ("play", r#"<path d="M7 4.5v15l12-7.5z"/>"#),
    ("pause", r#"<path d="M8 5v14M16 5v14"/>"#),
    ("lock", r#"<path d="M5.5 11h13v9h-13z"/><path d="M8 11V7.5a4 4 0 0 1 8 0V11M12 14.5v2.5"/>"#),
    ("stop", r#"<path d="M6 6h12v12H6z"/>"#),
    ("download", r#"<path d="M12 4v11"/><path d="m7.5 11 4.5 4.5 4.5-4.5"/><path d="M5 20h14"/>"#),
    ("compare", r#"<path d="M4 20h16"/><path d="M7 20V9M12 20V4M17 20v-7"/>"#),
    ("again", r#"<path d="M4.5 12a7.5 7.5 0 1 0 2.4-5.5"/><path d="M4 4v4.5h4.5"/>"#),
    ("cpu", r#"<path d="M7 7h10v10H7z"/><path d="M10 3v4M14 3v4M10 17v4M14 17v4M3 10h4M3 14h4M17 10h4M17 14h4"/>"#),
    ("flag", r#"<path d="M6 21V4"/><path d="M6 4.5h11l-2.5 4 2.5 4H6"/>"#),
    ("edit", r#"<path d="m4 20 1-4L16.5 4.5l3 3L8 19z"/><path d="m14 7 3 3"/>"#),
];

/// The lungs of the name.
const LOGO: &str = concat!(
    r#"<svg class="logo" viewBox="0 0 24 24" aria-hidden="true" focusable="false">"#,
    r#"<path d="M12 3v7.5M12 10.5 8.5 13M12 10.5l3.5 2.5" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round"/>"#,
    r#"<path d="M9.3 6.2C6 7 3 12.6 3 17c0 2.6 1 3.7 2.8 3.7 2.5 0 4.7-1.4 4.7-4.2V7.3c0-.8-.5-1.3-1.2-1.1z"/>"#,
    r#"<path d="M14.7 6.2C18 7 21 12.6 21 17c0 2.6-1 3.7-2.8 3.7-2.5 0-4.7-1.4-4.7-4.2V7.3c0-.8.5-1.3 1.2-1.1z"/></svg>"#
);

/// The templates of both languages.
pub(crate) struct Templates {
    zh: Environment<'static>,
    en: Environment<'static>,
}

impl Templates {
    /// # Errors
    /// When a template is not well formed.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { zh: environment(Language::Zh)?, en: environment(Language::En)? })
    }

    /// A page as HTML.
    pub(super) fn render(&self, name: &str, language: Language, values: Value) -> Result<String, Problem> {
        let environment = match language {
            Language::Zh => &self.zh,
            Language::En => &self.en,
        };
        environment.get_template(name).and_then(|template| template.render(values)).map_err(|error| {
            tracing::error!(template = name, %error, "a page could not be made");
            Problem::internal()
        })
    }

    /// The page that tells of a problem.
    pub(super) fn problem(&self, problem: &Problem, language: Language) -> Result<String, Problem> {
        let values = context! {
            here => "/",
            status => problem.status.as_u16(),
            title => problem.title(language),
            detail => problem.detail(language),
            sign_in => problem.status == StatusCode::UNAUTHORIZED,
        };
        self.render("problem.html", language, values)
    }
}

fn environment(language: Language) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_function("t", move |key: &str, arguments: Kwargs| text(key, &arguments, language));
    environment.add_function("icon", icon);
    environment.add_function("logo", || Value::from_safe_string(LOGO.to_owned()));
    environment.add_function("asset", |name: &str| {
        assets::path(name).map(Value::from_safe_string).ok_or_else(|| missing("asset", name))
    });
    let scripts: Arc<str> = page::for_scripts(language).into();
    environment.add_function("script_texts", move || Value::from_safe_string(scripts.to_string()));
    environment.add_filter("moment", moment);
    environment.add_global("language", language.tag());
    environment.add_global("html_language", language.html_tag());
    environment.add_global("other_language", language.other().tag());
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

fn missing(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("there is no {what} {name:?}"))
}

/// A text of the catalogue with its arguments filled in.
fn text(key: &str, arguments: &Kwargs, language: Language) -> Result<String, Error> {
    let mut text = page::text(key, language).ok_or_else(|| missing("text", key))?.to_owned();
    for name in arguments.args() {
        let value: Value = arguments.get(name)?;
        let place = format!("{{{name}}}");
        if !text.contains(&place) {
            return Err(missing("place for an argument", name));
        }
        text = text.replace(&place, &value.to_string());
    }
    Ok(text)
}

fn icon(name: &str) -> Result<Value, Error> {
    let (_, drawing) = ICONS.iter().find(|(known, _)| *known == name).ok_or_else(|| missing("icon", name))?;
    let start = r#"<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">"#;
    Ok(Value::from_safe_string(format!("{start}{drawing}</svg>")))
}

/// A moment in UTC, which a script turns into the reader's time.
fn moment(at: &str) -> Value {
    // Our own RFC 3339: 2027-05-01T09:42:10Z
    let shown = at.replace('T', " ").replace('Z', " UTC");
    let escape = |text: &str| text.replace(['<', '>', '&', '"'], "");
    Value::from_safe_string(format!(r#"<time datetime="{}">{}</time>"#, escape(at), escape(&shown)))
}
