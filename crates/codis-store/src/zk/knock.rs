//! Why no server of an ensemble can be used, in words that name each.

use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// What each server of an ensemble does when it is knocked at.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Knocked(String);

/// Connects to every server once. The client library only says that it found none.
pub(super) async fn knock(hosts: &str) -> Knocked {
    let knocks = hosts.split(',').map(|host| async move {
        let answer = match timeout(PATIENCE, TcpStream::connect(host)).await {
            Ok(Ok(_)) => "accepts connections but does not answer as ZooKeeper".to_owned(),
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("no answer in {} ms", PATIENCE.as_millis()),
        };
        format!("{host} {answer}")
    });
    Knocked(join_all(knocks).await.join(", "))
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_server_is_named_with_its_reason() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let text = knock(&format!("{open},127.0.0.1:1,no-such-host.invalid:2181")).await.to_string();
        let parts: Vec<&str> = text.split(", ").collect();
        assert_eq!(parts[0], format!("{open} accepts connections but does not answer as ZooKeeper"));
        assert_eq!(parts[1], "127.0.0.1:1 connection refused");
        assert!(parts[2].starts_with("no-such-host.invalid:2181 "), "{text}");
    }
}
