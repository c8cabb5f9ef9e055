//! Servers that are reached with TLS only.

use codis_core::slot_of_key;
use codis_testkit::{PortLease, RedisServer, Reply, Sandbox};

use crate::certs::{Authority, text};
use crate::fixture::{Place, ask};

pub(crate) async fn keys_move_over_tls(url: &str) {
    const KEYS: i64 = 20;
    let sandbox = Sandbox::create("tls").unwrap();
    let ours = Authority::new(&sandbox, "ours");
    let identity = ours.sign("server", &["127.0.0.1"]);
    let ports = [PortLease::take().unwrap(), PortLease::take().unwrap()];
    let server = |port: &PortLease| {
        RedisServer::builder()
            .config("tls-port", &port.port().to_string())
            .config("tls-cert-file", text(&identity.cert))
            .config("tls-key-file", text(&identity.key))
            .config("tls-ca-cert-file", text(&ours.ca()))
            .config("tls-auth-clients", "no")
            .start()
    };
    let servers = ports.each_ref().map(server);
    // The store knows the ports with TLS only.
    let place = Place::new(url, &ports.each_ref().map(|port| vec![port.addr()])).await;
    let settings =
        sandbox.write("codis.toml", &format!("[proxy]\nbackend_ca = \"{}\"\n", text(&ours.ca()))).unwrap();
    let proxy = place.proxy("p1").arg("--config").arg(text(&settings)).start();
    let mut client = proxy.client();
    for key in 0..KEYS {
        ask(&mut client, &format!("SET {{t}}{key} {key}"));
    }
    place.migrate(slot_of_key(b"{t}")).await;
    for key in 0..KEYS {
        assert_eq!(ask(&mut client, &format!("GET {{t}}{key}")).text(), key.to_string());
    }
    let left = servers.each_ref().map(|server| ask(&mut server.client(), "DBSIZE"));
    assert_eq!(left, [Reply::Int(0), Reply::Int(KEYS)]);
}
