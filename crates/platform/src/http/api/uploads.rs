//! Scans on their way in: naming files, then sending voxels as tus 1.0 has it, with its extensions `checksum` and
//! `termination`. An upload is made by `POST /api/uploads`, which answers for many files at once, not by tus' own creation.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::accounts::Caller;
use crate::catalog::{Language, Message};
use crate::data::pairing::Offered;
use crate::data::uploads::{MAX_PIECE, Outcome, Progress};
use crate::http::context::{Body, Context};
use crate::http::openapi::{Answers, Asks, Operation, Sent, answer};
use crate::http::{App, Problem};
use crate::store::uploads::State as Stands;

/// Names and headers of many files.
const MAX_LIST_BYTES: usize = 8 << 20;
const VERSION: &str = "1.0.0";
const MEDIA_TYPE: &str = "application/offset+octet-stream";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
/// RFC 9530: of the whole file, with its last piece.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// What tus calls a check sum that does not fit.
const CHECKSUM_MISMATCH: u16 = 460;

/// Everything that somebody chose.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    files: Vec<Offered>,
}

/// What becomes of a header that was chosen.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Planned {
    /// Send the data from `offset` on to `/api/uploads/{upload}`.
    Wanted {
        path: String,
        upload: String,
        data_path: String,
        bytes: u64,
        offset: u64,
    },
    There {
        path: String,
        scan: i64,
        message: String,
    },
    Refused {
        path: String,
        message: String,
    },
}

/// What becomes of a file that no header needs.
#[derive(Serialize, JsonSchema)]
struct LeftOut {
    path: String,
    message: String,
}

/// What becomes of everything that was chosen.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UploadPlan {
    scans: Vec<Planned>,
    left: Vec<LeftOut>,
}

pub(crate) async fn plan(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(Chosen { files }): Body<Chosen, MAX_LIST_BYTES>,
) -> Result<Json<UploadPlan>, Problem> {
    let plan = app.uploads.plan(&caller, files).await?;
    let words = |message: &Message| message.text(context.language);
    let scans = plan.scans.into_iter().map(|(path, outcome)| match outcome {
        Outcome::Wanted { upload, data_path, bytes, offset } => {
            Planned::Wanted { path, upload, data_path, bytes, offset }
        }
        Outcome::There { scan } => Planned::There { path, scan, message: words(&Message::PairThere) },
        Outcome::Refused(reason) => Planned::Refused { path, message: words(&reason) },
    });
    let scans = scans.collect();
    let left = plan.left.into_iter().map(|left| LeftOut { message: words(&left.reason), path: left.path }).collect();
    Ok(Json(UploadPlan { scans, left }))
}

/// An upload that is not finished.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Upload {
    id: String,
    series_uid: String,
    header_name: String,
    data_name: String,
    bytes: u64,
    offset: u64,
    state: Stands,
    /// Why it is refused.
    message: Option<String>,
    created_at: String,
    expires_at: String,
}

fn shown(Progress { upload, offset, expires_at }: Progress, language: Language) -> Upload {
    let reason = upload.refusal.as_ref().and_then(|texts| texts.get(language.tag())?.as_str());
    Upload {
        message: reason.map(str::to_owned),
        id: upload.id,
        series_uid: upload.series_uid,
        header_name: upload.header_name,
        data_name: upload.data_name,
        bytes: upload.bytes,
        offset,
        state: upload.state,
        created_at: upload.created_at.to_string(),
        expires_at: expires_at.to_string(),
    }
}

/// Unfinished uploads.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UploadList {
    uploads: Vec<Upload>,
    /// The most bytes of one piece.
    most_bytes_at_once: u64,
}

pub(crate) async fn list(
    State(app): State<App>,
    context: Context,
    caller: Caller,
) -> Result<Json<UploadList>, Problem> {
    let uploads = app.uploads.list(&caller).await?.into_iter().map(|upload| shown(upload, context.language));
    Ok(Json(UploadList { uploads: uploads.collect(), most_bytes_at_once: MAX_PIECE }))
}

