//! TLS on both sides: towards clients, and towards servers that speak nothing else.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

#[path = "../common/certs.rs"]
mod certs;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use certs::{Authority, Files, text};
use codis_testkit::{
    PortLease, Process, ProxyProcess, RedisServer, Sandbox, eventually, need, python_client,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

/// Longer than anything here takes; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// A proxy with TLS on both sides, and a server that only its TLS port is used of.
struct Setup {
    ours: Authority,
    proxy: ProxyProcess,
    server: RedisServer,
    tls: PortLease,
    sandbox: Sandbox,
    _server_tls: PortLease,
}

/// What differs between the tests.
#[derive(Default)]
struct Options<'a> {
    /// Lines of the settings.
    proxy: &'a str,
    /// Lines at the top of the settings.
    top: &'a str,
    /// The server asks the proxy for a certificate.
    server_asks: bool,
    /// The proxy asks clients for a certificate.
    clients_asked: bool,
    /// Another process may take its place.
    replaceable: bool,
    /// The proxy trusts an authority that the server does not have.
    wrong_ca: bool,
}

impl Setup {
    fn start(options: &Options<'_>) -> Self {
        let sandbox = Sandbox::create("tls").unwrap();
        let ours = Authority::new(&sandbox, "ours");
        let other = Authority::new(&sandbox, "other");
        let (tls, server_tls) = (PortLease::take().unwrap(), PortLease::take().unwrap());
        let identity = ours.sign("server", &["127.0.0.1"]);
        let server = RedisServer::builder()
            .config("tls-port", &server_tls.port().to_string())
            .config("tls-cert-file", text(&identity.cert))
            .config("tls-key-file", text(&identity.key))
            .config("tls-ca-cert-file", text(&ours.ca()))
            .config("tls-auth-clients", if options.server_asks { "yes" } else { "no" })
            .start();
        // What clients are to do here says the server, too.
        server.client().call(&["ACL", "SETUSER", "app", "on", ">pass-of-app", "~*", "&*", "+@all"]).unwrap();
        let proxy = ours.sign("proxy", &["localhost", "127.0.0.1"]);
        let ca = if options.wrong_ca { other.ca() } else { ours.ca() };
        let mut settings = format!(
            "{}\n[proxy]\n{}\ntls_listen = \"{}\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\nbackend_ca = \"{}\"\n",
            options.top,
            options.proxy,
            tls.addr(),
            text(&proxy.cert),
            text(&proxy.key),
            text(&ca)
        );
        if options.server_asks {
            let client = ours.sign("proxy-as-client", &["codis-proxy"]);
            settings += &format!(
                "backend_cert = \"{}\"\nbackend_key = \"{}\"\n",
                text(&client.cert),
                text(&client.key)
            );
        }
        if options.replaceable {
            settings += &format!("control = \"{}\"\n", text(&sandbox.path().join("control")));
        }
        if options.clients_asked {
            settings += &format!("tls_client_ca = \"{}\"\n", text(&ours.ca()));
        }
        let settings = sandbox.write("codis.toml", &settings).unwrap();
        let proxy = ProxyProcess::fixed(&[server_tls.addr()])
            .program(env!("CARGO_BIN_EXE_codis-proxy"))
            .workers(2)
            .arg("--config")
            .arg(text(&settings))
            .start();
        Self { ours, proxy, server, tls, sandbox, _server_tls: server_tls }
    }

