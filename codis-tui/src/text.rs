//! Numbers, times and names as the screen writes them.

/// Thousands set apart by a space: `41 204`.
pub fn spaced(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A count of keys in a table: `41 204`, `658k`, `3.25 M`.
pub fn keys(n: u64) -> String {
    match n {
        0..100_000 => spaced(n),
        100_000..1_000_000 => format!("{}k", n / 1_000),
        _ => {
            let millions = n as f64 / 1e6;
            if millions < 10.0 { format!("{millions:.2} M") } else { format!("{millions:.1} M") }
        }
    }
}

/// A count where there is little room: `9312`, `41k`, `3.2M`.
pub fn brief(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1_000),
        _ => format!("{:.1}M", n as f64 / 1e6),
    }
}

/// A rate: `214`, `8.0k`, `221k`.
pub fn rate(per_s: f64) -> String {
    match per_s {
        r if r < 1_000.0 => format!("{r:.0}"),
        r if r < 100_000.0 => format!("{:.1}k", r / 1e3),
        r if r < 1e6 => format!("{:.0}k", r / 1e3),
        r => format!("{:.1}M", r / 1e6),
    }
}

/// An age or a remaining time: `0.4 s`, `47 s`, `4m09s`, `2h05m`.
pub fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match ms {
        0..10_000 => format!("{}.{} s", s, ms % 1_000 / 100),
        10_000..90_000 => format!("{s} s"),
        90_000..3_600_000 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
    }
}

/// Time of the day in UTC, as the other programs and the logs tell it: `HH:MM:SS`.
pub fn clock(ms: u64) -> String {
    let s = ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// The text in at most `width` columns; what does not fit ends in `…` (`~` in ASCII).
pub fn clip(text: &str, width: usize, ellipsis: char) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        out.push(ellipsis);
    }
    out
}

/// A store address as the title shows it: `zk://10.0.7.11:2181,10.0.7.12:2181/codis` becomes
/// `zk 10.0.7.11,12:2181/codis`.
pub fn short_store(address: &str) -> String {
    if let Some(path) = address.strip_prefix("local:") {
        return format!("local {path}");
    }
    let Some(rest) = address.strip_prefix("zk://") else { return address.to_owned() };
    let (hosts, chroot) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let split: Vec<(&str, &str)> = hosts.split(',').map(|h| h.rsplit_once(':').unwrap_or((h, ""))).collect();
    let port = split.first().map_or("", |(_, port)| port);
    if split.iter().any(|(_, p)| *p != port) || split.len() < 2 {
        return format!("zk {rest}");
    }
    let net = split.first().and_then(|(host, _)| host.rsplit_once('.')).map_or("", |(net, _)| net);
    let mut names = Vec::new();
    for (i, (host, _)) in split.iter().enumerate() {
        let last = host.rsplit_once('.').filter(|(n, last)| {
            i > 0 && *n == net && !net.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
        });
        names.push(last.map_or(*host, |(_, last)| last));
    }
    format!("zk {}:{port}{chroot}", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_on_the_screens() {
        assert_eq!([spaced(7), spaced(1_204), spaced(1_204_118)], ["7", "1 204", "1 204 118"]);
        assert_eq!(
            [keys(41_204), keys(658_000), keys(3_250_000), keys(41_900_000)],
            ["41 204", "658k", "3.25 M", "41.9 M"]
        );
        assert_eq!([brief(9_312), brief(101_200), brief(3_250_000)], ["9312", "101k", "3.2M"]);
        assert_eq!([rate(214.0), rate(8_000.0), rate(221_200.0)], ["214", "8.0k", "221k"]);
        assert_eq!(
            [span(400), span(47_000), span(249_000), span(7_500_000)],
            ["0.4 s", "47 s", "4m09s", "2h05m"]
        );
        assert_eq!(clock(1_795_357_928_000), "14:32:08");
    }

    #[test]
    fn stores_of_one_network_are_shortened() {
        let ensemble = "zk://10.0.7.11:2181,10.0.7.12:2181,10.0.7.13:2181/codis";
        assert_eq!(short_store(ensemble), "zk 10.0.7.11,12,13:2181/codis");
        assert_eq!(short_store("zk://a.b.c:2181,a.b.d:2181"), "zk a.b.c,a.b.d:2181");
        assert_eq!(short_store("zk://h1:2181"), "zk h1:2181");
        assert_eq!(short_store("local:/var/codis.db"), "local /var/codis.db");
    }

    #[test]
    fn long_text_is_cut_visibly() {
        assert_eq!(clip("165-171 251-257", 8, '…'), "165-171…");
        assert_eq!(clip("fits", 4, '…'), "fits");
    }
}
