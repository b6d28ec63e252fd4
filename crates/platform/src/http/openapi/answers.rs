//! Answers whose types say what a program gets: the status, the media type and the schema.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::Problem;

/// What a handler answers when it does not refuse.
#[diagnostic::on_unimplemented(
    message = "the description of the API does not know the answer `{Self}`",
    note = "answer with Json<T> (T: JsonSchema), Created<…>, Accepted<…>, NoContent, Sent<…> or Kept<…>"
)]
pub(in crate::http) trait Answers {
    /// Adds the answer by its status.
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator);
}

/// What an answer holds, by media type.
pub(in crate::http) trait Content {
    fn by_media_type(generator: &mut SchemaGenerator) -> Map<String, Value>;
}

pub(in crate::http) fn answer<C: Content>(description: &str, generator: &mut SchemaGenerator) -> Value {
    let content = C::by_media_type(generator);
    let mut answer = json!({ "description": description });
    if !content.is_empty() {
        answer["content"] = content.into();
    }
    answer
}

fn media(media_type: &str, schema: Value) -> Map<String, Value> {
    Map::from_iter([(media_type.to_owned(), json!({ "schema": schema }))])
}

impl Content for () {
    fn by_media_type(_: &mut SchemaGenerator) -> Map<String, Value> {
        Map::new()
    }
}

impl<T: JsonSchema> Content for Json<T> {
    fn by_media_type(generator: &mut SchemaGenerator) -> Map<String, Value> {
        media("application/json", generator.subschema_for::<T>().to_value())
    }
}

/// A table as a text.
pub(in crate::http) struct Csv;

impl Content for Csv {
    fn by_media_type(_: &mut SchemaGenerator) -> Map<String, Value> {
        media("text/csv", json!({ "type": "string" }))
    }
}

/// Bytes that only programs read.
pub(in crate::http) struct Binary;

impl Content for Binary {
    fn by_media_type(_: &mut SchemaGenerator) -> Map<String, Value> {
        // A schema without a type: bytes are no JSON.
        media("application/octet-stream", json!({}))
    }
}

/// A picture.
pub(in crate::http) struct Picture;

impl Content for Picture {
    fn by_media_type(_: &mut SchemaGenerator) -> Map<String, Value> {
        media("image/png", json!({}))
    }
}

/// A slice's CT values, row by row, as little-endian int16, or a picture of it.
pub(in crate::http) struct SliceOrPicture;

impl Content for SliceOrPicture {
    fn by_media_type(generator: &mut SchemaGenerator) -> Map<String, Value> {
        let mut content = Binary::by_media_type(generator);
        content.extend(Picture::by_media_type(generator));
        content
    }
}

impl<T: JsonSchema> Answers for Json<T> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        answers.insert(200, answer::<Self>("The answer.", generator));
    }
}

impl<A: Answers> Answers for Result<A, Problem> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        A::add_to(answers, generator);
    }
}

/// 201, with what there is to know about what was made, or with `()`.
pub(in crate::http) struct Created<C>(pub(in crate::http) C);

impl<C: IntoResponse> IntoResponse for Created<C> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, self.0).into_response()
    }
}

impl<C: Content> Answers for Created<C> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        answers.insert(201, answer::<C>("It was made.", generator));
    }
}

/// 202: it will happen.
pub(in crate::http) struct Accepted<C>(pub(in crate::http) C);

impl<C: IntoResponse> IntoResponse for Accepted<C> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, self.0).into_response()
    }
}

impl<C: Content> Answers for Accepted<C> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        answers.insert(202, answer::<C>("It will be done.", generator));
    }
}

/// 204: done.
pub(in crate::http) struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Answers for NoContent {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        answers.insert(204, answer::<()>("Done.", generator));
    }
}

/// A response that was put together by hand, of this content: a file to keep, for instance.
pub(in crate::http) struct Sent<C>(Response, PhantomData<C>);

impl<C> Sent<C> {
    pub(in crate::http) fn new(response: Response) -> Self {
        Self(response, PhantomData)
    }
}

impl<C> IntoResponse for Sent<C> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<C: Content> Answers for Sent<C> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        answers.insert(200, answer::<C>("The answer.", generator));
    }
}

/// The same, of which a browser keeps a copy and asks later whether it is still good.
pub(in crate::http) struct Kept<C>(Response, PhantomData<C>);

impl<C> Kept<C> {
    pub(in crate::http) fn new(response: Response) -> Self {
        Self(response, PhantomData)
    }
}

impl<C> IntoResponse for Kept<C> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<C: Content> Answers for Kept<C> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        let mut kept = answer::<C>("The answer.", generator);
        kept["headers"] = json!({ "ETag": { "schema": { "type": "string" } } });
        answers.insert(200, kept);
        answers.insert(304, answer::<()>("What `If-None-Match` names is still good.", generator));
    }
}

/// Another answer, together with the session's cookie.
pub(in crate::http) struct WithSession<A>(Response, PhantomData<A>);

impl<A> WithSession<A> {
    pub(in crate::http) fn new(response: Response) -> Self {
        Self(response, PhantomData)
    }
}

impl<A> IntoResponse for WithSession<A> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<A: Answers> Answers for WithSession<A> {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        A::add_to(answers, generator);
        let cookie = json!({ "description": "The session, or its end.", "schema": { "type": "string" } });
        for answer in answers.values_mut() {
            answer["headers"] = json!({ "Set-Cookie": cookie });
        }
    }
}
