//! Scans on their way in: naming files, then sending voxels as tus 1.0 has it, with its extensions `checksum` and
//! `termination`. An upload is made by `POST /api/uploads`, which answers for many files at once, not by tus' own creation.

use std::time::Duration;

use axum::Json;
use axum::body::Body as Stream;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::accounts::Caller;
use crate::catalog::{Language, Message};
use crate::data::pairing::Offered;
use crate::data::uploads::{MAX_PIECE, Outcome, Progress};
use crate::http::context::{Body, Context};
use crate::http::{App, Problem};
use crate::store::uploads::State as Stands;

/// Names and headers of many files.
const MAX_LIST_BYTES: usize = 8 << 20;
const VERSION: &str = "1.0.0";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
/// RFC 9530: of the whole file, with its last piece.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// What tus calls a check sum that does not fit.
const CHECKSUM_MISMATCH: u16 = 460;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chosen {
    files: Vec<Offered>,
}

/// What becomes of a header that was chosen.
#[derive(Serialize)]
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

pub(crate) async fn plan(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Body(Chosen { files }): Body<Chosen, MAX_LIST_BYTES>,
) -> Result<Json<Value>, Problem> {
    let plan = app.uploads.plan(&caller, files).await?;
    let words = |message: &Message| message.text(context.language);
    let scans = plan.scans.into_iter().map(|(path, outcome)| match outcome {
        Outcome::Wanted { upload, data_path, bytes, offset } => {
            Planned::Wanted { path, upload, data_path, bytes, offset }
        }
        Outcome::There { scan } => Planned::There { path, scan, message: words(&Message::PairThere) },
        Outcome::Refused(reason) => Planned::Refused { path, message: words(&reason) },
    });
    let left = plan.left.iter().map(|left| json!({ "path": left.path, "message": words(&left.reason) }));
    Ok(Json(json!({ "scans": scans.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() })))
}

/// An upload that is not finished.
#[derive(Serialize)]
pub(crate) struct Shown {
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

fn shown(Progress { upload, offset, expires_at }: Progress, language: Language) -> Shown {
    let reason = upload.refusal.as_ref().and_then(|texts| texts.get(language.tag())?.as_str());
    Shown {
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

pub(crate) async fn list(State(app): State<App>, context: Context, caller: Caller) -> Result<Json<Value>, Problem> {
    let uploads = app.uploads.list(&caller).await?.into_iter().map(|upload| shown(upload, context.language));
    Ok(Json(json!({ "uploads": uploads.collect::<Vec<_>>(), "most_bytes_at_once": MAX_PIECE })))
}

/// How far an upload is: for programs as JSON, and for tus in the headers.
pub(crate) async fn show(
    State(app): State<App>,
    context: Context,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let progress = app.uploads.show(&caller, &id).await?;
    let (offset, bytes) = (progress.offset, progress.upload.bytes);
    let mut response = Json(shown(progress, context.language)).into_response();
    response.headers_mut().insert(UPLOAD_LENGTH, bytes.into());
    Ok(tus(response, Some(offset)))
}

/// Takes a piece: written when its check sum is right, answered when it is on the disk.
pub(crate) async fn receive(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Stream,
) -> Result<Response, Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bad = |status, detail| Problem::upload(status, "unreadable-request", detail);
    if text(&TUS_RESUMABLE) != VERSION {
        return Err(bad(StatusCode::PRECONDITION_FAILED, Message::UploadVersion));
    }
    if text(&CONTENT_TYPE) != "application/offset+octet-stream" {
        return Err(bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, Message::UploadType));
    }
    let header = |name: &str, expected: &str| {
        let detail = Message::UploadHeader { name: name.to_owned(), expected: expected.to_owned() };
        bad(StatusCode::BAD_REQUEST, detail)
    };
    let offset = text(&UPLOAD_OFFSET).parse().map_err(|_| header("Upload-Offset", "0, 1, 2, …"))?;
    let sum =
        Sum::parse(text(&UPLOAD_CHECKSUM)).ok_or_else(|| header("Upload-Checksum", "sha256 …, sha1 … (base64)"))?;
    let whole = match text(&REPR_DIGEST) {
        "" => None,
        digest => Some(repr_digest(digest).ok_or_else(|| header("Repr-Digest", "sha-256=:…: (base64)"))?),
    };
    let slot = app.uploads.open(&caller, &id, offset).await?;
    let missing = slot.missing();
    let piece = piece(body, missing, Duration::from_secs(app.server.request_seconds)).await?;
    let (fits, piece) =
        tokio::task::spawn_blocking(move || (sum.fits(&piece), piece)).await.map_err(|_| Problem::internal())?;
    if !fits {
        let mismatch = StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST);
        return Err(Problem::upload(mismatch, "checksum-mismatch", Message::UploadSum));
    }
    let offset = slot.write(piece, whole).await?;
    Ok(tus(StatusCode::NO_CONTENT.into_response(), Some(offset)))
}

pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.uploads.cancel(&caller, &id).await?;
    Ok(tus(StatusCode::NO_CONTENT.into_response(), None))
}

fn tus(mut response: Response, offset: Option<u64>) -> Response {
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    if let Some(offset) = offset {
        headers.insert(UPLOAD_OFFSET, offset.into());
    }
    response
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
