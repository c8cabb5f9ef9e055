//! How messages get out: a real mail server, a webhook, and what happens when they do not answer.
#![expect(clippy::unwrap_used, reason = "test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use codis_core::notice::{Alert, Facts, Notice, NoticeKind};
use codis_notify::{
    Channel, Channels, Lang, Letterhead, MailSettings, Message, Notifier, Secret, Security, Texts,
    WebhookSettings,
};
use codis_testkit::{Mail, PortLease, SmtpServer, eventually_async, need};
use jiff::tz::TimeZone;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Longest wait for a mail on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const PASSWORD: &str = "hu=sh-54321";

/// A message whose subject says `text`, in Chinese.
fn message(text: &str) -> Message {
    let texts = Texts::new(Lang::Zh, TimeZone::UTC);
    let head = Letterhead {
        product: "feed".into(),
        agent: "ops-1".into(),
        number: 1,
        interval_ms: 300_000,
        observe_only: false,
        now_ms: 0,
    };
    let alert = Alert::new("mail", 0, Facts::Test { by: text.into() });
    let notice = Notice { kind: NoticeKind::Fired, alert, count: 1, at_ms: 0 };
    texts.message(&[notice], &head).unwrap()
}

fn settings(port: u16) -> MailSettings {
    MailSettings {
        host: "127.0.0.1".into(),
        port,
        security: Security::None,
        login: None,
        from: "Codis 告警 <ops@example.com>".into(),
        to: vec!["li@example.com".into(), "王 <wang@example.com>".into()],
        ca_pem: None,
        timeout: Duration::from_secs(10),
    }
}

fn by_mail(settings: MailSettings) -> Notifier {
    Notifier::start(&Channels { mail: Some(settings), webhook: None }).unwrap()
}

/// One authority, and what it has signed for 127.0.0.1: certificate and key.
fn certificates() -> (Vec<u8>, String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem().into_bytes();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (pem, certificate.pem(), key.serialize_pem())
}

/// Why the first attempt of a test message failed.
async fn refusal(notifier: &Notifier) -> String {
    let mut results = notifier.send_now(&message("x")).await;
    let (channel, _, result) = results.remove(0);
    assert_eq!(channel, Channel::Mail);
    result.unwrap_err()
}

#[tokio::test]
async fn a_mail_arrives_with_both_parts_and_in_the_reader_s_script() {
    need!("smtp");
    let server = SmtpServer::start();
    let notifier = by_mail(settings(server.port()));
    notifier.post(message("李 <li@ops-1>"));
    assert!(notifier.flush(SOON).await);
    let [mail] = <[Mail; 1]>::try_from(server.mails()).unwrap();
    assert_eq!(mail.from, "ops@example.com");
    assert_eq!(mail.to, ["li@example.com", "wang@example.com"]);
    assert_eq!(mail.subject, "[codis] 通知 feed：告警可以送达");
    assert!(mail.text.contains("测试人 李 <li@ops-1>"), "{}", mail.text);
    assert!(mail.html.contains("<td>测试人 李 &lt;li@ops-1&gt;</td>"), "{}", mail.html);
    assert!(mail.raw.is_ascii() && mail.raw.contains("Message-ID: "), "{}", mail.raw);
    let state = &notifier.states()[0];
    assert_eq!((state.sent, state.waiting, state.lost, &state.failing), (1, 0, 0, &None));
}

#[tokio::test]
async fn it_goes_over_tls_and_to_nobody_else_than_the_right_server() {
    need!("smtp");
    let (ca, certificate, key) = certificates();
    for security in [Security::StartTls, Security::Tls] {
        let builder = SmtpServer::builder().login("ops", PASSWORD);
        let server = match security {
            Security::StartTls => builder.starttls(&certificate, &key).start(),
            _ => builder.tls(&certificate, &key).start(),
        };
        let login = Some(("ops".to_owned(), Secret::new(PASSWORD)));
        let fine = MailSettings { security, login, ca_pem: Some(ca.clone()), ..settings(server.port()) };
        let notifier = by_mail(fine.clone());
        notifier.post(message("x"));
        assert!(notifier.flush(SOON).await, "{:?}", notifier.states());
        let [mail] = <[Mail; 1]>::try_from(server.mails()).unwrap();
        assert_eq!((mail.tls, mail.login.as_str()), (true, "ops"));

        let stranger = MailSettings { ca_pem: None, ..fine.clone() };
        let why = refusal(&by_mail(stranger)).await;
        assert!(why.contains("UnknownIssuer"), "{why}");
        assert_eq!(server.mails().len(), 1);
    }
}

