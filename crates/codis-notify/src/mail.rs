//! Mails over SMTP.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::{Mailbox, Mailboxes, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::notifier::{Refused, Sending};
use crate::{BadSetting, Message, Secret, causes, tls};

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// It begins in the clear and must change to TLS.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
}

impl Security {
    /// The port that is usual for it.
    pub fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::StartTls => 587,
            Self::Tls => 465,
        }
    }
}

/// A mail server, and who writes to whom.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// Who we are to the server; `None` if it does not ask.
    pub login: Option<(String, Secret)>,
    /// Who writes, `ops@example.com` or `Codis <ops@example.com>`.
    pub from: String,
    /// Who reads.
    pub to: Vec<String>,
    /// An authority to believe besides those of the machine, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest attempt.
    pub timeout: Duration,
}

/// Sends mails.
#[derive(Debug)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    place: String,
    timeout: Duration,
}

impl Mailer {
    pub(crate) fn new(settings: &MailSettings) -> Result<Self, BadSetting> {
        let mailbox = |key, text: &str| -> Result<Mailbox, BadSetting> {
            text.trim().parse().map_err(|error| BadSetting::new(key, format!("`{text}`: {error}")))
        };
        let from = mailbox("alert.mail.from", &settings.from)?;
        let to: Result<Vec<Mailbox>, _> =
            settings.to.iter().map(|text| mailbox("alert.mail.to", text)).collect();
        let to = to?;
        if to.is_empty() {
            return Err(BadSetting::new("alert.mail.to", "nobody is named"));
        }
        let tls = match settings.security {
            Security::None => Tls::None,
            Security::StartTls => Tls::Required(parameters(settings)?),
            Security::Tls => Tls::Wrapper(parameters(settings)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .timeout(Some(settings.timeout))
            .tls(tls);
        if let Some((user, password)) = &settings.login {
            let login = Credentials::new(user.clone(), password.reveal().to_owned());
            transport = transport.credentials(login);
        }
        let place = format!("mail server {}:{}", settings.host, settings.port);
        Ok(Self { transport: transport.build(), from, to, place, timeout: settings.timeout })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One attempt. If the server wants none of it because of one recipient, each of the others gets it alone.
    pub(crate) async fn send(&self, message: &Message) -> Sending {
        let email = self.email(message).map_err(|error| Refused::for_good(causes(&error)))?;
        let all: Vec<Address> = self.to.iter().map(|to| to.email.clone()).collect();
        match self.hand_over(&email, all.clone()).await {
            Err(refused) if refused.for_good && all.len() > 1 => {}
            done => return done,
        }
        let mut arrived = false;
        let mut last = Ok(());
        for to in all {
            match self.hand_over(&email, vec![to.clone()]).await {
                Ok(()) => arrived = true,
                Err(refused) => {
                    tracing::warn!(%to, "the mail server does not take alerts for this address: {}", refused.why);
                    last = Err(refused);
                }
            }
        }
        if arrived { Ok(()) } else { last }
    }

    fn email(&self, message: &Message) -> Result<Vec<u8>, lettre::error::Error> {
        let to: Mailboxes = self.to.iter().cloned().collect();
        let email = lettre::Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(to))
            .subject(&message.subject)
            .message_id(None)
            .date_now()
            .multipart(MultiPart::alternative_plain_html(message.text.clone(), message.html.clone()))?;
        Ok(email.formatted())
    }

    async fn hand_over(&self, email: &[u8], to: Vec<Address>) -> Sending {
        let envelope = Envelope::new(Some(self.from.email.clone()), to)
            .map_err(|error| Refused::for_good(causes(&error)))?;
        match self.transport.send_raw(&envelope, email).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() && !is_about_us(&error) => {
                Err(Refused::for_good(causes(&error)))
            }
            Err(error) => Err(Refused::for_now(causes(&error))),
        }
    }
}

/// True if the server does not believe who we are: that may be put right at the server, and concerns every mail.
fn is_about_us(error: &lettre::transport::smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    matches!(code, Some(530 | 534 | 535 | 538))
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, BadSetting> {
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(pem) = &settings.ca_pem {
        let key = "alert.mail.ca_file";
        tls::certificates(pem).map_err(|why| BadSetting::new(key, why))?;
        let certificate = Certificate::from_pem(pem).map_err(|error| BadSetting::new(key, causes(&error)))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build().map_err(|error| BadSetting::new("alert.mail.server", causes(&error)))
}
