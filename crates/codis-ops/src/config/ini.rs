//! `config.ini` of the Go programs in place of `codis.toml`.

use std::path::Path;

use codis_core::{BadGoConfig, GoConfig, GoSetting, ProductName};
use codis_store::StoreAddr;

use super::file::{self, File};
use crate::{Failure, FailureKind, Secret};

/// What the Go programs take where the file does not say.
const PRODUCT: &str = "test";
const STORE: &str = "zk://localhost:2181";

/// Reads and checks a file.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    take(&file::text_of(path)?, &path.display().to_string())
}

fn take(text: &str, name: &str) -> Result<File, Failure> {
    let config = GoConfig::parse(text).map_err(|error| wrong(name, error))?;
    let mut file = File::named(name);
    let fill = |file: &mut File, path: &str, text: String, setting: Option<&GoSetting>| {
        file.put(path, text, setting.map_or(0, |setting| setting.line));
    };
    let product = config.get("product");
    let value = product.map_or(PRODUCT, |setting| &setting.value);
    if let (Err(why), Some(setting)) = (value.parse::<ProductName>(), product) {
        return Err(unfit(name, setting, why, "product=feed"));
    }
    fill(&mut file, "product", value.to_owned(), product);
    let zk = config.get("zk");
    let value = config.store().unwrap_or_else(|| STORE.to_owned());
    if let (Err(why), Some(setting)) = (value.parse::<StoreAddr>(), zk) {
        return Err(unfit(name, setting, why.why, "zk=10.0.7.11:2181,10.0.7.12:2181"));
    }
    fill(&mut file, "store.address", value, zk);
    if let Some(password) = config.get("password") {
        file.put_password(Secret::new(password.value.as_str()), password.line);
    }
    for setting in config.unknown() {
        let place = file::place_name(name);
        file.warn(format!("{place} line {}: unknown key `{}` is not used", setting.line, setting.key));
    }
    Ok(file)
}

fn unfit(name: &str, setting: &GoSetting, why: impl std::fmt::Display, example: &str) -> Failure {
    wrong(
        name,
        BadGoConfig {
            line: setting.line,
            what: format!("wrong value for `{}`", setting.key),
            why: why.to_string(),
            next: format!("write e.g. {example}"),
        },
    )
}

fn wrong(name: &str, bad: BadGoConfig) -> Failure {
    let what = format!("{} line {}: {}", file::place_name(name), bad.line, bad.what);
    Failure::new(FailureKind::Usage, what, format!("{name}:{}", bad.line), bad.why).next(bad.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_settings_are_found_in_it() {
        let text = "zk=10.0.7.11\nproduct=feed\npassword=hush\nnosie=1\n";
        let file = take(text, "/etc/codis/config.ini").unwrap();
        assert_eq!(file.get("product"), Some("feed"));
        assert_eq!(file.get("store.address"), Some("zk://10.0.7.11:2181"));
        assert_eq!(file.origin("product").as_deref(), Some("config.ini line 2"));
        assert_eq!(super::super::password(&file).unwrap(), Secret::new("hush"));
        assert_eq!(file.warnings(), ["config.ini line 4: unknown key `nosie` is not used"]);
        assert!(!format!("{file:?}").contains("hush"));
        let bare = take("", "config.ini").unwrap();
        assert_eq!((bare.get("product"), bare.get("store.address")), (Some("test"), Some(STORE)));
        assert_eq!(bare.origin("product").as_deref(), Some("config.ini, which does not say"));
    }

    #[test]
    fn a_mistake_has_its_line_and_what_to_write() {
        let refuse = |text: &str| {
            let failure = take(text, "/etc/codis/config.ini").unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage);
            format!("{}\n{}\n{}\n{}", failure.what, failure.place, failure.why, failure.next)
        };
        insta::assert_snapshot!(refuse("zk=h:2181\nproduct=a/b\n"), @"
        config.ini line 2: wrong value for `product`
        /etc/codis/config.ini:2
        `a/b` is not a product name (letters, digits, _ - .)
        write e.g. product=feed
        ");
        insta::assert_snapshot!(refuse("zk=h:99999\n"), @r#"
        config.ini line 1: wrong value for `zk`
        /etc/codis/config.ini:1
        server "h:99999" has no port between 1 and 65535
        write e.g. zk=10.0.7.11:2181,10.0.7.12:2181
        "#);
        insta::assert_snapshot!(refuse("coordinator=etcd\n"), @"
        config.ini line 1: wrong value for `coordinator`
        /etc/codis/config.ini:1
        the state of a product is read from ZooKeeper, not from etcd
        coordinator=zookeeper, with zk=HOST:PORT of the ensemble that has the product
        ");
    }
}
