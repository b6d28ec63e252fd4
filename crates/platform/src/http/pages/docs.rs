//! The description of the API for people, made from the one for programs.

use axum::extract::State;
use axum::response::Html;
use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;
use serde_json::Value as Json;

use super::inside;
use crate::accounts::Caller;
use crate::http::context::Context;
use crate::http::guard::cookie_name;
use crate::http::openapi::document;
use crate::http::{App, Problem};

/// Operations with the same first word in their paths.
#[derive(Serialize)]
struct Group {
    name: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    /// `anyone`, `signed_in` or `server`.
    access: String,
    parameters: Vec<Field>,
    body: Option<Kind>,
    answers: Vec<Answer>,
    /// Statuses of problems.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    /// Media types, each with what is inside.
    content: Vec<(String, Kind)>,
}

/// A parameter, or a field of an object.
#[derive(Serialize)]
struct Field {
    name: String,
    required: bool,
    kind: Kind,
    about: String,
}

/// What a value is.
#[derive(Serialize, Default)]
struct Kind {
    /// The name of a schema.
    schema: Option<String>,
    /// In words, around the name.
    before: String,
    after: String,
}

#[derive(Serialize)]
struct Schema {
    name: String,
    about: String,
    /// Of what is no object.
    kind: Option<Kind>,
    fields: Vec<Field>,
}

pub(crate) async fn show(State(app): State<App>, context: Context, caller: Caller) -> Result<Html<String>, Problem> {
    let document = document(cookie_name(&app.server));
    let schemas: Vec<Schema> = entries(&document["components"]["schemas"]).map(|(name, it)| schema(name, it)).collect();
    let values = context! {
        groups => Value::from(Serde(groups(&document))),
        schemas => Value::from(Serde(schemas)),
        cookie => cookie_name(&app.server),
    };
    inside(&app, "docs.html", "/docs", context, &caller, values)
}

fn groups(document: &Json) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, it) in entries(item) {
            let name = text(&it["tags"][0]);
            let operation = operation(method, path, it);
            match groups.last_mut().filter(|group| group.name == name) {
                Some(group) => group.operations.push(operation),
                None => groups.push(Group { name, operations: vec![operation] }),
            }
        }
    }
    groups
}

fn operation(method: &str, path: &str, operation: &Json) -> Operation {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    // The origin is said once, above all.
    let parameters = parameters.filter(|parameter| parameter["$ref"].is_null()).map(|parameter| Field {
        name: text(&parameter["name"]),
        required: parameter["required"] == true,
        kind: kind(&parameter["schema"]),
        about: text(&parameter["description"]),
    });
    let (problems, answers): (Vec<_>, Vec<_>) = entries(&operation["responses"])
        .partition(|(_, answer)| !answer["content"]["application/problem+json"].is_null());
    let answers = answers.into_iter().map(|(status, answer)| Answer {
        status: status.to_owned(),
        content: entries(&answer["content"]).map(|(media, it)| (media.to_owned(), kind(&it["schema"]))).collect(),
    });
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    Operation {
        id: text(&operation["operationId"]),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        access: text(&operation["x-access"]),
        parameters: parameters.collect(),
        body: (!body.is_null()).then(|| kind(body)),
        answers: answers.collect(),
        problems: problems.into_iter().map(|(status, _)| status.to_owned()).collect(),
    }
}

fn schema(name: &str, schema: &Json) -> Schema {
    let required =
        |field: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field));
    let fields = entries(&schema["properties"]).map(|(field, it)| Field {
        name: field.to_owned(),
        required: required(field),
        kind: kind(it),
        about: text(&it["description"]),
    });
    let fields: Vec<Field> = fields.collect();
    let kind = fields.is_empty().then(|| kind(schema));
    Schema { name: name.to_owned(), about: text(&schema["description"]), kind, fields }
}

/// What a schema allows, as a reader wants to know it.
fn kind(schema: &Json) -> Kind {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return Kind { schema: Some(name.to_owned()), ..Kind::default() };
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        // The only choice that is made between schemas is whether there is something.
        let mut found = choices.iter().find(|choice| choice["type"] != "null").map(kind).unwrap_or_default();
        if choices.iter().any(|choice| choice["type"] == "null") {
            found.after += " | null";
        }
        return found;
    }
    let words =
        |list: &Json| list.as_array().into_iter().flatten().map(Json::to_string).collect::<Vec<_>>().join(" | ");
    if !schema["enum"].is_null() {
        return Kind { before: words(&schema["enum"]), ..Kind::default() };
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let constant = |choice: &Json| match &choice["const"] {
            Json::Null => words(&choice["enum"]),
            constant => constant.to_string(),
        };
        return Kind { before: choices.iter().map(constant).collect::<Vec<_>>().join(" | "), ..Kind::default() };
    }
    let type_name = match &schema["type"] {
        Json::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" | "),
        name => text(name),
    };
    if schema["type"] == "array" || schema["type"][0] == "array" {
        let inner = kind(&schema["items"]);
        let after = inner.after + "]" + if schema["type"].is_array() { " | null" } else { "" };
        return Kind { schema: inner.schema, before: format!("[{}", inner.before), after };
    }
    if let values @ Json::Object(_) = &schema["additionalProperties"] {
        let inner = kind(values);
        return Kind { schema: inner.schema, before: format!("{{*: {}", inner.before), after: inner.after + "}" };
    }
    Kind { before: type_name + &limits(schema), ..Kind::default() }
}

fn limits(schema: &Json) -> String {
    let mut limits = String::new();
    for (name, sign) in [("minimum", " ≥ "), ("exclusiveMinimum", " > "), ("maximum", " ≤ "), ("multipleOf", " ÷ ")]
    {
        if !schema[name].is_null() {
            limits += &format!("{sign}{}", schema[name]);
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        limits += &format!(" {pattern}");
    }
    limits
}

fn entries(object: &Json) -> impl Iterator<Item = (&str, &Json)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
