//! What an error means to the person in front of it: whose turn it is, and what to do.
//!
//! Libraries say in English what happened; here their errors are sorted into kinds, which the command line turns into
//! exit codes and a web page into status codes, each with advice from the catalogue.

use std::error::Error;
use std::io;

use detector::{DeviceError, ModelError, PrepareError};
use imaging::luna16::{DatasetError, TableError};
use imaging::metaimage::{MetaImageError, Problem};
use phantom::PhantomError;
use scoring::ScoringError;
use transport::{KeyError, ServerError, SiteError as TransportError, StoreError, VaultError};
use weights::FileError;

use crate::catalog::Message;
use crate::central::CentralError;
use crate::evaluate::EvaluateError;
use crate::files::OutputError;
use crate::held_out::HeldOutError;
use crate::predict::{PredictError, ScanError};
use crate::signed::LoadError;
use crate::site::SiteError;
use crate::study::StudyError;
use crate::train::TrainError;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The work itself failed.
    Run,
    /// What was asked for makes no sense.
    Usage,
    /// What was given cannot be used.
    Input,
    /// Results cannot be written.
    Output,
    /// It was asked to stop.
    Interrupted,
}

/// The kind of an error and what to do about it.
#[derive(Clone, Copy)]
pub struct Failure {
    /// Whose turn it is.
    pub kind: FailureKind,
    /// What to do.
    pub advice: Message<'static>,
}

impl Failure {
    const fn new(kind: FailureKind, advice: Message<'static>) -> Self {
        Self { kind, advice }
    }

    /// Sorts an error by the first of its causes that is known, from the outside in.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |&error| error.source());
        chain.clone().find_map(known).unwrap_or_else(|| {
            // A full disk is a full disk, whoever stumbles over it.
            let causes = chain.filter_map(|error| error.downcast_ref::<io::Error>());
            match causes.map(io::Error::kind).find(is_about_writing) {
                Some(kind) => writing_kind(kind),
                None => Self::new(FailureKind::Run, Message::AdviceRun),
            }
        })
    }
}

fn is_about_writing(kind: &io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem)
}

