//! Settings: from flags, then the environment, then `codis.toml`, in this order.

use std::time::Duration;

use codis_core::ProductName;
use codis_ops::{Failure, FailureKind, Secret, StoreAddr, Target, config};

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
}

impl Settings {
    /// Puts flags and environment (clap has merged those) over the file.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let file = config::load(global.config.as_deref())?;
        let output = match file.get("output") {
            Some("json") => Output::Json,
            Some("plain") => Output::Plain,
            _ => Output::Table,
        };
        let timeout = file.get("timeout").and_then(|text| duration(text).ok());
        Ok(Self {
            store: match &global.store {
                Some(store) => Some(store.clone()),
                None => file.parsed("store.address")?,
            },
            product: match &global.product {
                Some(product) => Some(product.clone()),
                None => file.parsed("product")?,
            },
            password: config::password(&file)?,
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