#[tokio::test]
async fn a_server_without_tls_gets_neither_mail_nor_password() {
    need!("smtp");
    let server = SmtpServer::builder().login("ops", PASSWORD).start();
    let login = Some(("ops".to_owned(), Secret::new(PASSWORD)));
    let wants_tls =
        MailSettings { security: Security::StartTls, login: login.clone(), ..settings(server.port()) };
    let why = refusal(&by_mail(wants_tls)).await;
    assert!(why.contains("STARTTLS"), "{why}");
    assert!(server.mails().is_empty());

    let in_the_clear = by_mail(MailSettings { login, ..settings(server.port()) });
    in_the_clear.post(message("x"));
    assert!(in_the_clear.flush(SOON).await, "it is the administrator's choice");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password_and_tried_again() {
    need!("smtp");
    let server = SmtpServer::builder().login("ops", "another").start();
    let login = Some(("ops".to_owned(), Secret::new(PASSWORD)));
    let wrong = MailSettings { login, ..settings(server.port()) };
    assert!(!format!("{wrong:?}").contains(PASSWORD));
    let notifier = by_mail(wrong);
    let why = refusal(&notifier).await;
    assert!(why.contains("535"), "{why}");
    assert!(!why.contains(PASSWORD), "{why}");
    notifier.post(message("x"));
    eventually_async(SOON, || async { notifier.states()[0].failing.is_some() }).await;
    let state = &notifier.states()[0];
    assert_eq!((state.waiting, state.lost), (1, 0));
    assert!(!format!("{state:?} {notifier:?}").contains(PASSWORD));
}

#[tokio::test]
async fn one_reader_without_a_mailbox_does_not_keep_it_from_the_others() {
    need!("smtp");
    let server = SmtpServer::start();
    let to = vec!["nobody@example.com".into(), "li@example.com".into()];
    let notifier = by_mail(MailSettings { to, ..settings(server.port()) });
    notifier.post(message("x"));
    assert!(notifier.flush(SOON).await);
    let [mail] = <[Mail; 1]>::try_from(server.mails()).unwrap();
    assert_eq!(mail.to, ["li@example.com"]);

    let nobody = by_mail(MailSettings { to: vec!["nobody@example.com".into()], ..settings(server.port()) });
    assert!(refusal(&nobody).await.contains("no such mailbox"));
}

#[tokio::test]
async fn mails_wait_for_a_dead_server_and_nobody_waits_for_them() {
    need!("smtp");
    let mut server = SmtpServer::start();
    server.kill();
    let notifier = by_mail(settings(server.port()));
    let begun = std::time::Instant::now();
    for n in 0..300 {
        notifier.post(message(&n.to_string()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "posting waits for nothing");
    eventually_async(SOON, || async { notifier.states()[0].failing.is_some() }).await;
    let state = &notifier.states()[0];
    assert_eq!((state.sent, state.waiting), (0, 256), "the queue is bounded: {state:?}");
    assert_eq!(state.lost, 300 - 256);
    assert!(state.failing.as_ref().unwrap().1.contains("refused"), "{state:?}");

    server.restart();
    eventually_async(SOON, || async { server.mails().len() >= 2 }).await;
    let state = &notifier.states()[0];
    assert!(state.failing.is_none(), "{state:?}");
    assert!(server.mails().iter().all(|mail| mail.subject == "[codis] 通知 feed：告警可以送达"));
}

#[test]
fn settings_that_cannot_work_are_named_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mail = |change: fn(&mut MailSettings)| {
        let mut settings = settings(25);
        change(&mut settings);
        Notifier::start(&Channels { mail: Some(settings), webhook: None }).unwrap_err().to_string()
    };
    let error = mail(|settings| settings.from = "ops".into());
    assert!(error.starts_with("wrong value for `alert.mail.from`: `ops`: "), "{error}");
    let error = mail(|settings| settings.to = vec!["a@b c".into()]);
    assert!(error.starts_with("wrong value for `alert.mail.to`: `a@b c`: "), "{error}");
    assert_eq!(mail(|settings| settings.to.clear()), "wrong value for `alert.mail.to`: nobody is named");
    let error = mail(|settings| (settings.security, settings.ca_pem) = (Security::Tls, Some(b"x".to_vec())));
    assert_eq!(error, "wrong value for `alert.mail.ca_file`: it holds no certificate");

    let webhook = |url: &str, template: Option<&str>| {
        let settings = WebhookSettings { template: template.map(str::to_owned), ..hook(url) };
        Notifier::start(&Channels { mail: None, webhook: Some(settings) }).unwrap_err().to_string()
    };
    assert_eq!(
        webhook("ftp://h/s3cret", None),
        "wrong value for `alert.webhook.url`: it begins neither with http:// nor with https://"
    );
    assert_eq!(webhook("http://a b/s3cret", None), "wrong value for `alert.webhook.url`: it is not a URL");
    let error = webhook("http://h/", Some("{\"text\": {{ text }}}"));
    assert!(error.starts_with("wrong value for `alert.webhook.template`: it does not make JSON"), "{error}");
    let error = webhook("http://h/", Some("{{ txt }}"));
    assert!(error.starts_with("wrong value for `alert.webhook.template`: undefined value"), "{error}");
}

fn hook(url: &str) -> WebhookSettings {
    let timeout = Duration::from_secs(10);
    WebhookSettings { url: Secret::new(url), template: None, ca_pem: None, timeout }
}

/// Answers each call with the next status, the last one again and again, and keeps what it was sent.
async fn listen(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    statuses: &[u16],
) -> Arc<Mutex<Vec<String>>> {
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, statuses) = (Arc::clone(&calls), statuses.to_vec());
    tokio::spawn(async move {
        for n in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let status = statuses[statuses.len().min(n + 1) - 1];
            let call = match &tls {
                None => answer(stream, status).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, status).await,
                    Err(_) => continue,
                },
            };
            kept.lock().unwrap().push(call);
        }
    });
    calls
}

