//! Processes that a server forks: whether it has one, what it says of the last, and what would make it fork.

use std::{collections::BTreeMap, time::Duration};

use codis_core::duty::snapshots::{Child, Does, NAMES, Said, Settings};

use crate::{Redis, RedisCause, RedisError, Reply};

/// What is asked for together with the settings that are changed.
const PATTERNS: [&str; 3] = ["save", "auto-aof-rewrite-*", "repl-diskless-sync*"];

impl Redis {
    /// What it says of its memory, its children, and what makes it fork.
    ///
    /// # Errors
    /// With address and command.
    pub async fn said(&mut self) -> Result<Said, RedisError> {
        let mut pipe = redis::Pipeline::new();
        pipe.cmd("INFO").cmd("TIME");
        for pattern in PATTERNS {
            pipe.cmd("CONFIG").arg("GET").arg(pattern);
        }
        let replies = self.conn().pipeline("INFO", &pipe, Duration::ZERO).await?;
        let [info, time, settings @ ..] = &replies[..] else {
            return Err(self.conn().unexpected("INFO", &Reply::Nil));
        };
        let text = info.text().ok_or_else(|| self.conn().unexpected("INFO", info))?;
        let now_s = match time {
            Reply::Array(parts) => parts.first().and_then(Reply::text).and_then(|text| text.parse().ok()),
            _ => None,
        };
        let known = settings.iter().all(|reply| matches!(reply, Reply::Array(_)));
        let mut found = Settings::new();
        for reply in settings {
            let Reply::Array(items) = reply else { continue };
            for pair in items.chunks_exact(2) {
                if let (Some(name), Some(value)) = (pair[0].text(), pair[1].text()) {
                    found.insert(name, value);
                }
            }
        }
        Ok(Said { settings: known.then_some(found), ..said(&text, now_s) })
    }

    /// Sets some of the settings of [`NAMES`], the rest of what it is given it leaves alone, and writes them into the
    /// configuration file. `false` if it has none.
    ///
    /// # Errors
    /// With address and command; those before the one that is refused are set.
    pub async fn set_forking(&mut self, settings: &Settings) -> Result<bool, RedisError> {
        for (name, value) in NAMES.iter().filter_map(|name| settings.get_key_value(*name)) {
            self.conn().query(&["CONFIG", "SET", name, value]).await?;
        }
        match self.conn().query(&["CONFIG", "REWRITE"]).await {
            Err(error) if matches!(error.cause, RedisCause::Refused(_)) => Ok(false),
            done => done.map(|_| true),
        }
    }

    /// For how long slaves that want a whole copy wait, seconds; until it restarts.
    ///
    /// # Errors
    /// With address and command.
    pub async fn set_copy_delay(&mut self, seconds: u64) -> Result<(), RedisError> {
        let seconds = seconds.to_string();
        self.conn().query(&["CONFIG", "SET", "repl-diskless-sync-delay", &seconds]).await.map(drop)
    }

    /// Has it fork. Returns once it has.
    ///
    /// # Errors
    /// `Refused` if it has a child already.
    pub async fn fork(&mut self, does: Does) -> Result<(), RedisError> {
        self.conn().query(&[does.as_str()]).await.map(drop)
    }
}

fn said(text: &str, now_s: Option<u64>) -> Said {
    let fields: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let word = |name: &str| fields.get(name).copied().unwrap_or_default();
    let number = |name: &str| word(name).parse::<u64>().unwrap_or_default();
    let child = |flag: &str, since: &str, does| {
        (number(flag) != 0).then(|| Child { does, for_ms: number(since) * 1000 })
    };
    let slaves = fields.iter().filter(|(name, value)| {
        let index = name.strip_prefix("slave").unwrap_or_default();
        let is_slave = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        is_slave && (value.contains("state=wait_bgsave") || value.contains("state=send_bulk"))
    });
    Said {
        used: number("used_memory"),
        rss: number("used_memory_rss"),
        max: number("maxmemory"),
        host: number("total_system_memory"),
        child: child("rdb_bgsave_in_progress", "rdb_current_bgsave_time_sec", Does::Save)
            .or_else(|| child("aof_rewrite_in_progress", "aof_current_rewrite_time_sec", Does::Rewrite))
            .or_else(|| child("module_fork_in_progress", "", Does::Module)),
        scheduled: number("aof_rewrite_scheduled") != 0,
        loading: number("loading") != 0 || number("async_loading") != 0,
        copying: number("master_sync_in_progress") != 0,
        waiting: slaves.count() as u64,
        aof: number("aof_enabled") != 0,
        aof_size: number("aof_current_size"),
        aof_base: number("aof_base_size"),
        changes: number("rdb_changes_since_last_save"),
        saved_ago_ms: now_s.map_or(0, |now| now.saturating_sub(number("rdb_last_save_time")) * 1000),
        save_failed: word("rdb_last_bgsave_status") == "err",
        rewrite_failed: word("aof_last_bgrewrite_status") == "err",
        settings: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_saves_while_a_slave_waits() {
        let text = "redis_version:7.0.15\r\nused_memory:1000\r\nused_memory_rss:2000\r\ntotal_system_memory:9000\r\n\
            loading:0\r\nrdb_changes_since_last_save:3\r\nrdb_bgsave_in_progress:1\r\nrdb_last_save_time:100\r\n\
            rdb_last_bgsave_status:err\r\nrdb_current_bgsave_time_sec:4\r\naof_enabled:0\r\n\
            aof_rewrite_in_progress:0\r\naof_last_bgrewrite_status:ok\r\nrole:master\r\nconnected_slaves:2\r\n\
            slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1\r\n\
            slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\nslave_read_only:1\r\n";
        let said = said(text, Some(160));
        assert_eq!(said.child, Some(Child { does: Does::Save, for_ms: 4000 }));
        assert_eq!((said.used, said.rss, said.host, said.size()), (1000, 2000, 9000, 2000));
        assert_eq!((said.waiting, said.changes, said.saved_ago_ms), (1, 3, 60_000));
        assert!(said.save_failed && !said.rewrite_failed && !said.copying && !said.aof && !said.loading);
    }

    #[test]
    fn an_old_slave_that_rewrites_its_file() {
        let text = "redis_version:2.8.21\nrole:slave\nmaster_sync_in_progress:1\naof_enabled:1\n\
            aof_rewrite_in_progress:1\naof_current_rewrite_time_sec:2\naof_current_size:300\naof_base_size:100\n";
        let said = said(text, None);
        assert_eq!(said.child, Some(Child { does: Does::Rewrite, for_ms: 2000 }));
        assert_eq!((said.aof_size, said.aof_base, said.host, said.saved_ago_ms), (300, 100, 0, 0));
        assert!(said.copying && said.aof);
    }
}