    /// A client that trusts this authority and shows this certificate.
    fn client(&self, ca: &Path, shows: Option<&Files>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap())
                    .unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(self.tls.addr()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
    }
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// Sends a line and reads a line, without its end; an error tells why there is none.
fn ask(client: &mut Client, line: &str) -> Result<String, std::io::Error> {
    client.write_all(format!("{line}\r\n").as_bytes())?;
    client.flush()?;
    let mut reply = Vec::new();
    let mut byte = [0];
    while !reply.ends_with(b"\r\n") {
        client.read_exact(&mut byte)?;
        reply.push(byte[0]);
    }
    reply.truncate(reply.len() - 2);
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[test]
fn redis_py_with_users_on_both_sides() {
    need!("redis", "python-clients");
    let sandbox = Sandbox::create("users").unwrap();
    let users = sandbox.write("users", "alice wonder\nbob builder\n").unwrap();
    let password = sandbox.write("password", "pass-of-app\n").unwrap();
    for file in [&users, &password] {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let setup = Setup::start(&Options {
        top: &format!("password_file = \"{}\"", text(&password)),
        proxy: &format!("backend_user = \"app\"\nusers_file = \"{}\"", text(&users)),
        server_asks: true,
        ..Options::default()
    });
    // Who comes without a name has no rights on the server any more.
    setup.server.client().call(&["ACL", "SETUSER", "default", "-@all"]).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/redis_py.py");
    let other = setup.sandbox.path().join("other-ca.crt");
    let args = [text(&script), &setup.tls.port().to_string(), text(&setup.ours.ca()), text(&other)]
        .map(str::to_owned);
    let process = Process::start("redis_py", &python_client().unwrap(), args, &[], &setup.sandbox).unwrap();
    let status = process.wait(DEADLINE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", process.log());
}

#[test]
fn a_server_with_a_wrong_certificate_is_refused() {
    need!("redis");
    let setup = Setup::start(&Options { wrong_ca: true, ..Options::default() });
    let mut client = setup.client(&setup.ours.ca(), None);
    let reply = ask(&mut client, "GET k").unwrap();
    assert!(reply.starts_with("-ERR backend ") && reply.contains("invalid peer certificate"), "{reply}");
    assert_eq!(ask(&mut client, "PING").unwrap(), "+PONG", "the session goes on");
}

#[test]
fn a_client_with_a_wrong_certificate_is_refused() {
    need!("redis");
    let setup = Setup::start(&Options { clients_asked: true, ..Options::default() });
    let other = Authority::new(&setup.sandbox, "stranger");
    let (right, wrong) = (setup.ours.sign("client", &["app"]), other.sign("client", &["app"]));
    let ca = setup.ours.ca();
    assert_eq!(ask(&mut setup.client(&ca, Some(&right)), "SET k v").unwrap(), "+OK");
    for shows in [None, Some(&wrong)] {
        assert!(ask(&mut setup.client(&ca, shows), "GET k").is_err());
    }
    // Nor does somebody without TLS get anywhere.
    let mut plain = TcpStream::connect(setup.tls.addr()).unwrap();
    plain.write_all(b"GET k\r\n").unwrap();
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told);
    assert!(!told.starts_with(b"$"), "{}", told.escape_ascii());
    assert_eq!(ask(&mut setup.client(&ca, Some(&right)), "STRLEN k").unwrap(), ":1");
}

#[test]
fn big_values_pass_both_ways_and_a_slow_reader_gets_all() {
    need!("redis");
    let setup = Setup::start(&Options::default());
    let mut client = setup.client(&setup.ours.ca(), None);
    let value: Vec<u8> = (0..8 << 20).map(|at: u32| b'a' + (at / 777 % 26) as u8).collect();
    client.write_all(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len()).as_bytes()).unwrap();
    client.write_all(&value).unwrap();
    assert_eq!(ask(&mut client, "").unwrap(), "+OK");
    client.write_all(b"GET big\r\nGET big\r\nPING\r\n").unwrap();
    client.flush().unwrap();
    // Meanwhile the socket is full.
    eventually(DEADLINE, || {
        let mut other = setup.client(&setup.ours.ca(), None);
        ask(&mut other, "STRLEN big").is_ok_and(|length| length == ":8388608")
    });
    let head = format!("${}\r\n", value.len());
    for _ in 0..2 {
        let mut got = vec![0; head.len() + value.len() + 2];
        client.read_exact(&mut got).unwrap();
        assert!(got.starts_with(head.as_bytes()) && got[head.len()..].starts_with(&value), "another value");
    }
    let mut pong = [0; 7];
    client.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    assert_eq!(ask(&mut client, "QUIT").unwrap(), "+OK");
    assert_eq!(client.read(&mut pong).unwrap(), 0, "the end is said, not just there");
}

#[test]
fn who_is_gone_pops_nothing() {
    need!("redis");
    let setup = Setup::start(&Options::default());
    let mut waits = setup.client(&setup.ours.ca(), None);
    waits.write_all(b"BLPOP list 0\r\n").unwrap();
    waits.flush().unwrap();
    let mut direct = setup.server.client();
    let mut blocked = || direct.call(&["INFO", "clients"]).unwrap().text().contains("blocked_clients:1");
    eventually(DEADLINE, &mut blocked);
    waits.conn.send_close_notify();
    waits.flush().unwrap();
    drop(waits);
    eventually(DEADLINE, || !blocked());
    assert_eq!(ask(&mut setup.client(&setup.ours.ca(), None), "RPUSH list x").unwrap(), ":1");
}

#[test]
fn new_certificates_are_used_after_a_hangup() {
    need!("redis");
    let setup = Setup::start(&Options::default());
    let mut before = setup.client(&setup.ours.ca(), None);
    assert_eq!(ask(&mut before, "PING").unwrap(), "+PONG");
    let next = Authority::new(&setup.sandbox, "next");
    let files = next.sign("proxy", &["127.0.0.1"]);
    let path = |end: &str| setup.sandbox.path().join(format!("ours-proxy.{end}"));
    assert!(ask(&mut setup.client(&next.ca(), None), "PING").is_err());
    std::fs::copy(&files.cert, path("crt")).unwrap();
    std::fs::copy(&files.key, path("key")).unwrap();
    setup.proxy.process().signal(codis_testkit::Signal::HUP);
    eventually(DEADLINE, || {
        ask(&mut setup.client(&next.ca(), None), "PING").is_ok_and(|pong| pong == "+PONG")
    });
    assert!(ask(&mut setup.client(&setup.ours.ca(), None), "PING").is_err());
    assert_eq!(ask(&mut before, "PING").unwrap(), "+PONG", "who was connected stays so");
    // What cannot be used changes nothing.
    std::fs::write(path("crt"), "no certificate").unwrap();
    setup.proxy.process().signal(codis_testkit::Signal::HUP);
    eventually(DEADLINE, || setup.proxy.process().log().contains("certificates are used as they were"));
    assert_eq!(ask(&mut setup.client(&next.ca(), None), "PING").unwrap(), "+PONG");
}

#[test]
fn a_successor_gets_the_port_with_tls() {
    need!("redis");
    let mut setup =
        Setup::start(&Options { replaceable: true, proxy: "stop_grace = 0.5", ..Options::default() });
    let ca = setup.ours.ca();
    let mut before = setup.client(&ca, None);
    let mut plain = setup.proxy.client();
    assert_eq!(ask(&mut before, "SET k v").unwrap(), "+OK");
    let successor = setup.proxy.successor(&[]);
    let old = setup.proxy.succeeded_by(successor);
    assert!(old.wait(DEADLINE).unwrap().success(), "{}", old.log());
    assert_eq!(ask(&mut setup.client(&ca, None), "STRLEN k").unwrap(), ":1");
    assert_eq!(plain.call(&["GET", "k"]).unwrap().text(), "v", "a connection without TLS has moved");
    let mut byte = [0];
    assert_eq!(before.read(&mut byte).unwrap(), 0, "one with TLS is closed in order, nothing was owed");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let sandbox = Sandbox::create("tls").unwrap();
    let ours = Authority::new(&sandbox, "ours");
    let files = ours.sign("proxy", &["127.0.0.1"]);
    let told = |settings: &str| {
        let path = sandbox.write("codis.toml", &format!("[proxy]\n{settings}\n")).unwrap();
        let command = ["--static", "/dev/null", "--config", text(&path)];
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_codis-proxy")).args(command).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let missing = told("backend_ca = \"/no/such/file\"");
    assert!(
        missing.contains("a file for TLS cannot be used\n  where  /no/such/file\n  why    "),
        "{missing}"
    );
    let lone = told("tls_listen = \"127.0.0.1:0\"");
    assert!(lone.contains("line 2") && lone.contains("it needs `tls_cert` and `tls_key`"), "{lone}");
    let useless = told(&format!("tls_cert = \"{}\"", text(&files.cert)));
    assert!(useless.contains("it does nothing without `proxy.tls_listen`"), "{useless}");
    let other = ours.sign("another", &["127.0.0.1"]);
    let mixed = told(&format!(
        "tls_listen = \"127.0.0.1:0\"\ntls_cert = \"{}\"\ntls_key = \"{}\"",
        text(&files.cert),
        text(&other.key)
    ));
    assert!(
        mixed.contains(text(&files.cert)) && mixed.contains("a key must belong to its certificate"),
        "{mixed}"
    );
}