/// How far an upload is: for programs as JSON, and for tus in the headers.
pub(crate) async fn show(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Sent<Json<Upload>>, Problem> {
    let progress = app.uploads.show(&caller, &id).await?;
    let (offset, bytes) = (progress.offset, progress.upload.bytes);
    let mut response = Json(shown(progress, context.language)).into_response();
    response.headers_mut().insert(UPLOAD_LENGTH, bytes.into());
    Ok(Sent::new(tus(response, Some(offset))))
}

/// Takes a piece: written when its check sum is right, answered when it is on the disk.
pub(crate) async fn receive(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    AboutPiece { offset, sum, whole }: AboutPiece,
    Piece(body): Piece,
) -> Result<Taken, Problem> {
    let slot = app.uploads.open(&caller, &id, offset).await?;
    let missing = slot.missing();
    let piece = piece(body, missing, Duration::from_secs(app.server.request_seconds)).await?;
    let (fits, piece) = slot.looks_right(piece, move |piece| sum.fits(piece)).await?;
    if !fits {
        let mismatch = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
        return Err(Problem::upload(mismatch, "checksum-mismatch", Message::UploadSum));
    }
    Ok(Taken { offset: Some(slot.write(piece, whole).await?) })
}

pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<Taken, Problem> {
    app.uploads.cancel(&caller, &id).await?;
    Ok(Taken { offset: None })
}

/// 204 in the words of tus, with how many bytes there are.
pub(crate) struct Taken {
    offset: Option<u64>,
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        tus(StatusCode::NO_CONTENT.into_response(), self.offset)
    }
}

impl Answers for Taken {
    fn add_to(answers: &mut BTreeMap<u16, Value>, generator: &mut SchemaGenerator) {
        let mut taken = answer::<()>("Done.", generator);
        let offset = json!({ "description": "Bytes that are there", "schema": { "type": "integer", "minimum": 0 } });
        taken["headers"] = json!({ "Tus-Resumable": { "schema": { "const": VERSION } }, "Upload-Offset": offset });
        answers.insert(204, taken);
    }
}

fn tus(mut response: Response, offset: Option<u64>) -> Response {
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    if let Some(offset) = offset {
        headers.insert(UPLOAD_OFFSET, offset.into());
    }
    response
}

/// What the headers of a piece say.
pub(crate) struct AboutPiece {
    offset: u64,
    sum: Sum,
    /// The hash that the whole file must have, with its last piece.
    whole: Option<[u8; 32]>,
}

impl<S: Sync> FromRequestParts<S> for AboutPiece {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text =
            |name: &HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let bad = |status, detail| Problem::upload(status, "unreadable-request", detail);
        if text(&TUS_RESUMABLE) != VERSION {
            return Err(bad(StatusCode::PRECONDITION_FAILED, Message::UploadVersion));
        }
        if text(&CONTENT_TYPE) != MEDIA_TYPE {
            return Err(bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, Message::UploadType));
        }
        let header = |name: &str, expected: &str| {
            let detail = Message::UploadHeader { name: name.to_owned(), expected: expected.to_owned() };
            bad(StatusCode::BAD_REQUEST, detail)
        };
        let offset = text(&UPLOAD_OFFSET).parse().map_err(|_| header("Upload-Offset", "0, 1, 2, …"))?;
        let sum = Sum::parse(text(&UPLOAD_CHECKSUM));
        let sum = sum.ok_or_else(|| header("Upload-Checksum", "sha256 …, sha1 … (base64)"))?;
        let whole = match text(&REPR_DIGEST) {
            "" => None,
            digest => Some(repr_digest(digest).ok_or_else(|| header("Repr-Digest", "sha-256=:…: (base64)"))?),
        };
        Ok(Self { offset, sum, whole })
    }
}

