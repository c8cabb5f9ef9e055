//! The `config.ini` of the Go proxy, as it is.

use codis_core::GoConfig;

use super::file::{File, Value};
use crate::{config::Secret, report::Report};

/// Reads the file. What it says of buffers and pings has no counterpart here;
/// nor is a dashboard asked to let the proxy serve.
pub(super) fn parse(text: &str, name: &str) -> Result<File, Report> {
    let config = GoConfig::parse(text).map_err(|bad| {
        let place = format!("{name}:{}", bad.line);
        Report::new(bad.what, place, bad.why).next(bad.next)
    })?;
    for setting in config.unknown() {
        tracing::warn!(file = name, line = setting.line, key = %setting.key, "unknown key, not used");
    }
    let mut file = File::named(name);
    let text = |key: &str| config.get(key).map(|setting| (setting.value.clone(), setting.line));
    // What the Go proxy takes, too.
    let (product, line) = text("product").unwrap_or_else(|| ("test".to_owned(), 0));
    file.put("product", Value::Text(product), line);
    if let Some(store) = config.store() {
        file.put("store.address", Value::Text(store), text("zk").map_or(0, |(_, line)| line));
    }
    if let Some((id, line)) = text("proxy_id") {
        file.put("proxy.id", Value::Text(id), line);
    }
    let number = |key: &str| Some((f64::from(config.number(key)?), text(key)?.1));
    if let Some((seconds, line)) = number("session_max_timeout") {
        file.put("proxy.idle_timeout", Value::Seconds(seconds), line);
    }
    if let Some((time, line)) = number("zk_session_timeout") {
        // In milliseconds, but what is too small for that in seconds, as the Go proxy takes it.
        let seconds = if time <= 100.0 { time } else { time / 1000.0 };
        file.put("proxy.session_timeout", Value::Seconds(seconds.clamp(1.0, 300.0)), line);
    }
    if let Some((depth, line)) = number("session_max_pipeline") {
        file.put("proxy.max_pipeline", Value::Whole(depth.max(1.0) as u64), line);
    }
    file.password = text("password").map(|(text, _)| Secret::new(&text));
    Ok(file)
}
