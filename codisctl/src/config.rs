//! Settings: from flags, then the environment, then `codis.toml`, in this order.

use std::{path::PathBuf, time::Duration};

use clap::{ArgMatches, parser::ValueSource};
use codis_core::{ProductName, ha::Policy};
use codis_ops::{Failure, FailureKind, Secret, StoreAddr, Target, config};
use serde::Serialize;

pub(crate) use codis_ops::config::{duration, error_text};

use crate::cli::{Global, Output};

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
    /// How masters are watched and replaced, and where the data of old ones is kept.
    pub(crate) ha: (Policy, PathBuf),
    /// The same for people, each with where it comes from.
    pub(crate) shown: Vec<Setting>,
    /// What a person should know of the settings file.
    pub(crate) warnings: Vec<String>,
    file: config::File,
}

/// A setting in force.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    /// Its name in `codis.toml`.
    pub(crate) setting: String,
    /// Its value; never that of a password. Nothing: it is not set.
    pub(crate) value: Option<String>,
    /// Where the value comes from.
    pub(crate) from: From,
    /// The flag, the variable, or file and line.
    pub(crate) place: String,
}

/// Where a value comes from, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum From {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment,
    /// The settings file.
    File,
    /// Nothing says otherwise.
    Default,
}

/// Where the values come from that clap has merged.
struct Origins<'a> {
    matches: &'a ArgMatches,
    file: &'a config::File,
}

impl Origins<'_> {
    /// Of the option with this name, whose variable is `CODIS_NAME` and whose key in the file is `key`.
    fn setting(&self, name: &str, setting: &'static str, value: Option<String>) -> Setting {
        let (from, place) = match self.matches.value_source(name) {
            Some(ValueSource::CommandLine) => (From::Flag, format!("--{name}")),
            Some(ValueSource::EnvVariable) => {
                (From::Environment, format!("CODIS_{}", name.to_ascii_uppercase()))
            }
            _ => match self.file.origin(setting) {
                Some(place) => (From::File, place),
                None => (From::Default, String::new()),
            },
        };
        Setting { setting: setting.to_owned(), value, from, place }
    }

    /// What the file says for agents. What it does not say has the values of docs/configuration.md.
    fn of_agents(&self) -> impl Iterator<Item = Setting> {
        let tables = ["agent", "ha", "alert", "duty"];
        let keys = config::KEYS
            .iter()
            .filter(move |key| tables.contains(&key.table.split('.').next().unwrap_or_default()));
        keys.filter_map(|key| {
            let setting = key.path();
            let value = self.file.get(&setting)?.to_owned();
            // The address of a webhook can hold a token.
            let value = if setting == "alert.webhook.url" { "set, and not shown".to_owned() } else { value };
            let place = self.file.origin(&setting).unwrap_or_default();
            Some(Setting { setting, value: Some(value), from: From::File, place })
        })
    }

    /// The settings file itself.
    fn file(&self) -> Setting {
        let value = Some(self.file.name().to_owned()).filter(|name| !name.is_empty());
        let found = self.setting("config", "config", value);
        if found.from == From::Default && found.value.is_some() {
            return Setting { place: "it is in this directory".to_owned(), ..found };
        }
        found
    }

    fn password(&self, password: &Secret) -> Setting {
        let value = (*password != Secret::none()).then(|| "set, and not shown".to_owned());
        let variable = std::env::var("CODIS_PASSWORD").is_ok_and(|text| !text.is_empty());
        let (from, place) = match (self.file.password(), self.file.get("password_file")) {
            _ if variable => (From::Environment, "CODIS_PASSWORD".to_owned()),
            (Some((_, place)), _) => (From::File, place),
            (None, Some(path)) => {
                let line = self.file.origin("password_file").unwrap_or_default();
                (From::File, format!("{path} ({line})"))
            }
            (None, None) => (From::Default, String::new()),
        };
        Setting { setting: "password".to_owned(), value, from, place }
    }
}

impl Settings {
    /// Puts flags and environment (clap has merged those) over the file.
    pub(crate) fn new(global: &Global, matches: &ArgMatches) -> Result<Self, Failure> {
        let file = config::load(global.config.as_deref())?;
        let store = match &global.store {
            Some(store) => Some(store.clone()),
            None => file.parsed("store.address")?,
        };
        let product = match &global.product {
            Some(product) => Some(product.clone()),
            None => file.parsed("product")?,
        };
        let output = global.output.unwrap_or(match file.get("output") {
            Some("json") => Output::Json,
            Some("plain") => Output::Plain,
            _ => Output::Table,
        });
        let timeout = file.get("timeout").and_then(|text| duration(text).ok());
        let timeout = global.timeout.or(timeout).unwrap_or(TIMEOUT);
        let password = config::password(&file)?;
        let ha = config::ha(&file)?;
        let origins = Origins { matches, file: &file };
        let mut shown = vec![
            origins.file(),
            origins.setting("store", "store.address", store.as_ref().map(ToString::to_string)),
            origins.setting("product", "product", product.as_ref().map(ToString::to_string)),
            origins.setting("output", "output", Some(output.name().to_owned())),
            origins.setting("timeout", "timeout", Some(format!("{timeout:?}"))),
            origins.password(&password),
        ];
        shown.extend(origins.of_agents());
        let warnings = file.warnings().to_vec();
        let (yes, dry_run) = (global.yes, global.dry_run);
        Ok(Self { store, product, password, output, timeout, yes, dry_run, ha, shown, warnings, file })
    }

    /// What the settings file says, for what only some verbs need.
    pub(crate) fn file(&self) -> &config::File {
        &self.file
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