impl Asks for AboutPiece {
    fn add_to(operation: &mut Operation, _: &mut SchemaGenerator) {
        let mut header = |name: &str, required: bool, description: &str, schema: Value| {
            operation.parameters.push(json!({
                "name": name, "in": "header", "required": required, "description": description, "schema": schema
            }));
        };
        header("Tus-Resumable", true, "The version of the protocol", json!({ "const": VERSION }));
        let offset = json!({ "type": "integer", "minimum": 0 });
        header("Upload-Offset", true, "Where the piece begins: how many bytes the server has", offset);
        let sum = json!({ "type": "string", "pattern": "^(sha256|sha1) [A-Za-z0-9+/]+=*$" });
        header("Upload-Checksum", true, "Of the piece, in base64", sum);
        let digest = json!({ "type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$" });
        header("Repr-Digest", false, "Of the whole file (RFC 9530), looked at with its last piece", digest);
    }
}

/// The bytes themselves.
pub(crate) struct Piece(Stream);

impl<S: Send + Sync> FromRequest<S> for Piece {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(request.into_body()))
    }
}

impl Asks for Piece {
    fn add_to(operation: &mut Operation, _: &mut SchemaGenerator) {
        operation.body = Some((MEDIA_TYPE, json!({})));
    }
}

/// The bytes of a request, at most as many as are missing and may come at once. A request has no time limit as a whole, but its
/// bytes must keep coming.
async fn piece(mut body: Stream, missing: u64, stalled: Duration) -> Result<Vec<u8>, Problem> {
    let too_large = |detail| Problem::upload(StatusCode::PAYLOAD_TOO_LARGE, "piece-too-large", detail);
    let most = missing.min(MAX_PIECE) as usize;
    let mut piece = Vec::new();
    loop {
        let gone = || Problem::upload(StatusCode::REQUEST_TIMEOUT, "stalled", Message::UploadStalled);
        let Some(frame) = timeout(stalled, body.frame()).await.map_err(|_| gone())? else { return Ok(piece) };
        let Ok(data) = frame.map_err(|_| gone())?.into_data() else { continue };
        if piece.len() + data.len() > most {
            return Err(too_large(if missing > MAX_PIECE {
                Message::UploadLarge { limit: MAX_PIECE.to_string() }
            } else {
                Message::UploadBeyond { bytes: missing.to_string() }
            }));
        }
        piece.extend_from_slice(&data);
    }
}

/// The check sum of a piece.
enum Sum {
    Sha256(Vec<u8>),
    Sha1(Vec<u8>),
}

impl Sum {
    fn parse(text: &str) -> Option<Self> {
        let (algorithm, sum) = text.split_once(' ')?;
        let sum = STANDARD.decode(sum.trim()).ok()?;
        match (algorithm, sum.len()) {
            ("sha256", 32) => Some(Self::Sha256(sum)),
            ("sha1", 20) => Some(Self::Sha1(sum)),
            _ => None,
        }
    }

    fn fits(&self, piece: &[u8]) -> bool {
        match self {
            Self::Sha256(sum) => Sha256::digest(piece).as_slice() == sum,
            Self::Sha1(sum) => <sha1::Sha1 as sha1::Digest>::digest(piece).as_slice() == sum,
        }
    }
}

/// The SHA-256 among the digests of an RFC 9530 field.
fn repr_digest(text: &str) -> Option<[u8; 32]> {
    let mut digests = text.split(',').map(str::trim);
    let digest = digests.find_map(|digest| digest.strip_prefix("sha-256=:")?.strip_suffix(':'))?;
    STANDARD.decode(digest).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_read_as_their_standards_write_them() {
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert!(Sum::parse(&format!("sha256 {empty}")).unwrap().fits(b""));
        assert!(!Sum::parse(&format!("sha256 {empty}")).unwrap().fits(b"x"));
        assert!(Sum::parse("sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=").unwrap().fits(b""));
        for bad in ["", "sha256", "sha256 AAAA", "md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha1 47DEQ", "sha256 *"] {
            assert!(Sum::parse(bad).is_none(), "{bad}");
        }
        let wanted: [u8; 32] = Sha256::digest(b"").into();
        assert_eq!(repr_digest(&format!("sha-256=:{empty}:")), Some(wanted));
        assert_eq!(repr_digest(&format!("sha-512=:AAAA:, sha-256=:{empty}:")), Some(wanted));
        assert_eq!(repr_digest(&format!("sha-256={empty}")), None);
    }
}
