//! `[alert]` of the settings: how people are told, and when.

use std::path::Path;
use std::time::Duration;

use codis_core::notice::Policy;
use codis_notify::{
    BadSetting, Channels, Lang, MailSettings, Notifier, Secret, Security, Texts, WebhookSettings,
};
use jiff::tz::TimeZone;

use crate::config::{File, error_text, secret_file};
use crate::{Failure, FailureKind};

/// Longest attempt to hand over a mail.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest call of a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// How people are told, and when.
#[derive(Debug)]
pub struct AlertSettings {
    /// When.
    pub policy: Policy,
    pub(crate) texts: Texts,
    channels: Channels,
    file: File,
}

impl AlertSettings {
    /// Reads what the settings file says, and the files that it names.
    ///
    /// # Errors
    /// `Usage`, with file, line and key, for what cannot be used.
    pub fn read(file: &File) -> Result<Self, Failure> {
        let default = Policy::default();
        let ms = |key: &str, default: u64| {
            let span = file.span(key, Duration::from_millis(default));
            u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
        };
        let policy = Policy {
            send_interval_ms: ms("alert.send_interval", default.send_interval_ms),
            recover_after_ms: ms("alert.recover_after", default.recover_after_ms),
            ..default
        };
        let lang = file.parsed::<Lang>("alert.lang")?.unwrap_or_default();
        let texts = texts(file, lang)?;
        let channels = Channels { mail: mail(file)?, webhook: webhook(file)? };
        Ok(Self { policy, texts, channels, file: file.clone() })
    }

    /// True if nobody would be told anything.
    pub fn is_mute(&self) -> bool {
        self.channels.mail.is_none() && self.channels.webhook.is_none()
    }

    /// The channels, ready to send. Must be called in a runtime.
    ///
    /// # Errors
    /// `Usage`, with file, line and key, for what cannot be used.
    pub(crate) fn notifier(&self) -> Result<Notifier, Failure> {
        Notifier::start(&self.channels).map_err(|error| refused(&self.file, &error))
    }
}

fn refused(file: &File, error: &BadSetting) -> Failure {
    file.wrong(error.key, &error.why)
}

fn texts(file: &File, lang: Lang) -> Result<Texts, Failure> {
    let texts = Texts::new(lang, TimeZone::system());
    let Some(path) = file.get("alert.texts") else { return Ok(texts) };
    let content = read(file, "alert.texts")?.unwrap_or_default();
    texts.with_file(path, &content).map_err(|error| {
        let what = format!("{} line {}: {}", error.file, error.line, error.what);
        Failure::new(FailureKind::Usage, what, format!("{path}:{}", error.line), error.why).next(error.next)
    })
}

/// The content of a file that a key names.
fn read(file: &File, key: &str) -> Result<Option<String>, Failure> {
    let Some(path) = file.get(key) else { return Ok(None) };
    let why = |error: std::io::Error| file.wrong(key, format!("{path}: {}", error_text(&error)));
    std::fs::read_to_string(path).map(Some).map_err(why)
}

fn mail(file: &File) -> Result<Option<MailSettings>, Failure> {
    let Some(server) = file.get("alert.mail.server") else {
        let first = ["from", "to", "user", "security", "password_file", "ca_file", "timeout"]
            .map(|name| format!("alert.mail.{name}"));
        return match first.iter().find(|key| file.get(key).is_some()) {
            Some(key) => Err(file.wrong(key, "no mail server is named: alert.mail.server is missing")),
            None => Ok(None),
        };
    };
    let security = match file.get("alert.mail.security") {
        Some("none") => Security::None,
        Some("tls") => Security::Tls,
        _ => Security::StartTls,
    };
    let (host, port) = host_and_port(server, security.port())
        .ok_or_else(|| file.wrong("alert.mail.server", format!("`{server}` is not HOST or HOST:PORT")))?;
    let needed = |key: &str| {
        let missing = || file.wrong("alert.mail.server", format!("{key} is missing beside it"));
        file.get(key).map(str::to_owned).ok_or_else(missing)
    };
    let to = needed("alert.mail.to")?;
    let login = match file.get("alert.mail.user") {
        None => None,
        Some(user) => Some((user.to_owned(), password(file)?)),
    };
    Ok(Some(MailSettings {
        host,
        port,
        security,
        login,
        from: needed("alert.mail.from")?,
        to: to.split([';', ',']).map(str::trim).filter(|to| !to.is_empty()).map(str::to_owned).collect(),
        ca_pem: read(file, "alert.mail.ca_file")?.map(String::into_bytes),
        timeout: file.span("alert.mail.timeout", MAIL_TIMEOUT),
    }))
}

/// From `CODIS_MAIL_PASSWORD`, the file itself (`codis-ha.json`), or the file that it names.
fn password(file: &File) -> Result<Secret, Failure> {
    if let Some(text) = std::env::var("CODIS_MAIL_PASSWORD").ok().filter(|text| !text.is_empty()) {
        return Ok(Secret::new(text));
    }
    if let Some(password) = file.mail_password() {
        return Ok(Secret::new(password.expose().unwrap_or_default()));
    }
    match file.get("alert.mail.password_file") {
        Some(path) => secret_file(Path::new(path), "mail password").map(Secret::new),
        None => Err(file.wrong(
            "alert.mail.user",
            "there is no password for it: neither CODIS_MAIL_PASSWORD nor alert.mail.password_file",
        )),
    }
}

fn webhook(file: &File) -> Result<Option<WebhookSettings>, Failure> {
    let variable = std::env::var("CODIS_WEBHOOK_URL").ok().filter(|text| !text.is_empty());
    let url = match (variable, file.get("alert.webhook.url"), file.get("alert.webhook.url_file")) {
        (Some(url), ..) => url,
        (None, Some(url), None) => url.to_owned(),
        (None, None, Some(path)) => secret_file(Path::new(path), "webhook address")?,
        (None, Some(_), Some(_)) => {
            return Err(file.wrong("alert.webhook.url_file", "alert.webhook.url is there, too"));
        }
        (None, None, None) => return Ok(None),
    };
    Ok(Some(WebhookSettings {
        url: Secret::new(url),
        template: read(file, "alert.webhook.template")?,
        ca_pem: read(file, "alert.webhook.ca_file")?.map(String::into_bytes),
        timeout: file.span("alert.webhook.timeout", WEBHOOK_TIMEOUT),
    }))
}

fn host_and_port(text: &str, usual: u16) -> Option<(String, u16)> {
    let odd = |host: &str| host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!odd(host) && port > 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_has_a_usual_port() {
        let cases = [
            ("smtp.example.com", Some(("smtp.example.com", 587))),
            ("smtp.example.com:25", Some(("smtp.example.com", 25))),
            ("[::1]:25", Some(("::1", 25))),
            ("::1", Some(("::1", 587))),
            ("h:x", None),
            ("h:0", None),
            (":25", None),
            ("http://h", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(host_and_port(text, 587), expected, "{text}");
        }
    }
}
