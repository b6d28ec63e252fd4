//! Refusals and failures as RFC 9457 problem details, or as a page for people.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::accounts::{AccountError, Invalid, Refusal, Status};
use crate::catalog::{Language, Message};
use crate::data::uploads::{self, DataError};
use crate::inference::{self, InferenceError};
use crate::models::ModelError;
use crate::store::StorageError;
use crate::training::TrainingError;

/// What went wrong, still without words: the language is known further outside.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(super) status: StatusCode,
    /// The end of the `type` URI, which programs may rely on.
    kind: &'static str,
    title: Message,
    /// Aside, because every handler hands one of these on.
    detail: Box<Message>,
    fields: Vec<Invalid>,
    retry_after_seconds: Option<u64>,
}

/// Problem details (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Document {
    /// `urn:fednodule:problem:` and a word that stays the same.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = "^urn:fednodule:problem:[a-z-]+$"))]
    kind: String,
    /// In the reader's language.
    title: String,
    status: u16,
    /// What to do, in the reader's language.
    detail: String,
    /// What is wrong with the fields of a form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// A field that cannot be used as it is.
#[derive(Serialize, JsonSchema)]
struct FieldError {
    field: &'static str,
    /// In the reader's language.
    message: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: Message, detail: Message) -> Self {
        let detail = Box::new(detail);
        Self { status, kind, title, detail, fields: Vec::new(), retry_after_seconds: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", Message::NotFoundTitle, Message::NotFoundDetail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "method-not-allowed", Message::MethodTitle, Message::MethodDetail)
    }

    pub(super) fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal", Message::InternalTitle, Message::InternalDetail)
    }

    pub(super) fn timeout() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "timeout", Message::TimeoutTitle, Message::TimeoutDetail)
    }

    pub(super) fn sign_in_first() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not-signed-in", Message::SignInTitle, Message::SignInDetail)
    }

    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", Message::ForbiddenTitle, Message::ForbiddenDetail)
    }

    pub(super) fn origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "foreign-origin", Message::OriginTitle, Message::OriginDetail)
    }

    pub(super) fn csrf() -> Self {
        Self::new(StatusCode::FORBIDDEN, "csrf", Message::CsrfTitle, Message::CsrfDetail)
    }

    pub(super) fn body(status: StatusCode, reason: &Message, language: Language) -> Self {
        let detail = Message::BodyDetail { reason: reason.text(language) };
        Self::new(status, "unreadable-request", Message::BodyTitle, detail)
    }

    pub(super) fn unreadable(status: StatusCode) -> Self {
        Self::new(status, "unreadable-request", Message::BodyTitle, Message::UnreadableDetail)
    }

    pub(super) fn query(parameter: &str, expected: &Message, language: Language) -> Self {
        let detail = Message::QueryDetail { parameter: parameter.to_owned(), expected: expected.text(language) };
        Self::new(StatusCode::BAD_REQUEST, "unreadable-request", Message::BodyTitle, detail)
    }

    pub(super) fn no_such_slice(count: usize) -> Self {
        let detail = Message::NoSuchSliceDetail { count: count.to_string(), last: count.saturating_sub(1).to_string() };
        Self::new(StatusCode::NOT_FOUND, "no-such-slice", Message::NoSuchSliceTitle, detail)
    }

    pub(super) fn scan_unreadable() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "scan-unreadable", Message::ScanUnreadableTitle, Message::ScanUnreadableDetail)
    }

    pub(super) fn picture_too_large() -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "picture-too-large", Message::PictureLargeTitle, Message::PictureLargeDetail)
    }

    /// Also for one that is none of the caller's business.
    pub(super) fn no_training() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-training", Message::NoTrainingTitle, Message::NoTrainingDetail)
    }

    pub(super) fn no_model() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-model", Message::NoModelTitle, Message::NoModelDetail)
    }

    pub(super) fn upload(status: StatusCode, kind: &'static str, detail: Message) -> Self {
        Self::new(status, kind, Message::UploadTitle, detail)
    }

    /// What is wrong with a table, row by row.
    pub(super) fn table(rows: Vec<Message>) -> Self {
        let detail = Message::TableDetail { count: rows.len().to_string() };
        let fields = rows.into_iter().map(|message| Invalid { field: "table", message }).collect();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { fields, ..Self::new(status, "invalid-table", Message::TableTitle, detail) }
    }

    pub(super) fn table_too_large(limit: usize) -> Self {
        let detail = Message::BodyLarge { limit: limit.to_string() };
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid-table", Message::TableTitle, detail)
    }

    fn invalid(fields: Vec<Invalid>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { fields, ..Self::new(status, "invalid", Message::InvalidTitle, Message::InvalidDetail) }
    }

    pub(super) fn title(&self, language: Language) -> String {
        self.title.text(language)
    }

    pub(super) fn detail(&self, language: Language) -> String {
        self.detail.text(language)
    }

    /// The document for programs.
    pub(super) fn json(&self, language: Language) -> Response {
        let error = |invalid: &Invalid| FieldError { field: invalid.field, message: invalid.message.text(language) };
        let document = Document {
            kind: format!("urn:fednodule:problem:{}", self.kind),
            title: self.title(language),
            status: self.status.as_u16(),
            detail: self.detail(language),
            errors: self.fields.iter().map(error).collect(),
        };
        let mut response = (self.status, Json(document)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.add_headers(&mut response);
        response
    }

    pub(super) fn add_headers(&self, response: &mut Response) {
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
    }
}

