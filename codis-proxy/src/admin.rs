//! Admin pages over HTTP.

use tokio::net::TcpListener;

use crate::workers::Workers;

/// Serves the admin pages until the task is dropped.
pub(crate) async fn serve(_listener: TcpListener, _workers: Workers) -> std::io::Result<()> {
    std::future::pending().await
}
