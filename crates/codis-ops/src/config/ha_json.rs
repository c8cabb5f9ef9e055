//! `codis-ha.json`, the settings of the Go codis-ha, in place of `codis.toml`.
//!
//! It says how mails go out and how often servers are asked; where the product is must come from elsewhere.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use serde_json::Value;

use super::file::{self, File};
use crate::{Failure, FailureKind, Secret};

/// Keys of the original that say what is done otherwise here, or is not needed.
const UNUSED: [(&str, &str); 6] = [
    (
        "check_interval",
        "servers are asked each second, and a master is lost after ha.down_after, not after so many intervals",
    ),
    ("dashboard_addr", "no dashboard is asked"),
    ("product_name", "codis-ha does not use it either; name the product by --product"),
    ("log_file", "the log goes to standard error"),
    ("log_level", "-v and -vv say more"),
    ("max_try_times", "see ha.down_after"),
];

/// Reads and checks a file.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    let mut file = take(&file::text_of(path)?, &path.display().to_string())?;
    let open = std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o077 != 0);
    if open && file.mail_password().is_some() {
        let name = file::place_name(file.name());
        file.warn(format!("{name} holds a password and others can read it: chmod 600 {}", path.display()));
    }
    Ok(file)
}

/// The value of a setting.
struct Setting<'a> {
    value: &'a Value,
}

fn take(text: &str, name: &str) -> Result<File, Failure> {
    let fail = |line: usize, what: String, why: String, next: &str| {
        let what = format!("{} line {line}: {what}", file::place_name(name));
        Failure::new(FailureKind::Usage, what, format!("{name}:{line}"), why).next(next)
    };
    let document: Value = serde_json::from_str(text).map_err(|error| {
        let next = "write one JSON object, as codis-ha wants it";
        // The parser's words name no content.
        fail(error.line(), "not JSON".to_owned(), error.to_string(), next)
    })?;
    let Value::Object(map) = &document else {
        return Err(fail(
            1,
            "not an object".to_owned(),
            "it begins with no {".to_owned(),
            "write { \"email_addr\": ... }",
        ));
    };
    let mut file = File::named(name);
    for (key, value) in map {
        let line = line_of(text, key);
        let setting = Setting { value };
        let wrong = |why: String| {
            fail(line, format!("wrong value for `{key}`"), why, "see codis-ha.json in docs/configuration.md")
        };
        match key.as_str() {
            "email_addr" => {
                let addr = setting.text().map_err(wrong)?;
                if !addr.is_empty() {
                    file.put("alert.mail.from", addr.clone(), line);
                    file.put("alert.mail.user", addr, line);
                }
            }
            "email_pwd" => {
                let password = setting.text().map_err(wrong)?;
                if !password.is_empty() {
                    file.put_mail_password(Secret::new(password), line);
                }
            }
            "smtp_addr" => {
                let addr = setting.text().map_err(wrong)?;
                if !addr.is_empty() {
                    // It gives its password away only over TLS, or to the same machine.
                    let host = addr.rsplit_once(':').map_or(addr.as_str(), |(host, _)| host);
                    let here = ["127.0.0.1", "localhost", "[::1]"].contains(&host);
                    let security = if here { "none" } else { "starttls" };
                    file.put("alert.mail.security", security.to_owned(), line);
                    file.put("alert.mail.server", addr, line);
                }
            }
            "to_addr" => {
                let to = setting.text().map_err(wrong)?;
                if !to.is_empty() {
                    file.put("alert.mail.to", to, line);
                }
            }
            "send_interval" => file.put("alert.send_interval", setting.seconds().map_err(wrong)?, line),
            "master_save" | "slave_save" => {
                file.put(&format!("ha.{key}"), setting.text().map_err(wrong)?, line);
            }
            other => {
                let why = UNUSED.iter().find(|(key, _)| *key == other).map_or("unknown key", |(_, why)| why);
                file.warn(format!("{} line {line}: `{other}` is not used: {why}", file::place_name(name)));
            }
        }
    }
    if file.mail_password().is_none() {
        // Without one the original writes to servers that ask for none.
        file.forget("alert.mail.user");
    }
    Ok(file)
}

impl Setting<'_> {
    fn text(&self) -> Result<String, String> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| "it takes text in double quotes".to_owned())
    }

    fn seconds(&self) -> Result<String, String> {
        match self.value.as_u64() {
            Some(seconds) if seconds > 0 => Ok(format!("{seconds}s")),
            _ => Err("it takes a number of seconds, 1 or more".to_owned()),
        }
    }
}

/// Where a key stands: the first line with its name in quotes.
fn line_of(text: &str, key: &str) -> usize {
    let quoted = format!("\"{key}\"");
    text.find(&quoted).map_or(1, |at| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "dashboard_addr": "10.0.7.20:18087",
  "product_name": "db_test",
  "log_file": "./codis-ha.log", "log_level": "info",
  "check_interval": 5,
  "max_try_times": 10,
  "email_addr": "codis@example.com",
  "email_pwd": "hu=sh",
  "smtp_addr": "smtp.example.com:25",
  "to_addr": "li@example.com;wang@example.com",
  "send_interval": 300,
  "master_save": "",
  "slave_save": "600 1"
}"#;

    #[test]
    fn mails_go_where_the_original_sends_them() {
        let file = take(FILE, "/etc/codis-ha.json").unwrap();
        let expected = [
            ("alert.mail.server", "smtp.example.com:25"),
            ("alert.mail.security", "starttls"),
            ("alert.mail.from", "codis@example.com"),
            ("alert.mail.user", "codis@example.com"),
            ("alert.mail.to", "li@example.com;wang@example.com"),
            ("alert.send_interval", "300s"),
        ];
        for (key, value) in expected {
            assert_eq!(file.get(key), Some(value), "{key}");
        }
        assert_eq!(file.origin("alert.mail.to").as_deref(), Some("codis-ha.json line 10"));
        assert_eq!(file.mail_password(), Some(&Secret::new("hu=sh")));
        assert!(!format!("{file:?}").contains("hu=sh"));
        let warning = "codis-ha.json line 2: `dashboard_addr` is not used: no dashboard is asked";
        assert!(file.warnings().iter().any(|line| line == warning), "{:?}", file.warnings());
        assert_eq!((file.get("product"), file.get("store.address")), (None, None));

        let bare =
            take(r#"{"smtp_addr": "127.0.0.1:25", "email_addr": "a@b", "email_pwd": ""}"#, "x.json").unwrap();
        assert_eq!((bare.get("alert.mail.security"), bare.get("alert.mail.user")), (Some("none"), None));
    }

    #[test]
    fn a_mistake_has_its_line() {
        let refuse = |text: &str| {
            let failure = take(text, "/etc/codis-ha.json").unwrap_err();
            format!("{} ({}: {})", failure.what, failure.place, failure.why)
        };
        let wrong = "codis-ha.json line 2: wrong value for `send_interval` (/etc/codis-ha.json:2: it takes a number of seconds, 1 or more)";
        assert_eq!(refuse("{\n \"send_interval\": 0}"), wrong);
        assert!(refuse("{\n \"email_pwd\": 5}").contains("line 2: wrong value for `email_pwd`"));
        assert!(refuse("{\n \"email_pwd\": \"hush\" x").starts_with("codis-ha.json line 2: not JSON"));
        assert!(refuse("[]").starts_with("codis-ha.json line 1: not an object"));
    }
}
