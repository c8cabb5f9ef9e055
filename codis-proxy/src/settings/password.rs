//! Where the password comes from: never from an argument, never from a file that others can read.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use super::{ConfigError, file::File, unreadable};
use crate::{config::Secret, report::Report};

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

fn read(path: &Path) -> Result<Option<Secret>, ConfigError> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
        let place = path.display();
        let report =
            Report::new("the password file cannot be used", &place, "others than its owner may read it");
        return Err(report.next(format!("chmod 600 {place}")).into());
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Ok(secret(text.lines().next().unwrap_or_default()))
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
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "***");
    }
}
