//! One signal, seen by every part: the process is asked to stop.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Cheap to clone; every clone sees the same request to stop.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let (asked, seen) = watch::channel(false);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            let _ = asked.send(true);
            asked.closed().await;
        });
        Ok(Self(seen))
    }

    /// Resolves once the process is asked to stop, at once if it already was.
    pub(crate) async fn asked(&self) {
        let _ = self.0.clone().wait_for(|&asked| asked).await;
    }
}
