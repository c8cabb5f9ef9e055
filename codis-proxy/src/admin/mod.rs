//! Admin pages over HTTP: what people, Prometheus and the tools of the Go proxy read. Nothing here
//! changes anything.

mod metrics;
mod pages;
mod window;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use codis_admin::{Health, go};
use tokio::net::TcpListener;

use crate::status::Status;
use crate::workers::Workers;
use window::Window;

/// Pause between two samples for the rates of the last seconds.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// What the pages are made of.
#[derive(Clone)]
struct Source {
    workers: Workers,
    status: Status,
    window: Arc<Mutex<Window>>,
}

/// Serves the admin pages until the task is dropped.
///
/// # Errors
/// When the listener fails for good.
pub(crate) async fn serve(listener: TcpListener, workers: Workers, status: Status) -> std::io::Result<()> {
    let source = Source { workers, status, window: Arc::default() };
    let sampling = {
        let source = source.clone();
        async move {
            let mut tick = tokio::time::interval(SAMPLE_EVERY);
            loop {
                tick.tick().await;
                let stats = source.workers.stats().await;
                source.window.lock().unwrap_or_else(PoisonError::into_inner).sample(&stats);
            }
        }
    };
    let pages = Router::new()
        .route("/", get(index))
        .route("/stats", get(stats))
        .route("/slots", get(slots))
        .route("/commands", get(commands))
        .route("/errors", get(errors))
        .route("/slowlog", get(slowlog))
        .route("/hotkeys", get(hotkeys))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/debug/vars", get(debug_vars))
        .route("/MoniData", get(moni_data))
        .route("/slotsinfo", get(slots_info))
        .with_state(source);
    tokio::select! {
        served = axum::serve(listener, pages) => served,
        () = sampling => Ok(()),
    }
}

async fn index() -> &'static str {
    "codis-proxy admin pages: /stats /commands /slots /errors /slowlog /hotkeys /healthz /readyz /metrics /debug/vars /MoniData /slotsinfo\n"
}

async fn stats(State(source): State<Source>) -> Response {
    let stats = source.workers.stats().await;
    let recent = source.window.lock().unwrap_or_else(PoisonError::into_inner).recent(&stats);
    Json(pages::stats(&stats, &source.status.facts(), &source.workers.table(), recent)).into_response()
}

async fn commands(State(source): State<Source>) -> Response {
    let stats = source.workers.stats().await;
    Json(pages::commands(&stats, &source.status.facts())).into_response()
}

async fn slots(State(source): State<Source>) -> Response {
    Json(pages::slots(&source.workers.table())).into_response()
}

async fn errors(State(source): State<Source>) -> Response {
    Json(source.workers.journal().errors()).into_response()
}

async fn slowlog(State(source): State<Source>) -> Response {
    Json(source.workers.journal().slow_page()).into_response()
}

async fn hotkeys(State(source): State<Source>) -> Response {
    Json(source.workers.hot().await).into_response()
}

/// The process is alive if it answers.
async fn healthz() -> Response {
    health(None)
}

async fn readyz(State(source): State<Source>) -> Response {
    health(source.status.facts().not_ready)
}

fn health(why: Option<String>) -> Response {
    let status = if why.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Health { ok: why.is_none(), why })).into_response()
}

async fn metrics_page(State(source): State<Source>) -> Response {
    let stats = source.workers.stats().await;
    match metrics::text(&stats, &source.status.facts(), &source.workers.table()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => failed(&error),
    }
}

async fn debug_vars(State(source): State<Source>) -> Response {
    let stats = source.workers.stats().await;
    go_page("router", &pages::debug_vars(&stats).router)
}

async fn moni_data(State(source): State<Source>) -> Response {
    let stats = source.workers.stats().await;
    go_page("router", &pages::moni_data(&stats).router)
}

async fn slots_info(State(source): State<Source>) -> Response {
    go_page("slots", &pages::slots_info(&source.workers.table()).slots)
}

fn go_page(name: &str, inner: &impl serde::Serialize) -> Response {
    match go::text(name, inner) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], text).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("this page cannot be made: {error}\n")).into_response()
}
