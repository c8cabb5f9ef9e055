//! Certificates: ours for clients, whom we trust among servers, and both anew when the files have changed.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use codis_core::Addr;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{report::Report, stream::Stream};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// PEM file of the certificate and those that lead to its authority.
    pub(crate) cert: PathBuf,
    /// PEM file of its private key.
    pub(crate) key: PathBuf,
}

/// How clients reach us with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFiles {
    /// Who we are.
    pub(crate) identity: Identity,
    /// Authority of the clients' certificates; nothing: they need none.
    pub(crate) client_ca: Option<PathBuf>,
}

/// How we reach servers with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendFiles {
    /// Authority of the servers' certificates.
    pub(crate) ca: PathBuf,
    /// Who we are; nothing: servers do not ask.
    pub(crate) identity: Option<Identity>,
}

/// TLS towards clients. Cheap to clone; all clones see new files.
#[derive(Clone)]
pub(crate) struct ServerTls(Arc<Loaded<ServerFiles, ServerConfig>>);

/// TLS towards servers. Cheap to clone; all clones see new files.
#[derive(Clone)]
pub(crate) struct BackendTls(Arc<Loaded<BackendFiles, ClientConfig>>);

struct Loaded<F, C> {
    files: F,
    config: ArcSwap<C>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(crate) fn load(files: ServerFiles) -> Result<Self, Report> {
        let config = ArcSwap::from_pointee(server_config(&files)?);
        Ok(Self(Arc::new(Loaded { files, config })))
    }

    /// Reads them again; connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was read before is still used.
    pub(crate) fn reload(&self) -> Result<(), Report> {
        self.0.config.store(Arc::new(server_config(&self.0.files)?));
        Ok(())
    }

    /// Agrees with a client.
    ///
    /// # Errors
    /// When it speaks no TLS, or its certificate is none of ours.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let tls = TlsAcceptor::from(self.0.config.load_full()).accept(tcp).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

impl BackendTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(crate) fn load(files: BackendFiles) -> Result<Self, Report> {
        let config = ArcSwap::from_pointee(backend_config(&files)?);
        Ok(Self(Arc::new(Loaded { files, config })))
    }

    /// Reads them again; connections that are open stay as they are.
    ///
    /// # Errors
    /// As [`load`](Self::load); what was read before is still used.
    pub(crate) fn reload(&self) -> Result<(), Report> {
        self.0.config.store(Arc::new(backend_config(&self.0.files)?));
        Ok(())
    }
}

/// Opens a connection to a server, with TLS if there is any.
///
/// # Errors
/// When it cannot be reached, or is not who it should be.
pub(crate) async fn dial(addr: &Addr, tls: Option<&BackendTls>) -> io::Result<Stream> {
    let tcp = TcpStream::connect((addr.host(), addr.port())).await?;
    tcp.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Stream::Plain(tcp)) };
    let name = ServerName::try_from(addr.host().to_owned()).map_err(io::Error::other)?;
    let connected = TlsConnector::from(tls.0.config.load_full()).connect(name, tcp).await?;
    Ok(Stream::Tls(Box::new(connected.into())))
}

fn server_config(files: &ServerFiles) -> Result<ServerConfig, Report> {
    let provider = Arc::new(default_provider());
    let wrong = |error: &dyn fmt::Display| unusable(&files.identity.cert, error);
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&error))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(ca, &error))?)
        }
    };
    let (chain, key) = identity(&files.identity)?;
    builder.with_single_cert(chain, key).map_err(|error| wrong(&error))
}

fn backend_config(files: &BackendFiles) -> Result<ClientConfig, Report> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(|error| unusable(&files.ca, &error))?;
    let builder = builder.with_root_certificates(roots(&files.ca)?);
    match &files.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(ours) => {
            let (chain, key) = identity(ours)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(&ours.cert, &error))
        }
    }
}

fn identity(files: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Report> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    Ok((certificates(&files.cert)?, key))
}

fn roots(path: &Path) -> Result<RootCertStore, Report> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Report> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, why: &dyn fmt::Display) -> Report {
    Report::new("a file for TLS cannot be used", path.display(), why)
        .next("it must be PEM, readable by this user; a key must belong to its certificate")
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}

impl fmt::Debug for BackendTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}
