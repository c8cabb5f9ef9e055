//! Tells people: alerts as mails and as calls of a webhook.
//!
//! Whether and when is decided elsewhere (`codis_core::notice`); here is what a message says, in English or Chinese
//! ([`Texts`]), and how it gets out without holding anybody up ([`Notifier`]).

mod layout;
mod mail;
mod message;
mod notifier;
mod secret;
mod show;
mod texts;
mod tls;
mod webhook;

pub use mail::{MailSettings, Security};
pub use message::{Letterhead, Message};
pub use notifier::{Channel, ChannelState, Channels, Notifier};
pub use secret::Secret;
pub use texts::{Lang, TextError, Texts};
pub use webhook::WebhookSettings;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wrong value for `{key}`: {why}")]
pub struct BadSetting {
    /// The key, e.g. `alert.mail.to`.
    pub key: &'static str,
    /// What is wrong with it. Holds no secret.
    pub why: String,
}

impl BadSetting {
    pub(crate) fn new(key: &'static str, why: impl std::fmt::Display) -> Self {
        Self { key, why: why.to_string() }
    }
}

/// The words of an error and of everything underneath it.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}