async fn answer(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    status: u16,
) -> String {
    let mut call = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&call).into_owned();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if let (Some(end), Some(length)) = (text.find("\r\n\r\n"), length)
            && call.len() >= end + 4 + length
        {
            let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\nok");
            stream.write_all(reply.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            return text;
        }
        if stream.read_buf(&mut call).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

fn by_webhook(settings: WebhookSettings) -> Notifier {
    Notifier::start(&Channels { mail: None, webhook: Some(settings) }).unwrap()
}

#[tokio::test]
async fn a_webhook_gets_json_or_what_a_template_makes_of_it() {
    let lease = PortLease::take().unwrap();
    let calls = listen(TcpListener::bind(lease.addr()).await.unwrap(), None, &[200]).await;
    let url = format!("http://{}/robot/send?access_token=s3cret", lease.addr());
    let notifier = by_webhook(hook(&url));
    notifier.post(message("x"));
    assert!(notifier.flush(SOON).await, "{:?}", notifier.states());
    let call = calls.lock().unwrap().remove(0);
    assert!(call.starts_with("POST /robot/send?access_token=s3cret HTTP/1.1\r\n"), "{call}");
    assert!(call.contains("content-type: application/json\r\n"), "{call}");
    let body: serde_json::Value = serde_json::from_str(call.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["alerts"][0]["kind"], "test");
    assert_eq!(body["subject"], "[codis] 通知 feed：告警可以送达");
    let state = &notifier.states()[0];
    assert_eq!(state.place, format!("webhook at {}", lease.addr()));
    assert!(!format!("{notifier:?} {state:?}").contains("s3cret"));

    let template =
        "{\"msgtype\": \"text\", \"text\": {\"content\": {{ (subject ~ \"\\n\" ~ text)|tojson }}}}";
    let notifier = by_webhook(WebhookSettings { template: Some(template.to_owned()), ..hook(&url) });
    notifier.post(message("\"quoted\""));
    assert!(notifier.flush(SOON).await, "{:?}", notifier.states());
    let call = calls.lock().unwrap().remove(0);
    let body: serde_json::Value = serde_json::from_str(call.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let text = body["text"]["content"].as_str().unwrap();
    assert!(text.starts_with("[codis] 通知 feed：告警可以送达\n时间"), "{text}");
    assert!(text.contains("\"quoted\""), "{text}");
}

#[tokio::test]
async fn a_webhook_is_called_again_until_it_says_yes_and_over_tls_it_must_be_the_right_one() {
    let (ca, certificate, key) = certificates();
    let chain: Vec<_> = rustls_pem(certificate.as_bytes());
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let lease = PortLease::take().unwrap();
    let listener = TcpListener::bind(lease.addr()).await.unwrap();
    let calls = listen(listener, Some(acceptor), &[503, 503, 200]).await;
    let url = format!("https://{}/s3cret", lease.addr());

    let stranger = by_webhook(hook(&url));
    let (_, _, result) = stranger.send_now(&message("x")).await.remove(0);
    let why = result.unwrap_err();
    assert!(why.contains("UnknownIssuer") && !why.contains("s3cret"), "{why}");

    let notifier = by_webhook(WebhookSettings { ca_pem: Some(ca), ..hook(&url) });
    notifier.post(message("x"));
    assert!(notifier.flush(SOON).await, "{:?}", notifier.states());
    let calls = calls.lock().unwrap();
    let posts = calls.iter().filter(|call| call.starts_with("POST /s3cret ")).count();
    assert!(posts >= 2, "{calls:?}");
}

fn rustls_pem(pem: &[u8]) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect()
}
