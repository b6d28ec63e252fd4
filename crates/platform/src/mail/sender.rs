//! The way to the SMTP server.

use std::fs;
use std::io;
use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport, Message, Tokio1Executor};
use tokio::time::timeout;

use super::letter::Letter;
use crate::config::{Encryption, Mail};
use crate::token::hex;

/// Why a mail did not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No such host, or nothing answers there.
    Unreachable,
    Timeout,
    /// The certificate is not to be trusted, or there is no encryption.
    Tls,
    /// The user name or the password is wrong.
    Credentials,
    /// The server says "not now".
    Later(u16),
    /// The server says "never".
    Never(u16),
    /// It is no mail.
    Unwritable,
}

impl Trouble {
    /// Whether another attempt would end the same.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Never(_) | Self::Unwritable)
    }

    /// For logs: without anything that the server says, which may hold the address.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Later(_) => "later",
            Self::Never(_) => "never",
            Self::Unwritable => "unwritable",
        }
    }
}

/// An SMTP server and who we are there.
pub(crate) struct Sender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: String,
    limit: Duration,
}

impl Sender {
    /// The settings have been checked, except for the certificate's authority.
    pub(crate) fn new(settings: &Mail) -> io::Result<Self> {
        let limit = Duration::from_secs(settings.timeout_seconds);
        let tls = match settings.encryption {
            Encryption::None => Tls::None,
            Encryption::Starttls => Tls::Required(parameters(settings)?),
            Encryption::Tls => Tls::Wrapper(parameters(settings)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host);
        builder = builder.port(settings.port).tls(tls).timeout(Some(limit));
        if !settings.username.is_empty() {
            let password = settings.password.expose().to_owned();
            builder = builder.credentials(Credentials::new(settings.username.clone(), password));
        }
        Ok(Self { transport: builder.build(), from: settings.from.clone(), limit })
    }

    pub(super) async fn send(&self, letter: &Letter) -> Result<(), Trouble> {
        let message = self.message(letter).ok_or(Trouble::Unwritable)?;
        match timeout(self.limit, self.transport.send(message)).await {
            Ok(sent) => sent.map(drop).map_err(|error| trouble(&error)),
            Err(_) => Err(Trouble::Timeout),
        }
    }

    /// Connects, encrypts and logs in; sends nothing.
    pub(super) async fn test(&self) -> Result<(), Trouble> {
        match timeout(self.limit, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Trouble::Later(0)),
            Ok(Err(error)) => Err(trouble(&error)),
            Err(_) => Err(Trouble::Timeout),
        }
    }

    fn message(&self, letter: &Letter) -> Option<Message> {
        let mut number = [0; 16];
        getrandom::fill(&mut number).ok()?;
        let host = self.from.rsplit('@').next()?;
        Message::builder()
            .from(self.from.parse().ok()?)
            .to(letter.to.parse().ok()?)
            .subject(letter.subject.as_str())
            // The machine's own name is nobody's business.
            .message_id(Some(format!("<{}@{host}>", hex(&number))))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .ok()
    }
}

fn parameters(settings: &Mail) -> io::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if settings.ca.as_os_str().is_empty() {
        builder = builder.certificate_store(CertificateStore::WebpkiRoots);
    } else {
        builder = builder.certificate_store(CertificateStore::None);
        builder =
            builder.add_root_certificate(Certificate::from_pem(&fs::read(&settings.ca)?).map_err(io::Error::other)?);
    }
    builder.build_rustls().map_err(io::Error::other)
}

fn trouble(error: &Error) -> Trouble {
    if let Some(code) = error.status() {
        let code = u16::from(code);
        return match code {
            // RFC 4954: what is wrong with the log-in is not wrong with the mail.
            530 | 534 | 535 | 538 => Trouble::Credentials,
            code if error.is_permanent() => Trouble::Never(code),
            code => Trouble::Later(code),
        };
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())) {
            return Trouble::Tls;
        }
        cause = error.source();
    }
    if error.is_timeout() {
        Trouble::Timeout
    } else if error.is_tls() {
        Trouble::Tls
    } else if error.is_client() {
        // STARTTLS or a way to log in that the server does not offer.
        if error.to_string().contains("STARTTLS") { Trouble::Tls } else { Trouble::Credentials }
    } else {
        Trouble::Unreachable
    }
}

/// Keeps answering machines quiet (RFC 3834).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
