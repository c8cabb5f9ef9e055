//! CONFIG GET: what programs ask a server before they use it. Most of it a proxy has not; then it says
//! what makes nobody wait for it.

use super::super::{Worker, dispatch::Frame, glob::matches, proto::Answer, session::SessionId};

impl Worker {
    pub(super) fn config_get(&self, id: SessionId, frame: Frame<'_>, answer: &mut Answer) {
        let limits = &self.limits;
        let settings: [(&str, String); 19] = [
            ("appendfsync", "everysec".to_owned()),
            ("appendonly", "no".to_owned()),
            ("client-query-buffer-limit", limits.max_request.to_string()),
            ("cluster-enabled", "no".to_owned()),
            ("databases", "1".to_owned()),
            ("io-threads", self.registry.workers().len().to_string()),
            ("maxclients", limits.max_clients.to_string()),
            ("maxmemory", "0".to_owned()),
            ("maxmemory-policy", "noeviction".to_owned()),
            ("maxmemory-samples", "5".to_owned()),
            ("notify-keyspace-events", String::new()),
            ("port", self.port(id).to_string()),
            ("proto-max-bulk-len", limits.max_bulk.to_string()),
            ("save", String::new()),
            ("slowlog-log-slower-than", limits.slowlog_slower_than.as_micros().to_string()),
            ("slowlog-max-len", limits.slowlog_max_len.to_string()),
            ("tcp-keepalive", "0".to_owned()),
            ("timeout", limits.idle_timeout.as_secs().to_string()),
            ("tls-port", "0".to_owned()),
        ];
        let patterns: Vec<Vec<u8>> =
            frame.args[2..].iter().map(|arg| arg.of(frame.bytes).to_ascii_lowercase()).collect();
        let meant = |name: &str| patterns.iter().any(|pattern| matches(pattern, name.as_bytes()));
        let chosen: Vec<_> = settings.iter().filter(|(name, _)| meant(name)).collect();
        answer.map(chosen.len());
        for (name, value) in chosen {
            answer.bulk(name.as_bytes());
            answer.bulk(value.as_bytes());
        }
    }

    /// The port that a client has come to.
    pub(super) fn port(&self, id: SessionId) -> u16 {
        let stream = self.sessions[id].stream.as_ref();
        stream.and_then(|stream| stream.tcp().local_addr().ok()).map_or(0, |addr| addr.port())
    }
}
