//! From the types of a handler to what it asks for and answers.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::answers::Answers;
use crate::accounts::Caller;
use crate::http::App;
use crate::http::context::{Administrator, Body, Context};

/// What the table says about a route of the API, and what its handler's types say.
pub(in crate::http) struct Described {
    pub(in crate::http) summary: &'static str,
    /// Statuses of refusals besides those that follow from who may call and from what is asked for.
    pub(in crate::http) refusals: &'static [u16],
    /// Its path in the sources.
    pub(in crate::http) handler: &'static str,
    /// With the generators for what is read and for what is written.
    pub(in crate::http) operation: fn(&mut SchemaGenerator, &mut SchemaGenerator) -> Operation,
}

/// What a handler asks for and answers, as parts of an OpenAPI document.
#[derive(Default)]
pub(in crate::http) struct Operation {
    /// Besides those of the path.
    pub(in crate::http) parameters: Vec<Value>,
    /// Its media type and its schema.
    pub(in crate::http) body: Option<(&'static str, Value)>,
    /// By status.
    pub(super) answers: BTreeMap<u16, Value>,
}

/// A parameter of a handler. Most ask for nothing that a document tells.
#[diagnostic::on_unimplemented(
    message = "the description of the API does not know the handler's parameter `{Self}`",
    note = "implement `Asks` for it in http/openapi/describe.rs, or `schemars::JsonSchema` for what it holds"
)]
pub(in crate::http) trait Asks {
    fn add_to(_: &mut Operation, _: &mut SchemaGenerator) {}
}

impl Asks for State<App> {}
impl Asks for Context {}
impl Asks for Caller {}
impl Asks for Administrator {}
impl Asks for HeaderMap {}
/// The path itself names them.
impl<T> Asks for Path<T> {}

impl<T: JsonSchema> Asks for Query<T> {
    fn add_to(operation: &mut Operation, generator: &mut SchemaGenerator) {
        let schema = T::json_schema(generator).to_value();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut property = property.clone();
            let description = property.as_object_mut().and_then(|property| property.remove("description"));
            without_null(&mut property);
            let mut parameter = json!({
                "name": name,
                "in": "query",
                "required": required.contains(&name.as_str()),
                "schema": property,
            });
            if let Some(description) = description {
                parameter["description"] = description;
            }
            operation.parameters.push(parameter);
        }
    }
}

/// A query cannot say `null`: what is optional is left out.
fn without_null(schema: &mut Value) {
    if let Some(kinds) = schema["type"].as_array() {
        let kinds: Vec<Value> = kinds.iter().filter(|kind| **kind != "null").cloned().collect();
        schema["type"] = match <[Value; 1]>::try_from(kinds) {
            Ok([kind]) => kind,
            Err(kinds) => kinds.into(),
        };
    }
}

impl<T: JsonSchema, const LIMIT: usize> Asks for Body<T, LIMIT> {
    fn add_to(operation: &mut Operation, generator: &mut SchemaGenerator) {
        operation.body = Some(("application/json", generator.subschema_for::<T>().to_value()));
    }
}

/// A handler, by the types of its parameters.
#[diagnostic::on_unimplemented(
    message = "the description of the API cannot be made from this handler",
    note = "each parameter must be `Asks` (http/openapi/describe.rs), the answer `Answers` (http/openapi/answers.rs)"
)]
pub(in crate::http) trait Handler<Parameters> {
    fn describe(asked: &mut SchemaGenerator, answered: &mut SchemaGenerator) -> Operation;
}

macro_rules! handler {
    ($($parameter:ident)*) => {
        impl<F, Answer, Future, $($parameter,)*> Handler<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> Future,
            Future: std::future::Future<Output = Answer>,
            Answer: Answers,
            $($parameter: Asks,)*
        {
            fn describe(asked: &mut SchemaGenerator, answered: &mut SchemaGenerator) -> Operation {
                // Some handlers ask for nothing.
                _ = &asked;
                let mut operation = Operation::default();
                $($parameter::add_to(&mut operation, asked);)*
                Answer::add_to(&mut operation.answers, answered);
                operation
            }
        }
    };
}

handler!();
handler!(A);
handler!(A B);
handler!(A B C);
handler!(A B C D);
handler!(A B C D E);
handler!(A B C D E G);
handler!(A B C D E G H);
handler!(A B C D E G H I);

/// What a handler asks for and answers.
pub(in crate::http) fn describe<P, H: Handler<P>>(
    _: H,
    asked: &mut SchemaGenerator,
    answered: &mut SchemaGenerator,
) -> Operation {
    H::describe(asked, answered)
}