fn known(error: &(dyn Error + 'static)) -> Option<Failure> {
    let own = error.downcast_ref().map(predict);
    own.or_else(|| error.downcast_ref().map(scan))
        .or_else(|| error.downcast_ref().map(evaluate))
        .or_else(|| error.downcast_ref().map(train))
        .or_else(|| error.downcast_ref().map(study))
        .or_else(|| error.downcast_ref().map(site))
        .or_else(|| error.downcast_ref().map(phantom))
        .or_else(|| error.downcast_ref().map(loaded))
        .or_else(|| error.downcast_ref().map(model))
        .or_else(|| error.downcast_ref().map(image))
        .or_else(|| error.downcast_ref().map(table))
        .or_else(|| error.downcast_ref().map(output))
        .or_else(|| error.downcast_ref().map(weights_file))
        .or_else(|| error.downcast_ref().map(device))
}

fn predict(error: &PredictError) -> Failure {
    match error {
        PredictError::Model(error) => loaded(error),
        PredictError::Device(error) => device(error),
        PredictError::Network { .. } => Failure::new(FailureKind::Input, Message::AdviceModel),
        PredictError::Folder(error) => folder(error),
        PredictError::NoScans { .. } => Failure::new(FailureKind::Input, Message::AdviceScan),
        PredictError::Output(error) => output(error),
        PredictError::Table(error) => table(error),
        PredictError::Stopped => Failure::new(FailureKind::Interrupted, Message::AdviceInterrupted),
    }
}

fn scan(error: &ScanError) -> Failure {
    match error {
        ScanError::Image(error) => image(error),
        ScanError::Unusable { .. } | ScanError::Duplicate { .. } | ScanError::Geometry(_) | ScanError::Render(_) => {
            Failure::new(FailureKind::Input, Message::AdviceScan)
        }
        ScanError::Predict(_) => Failure::new(FailureKind::Run, Message::AdviceRun),
        ScanError::Table(error) => table(error),
        ScanError::Output(error) => output(error),
    }
}

fn evaluate(error: &EvaluateError) -> Failure {
    match error {
        EvaluateError::Table(error) => table(error),
        EvaluateError::Scoring(error) => scoring(error),
        EvaluateError::Output(error) => output(error),
    }
}

fn train(error: &TrainError) -> Failure {
    match error {
        TrainError::Server(error) => server(error),
        TrainError::Architecture(_)
        | TrainError::NoSites
        | TrainError::PrivacyUnmasked { .. }
        | TrainError::FewerThanMinimum { .. } => {
            Failure::new(FailureKind::Usage, Message::AdviceUsage { command: &"fednodule train" })
        }
        TrainError::Initial(error) => loaded(error),
        TrainError::InitialArchitecture { .. } => Failure::new(FailureKind::Input, Message::AdviceModel),
        TrainError::TooFewSites { first, .. } => site(first),
        TrainError::TaskFile { source, .. } => writing(source),
        TrainError::RunningStatistics => {
            Failure::new(FailureKind::Usage, Message::AdviceUsage { command: &"fednodule train" })
        }
        TrainError::Memory { source, .. } => writing(source),
        TrainError::SessionExists(_) | TrainError::NoSession(..) | TrainError::OtherSession(_) => {
            Failure::new(FailureKind::Usage, Message::AdviceSession)
        }
    }
}

fn study(error: &StudyError) -> Failure {
    match error {
        StudyError::Train(error) => train(error),
        StudyError::Site(error) => site(error),
        StudyError::Model(error) => loaded(error),
        StudyError::HeldOut(error) => held_out(error),
        StudyError::Scan(error) => image(error),
        StudyError::Table(error) => table(error),
        StudyError::Stopped => Failure::new(FailureKind::Interrupted, Message::AdviceInterrupted),
        StudyError::Picture(error) => scan(error),
        StudyError::Central(CentralError::Initial(error)) => loaded(error),
        StudyError::NotCompleted(_) | StudyError::Central(_) => Failure::new(FailureKind::Run, Message::AdviceRun),
    }
}

fn held_out(error: &HeldOutError) -> Failure {
    match error {
        HeldOutError::Model(error) => loaded(error),
        HeldOutError::Folder(error) => folder(error),
        HeldOutError::Scan(error) => image(error),
        HeldOutError::Table(error) => table(error),
        HeldOutError::Scoring(error) => scoring(error),
        HeldOutError::NoAnnotations(_) => Failure::new(FailureKind::Input, Message::AdviceSite),
        HeldOutError::Predict(_) => Failure::new(FailureKind::Run, Message::AdviceRun),
    }
}

fn server(error: &ServerError) -> Failure {
    match error {
        ServerError::Config(_) | ServerError::DuplicateSite(_) => {
            Failure::new(FailureKind::Usage, Message::AdviceUsage { command: &"fednodule train" })
        }
        ServerError::Store(StoreError::Io { source, .. }) | ServerError::Key(KeyError::Io { source, .. }) => {
            writing(source)
        }
        ServerError::Site { source, .. } => match source.as_ref() {
            TransportError::Vault(VaultError::Io { source, .. } | VaultError::Key(KeyError::Io { source, .. })) => {
                writing(source)
            }
            _ => Failure::new(FailureKind::Run, Message::AdviceRun),
        },
        ServerError::Store(
            StoreError::SessionExists { .. } | StoreError::NoSession { .. } | StoreError::InUse { .. },
        ) => Failure::new(FailureKind::Usage, Message::AdviceSession),
        ServerError::ModelExists { .. } => Failure::new(FailureKind::Output, Message::AdviceExists),
        _ => Failure::new(FailureKind::Run, Message::AdviceRun),
    }
}

fn site(error: &SiteError) -> Failure {
    match error {
        SiteError::Folder { source, .. } => folder(source),
        SiteError::Table { source, .. } => table(source),
        SiteError::Scan { source: PrepareError::Scan(error), .. } => image(error),
        // The working copy is ours: trouble with it is not the site's folder.
        SiteError::Scan { source: PrepareError::Io { source, .. }, .. } => writing(source),
        _ => Failure::new(FailureKind::Input, Message::AdviceSite),
    }
}

fn scoring(_: &ScoringError) -> Failure {
    Failure::new(FailureKind::Input, Message::AdviceScoring)
}

/// A data set of phantoms is only written.
fn phantom(error: &PhantomError) -> Failure {
    match error {
        PhantomError::Empty { .. } | PhantomError::TooManyScans(_) => {
            Failure::new(FailureKind::Usage, Message::AdviceUsage { command: &"fednodule phantom" })
        }
        PhantomError::Foreign { .. } => Failure::new(FailureKind::Output, Message::AdviceExists),
        PhantomError::Io { source, .. } => writing(source),
        PhantomError::Image(error) => match &error.problem {
            Problem::Io { source, .. } => writing(source),
            _ => Failure::new(FailureKind::Output, Message::AdviceOutput),
        },
        PhantomError::Table(error) => table(error),
    }
}

fn loaded(error: &LoadError) -> Failure {
    match error {
        LoadError::Model(error) => model(error),
        LoadError::Signature { .. } => Failure::new(FailureKind::Input, Message::AdviceModel),
    }
}

fn model(error: &ModelError) -> Failure {
    match error {
        ModelError::File(error) => weights_file(error),
        _ => Failure::new(FailureKind::Input, Message::AdviceModel),
    }
}

fn weights_file(error: &FileError) -> Failure {
    match error {
        FileError::Read { source, .. } => reading(source),
        FileError::Write { source, .. } => writing(source),
        FileError::Exists { .. } => Failure::new(FailureKind::Output, Message::AdviceExists),
        FileError::TooLarge { .. } | FileError::Decode { .. } => Failure::new(FailureKind::Input, Message::AdviceModel),
    }
}

fn image(error: &MetaImageError) -> Failure {
    let advice = match &error.problem {
        Problem::Io { source, .. } => return reading(source),
        Problem::MissingData { .. } => Message::AdviceMissingData,
        Problem::DataLength { .. }
        | Problem::CompressedLength { .. }
        | Problem::CompressedSurplus { .. }
        | Problem::InflatedLength { .. }
        | Problem::CannotHold { .. } => Message::AdviceDataLength,
        _ => Message::AdviceScan,
    };
    Failure::new(FailureKind::Input, advice)
}

fn table(error: &TableError) -> Failure {
    match error {
        TableError::Write { source, .. } => writing(source),
        TableError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => reading(source),
        _ => Failure::new(FailureKind::Input, Message::AdviceTable),
    }
}

fn folder(error: &DatasetError) -> Failure {
    reading(&error.source)
}

fn device(_: &DeviceError) -> Failure {
    Failure::new(FailureKind::Run, Message::AdviceDevice)
}

fn output(error: &OutputError) -> Failure {
    match error {
        OutputError::Write { source, .. } => writing(source),
        OutputError::Foreign { .. } => Failure::new(FailureKind::Output, Message::AdviceExists),
    }
}

fn reading(source: &io::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::NotFound => Message::AdviceNotFound,
        _ => Message::AdviceUnreadable,
    };
    Failure::new(FailureKind::Input, advice)
}

