//! What the proxy says about itself in the store.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codis_core::{Addr, Extra, ParseError, Proxy, ProxyId, ProxyState};

/// The proxy's node as it registers: offline. Process id and start time stay the same for the life
/// of the process; with the id they are how an action names its receivers.
///
/// # Errors
/// When `listen` is not an address.
pub(super) fn identity(id: &ProxyId, listen: &str, admin: &str) -> Result<Proxy, ParseError> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Proxy {
        id: id.clone(),
        addr: published(listen, &host).parse::<Addr>()?,
        state: ProxyState::Offline,
        debug_var_addr: published(admin, &host),
        pid: i64::from(std::process::id()),
        start_at: Proxy::start_mark(&utc(since), env!("CARGO_PKG_VERSION")),
        extra: Extra::default(),
    })
}

/// The address under which others reach us: one that stands for all interfaces names none, so the
/// host's name takes its place.
fn published(listen: &str, host: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("" | "0.0.0.0" | "[::]" | "*", port)) => format!("{host}:{port}"),
        _ => listen.to_owned(),
    }
}

/// A server on another host, if the published address of the admin pages means something else there.
pub(super) fn hidden_from<'a>(
    published: &str,
    mut servers: impl Iterator<Item = &'a Addr>,
) -> Option<&'a Addr> {
    let host = published.rsplit_once(':').map_or(published, |(host, _)| host);
    is_loopback(host).then(|| servers.find(|server| !is_loopback(server.host()))).flatten()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// A time since 1970 as the Go proxies write it: `2026-11-22 08:00:59.158684094 +0000 UTC`.
fn utc(since: Duration) -> String {
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanos:09} +0000 UTC")
}

/// Year, month and day of a number of days since 1970. Years are counted from March, so that the
/// leap day is the last of them; 400 years have 146097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use codis_core::ProxyKind;

    use super::*;

    #[test]
    fn times_are_written_as_the_go_proxies_do() {
        assert_eq!(utc(Duration::ZERO), "1970-01-01 00:00:00.000000000 +0000 UTC");
        // `date -u -d '2026-11-22 08:00:59' +%s` and so on.
        assert_eq!(utc(Duration::new(1_795_334_459, 158_684_094)), "2026-11-22 08:00:59.158684094 +0000 UTC");
        assert_eq!(utc(Duration::from_secs(1_709_251_199)), "2024-02-29 23:59:59.000000000 +0000 UTC");
        assert_eq!(utc(Duration::from_secs(4_107_542_400)), "2100-03-01 00:00:00.000000000 +0000 UTC");
    }

    #[test]
    fn an_address_for_all_interfaces_gets_the_name_of_the_host() {
        assert_eq!(published("0.0.0.0:19000", "h"), "h:19000");
        assert_eq!(published(":19000", "h"), "h:19000");
        assert_eq!(published("[::]:19000", "h"), "h:19000");
        assert_eq!(published("127.0.0.1:19000", "h"), "127.0.0.1:19000");
        assert_eq!(published("10.0.0.7:19000", "h"), "10.0.0.7:19000");
    }

    #[test]
    fn admin_pages_on_the_loopback_are_hidden_from_other_hosts() {
        let servers: Vec<Addr> = ["127.0.0.1:1", "10.0.0.7:1"].map(|addr| addr.parse().unwrap()).into();
        for hidden in ["127.0.0.1:11000", "localhost:11000", "[::1]:11000", "127.8.8.8:1"] {
            assert_eq!(hidden_from(hidden, servers.iter()), Some(&servers[1]), "{hidden}");
            assert_eq!(hidden_from(hidden, servers[..1].iter()), None, "everything is on this host");
        }
        assert_eq!(hidden_from("10.0.0.9:11000", servers.iter()), None);
        assert_eq!(hidden_from("px-1:11000", servers.iter()), None);
    }

    #[test]
    fn the_node_says_that_it_is_ours() {
        let proxy = identity(&"p1".parse().unwrap(), "127.0.0.1:19000", "127.0.0.1:11000").unwrap();
        assert_eq!(proxy.kind(), ProxyKind::Ours(env!("CARGO_PKG_VERSION").to_owned()));
        assert_eq!((proxy.state, proxy.debug_var_addr.as_str()), (ProxyState::Offline, "127.0.0.1:11000"));
        assert!(identity(&"p1".parse().unwrap(), "19000", "").is_err());
    }
}
