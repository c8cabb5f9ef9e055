//! Settings: from flags, then the environment, then `codis.toml`, in this order.

mod file;

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, str::FromStr, time::Duration};

use codis_core::ProductName;
use codis_ops::{Failure, FailureKind, Secret, StoreAddr, Target};

pub(crate) use file::error_text;

use crate::cli::{Global, Output};

/// The file that is read if `--config` names no other.
const FILE: &str = "codis.toml";
/// How long a call to the store may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is in force for this run.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The store; asked for when it is needed, so that `slot key` works without one.
    store: Option<StoreAddr>,
    product: Option<ProductName>,
    password: Secret,
    /// How results are printed.
    pub(crate) output: Output,
    /// Bound of one call to the store or a server.
    pub(crate) timeout: Duration,
    /// Go on without asking.
    pub(crate) yes: bool,
    /// Show plans, change nothing.
    pub(crate) dry_run: bool,
}

impl Settings {
    /// Puts flags and environment (clap has merged those) over the file.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let file = match &global.config {
            Some(path) => file::read(path)?,
            None if Path::new(FILE).exists() => file::read(Path::new(FILE))?,
            None => file::File::default(),
        };
        let name = global.config.as_deref().unwrap_or(Path::new(FILE));
        let output = match file.get("output") {
            Some("json") => Output::Json,
            Some("plain") => Output::Plain,
            _ => Output::Table,
        };
        let timeout = file.get("timeout").and_then(|text| duration(text).ok());
        Ok(Self {
            store: match &global.store {
                Some(store) => Some(store.clone()),
                None => from_file(&file, "store.address", name)?,
            },
            product: match &global.product {
                Some(product) => Some(product.clone()),
                None => from_file(&file, "product", name)?,
            },
            password: password(file.get("password_file").map(Path::new))?,
            output: global.output.unwrap_or(output),
            timeout: global.timeout.or(timeout).unwrap_or(TIMEOUT),
            yes: global.yes,
            dry_run: global.dry_run,
        })
    }

    /// The store, or how to name one.
    pub(crate) fn store(&self) -> Result<&StoreAddr, Failure> {
        self.store.as_ref().ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                "no store is named",
                "neither --store, nor CODIS_STORE, nor [store] address in codis.toml",
                "the state of a product lives in ZooKeeper or in a local file",
            )
            .next("codisctl --store zk://HOST:2181 ...    or: --store local:PATH")
        })
    }

    /// The product, or how to name one.
    pub(crate) fn product(&self) -> Result<&ProductName, Failure> {
        self.product.as_ref().ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                "no product is named",
                "neither --product, nor CODIS_PRODUCT, nor product in codis.toml",
                "a store can hold several products",
            )
            .next("codisctl product list    then: codisctl --product NAME ...")
        })
    }

    /// True if a store and a product are named, so that they can be asked about details.
    pub(crate) fn names_a_product(&self) -> bool {
        self.store.is_some() && self.product.is_some()
    }

    /// Where to connect to for this product.
    pub(crate) fn target(&self, product: ProductName) -> Result<Target, Failure> {
        Ok(Target {
            store: self.store()?.clone(),
            product,
            timeout: self.timeout,
            password: self.password.clone(),
        })
    }
}

fn from_file<T: FromStr<Err: std::fmt::Display>>(
    file: &file::File,
    key: &str,
    name: &Path,
) -> Result<Option<T>, Failure> {
    let Some(text) = file.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| {
        let place = format!("{}: {key} = \"{text}\"", name.display());
        Failure::new(FailureKind::Usage, format!("wrong value for `{key}`"), place, error)
            .next("correct the file, or give the value as a flag")
    })
}

/// `CODIS_PASSWORD`, else the first line of the password file, which nobody else may read.
fn password(path: Option<&Path>) -> Result<Secret, Failure> {
    if let Some(text) = std::env::var("CODIS_PASSWORD").ok().filter(|text| !text.is_empty()) {
        return Ok(Secret::new(text));
    }
    let Some(path) = path else { return Ok(Secret::none()) };
    let fail = |why: String, next: String| {
        Failure::new(FailureKind::Usage, "cannot use the password file", path.display(), why).next(next)
    };
    let advice = || format!("put the password on one line of {}", path.display());
    let meta = fs::metadata(path).map_err(|error| fail(error_text(&error), advice()))?;
    if meta.mode() & 0o077 != 0 {
        let why = format!("its mode is {:04o}: others can read it", meta.mode() & 0o7777);
        return Err(fail(why, format!("chmod 600 {}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(|error| fail(error_text(&error), advice()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(fail("it is empty".to_owned(), advice())),
    }
}

/// `500ms`, `10s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("`{text}` is not a duration (a number with ms, s or m, e.g. 10s)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "0s", "s", "-1s", "1h", "99999999999999999999s", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
