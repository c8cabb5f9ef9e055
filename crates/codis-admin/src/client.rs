//! Reads admin pages over HTTP, always with a time-out and a bound on the size.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::{CommandsPage, ErrorsPage, HotPage, ProxyPulse, ProxyStats, SlotsPage, SlowPage, go};

/// Longest page that is read, bytes. `/slots` takes about 100 kB.
const MAX_PAGE: usize = 16 << 20;

/// Why an admin page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nothing accepts connections there.
    #[error("cannot connect to the admin page http://{addr}{path}")]
    Connect {
        /// Address of the admin pages.
        addr: String,
        /// The page.
        path: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("the admin page http://{addr}{path} did not answer within {after:?}")]
    TimedOut {
        /// Address of the admin pages.
        addr: String,
        /// The page.
        path: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// What answers does not speak HTTP, or broke off.
    #[error("cannot read the admin page http://{addr}{path}")]
    Http {
        /// Address of the admin pages.
        addr: String,
        /// The page.
        path: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered, but not with the page.
    #[error("the admin page http://{addr}{path} answered with HTTP status {status}")]
    Status {
        /// Address of the admin pages.
        addr: String,
        /// The page.
        path: &'static str,
        /// The status.
        status: u16,
    },
    /// The page is not what it should be.
    #[error("the admin page http://{addr}{path} is not what a codis-proxy sends")]
    Content {
        /// Address of the admin pages.
        addr: String,
        /// The page.
        path: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads the admin pages of proxies. Cheap to copy; keeps no connection.
#[derive(Debug, Clone, Copy)]
pub struct AdminClient {
    timeout: Duration,
}

impl Default for AdminClient {
    /// Gives each page 2 s.
    fn default() -> Self {
        Self::new(Duration::from_secs(2))
    }
}

impl AdminClient {
    /// Gives each page this long, from the connection to its last byte.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// `/stats` of the proxy whose admin pages are at `addr` (`host:port`, the `debug_var_addr` of its node).
    ///
    /// # Errors
    /// When the page cannot be read in time, or is not a page of ours (a Go proxy has none).
    pub async fn stats(&self, addr: &str) -> Result<ProxyStats, AdminError> {
        self.page(addr, "/stats").await
    }

    /// As much of `/stats` as tells whether the proxy is well.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn pulse(&self, addr: &str) -> Result<ProxyPulse, AdminError> {
        self.page(addr, "/stats").await
    }

    /// `/slots` of the proxy.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn slots(&self, addr: &str) -> Result<SlotsPage, AdminError> {
        self.page(addr, "/slots").await
    }

    /// `/errors` of the proxy.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn errors(&self, addr: &str) -> Result<ErrorsPage, AdminError> {
        self.page(addr, "/errors").await
    }

    /// `/slowlog` of the proxy.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn slowlog(&self, addr: &str) -> Result<SlowPage, AdminError> {
        self.page(addr, "/slowlog").await
    }

    /// `/hotkeys` of the proxy.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn hotkeys(&self, addr: &str) -> Result<HotPage, AdminError> {
        self.page(addr, "/hotkeys").await
    }

    /// `/commands` of the proxy.
    ///
    /// # Errors
    /// As for [`AdminClient::stats`].
    pub async fn commands(&self, addr: &str) -> Result<CommandsPage, AdminError> {
        self.page(addr, "/commands").await
    }

    /// `/debug/vars`, which Go proxies have as well.
    ///
    /// # Errors
    /// When the page cannot be read in time.
    pub async fn debug_vars(&self, addr: &str) -> Result<go::DebugVars, AdminError> {
        self.page(addr, "/debug/vars").await
    }

    /// `/slotsinfo`, which Go proxies of the fork have as well.
    ///
    /// # Errors
    /// When the page cannot be read in time.
    pub async fn slots_info(&self, addr: &str) -> Result<go::SlotsInfo, AdminError> {
        self.page(addr, "/slotsinfo").await
    }

    /// `/MoniData`, the counters of Go proxies of the fork.
    ///
    /// # Errors
    /// When the page cannot be read in time.
    pub async fn moni_data(&self, addr: &str) -> Result<go::MoniData, AdminError> {
        self.page(addr, "/MoniData").await
    }

    async fn page<T: DeserializeOwned>(&self, addr: &str, path: &'static str) -> Result<T, AdminError> {
        let after = self.timeout;
        let text = tokio::time::timeout(after, fetch(addr, path))
            .await
            .unwrap_or_else(|_| Err(AdminError::TimedOut { addr: addr.to_owned(), path, after }))?;
        serde_json::from_slice(&text).map_err(|source| AdminError::Content {
            addr: addr.to_owned(),
            path,
            source,
        })
    }
}

async fn fetch(addr: &str, path: &'static str) -> Result<Bytes, AdminError> {
    let http = |source: Box<dyn std::error::Error + Send + Sync>| AdminError::Http {
        addr: addr.to_owned(),
        path,
        source,
    };
    let stream = TcpStream::connect(addr).await.map_err(|source| AdminError::Connect {
        addr: addr.to_owned(),
        path,
        source,
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| http(e.into()))?;
    let exchange = async move {
        let request = Request::get(path)
            .header(header::HOST, addr)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|e| http(e.into()))?;
        let reply = sender.send_request(request).await.map_err(|e| http(e.into()))?;
        if reply.status() != StatusCode::OK {
            return Err(AdminError::Status { addr: addr.to_owned(), path, status: reply.status().as_u16() });
        }
        let body = Limited::new(reply.into_body(), MAX_PAGE).collect().await.map_err(http)?;
        Ok(body.to_bytes())
    };
    // The connection has to be driven for as long as the exchange lasts, and no longer.
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(e) => Err(http(e.into())),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes (nothing: keeps silent) and closes it.
    async fn server(answer: Option<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        addr
    }

    fn ok(body: &str) -> Option<String> {
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    #[tokio::test]
    async fn reads_a_page() {
        let addr = server(ok(r#"{"clients":4}"#)).await;
        assert_eq!(AdminClient::default().stats(&addr).await.unwrap().clients, 4);
        let addr = server(ok(r#"{ "router": {"ops":9}}"#)).await;
        assert_eq!(AdminClient::default().debug_vars(&addr).await.unwrap().router.ops, 9);
    }

    #[tokio::test]
    async fn says_what_went_wrong() {
        let client = AdminClient::new(Duration::from_millis(300));
        let addr = server(Some("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into())).await;
        assert!(matches!(client.stats(&addr).await, Err(AdminError::Status { status: 404, .. })));
        let addr = server(ok("[]")).await;
        assert!(matches!(client.slots(&addr).await, Err(AdminError::Content { .. })));
        let addr = server(Some("-ERR not http\r\n".into())).await;
        assert!(matches!(client.stats(&addr).await, Err(AdminError::Http { .. })));
        let addr = server(None).await;
        assert!(matches!(client.stats(&addr).await, Err(AdminError::TimedOut { .. })));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = client.stats(&closed).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to the admin page http://{closed}/stats"));
        assert!(error.source().is_some());
    }
}
