//! Which files TLS is made of.

use std::path::PathBuf;

use super::{ConfigError, file::File};
use crate::tls::{BackendFiles, BackendTls, Identity, ServerFiles, ServerTls};

/// Where and how clients connect with TLS, if anywhere.
pub(super) fn for_clients(file: &File) -> Result<Option<(String, ServerTls)>, ConfigError> {
    let Some(listen) = file.text("proxy.tls_listen") else {
        return only_with(
            file,
            "proxy.tls_listen",
            &["proxy.tls_cert", "proxy.tls_key", "proxy.tls_client_ca"],
        );
    };
    let Some(identity) = identity(file, "proxy.tls_cert", "proxy.tls_key")? else {
        return Err(file.wrong("proxy.tls_listen", "it needs `tls_cert` and `tls_key`").into());
    };
    let files = ServerFiles { identity, client_ca: path(file, "proxy.tls_client_ca") };
    Ok(Some((listen.to_owned(), ServerTls::load(files)?)))
}

/// How servers are reached with TLS, if at all.
pub(super) fn for_servers(file: &File) -> Result<Option<BackendTls>, ConfigError> {
    let Some(ca) = path(file, "proxy.backend_ca") else {
        return only_with(file, "proxy.backend_ca", &["proxy.backend_cert", "proxy.backend_key"]);
    };
    let identity = identity(file, "proxy.backend_cert", "proxy.backend_key")?;
    Ok(Some(BackendTls::load(BackendFiles { ca, identity })?))
}

fn path(file: &File, key: &str) -> Option<PathBuf> {
    file.text(key).map(PathBuf::from)
}

fn identity(file: &File, cert: &str, key: &str) -> Result<Option<Identity>, ConfigError> {
    match (path(file, cert), path(file, key)) {
        (Some(cert), Some(key)) => Ok(Some(Identity { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(file.wrong(cert, format!("it needs `{key}`")).into()),
        (None, Some(_)) => Err(file.wrong(key, format!("it needs `{cert}`")).into()),
    }
}

/// Keys that would do nothing alone are a mistake: somebody believes that there is TLS.
fn only_with<T>(file: &File, first: &str, others: &[&str]) -> Result<Option<T>, ConfigError> {
    match others.iter().find(|key| file.text(key).is_some()) {
        Some(key) => Err(file.wrong(key, format!("it does nothing without `{first}`")).into()),
        None => Ok(None),
    }
}
