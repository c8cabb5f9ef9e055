//! Where the password comes from: never from an argument, never from a file that others can read.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use super::{ConfigError, file::File, unreadable};
use crate::{
    config::{Secret, User},
    report::Report,
};

/// Most users.
const MAX_USERS: usize = 10_000;

/// The password from CODIS_PASSWORD, else what stands in a config.ini, else the first line of the file that
/// `password_file` names.
pub(super) fn find(file: &File) -> Result<Option<Secret>, ConfigError> {
    if let Ok(given) = std::env::var("CODIS_PASSWORD") {
        return Ok(secret(&given));
    }
    match (&file.password, file.text("password_file")) {
        (Some(inline), _) => Ok(Some(inline.clone())),
        (None, Some(path)) => read(Path::new(path)),
        (None, None) => Ok(None),
    }
}

/// The users that clients may log in as: lines of the file that `users_file` names, each a name, blanks, and
/// the password to the end of the line.
pub(super) fn users(file: &File) -> Result<Vec<User>, ConfigError> {
    let Some(path) = file.text("proxy.users_file") else { return Ok(Vec::new()) };
    let text = read_secret(Path::new(path), "the users file cannot be used")?;
    let mut users: Vec<User> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        // Never the line itself, which may hold a password.
        let wrong = |why: &str| {
            Report::new("the users file cannot be used", format!("{path}:{}", at + 1), why)
                .next("write a name, a blank, and the password, one user a line")
        };
        let (name, password) = line.split_once([' ', '\t']).ok_or_else(|| wrong("there is no password"))?;
        let password = secret(password.trim_start()).ok_or_else(|| wrong("there is no password"))?;
        if name.is_empty() {
            return Err(wrong("there is no name").into());
        }
        if users.iter().any(|user| user.name == name) {
            return Err(wrong(&format!("there are two users `{name}`")).into());
        }
        users.push(User { name: name.to_owned(), password });
    }
    if users.is_empty() || users.len() > MAX_USERS {
        let why = format!("it has {} users, not 1 to {MAX_USERS}", users.len());
        return Err(Report::new("the users file cannot be used", path, why)
            .next("write a name, a blank, and the password, one user a line; or remove `users_file`")
            .into());
    }
    Ok(users)
}

fn read(path: &Path) -> Result<Option<Secret>, ConfigError> {
    let text = read_secret(path, "the password file cannot be used")?;
    Ok(secret(text.lines().next().unwrap_or_default()))
}

/// The text of a file, unless others than its owner may read it.
fn read_secret(path: &Path, what: &str) -> Result<String, ConfigError> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        let place = path.display();
        let report = Report::new(what, &place, "others than its owner may read it");
        return Err(report.next(format!("chmod 600 {place}")).into());
    }
    Ok(fs::read_to_string(path).map_err(failed)?)
}

fn secret(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "hush\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).unwrap().is_some_and(|secret| secret.reveal() == b"hush"));
    }

    #[test]
    fn users_are_lines_of_a_file() {
        use std::os::unix::fs::PermissionsExt as _;

        use crate::settings::file::Value;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let mut file = File::named("codis.toml");
            file.put("proxy.users_file", Value::Text(path.to_str().unwrap().to_owned()), 1);
            users(&file)
        };
        let found = with("# who\nalice hush\n\nbob\t two words\n").unwrap();
        let found: Vec<_> =
            found.iter().map(|user| (user.name.as_str(), user.password.reveal().to_vec())).collect();
        assert_eq!(found, [("alice", b"hush".to_vec()), ("bob", b"two words".to_vec())]);
        for (text, why) in [
            ("alice\n", "users:1"),
            ("a x\nb \n", "users:2"),
            ("a x\n hush\n", "there is no name"),
            ("a hush\na hush\n", "there are two users `a`"),
            ("# nobody\n", "it has 0 users"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_password_is_compared_as_a_whole() {
        let secret = Secret::new("hush");
        assert!(secret.is(b"hush"));
        for wrong in [&b""[..], b"hus", b"hushh", b"hushhush", b"HUSH"] {
            assert!(!secret.is(wrong));
        }
        assert_eq!(secret.auth(), [&b"AUTH"[..], b"hush"]);
        assert_eq!(secret.of("codis").auth(), [&b"AUTH"[..], b"codis", b"hush"]);
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "***");
    }
}