impl IntoResponse for Problem {
    /// Carries the problem outwards, to where it is put into words.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "a request failed");
        Self::internal()
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        StorageError::from(error).into()
    }
}

impl From<InferenceError> for Problem {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Refused(refusal) => refusal.into(),
            InferenceError::Storage(error) => error.into(),
        }
    }
}

impl From<inference::Refusal> for Problem {
    fn from(refusal: inference::Refusal) -> Self {
        use inference::Refusal;
        let invalid = |detail| Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", Message::InferenceTitle, detail);
        let state = |detail| Self::new(StatusCode::CONFLICT, "wrong-state", Message::InferenceStateTitle, detail);
        match refusal {
            Refusal::Scans => invalid(Message::InferenceScans { most: inference::MAX_AT_ONCE.to_string() }),
            Refusal::Threshold => invalid(Message::InferenceThreshold),
            Refusal::NoSuchScan { id } => invalid(Message::InferenceNoScan { id: id.to_string() }),
            Refusal::NoModel => invalid(Message::InferenceNoModel),
            Refusal::NoSuchModel => invalid(Message::InferenceNoSuchModel),
            Refusal::TooManyWaiting { waiting } => {
                let (waiting, most) = (waiting.to_string(), inference::MAX_WAITING.to_string());
                state(Message::InferenceWaiting { waiting, most })
            }
            Refusal::NotFound => Self::not_found(),
            Refusal::HasEnded => state(Message::InferenceEnded),
            Refusal::NotEnded => state(Message::InferenceNotEnded),
        }
    }
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Refused(refusal) => refusal.into(),
            DataError::Storage(error) => error.into(),
            DataError::File(error) => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<uploads::Refusal> for Problem {
    fn from(refusal: uploads::Refusal) -> Self {
        use StatusCode as Code;
        use uploads::Refusal;
        match refusal {
            Refusal::NotFound => {
                let detail = Message::UploadGoneDetail;
                Self::new(Code::NOT_FOUND, "not-found", Message::NotFoundTitle, detail)
            }
            Refusal::Offset { stored } => {
                let detail = Message::UploadOffset { offset: stored.to_string() };
                Self::upload(Code::CONFLICT, "wrong-offset", detail)
            }
            Refusal::Locked => Self::upload(Code::LOCKED, "locked", Message::UploadLocked),
            Refusal::Busy => {
                let problem = Self::upload(Code::TOO_MANY_REQUESTS, "too-many", Message::UploadBusy);
                Self { retry_after_seconds: Some(1), ..problem }
            }
            Refusal::NotReceiving => Self::upload(Code::CONFLICT, "wrong-state", Message::UploadState),
            Refusal::Changed => Self::upload(Code::CONFLICT, "file-changed", Message::UploadChanged),
            Refusal::NoRoom => {
                Self::new(Code::INSUFFICIENT_STORAGE, "no-room", Message::NoRoomTitle, Message::PairDisk)
            }
            Refusal::InUse => Self::new(Code::CONFLICT, "in-use", Message::ScanInUseTitle, Message::ScanInUseDetail),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Refused(refusal) => refusal.into(),
            AccountError::Storage(error) => error.into(),
            AccountError::Hash(_) | AccountError::Random(_) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<TrainingError> for Problem {
    fn from(error: TrainingError) -> Self {
        match error {
            TrainingError::Invalid(fields) => Self::invalid(fields),
            TrainingError::None => Self::no_training(),
            TrainingError::NotNow(_) => {
                let (title, detail) = (Message::TrainingStateTitle, Message::TrainingStateDetail);
                Self::new(StatusCode::CONFLICT, "wrong-state", title, detail)
            }
            TrainingError::Storage(error) => error.into(),
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Invalid(fields) => Self::invalid(fields),
            ModelError::None => Self::no_model(),
            ModelError::Current => {
                let (title, detail) = (Message::ModelCurrentTitle, Message::ModelCurrentDetail);
                Self::new(StatusCode::CONFLICT, "wrong-state", title, detail)
            }
            ModelError::File(error) => {
                tracing::error!(%error, "a model cannot be used");
                let (title, detail) = (Message::ModelDamagedTitle, Message::ModelDamagedDetail);
                Self::new(StatusCode::CONFLICT, "model-damaged", title, detail)
            }
            ModelError::Export => {
                let (title, detail) = (Message::ExportFailedTitle, Message::ExportFailedDetail);
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "export-failed", title, detail)
            }
            ModelError::Storage(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        use StatusCode as Code;
        let minutes = |seconds: u64| seconds.div_ceil(60).to_string();
        match refusal {
            Refusal::Invalid(fields) => Self::invalid(fields),
            Refusal::SetUpDone => {
                Self::new(Code::CONFLICT, "set-up-done", Message::SetUpDoneTitle, Message::SetUpDoneDetail)
            }
            Refusal::WrongSetUpToken => Self::new(
                Code::UNPROCESSABLE_ENTITY,
                "wrong-set-up-token",
                Message::WrongTokenTitle,
                Message::WrongTokenDetail,
            ),
            Refusal::WrongCredentials => Self::new(
                Code::UNPROCESSABLE_ENTITY,
                "wrong-credentials",
                Message::WrongCredentialsTitle,
                Message::WrongCredentialsDetail,
            ),
            Refusal::WrongPassword => Self::new(
                Code::UNPROCESSABLE_ENTITY,
                "wrong-password",
                Message::WrongPasswordTitle,
                Message::WrongPasswordDetail,
            ),
            Refusal::LockedOut { seconds } => {
                let detail = Message::LockedOutDetail { minutes: minutes(seconds) };
                let problem = Self::new(Code::TOO_MANY_REQUESTS, "locked-out", Message::LockedOutTitle, detail);
                Self { retry_after_seconds: Some(seconds), ..problem }
            }
            Refusal::TooMany { seconds } => {
                let detail = Message::TooManyDetail { minutes: minutes(seconds) };
                let problem = Self::new(Code::TOO_MANY_REQUESTS, "too-many", Message::TooManyTitle, detail);
                Self { retry_after_seconds: Some(seconds), ..problem }
            }
            Refusal::Pending => Self::new(Code::FORBIDDEN, "pending", Message::PendingTitle, Message::PendingDetail),
            Refusal::Disabled => {
                Self::new(Code::FORBIDDEN, "disabled", Message::DisabledTitle, Message::DisabledDetail)
            }
            Refusal::NoSuchAccount => {
                Self::new(Code::NOT_FOUND, "no-such-account", Message::NoSuchAccountTitle, Message::NoSuchAccountDetail)
            }
            Refusal::NotNow { status } => {
                let detail = match status {
                    Status::Pending => Message::NotNowPending,
                    Status::Active => Message::NotNowActive,
                    Status::Disabled => Message::NotNowDisabled,
                };
                Self::new(Code::CONFLICT, "wrong-state", Message::NotNowTitle, detail)
            }
            Refusal::LastAdministrator => Self::new(
                Code::CONFLICT,
                "last-administrator",
                Message::LastAdministratorTitle,
                Message::LastAdministratorDetail,
            ),
            Refusal::VerificationInvalid => Self::new(
                Code::UNPROCESSABLE_ENTITY,
                "invalid-link",
                Message::VerificationTitle,
                Message::VerificationDetail,
            ),
            Refusal::Unverified => {
                Self::new(Code::FORBIDDEN, "unverified", Message::UnverifiedTitle, Message::UnverifiedDetail)
            }
            Refusal::NotVerifiedYet => {
                Self::new(Code::CONFLICT, "not-verified", Message::NotVerifiedTitle, Message::NotVerifiedDetail)
            }
            Refusal::NoMail => Self::new(Code::CONFLICT, "no-mail", Message::NoMailTitle, Message::NoMailDetail),
            Refusal::UsersUnavailable { seconds } => {
                let (title, detail) = (Message::UsersUnavailableTitle, Message::UsersUnavailableDetail);
                let problem = Self::new(Code::SERVICE_UNAVAILABLE, "users-database-unavailable", title, detail);
                Self { retry_after_seconds: Some(seconds), ..problem }
            }
            Refusal::ChangedElsewhere => {
                let (title, detail) = (Message::ChangedElsewhereTitle, Message::ChangedElsewhereDetail);
                Self::new(Code::CONFLICT, "changed-elsewhere", title, detail)
            }
            Refusal::ResetLinkInvalid => {
                Self::new(Code::UNPROCESSABLE_ENTITY, "invalid-link", Message::ResetLinkTitle, Message::ResetLinkDetail)
            }
        }
    }
}