fn writing(source: &io::Error) -> Failure {
    writing_kind(source.kind())
}

fn writing_kind(kind: io::ErrorKind) -> Failure {
    let advice = match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Message::AdvicePermission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Message::AdviceDiskFull,
        _ => Message::AdviceOutput,
    };
    Failure::new(FailureKind::Output, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Language;
    use std::path::PathBuf;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn Error + Send + Sync>);

    fn io(kind: io::ErrorKind) -> io::Error {
        io::Error::from(kind)
    }

    #[track_caller]
    fn check(error: &(dyn Error + 'static), kind: FailureKind, advice: Message<'_>) {
        let failure = Failure::of(error);
        assert_eq!(failure.kind, kind);
        assert_eq!(failure.advice.text(Language::Zh), advice.text(Language::Zh));
    }

    #[test]
    fn reading_and_writing_the_same_refusal_are_different_kinds() {
        let path = PathBuf::from("x");
        let denied = || io(io::ErrorKind::PermissionDenied);
        let read = TableError::Read { path: path.clone(), source: io(io::ErrorKind::NotFound) };
        check(&read, FailureKind::Input, Message::AdviceNotFound);
        let write = EvaluateError::Output(OutputError::Write { path: path.clone(), source: denied() });
        check(&write, FailureKind::Output, Message::AdvicePermission);
        let model = ModelError::File(FileError::Read { path, source: denied() });
        check(&model, FailureKind::Input, Message::AdviceUnreadable);
    }

    #[test]
    fn the_outermost_known_cause_decides() {
        let image = Problem::MissingData { header: "a.mhd".into() }.at("a.raw".as_ref());
        check(&Outer(Box::new(ScanError::Image(image))), FailureKind::Input, Message::AdviceMissingData);
    }

    #[test]
    fn a_full_disk_is_known_in_any_error() {
        let full = Outer(Box::new(io(io::ErrorKind::StorageFull)));
        check(&full, FailureKind::Output, Message::AdviceDiskFull);
        check(&Outer(Box::new(io(io::ErrorKind::TimedOut))), FailureKind::Run, Message::AdviceRun);
    }
}
