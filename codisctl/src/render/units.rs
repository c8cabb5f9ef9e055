//! Numbers as people read them: thousands apart, units beside.

/// `1 204 118`: thousands set apart by a blank.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `101k`, `3.25 M`, `1.20 G`; below 10 000 as it is, thousands apart.
pub(crate) fn count(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = number as f64;
    match number {
        0..10_000 => grouped(number),
        10_000..1_000_000 => format!("{:.0}k", value / 1e3),
        1_000_000..1_000_000_000 => format!("{} M", three(value / 1e6)),
        _ => format!("{} G", three(value / 1e9)),
    }
}

/// `512 B`, `88 KiB`, `9.1 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    const STEPS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in STEPS {
        if number >= size {
            #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
            let value = number as f64 / size as f64;
            return if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
    }
    format!("{number} B")
}

/// `8.0k/s` style rates: one decimal above a thousand.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.1}M", per_second / 1e6)
    } else if per_second >= 1e3 {
        format!("{:.1}k", per_second / 1e3)
    } else if per_second >= 10.0 || per_second == 0.0 {
        format!("{per_second:.0}")
    } else {
        format!("{per_second:.1}")
    }
}

/// `18 s`, `1m24s`, `2h11m`, `3 d`.
pub(crate) fn seconds(total: u64) -> String {
    match total {
        0..60 => format!("{total} s"),
        60..3600 => format!("{}m{:02}s", total / 60, total % 60),
        3600..172_800 => format!("{}h{:02}m", total / 3600, total % 3600 / 60),
        _ => format!("{} d", total / 86_400),
    }
}

fn three(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// Now, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `2026-11-22 14:32:08`, in UTC, of Unix milliseconds.
pub(crate) fn date_time(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02} {}", time(unix_ms))
}

/// `14:32:08`, in UTC, of Unix milliseconds.
pub(crate) fn time(unix_ms: u64) -> String {
    let second = unix_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970, by counting in eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_on_the_screens() {
        assert_eq!([0, 999, 1204, 1_204_118].map(grouped), ["0", "999", "1 204", "1 204 118"]);
        assert_eq!([9999, 101_400, 3_250_000, 41_900_000].map(count), ["9 999", "101k", "3.25 M", "41.9 M"]);
        assert_eq!(
            [0, 90_112, 9_770_000_000, 134_217_728].map(bytes),
            ["0 B", "88 KiB", "9.1 GiB", "128 MiB"]
        );
        assert_eq!([0.0, 0.2, 15.4, 8012.0].map(rate), ["0", "0.2", "15", "8.0k"]);
        assert_eq!([18, 84, 7860, 172_800].map(seconds), ["18 s", "1m24s", "2h11m", "2 d"]);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(0), "1970-01-01 00:00:00");
        assert_eq!(date_time(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(date_time(1_795_357_928_000), "2026-11-22 14:32:08");
        assert_eq!(date_time(4_107_542_399_000), "2100-02-28 23:59:59");
    }
}
