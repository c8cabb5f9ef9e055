//! Calls of a webhook: one POST of JSON for each message.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use minijinja::{Environment, UndefinedBehavior, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::notifier::{Refused, Sending};
use crate::{BadSetting, Message, Secret, causes, tls};

/// So much of an answer is read, bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The key of the address.
const URL: &str = "alert.webhook.url";
/// The key of the template.
const TEMPLATE: &str = "alert.webhook.template";

/// Where to call, and what to send.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// `http://` or `https://`; what stands behind the host is often a key, so it is not printed.
    pub url: Secret,
    /// A template of the body, which knows `subject`, `text`, `product`, `alerts` and more; `None` for all of it as JSON.
    pub template: Option<String>,
    /// An authority to believe besides those of the machine, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Longest attempt.
    pub timeout: Duration,
}

/// Calls it.
pub(crate) struct Caller {
    uri: Uri,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    template: Option<Environment<'static>>,
    timeout: Duration,
    place: String,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(settings: &WebhookSettings) -> Result<Self, BadSetting> {
        let bad = |why: String| BadSetting::new(URL, why);
        let uri: Uri = settings.url.reveal().trim().parse().map_err(|_| bad("it is not a URL".to_owned()))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let pem = settings.ca_pem.as_deref();
                Some(tls::client(pem).map_err(|why| BadSetting::new("alert.webhook.ca_file", why))?)
            }
            _ => return Err(bad("it begins neither with http:// nor with https://".to_owned())),
        };
        let host = uri.host().ok_or_else(|| bad("it names no host".to_owned()))?.to_owned();
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(bad("it holds a user name; put a token into the path instead".to_owned()));
        }
        let template = settings.template.as_deref().map(template).transpose()?;
        let place = format!("webhook at {}", uri.authority().map_or("", |authority| authority.as_str()));
        Ok(Self { uri, host, tls, template, timeout: settings.timeout, place })
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// One attempt.
    pub(crate) async fn send(&self, message: &Message) -> Sending {
        let body = match &self.template {
            None => message.json.to_string(),
            Some(template) => render(template, &message.json).map_err(Refused::for_good)?,
        };
        let call = async {
            let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
            let host = self.host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, port)).await.map_err(|error| causes(&error))?;
            let Some(config) = &self.tls else { return self.post(stream, body).await };
            let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name, stream).await.map_err(|error| causes(&error))?;
            self.post(stream, body).await
        };
        match call.await {
            Err(why) => Err(Refused::for_now(why)),
            Ok(200..300) => Ok(()),
            Ok(status @ (408 | 429 | 500..)) => {
                Err(Refused::for_now(format!("it answered with HTTP status {status}")))
            }
            Ok(status) => Err(Refused::for_good(format!("it answered with HTTP status {status}"))),
        }
    }

    /// The status of the answer.
    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        body: String,
    ) -> Result<u16, String> {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| causes(&error))?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(|error| causes(&error))?;
            let status = answer.status().as_u16();
            // Read to its end, so that the other side does not see a broken connection.
            let _ = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok(status)
        };
        // What breaks the connection is told by the exchange; without the sender the connection ends.
        let (status, _) = tokio::join!(exchange, connection);
        status
    }
}

fn template(text: &str) -> Result<Environment<'static>, BadSetting> {
    let bad = |why: String| BadSetting::new(TEMPLATE, why);
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.add_template_owned("body", text.to_owned()).map_err(|error| bad(causes(&error)))?;
    let example = serde_json::json!({
        "product": "x", "agent": "x", "number": 1, "ts_ms": 1, "observe_only": false, "subject": "x", "text": "x\n\"x\"",
        "alerts": [],
    });
    let body = render(&env, &example).map_err(bad)?;
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&body) {
        return Err(bad(format!(
            "it does not make JSON ({error}); write {{{{ text|tojson }}}} for a text in quotes"
        )));
    }
    Ok(env)
}

fn render(env: &Environment<'_>, json: &serde_json::Value) -> Result<String, String> {
    let template = env.get_template("body").map_err(|error| causes(&error))?;
    template.render(value(json)).map_err(|error| causes(&error))
}

/// JSON as templates see it.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => {
            number.as_u64().map_or_else(|| Value::from(number.to_string()), Value::from)
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(list) => Value::from(list.iter().map(value).collect::<Vec<_>>()),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(name, inner)| (name.clone(), value(inner)))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into(),
    }
}
