//! How values are shown in messages.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Environment, Value};

use crate::Lang;

/// Adds what `texts/*.toml` uses.
pub(crate) fn add_to(env: &mut Environment<'_>, lang: Lang, zone: &TimeZone) {
    env.add_filter("bytes", |value: &Value| whole(value).map_or_else(String::new, bytes));
    env.add_filter("grouped", |value: &Value| whole(value).map_or_else(String::new, grouped));
    env.add_filter("span", move |value: &Value| whole(value).map_or_else(String::new, |ms| span(ms, lang)));
    env.add_filter("us", |value: &Value| whole(value).map_or_else(String::new, micros));
    let dates = zone.clone();
    env.add_filter("date", move |value: &Value| {
        whole(value).map_or_else(String::new, |ms| moment(ms, &dates, "%Y-%m-%d"))
    });
    env.add_filter("names", move |value: &Value, between: Option<&str>| {
        let between = between.unwrap_or(match lang {
            Lang::En => ", ",
            Lang::Zh => "、",
        });
        lines(value).join(between)
    });
    env.add_filter("count_of", |value: &Value| lines(value).len());
    env.add_function("pair", move |used: &Value, max: &Value| {
        pair(whole(used).unwrap_or(0), whole(max).unwrap_or(0), lang)
    });
    env.add_function("percent", |part: &Value, all: &Value| {
        percent(whole(part).unwrap_or(0), whole(all).unwrap_or(0))
    });
}

/// A value as templates see it: a number if it is one, nothing if it is empty.
pub(crate) fn value(text: &str) -> Value {
    match text {
        "" => Value::from(()),
        "true" => Value::from(true),
        "false" => Value::from(false),
        _ => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
    }
}

fn whole(value: &Value) -> Option<u64> {
    u64::try_from(value.clone()).ok().or_else(|| value.as_str()?.parse().ok())
}

fn lines(value: &Value) -> Vec<String> {
    if value.is_none() || value.is_undefined() {
        return Vec::new();
    }
    value.to_string().lines().map(str::to_owned).collect()
}

/// A time in the place's own clock.
pub(crate) fn moment(ms: u64, zone: &TimeZone, format: &str) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn unit_of(number: u64) -> (&'static str, u64) {
    UNITS.into_iter().find(|(_, size)| number >= *size).unwrap_or(("B", 1))
}

#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
fn bytes(number: u64) -> String {
    match unit_of(number) {
        (unit, 1) => format!("{number} {unit}"),
        (unit, size) if number / size >= 100 => format!("{} {unit}", number / size),
        (unit, size) => format!("{:.1} {unit}", number as f64 / size as f64),
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
fn pair(used: u64, max: u64, lang: Lang) -> String {
    let (unit, size) = unit_of(max);
    let [used, max] = [used, max].map(|number| number as f64 / size as f64);
    match lang {
        Lang::En => format!("{used:.1} of {max:.1} {unit}"),
        Lang::Zh => format!("{used:.1}/{max:.1} {unit}"),
    }
}

fn percent(part: u64, all: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(all.max(1))).unwrap_or(u64::MAX)
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `0.4 s`, `41 s`, `12 min`, `3 h 11 min`, `4 days`.
pub(crate) fn span(ms: u64, lang: Lang) -> String {
    let [s, min, h, d] = match lang {
        Lang::En => ["s", "min", "h", "days"],
        Lang::Zh => ["秒", "分钟", "小时", "天"],
    };
    let seconds = (ms + 500) / 1000;
    match seconds {
        _ if ms < 10_000 && !ms.is_multiple_of(1000) => format!("{}.{} {s}", ms / 1000, ms % 1000 / 100),
        0..600 => format!("{seconds} {s}"),
        600..7200 => format!("{} {min}", seconds / 60),
        7200..172_800 => format!("{} {h} {} {min}", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} {d}", seconds / 86_400),
    }
}

fn micros(us: u64) -> String {
    if us < 100_000 { format!("{}.{} ms", us / 1000, us % 1000 / 100) } else { format!("{} ms", us / 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!([512, 90_112, 13_421_772_800].map(bytes), ["512 B", "88.0 KiB", "12.5 GiB"]);
        assert_eq!(bytes(290 << 20), "290 MiB");
        assert_eq!(pair(13_421_772_800, 15 << 30, Lang::En), "12.5 of 15.0 GiB");
        assert_eq!((percent(83, 100), percent(1, 0), grouped(849_992)), (83, 100, "849 992".to_owned()));
        let spans = [400, 6000, 6500, 41_000, 300_000, 720_000, 11_460_000, 345_600_000];
        let expected = ["0.4 s", "6 s", "6.5 s", "41 s", "300 s", "12 min", "3 h 11 min", "4 days"];
        assert_eq!(spans.map(|ms| span(ms, Lang::En)), expected);
        assert_eq!(span(41_000, Lang::Zh), "41 秒");
        assert_eq!([120, 14_000, 250_000].map(micros), ["0.1 ms", "14.0 ms", "250 ms"]);
    }
}
